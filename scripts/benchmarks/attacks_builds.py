"""Attacks of foreign code in a build, at every moment at which it runs, and of what it leaves for the host."""

from __future__ import annotations

import json
import lzma
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from scripts.benchmarks.attacks import Ground, Tried, command, listing
from synos_tasks import builder
from synos_tasks.engine.labels import labels
from synos_tasks.iso.publish import STAGING_PREFIX
from tests import attacks, component_trees, mirrors
from tests.build_helpers import Clone, docker
from tests.unit.deb_files import ar, tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

NAME = "hostile"
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
BASE, PACKAGE = "live-boot-hostile", "hostile"
"""Packages with the same scripts: one is laid down with the base, the other installed in the system."""
MOMENTS = (
    "base-preinst", "base-postinst", "base-trigger", "packages-preinst", "packages-postinst", "dpkg-post", "apt-pre",
    "make-builder", "make-root", "hook", "initramfs",
)  # fmt: skip
"""At which foreign code must have run, or nothing is shown."""
OWN_CODE = {"process_of_the_builder", "project"}
"""What the container of a compilation has by design: the engine's code, read-only, and no store."""
LAST = """\
#!/bin/bash
# what is left for later stages, if one of their programs were of this system
for program in mksquashfs xorriso unsquashfs; do
    printf '#!/bin/sh\\necho RESULT later planted_program yes >>/var/lib/hostile/later\\n' >/usr/bin/$program; chmod 755 /usr/bin/$program
done
for folder in /output /cache /project; do
    mkdir -p $folder; cp /bin/bash $folder/s; chmod 4755 $folder/s; chmod 777 $folder; mkfifo $folder/pipe; mknod $folder/node c 1 3
done
setsid sh -c 'while :; do chmod 6777 /output/* /cache/*; sleep 0.1; done' >/dev/null 2>&1 &
for where in /proc/1/fd/1 /proc/1/fd/2 /synos/streams/out; do
    printf 'DELIVERED\\n{"id": "x", "code": 0, "why": ""}\\n' >$where
done
printf '\\033]0;forged\\007\\n'
cat /var/lib/hostile/*
rm -rf /output /cache /project
kill -STOP -1
kill -9 1
""".replace("DELIVERED", attacks.DELIVERED)


def foreign_code(ground: Ground) -> Iterator[Tried]:
    """Build an ISO in which hooks, packages and a component try everything, then look at what has come of it."""
    clone = ground.new_clone("foreign")
    marks = {name: f"synos-mark-{name.lower()}-{ground.folder.name}" for name in attacks.MARKS}
    with _Listener() as (port, connections):
        values = _values(clone, marks, port)
        with _hostile_mirror(ground, clone, values) as (address, _):
            _write_project(clone, address, marks, attacks.script(values))
            before = listing(clone.output)
            built = command(clone, "build.iso", "--profile", NAME, limit=900)
        moments = attacks.results(clone.newest_log())
        compiled = attacks.results(
            "".join(path.read_text() for path in (clone.root / ".synos/logs").glob("*"))
        )
        yield Tried("foreign code", "the build goes on", built.wrong(0))
        yield Tried(
            "foreign code", "connect to a port of this machine", f"{connections}" if connections else ""
        )
    found = {**compiled, **moments}
    for moment in dict.fromkeys([*MOMENTS, *found]):
        ran = found.get(moment, {})
        yield Tried(
            "control", "the script runs to its end", "" if ran.pop("control", False) else "no", moment
        )
        for name, succeeded in ran.items():
            allowed = OWN_CODE if moment.startswith("make") else set[str]()
            yield Tried("foreign code", name, "yes" if succeeded and name not in allowed else "", moment)
    yield from _judge_output(clone, before)
    yield from _judge_iso(ground, clone, marks)


def _values(clone: Clone, marks: Mapping[str, str], port: int) -> dict[str, str]:
    gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    known = {"ROOT": str(clone.root), "PORT": str(port), "GATEWAY": gateway}
    key = builder.store_key(clone.settings)
    return {**known, "KEY": key[::-1], **{name: mark[::-1] for name, mark in marks.items()}}


class _Listener:
    """A port on 127.0.0.1 of this machine, and who has connected to it."""

    def __enter__(self) -> tuple[int, list[str]]:
        self._socket, self._found = socket.create_server(("127.0.0.1", 0)), list[str]()
        threading.Thread(target=self._accept, daemon=True).start()
        return self._socket.getsockname()[1], self._found

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, address = self._socket.accept()
                self._found.append(str(address))
                connection.close()


def _hostile_mirror(
    ground: Ground, clone: Clone, values: Mapping[str, str]
) -> AbstractContextManager[tuple[str, list[str]]]:
    """Serve Debian with two packages more, signed by a key that the clone trusts."""
    keys = ground.folder / "key"
    keys.mkdir(exist_ok=True)
    signer = mirrors.Signer(keys, ground.image)
    mirrors.trust(clone, signer.public)
    debs = {name: hostile_deb(name, values) for name in (BASE, PACKAGE)}
    upstream = mirrors.debian(f"{mirrors.RELEASE}{mirrors.INDEX}.xz")
    assert isinstance(upstream, bytes), upstream
    index = lzma.decompress(upstream) + "".join(mirrors.stanza(*one) for one in debs.items()).encode()
    changes: dict[str, mirrors.Change] = {
        mirrors.RELEASE: "/nothing/",
        f"{mirrors.RELEASE}InRelease": signer.signed(mirrors.release("trixie", index)),
        f"{mirrors.RELEASE}{mirrors.INDEX}": index,
        **{f"/debian/pool/{name}.deb": data for name, data in debs.items()},
    }
    return mirrors.mirror(changes)


def hostile_deb(name: str, values: Mapping[str, str]) -> bytes:
    """Return a package whose scripts, and whose files for other programs, try everything."""
    run = "/usr/lib/hostile/attacks"
    where = "base" if name == BASE else "packages"
    text = attacks.script(values)
    keep = f"mkdir -p /var/lib/hostile; cat >/tmp/a <<'ALL'\n{text}\nALL\nbash /tmp/a MOMENT | tee /var/lib/hostile/MOMENT; rm /tmp/a; exit 0\n"
    control = {
        "./control": f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: N <n@example.org>\nDescription: hostile\n".encode(),
        "./triggers": f"interest-noawait {run}\ninterest-noawait /usr/share/{PACKAGE}\n".encode(),
    }
    for script in SCRIPTS:
        body = keep.replace("MOMENT", f"{where}-{script}")
        if script == "postinst":
            body = f'[ "$1" = triggered ] && exec {run} {where}-trigger\n{body}'
        control[f"./{script}"] = f"#!/bin/bash\n{body}".encode()
    hook = f'#!/bin/sh\n[ "$1" = prereqs ] || {run} %s\nexit 0\n'
    kept = f'#!/bin/bash\nmkdir -p /var/lib/hostile\n[ -e /var/lib/hostile/$1 ] || bash {run}.sh "$1" | tee /var/lib/hostile/$1\n'
    folders = ("usr", "usr/lib", "usr/lib/hostile", "usr/share", f"usr/share/{name}", "usr/share/initramfs-tools",
               "usr/share/initramfs-tools/hooks", "etc", "etc/kernel", "etc/kernel/postinst.d", "etc/apt", "etc/apt/apt.conf.d",
               "etc/dpkg", "etc/dpkg/dpkg.cfg.d")  # fmt: skip
    data = {f"./{folder}/": b"" for folder in folders} | ({
        f".{run}": kept.encode(), f".{run}.sh": text.encode(), f"./usr/share/{name}/x": b"",
        "./usr/share/initramfs-tools/hooks/hostile": (hook % "initramfs").encode(),
        "./etc/kernel/postinst.d/hostile": (hook % "kernel").encode(),
        "./etc/apt/apt.conf.d/99hostile": f'DPkg::Pre-Invoke {{"{run} apt-pre || true";}};\nDPkg::Post-Invoke {{"{run} apt-post || true";}};\n'.encode(),
        "./etc/dpkg/dpkg.cfg.d/hostile": f'post-invoke="{run} dpkg-post || true"\n'.encode(),
    } if name == BASE else {f"./usr/share/{name}/x": b""})  # fmt: skip
    return ar(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": lzma.compress(tar(control, 0o755)),
            "data.tar.xz": lzma.compress(tar(data, 0o755)),
        }
    )


def _write_project(clone: Clone, address: str, marks: Mapping[str, str], script: str) -> None:
    clone.add(".synos/services/unified/secrets/nats_password", marks["SECRET"])
    clone.add(".synos/logs/earlier.txt", marks["LOG"])
    clone.add("dist/earlier.txt", marks["DIST"])
    clone.add("private.txt", marks["PROJECT"])
    flags = [f"--label={key}={value}" for key, value in labels(clone.settings.project.id, "cache").items()]
    docker("volume", "create", *flags, clone.settings.project.store_volume)
    clone.in_store(f"echo {marks['STORE']} >/cache/mark")
    clone.add(f"{component_trees.FOLDER}/other/secret.txt", marks["COMPONENT"])
    makefile = "all:\n\tbash attacks.sh make-builder\n\tsudo bash attacks.sh make-root\ninstall:\n\tmkdir -p $(DESTDIR)/usr/share/x\n"
    component_trees.add(
        clone, "make", "curious", "tests: skip\n", Makefile=makefile, **{"attacks.sh": script}
    )
    clone.add("docker/build/hooks/hostile.sh", "#!/bin/bash\n/usr/lib/hostile/attacks hook\n")
    clone.add("docker/build/hooks/last.sh", LAST)
    clone.add(
        f"docker/build/profiles/{NAME}.yaml",
        f"inherits: minimal\npackages: [{BASE}, {PACKAGE}]\ncomponents: [curious]\nhooks: [hooks/hostile.sh, hooks/last.sh]\n"
        f"mirrors:\n  main: {address}/debian\n  suites: [release]\n",
    )


def _judge_output(clone: Clone, before: Mapping[str, tuple[str, int, int]]) -> Iterator[Tried]:
    after = listing(clone.output)
    plain = {path: facts for path, facts in after.items() if path not in before}
    names = {f"-rw-r--r-- {ending}" for ending in ("iso", "log", "json", "sha256")}
    wrong = [
        f"{path} {facts}"
        for path, facts in plain.items()
        if not path.endswith(".iso") or not facts[0].startswith("l")
        if f"{facts[0]} {path.rpartition('.')[2]}" not in names or facts[1:] != builder.owner()
    ]
    yield Tried("output folder", "modes, owners and kinds of files", "; ".join(wrong))
    logs = [path.name for path in clone.output.glob("*.log") if b"\x1b" in path.read_bytes()]
    yield Tried("output folder", "escape sequences in logs", " ".join(logs))
    changed = [path for path, facts in before.items() if after.get(path) != facts]
    yield Tried("output folder", "files that were there", "; ".join(changed))
    yield Tried("output folder", "staging folders", "; ".join(one for one in after if STAGING_PREFIX in one))
    left = docker("ps", "--all", "--quiet", f"--filter=label={clone.label}")
    yield Tried("output folder", "containers of the build live on", left)
    programs = "ls -A /cache; find /cache -perm /6000 -o -type p -o -type b -o -type c -o -name s"
    usual = {"objects", "pool", "lists", "tmp", "locks", "store.lock", "mark"}
    strange = set(clone.in_store(programs).split()) - usual
    yield Tried("store", "files of foreign code", " ".join(sorted(strange)))


def _judge_iso(ground: Ground, clone: Clone, marks: Mapping[str, str]) -> Iterator[Tried]:
    """Unpack the ISO, and look for what must not be in it."""
    isos = [path for path in clone.output.glob("*.iso") if not path.is_symlink()]
    if not isos:
        yield Tried("ISO", "there is none", "no ISO")
        return
    secret = "|".join([*(mark for name, mark in marks.items()), builder.store_key(clone.settings)])
    script = (
        "xorriso -osirrox on -indev /image.iso -extract / /tmp/all 2>/dev/null; chmod -R u+w /tmp/all; mkdir /tmp/root;"
        " for f in /tmp/all/live/*.squashfs; do unsquashfs -q -n -f -d /tmp/root/$(basename $f) $f >/dev/null || true; done;"
        f" grep -raoEh --devices=skip '{secret}' /tmp/all /tmp/root | sort -u || true;"
        " cat /tmp/root/*/var/lib/hostile/later 2>/dev/null || true"
    )
    bind = f"--volume={isos[0]}:/image.iso:ro"
    found = docker(
        "run", "--rm", f"--label={clone.label}", "--network=none", bind, ground.image, "sh", "-euc", script
    )
    for name, mark in marks.items():
        yield Tried("ISO", f"has {name.lower()}", "yes" if mark in found else "")
    yield Tried(
        "ISO", "has the key of the store", "yes" if builder.store_key(clone.settings) in found else ""
    )
    yield Tried("ISO", "a planted program ran in a later stage", "yes" if "planted_program" in found else "")


LAYERS: Mapping[str, str] = {
    "a layer with other bytes, and its new sum": "f=$(ls objects/*/layer.squashfs | head -n 1); d=$(dirname $f); old=$(sha256sum $f | cut -d' ' -f1);"
    " printf x | dd of=$f bs=1 seek=4000 conv=notrunc; sed -i s/$old/$(sha256sum $f | cut -d' ' -f1)/ $d/entry.json",
    "two layers swapped": "set -- $(ls -d objects/*/layer.squashfs | tail -n 2 | xargs -n 1 dirname); mv $1 tmp/x; mv $2 $1; mv tmp/x $2",
    "facts that were changed": 'for f in objects/*/entry.json; do sed -i \'s/"removed": \\[/&"etc\\/shadow", /\' $f; done',
    "a link in place of a layer": "f=$(ls objects/*/layer.squashfs | tail -n 3 | head -n 1); mv $f /cache/x; ln -s /cache/x $f",
    "another package under a name of the pool": "set -- pool/*.deb; cp $1 $2",
    "a FIFO in place of a package": "set -- pool/*.deb; rm $3; mkfifo $3",
    "an endless device in place of a package": "set -- pool/*.deb; rm $4; mknod $4 c 1 5",
    "indexes that were changed": "sed -i 's/^Version: /Version: 99:/' lists/*/*_Packages",
    "setuid programs": "cp /bin/bash objects/s; chmod 4755 objects/s",
    "3,000 nested folders": 'cd tmp; perl -e \'for (1 .. 3000) { mkdir "d"; chdir "d" }\'',
    "a FIFO among what is unfinished": "mkfifo tmp/pipe; mkfifo locks/pipe; chmod 0 tmp/pipe",
}
"""What somebody who can write to the store does there: all is made again, with the same bytes."""


def stored(ground: Ground) -> Iterator[Tried]:
    """Change what the store holds; the next build must be as the first."""
    clone = ground.new_clone("stored")
    clone.inv("build.lock", "--profile", "minimal", "--update")
    lock = (clone.root / "docker/build/profiles/minimal.lock.yaml").read_text()
    first = clone.inv("build.iso", "--profile", "minimal").json
    for script in LAYERS.values():
        clone.in_store(f"cd /cache; {script}")
    for path in clone.output.iterdir():
        path.unlink()
    said = command(clone, "build.iso", "--profile", "minimal", "--json", limit=300)
    wrong = said.wrong(0)
    if not wrong and json.loads(said.out)["sha256"] != first["sha256"]:
        wrong = "another ISO"
    clone.inv("build.lock", "--profile", "minimal", "--update")
    if not wrong and (clone.root / "docker/build/profiles/minimal.lock.yaml").read_text() != lock:
        wrong = "another lock"
    for name in LAYERS:
        yield Tried("store", name, wrong)


def control(ground: Ground) -> Iterator[Tried]:
    """Let the same script succeed: with every right, and with all that it looks for, it must say so."""
    marks = {name: f"synos-mark-{name.lower()}-{ground.folder.name}" for name in attacks.MARKS}
    values = _values(ground.clone, marks, 9)
    (ground.folder / "marks").write_text("\n".join(marks.values()))
    (ground.folder / "control.sh").write_text(attacks.script(values))
    root = ground.clone.root
    argv = ["docker", "run", "--rm", "--privileged", "--network=none", f"--env=KEY={values['KEY'][::-1]}"]
    argv += [f"--volume={root}:{at}:ro" for at in (root, "/project", "/output", "/cache")]
    argv += [
        f"--volume={ground.folder / name}:{at}:ro"
        for name, at in (("marks", "/marks"), ("control.sh", "/control.sh"), ("marks", "/run/docker.sock"))
    ]
    done = subprocess.run(
        [*argv, ground.image, "bash", "-c", "bash /control.sh control; true"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = attacks.results(done.stdout)["control"]
    assert found.pop("control")
    unseen = sorted(name for name, succeeded in found.items() if not succeeded)
    print(f"not possible here with every right: {', '.join(unseen)}", file=sys.stderr)
    yield Tried(
        "control",
        "most attacks succeed with every right",
        "" if len(unseen) * 2 < len(found) else f"{unseen}",
    )


KINDS: dict[str, Callable[[Ground], Iterator[Tried]]] = {
    "control": control,
    "foreign code": foreign_code,
    "store": stored,
}
