"""Attacks on services, archives and the identity of projects."""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.attacks import Ground, Tried, command
from synos_tasks import settings
from synos_tasks.engine.labels import LABEL_CONTAINER, labels
from synos_tasks.services.stack import open_stack
from tests.build_helpers import ROOT, docker
from tests.conftest import running_services
from tests.integration import test_services_hostile as databases
from tests.integration.test_two_projects import Job
from tests.services_clones import SERVICES, container

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.build_helpers import Clone

VERBS = ("backup", "restore", "secrets-rotate", "heal", "upgrade", "restart", "up")
"""What the superuser, or a role that reads all, does in databases of applications."""
TRAPS_IN = {"shadow": ("current_setting", "set_config", "catalog")}
ROLES: Mapping[str, str] = {
    "superuser by itself": "ALTER ROLE synos SUPERUSER",
    "the right to make roles": "ALTER ROLE synos CREATEROLE",
    "another role": "CREATE ROLE mine SUPERUSER",
    "the superuser's role": "SET ROLE postgres",
    "the superuser's session": "SET SESSION AUTHORIZATION postgres",
    "the role that reads all": "SET ROLE synos_backup",
    "membership in the role that reads all": "GRANT synos_backup TO synos",
    "membership in a role that runs programs": "GRANT pg_execute_server_program TO synos",
    "a program": "CREATE TEMP TABLE t (x text); COPY t FROM PROGRAM 'id'",
    "a file of the server": "SELECT pg_read_file('/etc/passwd')",
    "a folder of the server": "SELECT pg_ls_dir('/')",
    "a file as a table": "CREATE TEMP TABLE t (x text); COPY t FROM '/etc/passwd'",
    "a file that it writes": "COPY (SELECT 1) TO '/tmp/x'",
    "a file as a large object": "SELECT lo_import('/etc/passwd')",
    "a function in C": "CREATE FUNCTION c() RETURNS int LANGUAGE c AS 'libc', 'getpid'",
    "an untrusted language": "CREATE EXTENSION plpython3u",
    "an extension that reads files": "CREATE EXTENSION file_fdw",
    "a library": "LOAD '/tmp/x.so'",
    "a setting of the server": "ALTER SYSTEM SET shared_preload_libraries = 'x'",
    "a setting of another role": "ALTER ROLE postgres SET search_path = public",
    "a setting of the superuser's database": "ALTER DATABASE postgres SET search_path = public",
    "an object in the superuser's database": "SELECT 1 FROM pg_database WHERE datname = 'postgres' AND has_database_privilege('postgres', 'TEMP') AND 1/0 = 1",
    "a trigger on all commands": "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
    "passwords of roles": "SELECT rolpassword FROM pg_authid",
    "a subscription": "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p",
    "the end of another's session": "SELECT 1 / count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'postgres' AND backend_type = 'client backend'",
    "a cast of the superuser's": "UPDATE pg_catalog.pg_authid SET rolsuper = true WHERE rolname = 'synos'",
    "a function in the catalog": "CREATE FUNCTION pg_catalog.now2() RETURNS int LANGUAGE sql AS 'SELECT 1'",
}  # fmt: skip
"""What an application asks PostgreSQL for, by itself."""
FILE = 'f=$(find . -type f ! -name "manifest*" | sort | head -n 1); '
SEAL = '; printf "%s  manifest.json\\n" $(sha256sum manifest.json | cut -d" " -f1) >manifest.json.sha256'
BACKUPS: Mapping[str, str] = {
    "another byte": f"{FILE} printf x | dd of=$f bs=1 seek=10 conv=notrunc",
    "a file that is cut": f"{FILE} truncate -s -1 $f",
    "a file that is longer": f"{FILE} echo >>$f",
    "a file that is missing": f"{FILE} rm $f",
    "a file more": "echo x >more",
    "a folder more, with a file": "mkdir -p a/b; echo x >a/b/c",
    "a link in place of a file": f"{FILE} mv $f /tmp/@; ln -s /tmp/@ $f",
    "a link to a file of the host": f"{FILE} ln -sf /etc/shadow $f",
    "a link in place of a folder": "mv postgres ../@-else; ln -s ../@-else postgres",
    "a FIFO in place of a file": f"{FILE} rm $f; mkfifo $f",
    "an endless device in place of a file": f"{FILE} rm $f; mknod $f c 1 5",
    "a manifest that was changed": "sed -i 's/\"rows\": [0-9]*/\"rows\": 7/' manifest.json",
    "a manifest with a path that leads out": f"sed -i 's,\"path\": \"nats/,\"path\": \"../nats/,' manifest.json{SEAL}",
    "a manifest with an absolute path": f"sed -i 's,\"path\": \"nats/,\"path\": \"/etc/,' manifest.json{SEAL}",
    "a manifest with a file twice": f"sed -i 's,\"path\": \"[^\"]*\",\"path\": \"nats/nats.tar\",' manifest.json{SEAL}",
    "a manifest with negative sizes": f"sed -i 's/\"bytes\": /&-/' manifest.json{SEAL}",
    "a manifest with facts of no shape": f"sed -i 's/\"version\": /\"virsion\": /' manifest.json{SEAL}",
    "a manifest with a service that is not there": f"sed -i 's/\"nats\": /\"nots\": /' manifest.json{SEAL}",
    "a manifest of a later version": f"sed -i 's,synos.backup/1,synos.backup/2,' manifest.json{SEAL}",
    "a manifest of a later PostgreSQL": f"sed -i 's/\"version\": \"1[0-9]\\./\"version\": \"99./' manifest.json{SEAL}",
    "a manifest without an end": f"head -c 1000000 /dev/zero | tr '\\0' '[' >manifest.json{SEAL}",
    "a manifest of gigabytes": "truncate -s 5G manifest.json",
    "a manifest that is a FIFO": "rm manifest.json; mkfifo manifest.json",
    "a manifest that is an endless device": "rm manifest.json; mknod manifest.json c 1 5",
    "a manifest that is a link": "cp manifest.json /tmp/@; ln -sf /tmp/@ manifest.json",
    "a checksum that is a FIFO": "rm manifest.json.sha256; mkfifo manifest.json.sha256",
    "a database with an option for a name": f"sed -i 's/\"synos\": {{/\"dbname=postgres options=x\": {{/' manifest.json{SEAL}",
    "escape sequences in names": f"sed -i 's/\"created\": \"/&\\\\u001b[2J/' manifest.json{SEAL}; printf x >\"$(printf 'a\\033[2Jb')\"",
}  # fmt: skip
"""What is done to a copy of a good backup: none may be restored, and the list must survive it."""
NOT_RESTORED = (12, 39, 45)


def services(ground: Ground) -> Iterator[Tried]:
    """Attack PostgreSQL as an application, in each verb that opens its databases, and restore backups that are none."""
    stack = open_stack(settings.load(ROOT, {"name": "synos"}), "unified", print)
    stack.ensure_images((*SERVICES, "nats-box"))
    with running_services(ground.folder / "services") as clone:
        yield from _roles(clone)
        databases.set_traps(clone)
        yield from _traps(clone)
        yield from _backups(clone)


def _roles(clone: Clone) -> Iterator[Tried]:
    """Ask for more, as the application's role; each of them in a transaction that is taken back."""
    for name, sql in ROLES.items():
        reached = ""
        with suppress(AssertionError):  # psql has refused
            databases.psql(clone, "synos", f"BEGIN; {sql}; ROLLBACK", "synos")
            reached = "it was done"
        yield Tried("databases", name, reached)
    for name, user, password in (
        ("superuser over TCP", "postgres", True),
        ("superuser over TCP without a password", "postgres", False),
    ):
        argv = [
            "docker",
            "exec",
            *(["--env=PGPASSFILE=/run/postgresql/pgpass"] if password else []),
            container(clone, "postgres"),
        ]
        argv += ["psql", "-w", "-h", "127.0.0.1", "-U", user, "-c", "SELECT 1", "postgres"]
        done = subprocess.run(argv, capture_output=True, check=False)
        yield Tried("databases", name, "" if done.returncode else "it was let in")


def _traps(clone: Clone) -> Iterator[Tried]:
    saved = ""
    for verb in VERBS:
        seen = len(databases.log(clone))
        if verb == "heal":
            docker("kill", container(clone, "postgres"))
        options = [saved, "--yes"] if verb == "restore" else []
        answer = clone.inv(f"services.{verb}", *options)
        saved = answer.json.get("name", saved) if verb == "backup" else saved
        fell = set(re.findall(r"trap (\w+) superuser=on", databases.log(clone)[seen:]))
        for name in databases.TRAPS:
            ran = fell & {name, *TRAPS_IN.get(name, ())}
            yield Tried("databases", f"trap {name}", "it ran as the superuser" if ran else "", verb)
        try:
            databases.assert_nobody_got_more(clone)
        except AssertionError as error:
            yield Tried("databases", "more rights for a role", str(error)[:500], verb)
        else:
            yield Tried("databases", "more rights for a role", "", verb)


def _backups(clone: Clone) -> Iterator[Tried]:
    good = clone.inv("services.backup", "--name=good").json["name"]
    folder = clone.root / ".synos/backups/unified"
    databases.psql(clone, "synos", "CREATE TABLE kept AS SELECT 42 AS i", "synos")
    for number, (name, script) in enumerate(BACKUPS.items()):
        own = f"bad{number}"
        shutil.copytree(folder / good, folder / own)
        named = script.replace("@", f"synos-{clone.root.parent.name}-{own}")
        subprocess.run(["sh", "-euc", named], cwd=folder / own, check=True, capture_output=True)
        listed = command(clone, "services.backups", limit=30)
        wrong = listed.wrong(0)
        if not wrong:
            wrong = command(clone, "services.restore", own, "--yes", "--no-backup", limit=60).wrong(
                *NOT_RESTORED
            )
        kept = databases.psql(clone, "synos", "SELECT i FROM kept", "synos", check=False)
        yield Tried("backups", name, wrong or ("" if kept == "42\n" else "data was replaced"))
        shutil.rmtree(folder / own)
        for left in (*folder.glob("synos-*-else"), *Path("/tmp").glob(f"synos-{clone.root.parent.name}-*")):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    said = command(clone, "services.restore", good, limit=60)
    yield Tried("backups", "restored without a question", said.wrong(12))


IDS = {
    "a path": "../../../etc",
    "escape sequences": "synos-\x1b[2J0123456789",
    "an option": "--privileged",
    "a wildcard": "synos-*",
    "nothing": "",
    "bytes that are no text": "\udcff\udcfe",
}


def identity(ground: Ground) -> Iterator[Tried]:
    """Let a project pass for another one: a copied id, labels of another's, images that were committed from ours."""
    original, copy = ground.new_clone("original"), ground.new_clone("copy")
    original.inv("maint.volumes")
    shutil.copytree(original.root / ".synos", copy.root / ".synos")
    for verb in ("build.iso", "build.shell", "services.up", "maint.prune", "maint.reset", "doctor"):
        said = command(
            copy, "--dry", verb, limit=30
        )  # or the engine's shared cache would be gone where this succeeds
        yield Tried("identity", f"a copied .synos in {verb}", said.wrong(46))
    for name, ident in IDS.items():
        (copy.root / ".synos/id").write_bytes(f"{ident}\n{copy.root}\n".encode(errors="surrogateescape"))
        said = command(copy, "--dry", "maint.reset", "--without-backup", limit=30)
        yield Tried("identity", f"an id that is {name}", said.wrong(12))
    shutil.rmtree(copy.root / ".synos")
    yield from _passing_for(original)
    yield from _two_at_one_path(ground)


def _passing_for(clone: Clone) -> Iterator[Tried]:
    """Make what carries a project's labels and is another's."""
    project, mark = clone.settings.project.id, uuid.uuid4().hex[:8]
    marks = [f"--label={key}={value}" for key, value in labels(project, "build").items()]
    own = f"--label={LABEL_CONTAINER}=other"
    image, run = "debian:bookworm-slim", ("run", "--network=none")
    made = {
        "a container with our labels": (*run, f"--name=theirs-{mark}", *marks, image, "true"),
        "a container with our labels and a name that begins as ours": (
            *run,
            f"--name={project}-x-{mark}",
            *marks,
            image,
            "true",
        ),
        "a container with our labels and another's name": (
            *run,
            f"--name=theirs2-{mark}",
            *marks,
            own,
            image,
            "true",
        ),
        "a volume with a name that begins as ours": ("volume", "create", f"{project}-theirs-{mark}"),
        "a network with a name that begins as ours": ("network", "create", f"{project}-theirs-{mark}"),
        "an image with our labels": ("build", "--quiet", f"--tag=theirs-{mark}", *marks, "-"),
    }
    try:
        for name, words in made.items():
            subprocess.run(
                ["docker", *words], input=b"FROM debian:bookworm-slim\n", check=True, capture_output=True
            )
            planned = command(clone, "--dry", "maint.reset", "--without-backup", "--json", limit=60).out
            yield Tried("identity", name, "it would be removed" if mark in planned else "")
    finally:
        for words in (("rm", "--force", f"theirs-{mark}", f"theirs2-{mark}", f"{project}-x-{mark}"), ("volume", "rm", f"{project}-theirs-{mark}"),
                      ("network", "rm", f"{project}-theirs-{mark}"), ("image", "rm", f"theirs-{mark}")):  # fmt: skip
            subprocess.run(["docker", *words], check=False, capture_output=True)


def _two_at_one_path(ground: Ground) -> Iterator[Tried]:
    path = ground.folder / "project"
    path.mkdir()
    jobs = []
    for name in ("job1", "job2"):
        clone = ground.new_clone(name)
        for file in ("docker/dev/docker-compose.yml", ".devcontainer/c/devcontainer.json"):
            clone.add(file, (ROOT / file).read_text())
        jobs.append(Job(clone, path))
        jobs[-1].inv("maint.volumes")
    jobs[0].fill()
    yield Tried("identity", "two clones at one path", " ".join(jobs[1].to_reset() & jobs[0].has))
    planned = jobs[1].inv("--dry", "maint.prune", "--all", "--older-than=0m")
    taken = jobs[0].has & {item["name"] for item in planned["planned"]}
    yield Tried("identity", "two clones at one path, and prune", " ".join(taken))
    theirs = f"theirs-{uuid.uuid4().hex[:8]}"
    try:
        docker("commit", f"{jobs[0].project}-build-1", theirs)
        docker("run", f"--name={theirs}", "--network=none", theirs, "true")
        docker("image", "rm", "--force", theirs)
        yield Tried(
            "identity",
            "a container of an image that was committed from ours",
            " ".join(jobs[0].to_reset() - jobs[0].has),
        )
    finally:
        subprocess.run(["docker", "rm", "--force", theirs], check=False, capture_output=True)


KINDS: dict[str, Callable[[Ground], Iterator[Tried]]] = {"services": services, "identity": identity}
