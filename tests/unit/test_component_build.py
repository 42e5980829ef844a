"""From a recipe to the .debs in the store, with every command faked: what is asked of the tools, and what is kept."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from synos_tasks.errors import BadSignature, ComponentFailed, MirrorUnreachable, SynosError
from synos_tasks.iso import codec, protocol, work
from synos_tasks.iso.components import build, caches, recipe
from synos_tasks.iso.components.context import CompileContext
from synos_tasks.iso.components.recipe import Compilation, Component
from synos_tasks.iso.protocol import Done, Event, Facts, Start
from synos_tasks.iso.store import Store
from synos_tasks.iso.tools import BuildContext
from tests.unit.contexts import build_context
from tests.unit.deb_files import deb, stanza

KEY = "0123456789abcdef"
ME = (os.getuid(), os.getgid())
TOOL = Component(
    name="tool", description="A tool", build="make", version="1.0", source=("folder", "tool", ""),
    packages=("tool",),
)  # fmt: skip
UNMET = ["dpkg-checkbuilddeps: error: Unmet build dependencies: nosuch-dev libfoo-bar-dev (>= 2)"]


@dataclass
class Tools:
    """Stands for every tool: keeps what was run, and does what tests put into ``acts`` by a word of the command."""

    acts: dict[str, Callable[[Path], tuple[int, list[str]]]] = field(default_factory=dict)
    ran: list[list[str]] = field(default_factory=list)
    users: list[tuple[int, int] | None] = field(default_factory=list)

    def run(
        self,
        _stage: str,
        argv: Sequence[str],
        *,
        user: tuple[int, int] | None = None,
        folder: Path,
        on_failure: Callable[[int, Sequence[str]], Exception],
        **_: object,
    ) -> list[str]:
        """Do as BuildContext.run() does."""
        self.ran.append(list(argv))
        self.users.append(user)
        act = next((act for word, act in self.acts.items() if word in " ".join(argv)), None)
        code, lines = act(folder) if act else (0, [])
        if code:
            raise on_failure(code, lines)
        return lines

    @property
    def names(self) -> list[str]:
        """Return the programs that ran, without shells, sudo and its variables."""
        found = []
        for argv in self.ran:
            line = argv[2] if argv[:2] == ["sh", "-c"] else " ".join(argv)
            words = [word for word in line.split() if word != "sudo" and "=" not in word]
            found.append(" ".join(words[:2]) if words[0] == "apt-get" else words[0])
        return found


@dataclass
class Shop:
    """Where components are compiled, and kept."""

    context: CompileContext
    store: Store
    tools: Tools
    sent: list[Event]

    def have(self, component: Component = TOOL, key: str = KEY) -> Any:  # noqa: ANN401
        self.context.wanted = Compilation(
            component=component, key=key, source=digest_of(self.context, component)
        )
        return build.find_or_compile(self.context, self.store)

    def failure(self, component: Component = TOOL) -> ComponentFailed:
        """Return the error of a build, which must leave nothing in the store."""
        with pytest.raises(ComponentFailed) as caught:
            self.have(component)
        assert self.store.find(KEY) is None
        assert list((self.store.folder / "tmp").iterdir()) == []
        return caught.value


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Return a shop that has the source of tool; dpkg-buildpackage gives one package, other tools nothing."""
    tools = Tools(acts={"dpkg-buildpackage": gives("tool")})
    monkeypatch.setattr(BuildContext, "run", tools.run)
    monkeypatch.setattr(CompileContext, "builder", property(lambda _: ME))
    monkeypatch.setattr(caches, "_usable", lambda *_: True)
    for name in ("CCACHE", "SCCACHE"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(caches, name, tmp_path / name)
    with build_context(tmp_path) as given:
        wanted = Compilation(component=TOOL, key=KEY, source="")
        context = CompileContext(build=given, wanted=wanted)
        (context.recipes / "tool").mkdir(parents=True)
        (context.recipes / "tool/main.c").write_text("int main;")
        events: list[Event] = []
        monkeypatch.setattr(given.events, "send", events.append)
        yield Shop(context, Store(tmp_path / "store", given.events.warn), tools, events)


def gives(*names: str, size: int = 12) -> Callable[[Path], tuple[int, list[str]]]:
    """Let a build leave .debs beside the tree."""

    def act(tree: Path) -> tuple[int, list[str]]:
        for name in names:
            control = stanza(name, "1.0").replace("Installed-Size: 12", f"Installed-Size: {size}")
            (tree.parent / f"{name}_1.0_amd64.deb").write_bytes(deb(control))
        return 0, []

    return act


def fails(*lines: str, code: int = 1) -> Callable[[Path], tuple[int, list[str]]]:
    return lambda _: (code, list(lines))


def prints(*lines: str) -> Callable[[Path], tuple[int, list[str]]]:
    return lambda _: (0, list(lines))


def digest_of(context: CompileContext, component: Component = TOOL) -> str:
    return recipe.inputs_of(component, context.recipes, "tools")["source"]


def test_a_hit_is_not_compiled_again(shop: Shop) -> None:
    first = shop.have()
    shop.tools.ran.clear()
    shop.sent.clear()
    assert shop.have() == first
    assert shop.tools.ran == []
    [done] = shop.sent
    assert isinstance(done, Done)
    assert (done.hit, done.key, done.name) == (True, KEY, "component-tool")
    assert done.facts == codec.from_data(Facts, first.facts)


def test_the_tree_is_the_source_with_a_debian_folder(shop: Shop) -> None:
    for name in recipe.LEFT_BY_BUILDS:
        (shop.context.recipes / "tool" / name).mkdir()
        (shop.context.recipes / "tool" / name / "left").write_text("x")
    (shop.context.recipes / "tool/src/build").mkdir(parents=True)
    (shop.context.recipes / "tool/link").symlink_to("main.c")
    seen: list[str] = []

    def look(tree: Path) -> tuple[int, list[str]]:
        seen.extend(str(path.relative_to(tree)) for path in tree.rglob("*") if "debian/" not in str(path))
        assert (tree / "link").readlink().name == "main.c"
        assert (tree / "debian/rules").stat().st_mode & 0o777 == 0o755
        return gives("tool")(tree)

    shop.tools.acts["dpkg-buildpackage"] = look
    shop.have()
    assert sorted(seen) == ["debian", "link", "main.c", "src", "src/build"]
    assert not (shop.context.recipes / "tool/debian").exists(), "the project's own folder stays as it is"


def test_packages_that_it_does_not_give_are_named(shop: Shop) -> None:
    shop.tools.acts["dpkg-buildpackage"] = gives("tool", "libtool1")
    error = shop.failure(replace(TOOL, packages=("tool", "tool-doc")))
    assert error.what == "component tool gives no package tool-doc"
    assert error.where == "docker/build/components/tool.yaml"
    assert error.why == "it gives libtool1, tool"
    assert "`packages:`" in error.hint


def test_a_folder_that_changed_since_the_key_was_made_is_refused(shop: Shop) -> None:
    shop.context.wanted = Compilation(component=TOOL, key=KEY, source=digest_of(shop.context))
    (shop.context.recipes / "tool/main.c").write_text("int changed;")
    with pytest.raises(ComponentFailed) as caught:
        build.find_or_compile(shop.context, shop.store)
    assert caught.value.what == "the source of tool changed while it was compiled"
    assert caught.value.where == "docker/build/components/tool"
    assert shop.tools.ran == []
    assert shop.store.find(KEY) is None


MIRRORS: dict[str, tuple[Callable[[Path], tuple[int, list[str]]], type[SynosError]]] = {
    "no answer": (fails("Err:1 http://a.example bookworm InRelease", "E: Failed to fetch"), MirrorUnreachable),
    "changed": (fails("E: Failed to fetch http://a.example/x  Hash Sum mismatch"), BadSignature),
    "expired": (fails("E: Release file for http://a.example/x is expired (invalid since 1d). "), BadSignature),
    "of another suite, of which apt only warns": (
        prints("W: Conflicting distribution: http://a.example bookworm InRelease (expected bookworm but got trixie)"),
        BadSignature,
    ),
}  # fmt: skip


@pytest.mark.parametrize("mirror", MIRRORS)
def test_a_mirror_that_serves_nothing_or_something_else_installs_nothing(shop: Shop, mirror: str) -> None:
    act, error = MIRRORS[mirror]
    shop.tools.acts |= {"dpkg-checkbuilddeps": prints(*UNMET), "update": act}
    with pytest.raises(error) as caught:
        shop.have()
    assert shop.tools.names == ["dpkg-checkbuilddeps", "apt-get update"]
    assert "http://a.example" in caught.value.why


@pytest.mark.parametrize("word", ["Unmet", "unmet"], ids=["bookworm", "trixie"])
def test_offline_nothing_is_fetched(shop: Shop, word: str) -> None:
    shop.context.offline = True
    shop.have()
    shop.tools.acts["dpkg-checkbuilddeps"] = prints(*(line.replace("Unmet", word) for line in UNMET))
    with pytest.raises(MirrorUnreachable) as caught:
        shop.have(key="f" * 16)
    assert "component tool" in caught.value.what
    assert "--offline" in caught.value.why
    assert not [name for name in shop.tools.names if name.startswith("apt-get")]


def lay(folder: Path, name: str = "tool_1.0_amd64.deb", says: str = "") -> Path:
    """Put a package into a folder; ``says`` is its control stanza."""
    (folder / name).write_bytes(deb(says or stanza("tool", "1.0")))
    return folder / name


def as_link(folder: Path) -> None:
    lay(folder.parent, "outside.deb").rename(folder.parent / "outside")
    (folder / "tool_1.0_amd64.deb").symlink_to(folder.parent / "outside")


def as_socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(folder):
        made.bind("tool_1.0_amd64.deb")


def as_huge(folder: Path) -> None:
    os.truncate(lay(folder), 2**40)


def as_many(folder: Path) -> None:
    for number in range(3000):
        (folder / f"tool_{number}_amd64.deb").touch()


def says(name: str = "tool", version: str = "1.0", **more: str) -> Callable[[Path], object]:
    text = stanza(name, version)
    for field_, value in more.items():
        text = re.sub(f"(?m)^{field_.replace('_', '-')}: .*", f"{field_.replace('_', '-')}: {value}", text)
    return lambda folder: lay(folder, says=text)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "a link": as_link,
    "a FIFO": lambda folder: os.mkfifo(folder / "tool_1.0_amd64.deb"),
    "a socket": as_socket,
    "a hard link": lambda folder: os.link(lay(folder), folder / "other"),
    "a folder": lambda folder: (folder / "tool_1.0_amd64.deb").mkdir(),
    "no package": lambda folder: (folder / "tool_1.0_amd64.deb").write_text("text"),
    "no control": lambda folder: lay(folder, says="Tool: x\n"),
    "a size of terabytes": as_huge,
    "thousands": as_many,
    "two versions": lambda folder: (lay(folder), lay(folder, "tool_2.0_amd64.deb", stanza("tool", "2.0"))),
    "another package": says("other"),
    "another version": says(version="2.0"),
    "another architecture": says(Architecture="arm64"),
    "a version with a path": says(version="1.0/../1.0"),
    "a size that is no number": says(Installed_Size="much"),
    "a size that no event carries": says(Installed_Size="9" * 30),
    "a size below zero": says(Installed_Size="-1"),
    "a name that steers a terminal": lambda folder: lay(folder, "tool_\x1b[2J_amd64.deb"),
    "a name that is not UTF-8": lambda folder: lay(folder, os.fsdecode(b"tool_\xff_amd64.deb")),
    "the name of another": lambda folder: lay(folder, "bash_1.0_amd64.deb"),
}


@pytest.mark.parametrize("fill", HOSTILE.values(), ids=HOSTILE)
def test_of_a_hostile_folder_nothing_is_kept(
    shop: Shop, tmp_path: Path, fill: Callable[[Path], object]
) -> None:
    (tmp_path / "packages").mkdir()
    fill(tmp_path / "packages")
    with pytest.raises(ComponentFailed) as caught:
        build.keep(shop.store, shop.context.wanted, tmp_path / "packages", {})
    assert caught.value.where == "docker/build/components/tool.yaml"
    assert len(caught.value.why) < 2000
    assert shop.store.find(KEY) is None
    assert list((shop.store.folder / "tmp").iterdir()) == []


def test_what_else_is_in_a_hostile_folder_is_neither_read_nor_kept(shop: Shop, tmp_path: Path) -> None:
    given = lay(tmp_path, "tool_1.0_amd64.deb", stanza("tool", "7:1.0"))
    os.mkfifo(tmp_path / "bash_1.0_amd64.deb")
    (tmp_path / "tool_1.0_amd64.deb.link").symlink_to("/etc/passwd")
    (tmp_path / "entry.json").write_text("{}")
    given.chmod(0o4777)
    entry = build.keep(shop.store, shop.context.wanted, tmp_path, {})
    assert sorted(path.name for path in entry.folder.iterdir()) == ["entry.json", given.name]
    assert entry.file(given.name).stat().st_mode & 0o7777 == 0o644
    [package] = entry.facts["packages"]
    assert (package["version"], package["installed_bytes"]) == ("7:1.0", 12 * 1024)
    assert shop.store.find(KEY) == entry


@pytest.fixture
def ask(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[protocol.Request], list[Event]]:
    """Do a request in the shop, with a folder for packages; gives its events."""
    (tmp_path / "packages").mkdir()
    monkeypatch.setattr(protocol, "PACKAGES", tmp_path / "packages")

    def do(request: protocol.Request) -> list[Event]:
        shop.sent.clear()
        work.do(request, replace(shop.context.build, cache=shop.store.folder))
        return shop.sent

    return do


def test_what_compiles_puts_packages_into_their_folder_and_nothing_into_the_store(
    shop: Shop, tmp_path: Path, ask: Callable[[protocol.Request], list[Event]]
) -> None:
    wanted = Compilation(component=TOOL, key=KEY, source=digest_of(shop.context))
    start, compiled = ask(protocol.Compile(component=wanted, offline=False, jobs=1))
    assert start == Start(stage="component-tool")
    assert isinstance(compiled, protocol.Compiled)
    assert [path.name for path in (tmp_path / "packages").iterdir()] == ["tool_1.0_amd64.deb"]
    assert shop.store.find(KEY) is None
    done, kept = ask(protocol.Keep(components=(wanted,), compiled=compiled.caches, deliver=True))
    assert isinstance(done, Done)
    assert (done.hit, done.facts.caches, kept) == (False, compiled.caches, protocol.Kept())
    [delivered] = shop.context.build.output.iterdir()
    entry = shop.store.find(KEY)
    assert entry
    assert delivered.read_bytes() == entry.file("tool_1.0_amd64.deb").read_bytes()


def test_packages_of_one_component_do_not_become_another_ones(
    shop: Shop, tmp_path: Path, ask: Callable[[protocol.Request], list[Event]]
) -> None:
    """Its own are in the store already: another command was faster."""
    shop.have()
    other = Compilation(component=replace(TOOL, name="other", packages=("other",)), key="f" * 16, source="")
    lay(tmp_path / "packages", "other_1.0_amd64.deb", stanza("other", "1.0"))
    done, kept = ask(protocol.Keep(components=(shop.context.wanted, other), compiled={}, deliver=False))
    assert isinstance(done, Done)
    assert (done.name, done.hit, kept) == ("component-tool", True, protocol.Kept())
    assert shop.store.find(other.key) is None


def test_the_builder_gets_links_and_not_what_they_point_at(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("x")
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/file").write_text("x")
    (tmp_path / "tree/link").symlink_to(tmp_path / "outside")
    owned: list[str] = []

    def chown(path: str | Path, user: int, group: int, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        assert (user, group) == ME
        owned.append(os.path.relpath(path, tmp_path))

    monkeypatch.setattr(os, "chown", chown)
    shop.context.own(tmp_path / "tree")
    assert sorted(owned) == ["tree", "tree/inner", "tree/inner/file", "tree/link"]


def test_patches_are_applied_in_order_before_anything_is_compiled(shop: Shop) -> None:
    for name in ("b.patch", "a.patch"):
        (shop.context.recipes / name).write_text(name)
    applied: list[str] = []

    def apply(tree: Path) -> tuple[int, list[str]]:
        [file] = [word.partition("=")[2] for word in shop.tools.ran[-1] if word.startswith("--input=")]
        applied.append((tree / file).read_text())
        return 0, []

    shop.tools.acts = {"patch -p1": apply, **shop.tools.acts}
    shop.have(replace(TOOL, patches=("b.patch", "a.patch")))
    assert applied == ["b.patch", "a.patch"]
    assert shop.tools.names[:3] == ["patch", "patch", "dpkg-checkbuilddeps"]
