"""Attacks by what a build reads: files of the project, mirrors, and what containers say and deliver."""

from __future__ import annotations

import resource
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.attacks import MOST_KB, Ground, Tried, command, listing
from synos_tasks import builder
from synos_tasks.build.planning import Context
from synos_tasks.engine.client import Docker
from synos_tasks.engine.labels import labels
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.errors import SynosError
from synos_tasks.iso import lock as locks
from synos_tasks.iso import profile as profiles
from synos_tasks.iso import protocol, publish
from tests.attacks import DELIVERED
from tests.unit.plans import planned
from tests.unit.test_publish import manifest_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.build_helpers import Clone


SECONDS = 30
"""Within which a bad input must be refused."""
SECRET = "../../../.synos/services/unified/secrets"
MIRROR = "mirrors:\n  suites: [release]\n  main: http://127.0.0.1:9/debian\n"
QUICK = f"packages: [netbase]\n{MIRROR}"
ACCEPTED = (30, 31, 32)
"""How a build ends that has got beyond its inputs: that mirror is not there, and a lock without packages gives no system."""

INPUTS: Mapping[str, tuple[str, str]] = {
    "overlay that is a link to secrets": (f"ln -s {SECRET} overlays/@", "overlays: [overlays/@]"),
    "overlay below a link that leads out": ("ln -s ../../.. overlays/@", "overlays: [overlays/@/.synos]"),
    "overlay that is a link in a circle": ("ln -s @ overlays/@", "overlays: [overlays/@]"),
    "overlay that is a FIFO": ("mkfifo overlays/@", "overlays: [overlays/@]"),
    "overlay outside": ("", "overlays: [../../.synos]"),
    "overlay at an absolute path": ("", "overlays: [/etc]"),
    "FIFO in an overlay": ("mkdir overlays/@; mkfifo overlays/@/x", "overlays: [overlays/@]"),
    "endless device in an overlay": ("mkdir overlays/@; mknod overlays/@/x c 1 5", "overlays: [overlays/@]"),
    "disk in an overlay": ("mkdir overlays/@; mknod overlays/@/x b 7 200", "overlays: [overlays/@]"),
    "socket in an overlay": (
        "mkdir overlays/@; perl -e 'use IO::Socket::UNIX; IO::Socket::UNIX->new(Local => \"overlays/@/x\", Listen => 1)'",
        "overlays: [overlays/@]",
    ),
    "terabytes of holes in an overlay": ("mkdir overlays/@; truncate -s 10T overlays/@/x", "overlays: [overlays/@]"),
    "300 nested folders in an overlay": (
        "mkdir overlays/@; cd overlays/@; for i in $(seq 300); do mkdir d; cd d; done", "overlays: [overlays/@]",
    ),
    "link to secrets in an overlay, and a file below it": (
        f"mkdir -p overlays/@ overlays/@-2/etc; ln -s {SECRET} overlays/@/etc; echo x >overlays/@-2/etc/x", "overlays: [overlays/@]\n",
    ),
    "hook that is a link to /etc/shadow": ("ln -s /etc/shadow hooks/@", "hooks: [hooks/@]"),
    "hook that is a link to secrets": (f"ln -s {SECRET}/nats_password hooks/@", "hooks: [hooks/@]"),
    "hook outside": ("", "hooks: [../../.synos/services/unified/secrets/nats_password]"),
    "hook that is a FIFO": ("mkfifo hooks/@", "hooks: [hooks/@]"),
    "hook that is a device": ("mknod hooks/@ c 1 5", "hooks: [hooks/@]"),
    "hook that is a link to a device": ("ln -s /dev/zero hooks/@", "hooks: [hooks/@]"),
    "hook that is a link to memory": ("ln -s /proc/self/mem hooks/@", "hooks: [hooks/@]"),
    "hook of terabytes": ("truncate -s 10T hooks/@", "hooks: [hooks/@]"),
    "profile that is a FIFO": ("rm profiles/@.yaml; mkfifo profiles/@.yaml", ""),
    "profile that is an endless device": ("rm profiles/@.yaml; mknod profiles/@.yaml c 1 5", ""),
    "profile that is a link to a device": ("ln -sf /dev/zero profiles/@.yaml", ""),
    "profile that is a link in a circle": ("ln -sf @.yaml profiles/@.yaml", ""),
    "profile that is a link to secrets": (f"ln -sf {SECRET}/nats_password profiles/@.yaml", ""),
    "profile of gigabytes": ("truncate -s 5G profiles/@.yaml", ""),
    "profile with references that multiply": (
        ("printf 'a: &a [x, x, x, x, x, x, x, x, x]\\n' >profiles/@.yaml; for i in b c d e f g h i j; do"
        " p=$(printf %s $i | tr b-j a-i); printf \"$i: &$i [*$p, *$p, *$p, *$p, *$p, *$p, *$p, *$p, *$p]\\n\"; done >>profiles/@.yaml"), "",
    ),
    "profile of 100 000 brackets": ("head -c 100000 /dev/zero | tr '\\0' '[' >profiles/@.yaml", ""),
    "profile that makes an object": ("", "description: !!python/object/apply:os.system ['touch /tmp/synos-attacked']"),
    "profile with escape sequences": ("printf 'description: \"a\\033]0;x\\007\"\\n\\033[2J: 1\\n' >profiles/@.yaml", ""),
    "profile that inherits a path": ("", "inherits: ../../../etc/passwd"),
    "profile that inherits itself": ("", "inherits: @"),
    "mirror with options of apt": ("", "mirrors:\n  main: 'http://127.0.0.1:9/x [trusted=yes]'"),
    "mirror with a line of its own": ("", 'mirrors:\n  main: "http://127.0.0.1:9/x\\ndeb [trusted=yes] http://127.0.0.1:9/ ./"'),
    "mirror on this machine's disk": ("", "mirrors:\n  main: file:///etc"),
    "package that is an option": ("", "packages: ['-oAPT::Update::Pre-Invoke::=touch /tmp/synos-attacked']"),
    "package that is a path": ("", "packages: [./../../x.deb]"),
    "kernel arguments that are commands": ("", "kernel_arguments: ['quiet; insmod x']"),
    "user that is a line of passwd": ("", 'users:\n  - name: "x:0:0"'),
    "full name that is a command": ("", 'users:\n  - name: x\n    full_name: "$(id)"'),
    "host name that is a path": ("", "hostname: ../../etc/x"),
    "lock that is a FIFO": ("mkfifo profiles/@.lock.yaml", ""),
    "lock that is an endless device": ("mknod profiles/@.lock.yaml c 1 5", ""),
    "lock that is a link to a device": ("ln -s /dev/zero profiles/@.lock.yaml", ""),
    "lock of gigabytes": ("truncate -s 5G profiles/@.lock.yaml", ""),
    "recipe that is a FIFO": ("mkfifo components/@.yaml", "components: [@]"),
    "recipe that is a link to secrets": (f"ln -s {SECRET}/nats_password components/@.yaml", "components: [@]"),
    "source that is a link to secrets": (f"ln -s {SECRET} components/@-src; @recipe", "components: [@]"),
    "source outside": ("@recipe-out", "components: [@]"),
    "FIFO in a source": ("mkdir components/@-src; mkfifo components/@-src/x; @recipe", "components: [@]"),
    "patch that is a link to secrets": (
        f"mkdir components/@-src; ln -s {SECRET}/nats_password components/@.patch; @recipe; echo 'patches: [@.patch]' >>components/@.yaml",
        "components: [@]",
    ),
}  # fmt: skip
"""What is done in docker/build, and what the profile then says; @ is the profile's name."""
HARMLESS = {"profile with escape sequences", "link to secrets in an overlay, and a file below it"}
"""May be accepted: what is in them never gets anywhere."""
LOCKS: Mapping[str, Mapping[str, str]] = {
    "a package that is a path": {"name": "../../cache/pool/x"},
    "a version that is a path": {"version": "1/../../x"},
    "a path that leads out": {"path": "../../../etc/passwd"},
    "a path at the root": {"path": "/etc/passwd"},
    "a path with an option": {"path": "-oAPT::x=y z"},
    "a layer that is a path": {"layer": "../base"},
    "a checksum that is a path": {"sha256": f"../{'0' * 61}"},
    "an archive that is an address": {"archive": "http://127.0.0.1:9"},
}
"""Lines of a lock, which is sealed as somebody would who knows how."""
OUTPUTS = {
    "output folder with a comma": "a,readonly=false,b",
    "output folder with escape sequences": "a\x1b[2Jb",
    "output folder that is an option": "--privileged",
    "output folder with a newline": "a\nb",
}


def _run(clone: Clone, shell: str) -> None:
    folder = clone.root / "docker/build"
    subprocess.run(["sh", "-euc", shell or ":"], cwd=folder, check=True, capture_output=True)


def _prepare(clone: Clone, own: str, name: str, shell: str, profile: str) -> None:
    """Write a profile with a lock of no packages, and do what the attack does in docker/build."""
    recipe = "printf 'description: x\\nbuild: make\\nversion: \"1.0\"\\nsource:\\n  folder: %s\\n' "
    shell = shell.replace("@recipe-out", f"{recipe} ../../../.synos >components/@.yaml")
    shell = shell.replace("@recipe", f"{recipe} @-src >components/@.yaml").replace("@", own)
    key = profile.partition(":")[0]
    text = "packages: [netbase]\n" if key == "mirrors" else MIRROR if key == "packages" else QUICK
    clone.add(f"docker/build/profiles/{own}.yaml", f"{text}{profile.replace('@', own)}\n")
    # a recipe must be there for that, but what has become something else cannot be locked any more
    is_first = "components" in profile
    if is_first:
        _run(clone, shell)
    if "lock" not in name:
        with suppress(SynosError):  # what is wrong with the profile itself is refused without a lock
            clone.lock_nothing(own)
    if not is_first:
        _run(clone, shell)


def _try_input(clone: Clone, number: int, name: str, shell: str, profile: str) -> Tried:
    own = f"x{number}"
    _prepare(clone, own, name, shell, profile)
    said = command(clone, "build.iso", "--profile", own, limit=SECONDS)
    codes = (10, 11, 15, 18, *(ACCEPTED if name in HARMLESS else ()))
    shown = "a secret is shown" if "synos-mark-secret" in said.out + said.err else ""
    return Tried("inputs", name, said.wrong(*codes) or shown)


def inputs(ground: Ground) -> Iterator[Tried]:
    """Give the build files that are something else, or lead elsewhere."""
    clone = ground.new_clone("inputs")
    clone.add(".synos/services/unified/secrets/nats_password", "description: synos-mark-secret\n")
    for folder in ("hooks", "overlays"):
        (clone.root / "docker/build" / folder).mkdir(exist_ok=True)
    (clone.root / "dist").mkdir()
    with ThreadPoolExecutor(2) as threads:
        work = [(number, name, *how) for number, (name, how) in enumerate(INPUTS.items())]
        yield from threads.map(lambda one: _try_input(clone, *one), work)
    yield Tried(
        "inputs", "a command of an input has run", "yes" if Path("/tmp/synos-attacked").exists() else ""
    )
    clone.add("docker/build/profiles/plain.yaml", QUICK)
    for name, fields in LOCKS.items():
        profile = profiles.load(clone.root / "docker/build/profiles", "plain")
        plain = {
            "name": "netbase",
            "version": "6.4",
            "architecture": "all",
            "layer": "base",
            "sha256": "0" * 64,
            "archive": "main",
        }
        package = locks.Package(**{**plain, "path": "pool/n.deb", **fields}, size=1)
        lock = locks.Lock(request=locks.request_of(profile), epoch=1, packages=(package,))
        locks.path_of(clone.root / "docker/build/profiles", "plain").write_text(locks.dump(lock, "plain"))
        yield Tried(
            "inputs",
            f"lock with {name}",
            command(clone, "build.iso", "--profile", "plain", limit=SECONDS).wrong(15),
        )
    locks.path_of(clone.root / "docker/build/profiles", "plain").unlink(missing_ok=True)
    for name, output in OUTPUTS.items():
        said = command(clone, "build.iso", "--profile", "plain", f"--output={output}", limit=SECONDS)
        yield Tried("inputs", name, said.wrong(1, 10, 12, 24, *ACCEPTED))
    yield Tried("inputs", "files in the output folder", "; ".join(listing(clone.output)))


SUCCESS = "counts as success"
EVENTS: Mapping[str, str] = {
    "success, then an exit code": f"echo '{DELIVERED}'; exit 1",
    "success, then killed": f"echo '{DELIVERED}'; kill -9 $$",
    "success twice": f"echo '{DELIVERED}'; echo '{DELIVERED}'",
    "success, and no end": f"echo '{DELIVERED}'; exec sleep 600",
    "success, then an error": f"""echo '{DELIVERED}'; echo '{{"event": "error", "kind": "DiskFull", "error": "x"}}'""",
    "no event": "exit 0",
    "success without its fields": """echo '{"event": "delivered"}'""",
    "success with fields of other kinds": """echo '{"event": "delivered", "build_id": [1]}'""",
    "success with a field more": f"""echo '{DELIVERED[:-1]}, "x": 1}}'""",
    "success in a list": f"echo '[{DELIVERED}]'",
    "success on standard error": f"echo '{DELIVERED}' >&2",
    "success with a NUL": f"printf '\\0%s\\n' '{DELIVERED}'",
    "success after a carriage return": f"printf 'x\\r%s\\n' '{DELIVERED}'",
    "success at the end of a long line": f"head -c 20M /dev/zero | tr '\\0' ' '; echo '{DELIVERED}'",
    "a line of 1 GB": "head -c 1G /dev/zero | tr '\\0' x",
    "events of a million brackets": "for i in 1 2 3; do head -c 1000000 /dev/zero | tr '\\0' '['; echo; done",
    "200 000 lines": "yes x | head -n 200000",
    "an event of no class": """echo '{"event": "__init__"}'; echo '{"event": {}}'; echo '{"event": 1}'; echo null""",
    "an error of no class": """echo '{"event": "error", "kind": "os.system", "error": "x"}'; exit 1""",
    "an error with escape sequences": """echo '{"event": "error", "kind": "DiskFull", "error": "\\u001b]0;x\\u0007", "where": "\\u009b2J"}'""",
    "a warning with escape sequences": """echo '{"event": "warning", "text": "\\u001b[2J\\nerror: forged"}'""",
    "a log with escape sequences": """echo '{"event": "log", "stage": "a\\nb", "line": "\\u001b[2J\\n[base] forged"}'""",
    "raw escape sequences": "printf '\\033]52;c;eA==\\007\\233\\n'",
    "numbers out of range": """for n in 1e400 NaN -Infinity -1 9223372036854775808; do echo '{"event": "progress", "stage": "x", "fraction": '$n'}'; done""",
    "a name of a key 10 MB long": """printf '{"'; head -c 10M /dev/zero | tr '\\0' x; echo '": 1}'""",
    "bytes that are no text": "head -c 1M /dev/urandom",
    "a container that nobody makes": """echo '{"event": "run-apart", "id": "x", "command": ["sh"], "mounts": [["/", "/host", true]], "work": "/work", "network": true}'""",
}  # fmt: skip
"""What a container prints, and how it ends: none of it may count as the success of a build."""


def events(ground: Ground) -> Iterator[Tried]:
    """Let containers say what they have not done, or more than anybody can hear."""
    said: list[str] = []
    context = Context(ground.clone.settings, Docker(), said.append)
    project = ground.clone.settings.project.id

    def prints(script: str) -> ContainerSpec:
        return ContainerSpec(
            name=builder.container_name(project, "build"), image=ground.image, command=("bash", "-c", script),
            labels=labels(project, "build"), network="none",
        )  # fmt: skip

    control = _heard(context, prints(f"echo '{DELIVERED}'"), said)
    yield Tried(
        "control", "a success is heard", "" if control == SUCCESS else "what is forged counts as none"
    )
    for name, script in EVENTS.items():
        began, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wrong = _heard(context, prints(script), said)
        if time.monotonic() - began > SECONDS:
            wrong = wrong or f"{time.monotonic() - began:.0f} s"
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        wrong = wrong or (f"{more} kB of memory" if more > MOST_KB else "")
        if ground.clone.running():
            wrong = wrong or "it runs on"
        if "\x1b" in "".join(said) + ground.clone.newest_log():
            wrong = wrong or "escape sequences"
        yield Tried("events", name, wrong)


def _heard(context: Context, spec: ContainerSpec, said: list[str]) -> str:
    said.clear()
    try:
        builder.ask(context, spec, protocol.ListStore(), protocol.Delivered, seconds=SECONDS / 2)
    except SynosError as error:
        said.append(str(error))
        return ""
    except Exception as error:  # noqa: BLE001  (that is the finding)
        return f"{type(error).__name__}: {error}"
    return SUCCESS


DELIVERIES: Mapping[str, str] = {
    "a link as the ISO": "ln -sf /etc/shadow image.iso",
    "a link as the log": "ln -sf /etc/shadow build.log",
    "a link as the manifest": "ln -sf /etc/shadow manifest.json",
    "a link to a folder of the host": "rm image.iso; ln -s ../../../.synos image.iso",
    "a second name for the ISO": "ln image.iso other",
    "a FIFO as the ISO": "rm image.iso; mkfifo image.iso",
    "a FIFO as the log": "rm build.log; mkfifo build.log",
    "a device as the ISO": "rm image.iso; mknod image.iso c 1 5",
    "a disk as the log": "rm build.log; mknod build.log b 7 200",
    "a folder as the ISO": "rm image.iso; mkdir image.iso",
    "a hole of a hundred gigabytes": "truncate -s 100G image.iso",
    "a log with a hole of gigabytes": "truncate -s 5G build.log",
    "a manifest of gigabytes": "truncate -s 5G manifest.json",
    "a manifest of another ISO": 'sed -i \'s/"key": "/&0/\' manifest.json',
    "a manifest without an end": "head -c 1000000 /dev/zero | tr '\\0' '[' >manifest.json",
    "no log": "rm build.log",
    "no files": "rm *",
    "setuid files of another owner": "chown 4321:4321 *; chmod 6777 *; cp /bin/bash s; chmod 4755 s; chmod 777 .",
    "device nodes beside": "mknod null c 1 3; mknod disk b 7 200; chmod 666 *",
    "3,000 nested folders": "mkdir deep; cd deep; for i in $(seq 60); do d=$(printf 'd/%.0s' $(seq 50)); mkdir -p $d; cd $d; done",
    "a folder that cannot be left": "mkdir shut; mkdir shut/x; chmod 0 shut",
    "files that cannot be removed": "chattr +i image.iso || chattr +a . || true",
}
"""What a container does to the files that it fills, which are right."""


def deliveries(ground: Ground) -> Iterator[Tried]:
    """Let a container fill the files of a build: what is published must be the host's own plain files."""
    plan = planned()
    for number, (name, script) in enumerate(DELIVERIES.items()):
        output = ground.folder / f"deliveries/{number}"
        output.mkdir(parents=True)
        (output / "earlier.iso").write_text("earlier")
        before = listing(output)
        wrong = ""
        try:
            with publish.staging(output) as folder:
                for file, text in (
                    (publish.ISO, "iso"),
                    (publish.LOG, "log\n"),
                    (publish.MANIFEST, manifest_for(plan)),
                ):
                    (folder / file).write_text(text)
                files = [f"--volume={folder / file}:/output/{file}" for file in publish.MOST_BYTES]
                argv = ["docker", "run", "--rm", "--network=none", *files, "--workdir=/output", ground.image]
                subprocess.run([*argv, "bash", "-c", script], check=False, capture_output=True)
                publish.publish(folder, plan, builder.owner())
        except SynosError:
            pass
        except Exception as error:  # noqa: BLE001  (that is the finding)
            wrong = f"{type(error).__name__}: {error}"
        after = {path: facts for path, facts in listing(output).items() if before.get(path) != facts}
        strange = [
            f"{path} {facts}"
            for path, facts in after.items()
            if facts[1:] != builder.owner()
            or not (facts[0] == "-rw-r--r--" or (facts[0].startswith("l") and path.endswith(".iso")))
        ]
        texts = [path.read_bytes() for path in output.iterdir() if path.suffix in {".log", ".json", ".iso"}]
        wrong = wrong or "; ".join(strange)
        yield Tried(
            "deliveries",
            name,
            wrong or ("a file of the host" if any(b"root:" in one for one in texts) else ""),
        )


KINDS: dict[str, Callable[[Ground], Iterator[Tried]]] = {
    "inputs": inputs,
    "events": events,
    "deliveries": deliveries,
}
