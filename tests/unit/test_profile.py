"""Profiles: what they and their components merge to, and that every mistake is shown with its place and a hint."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.errors import ComponentError, ProfileError, ProfileNotFound, SynosError
from synos_tasks.iso import profile as profiles
from synos_tasks.iso import schema, wanted
from synos_tasks.iso.profile import Profile
from tests.unit.projects import lay_component
from tests.unit.test_openpgp import armored, key

SHIPPED = Path(__file__).resolve().parents[2] / "docker/build/profiles"


def _load(folder: Path, **texts: str) -> Profile:
    """Write profiles, then load the one named x."""
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_bytes(text.encode(errors="surrogateescape"))
    return profiles.load(folder, "x")


def _fails(folder: Path, **texts: str) -> SynosError:
    with pytest.raises((ProfileError, ProfileNotFound)) as caught:
        _load(folder, **texts)
    return caught.value


REPOSITORY = "name: ab, url: 'http://a.example', suite: ./"
NEW, OLD = armored(key()), armored(key(86_400))
MISTAKES = {
    "unknown key": ("pakages: [sudo]\n", "1:1", "unknown key 'pakages'", "did you mean 'packages'?"),
    "unknown key inside": (
        "mirrors:\n  mian: http://a.example/\n", "2:3", "unknown key 'mian'", "did you mean 'main'?"
    ),
    "one of a few words": ("suite: bookwrm\n", "1:8", "suite is 'bookwrm'", "did you mean 'bookworm'?"),
    "Ubuntu": ("suite: noble\n", "1:8", "suite is 'noble', not trixie or", "noble is a suite of Ubuntu, which"),
    "an old suite": ("suite: bullseye\n", "1:8", "suite is 'bullseye'", "gets no updates from Debian any more"),
    "a name that moves": ("suite: testing\n", "1:8", "suite is 'testing'", "write forky, which it is now"),
    "arm64": ("architecture: arm64\n", "1:15", "architecture is 'arm64', not amd64", "cannot be built yet"),
    "i386": ("architecture: i386\n", "1:15", "architecture is 'i386'", "has no kernel for i386"),
    "text for a list": ("packages: sudo\n", "1:11", "packages is 'sudo', not a list", "- "),
    "a list for text": ("hostname:\n  - a\n", "2:3", "hostname is a list, not a host name", "without"),
    "a mapping for a list": ("packages:\n  a: b\n", "2:3", "packages is a mapping, not a list", "- "),
    "text for a mapping": ("mirrors: fast\n", "1:10", "mirrors is 'fast', not a mapping", "key: value"),
    "a file of one word": ("bookworm\n", "1:1", "the file holds 'bookworm', not a mapping", "key: value"),
    "a removal of nothing": ("packages: [vim, -vmi]\n", "1:17", "-vmi removes nothing", "'-vim'"),
    "a component that is not there": ("components: [-agent]\n", "1:14", "-agent removes nothing", "leave the entry out"),
    "a version of nothing": ("packages: [vim=]\n", "1:12", "packages[0] is 'vim='", "=VERSION"),
    "a package of nowhere": ("packages: [vim/trixi]\n", "1:12", "vim/trixi: the profile has no such suite", "'trixie'"),
    "backports of sid": ("suite: sid\nrepositories: [backports]\n", "2:16", "sid has no backports", "`suite`"),
    "a repository in one word": ("repositories: [ppa]\n", "1:16", "repositories[0] is 'ppa'", "mapping"),
    "a repository without a key": (f"repositories: [{{{REPOSITORY}}}]\n", "1:16", "has no 'key'", "key"),
    "no key": (f"repositories: [{{{REPOSITORY}, key: '-----BEGIN PGP x'}}]\n", "1:68", "no OpenPGP public key", "gpg"),
    "no file": (f"repositories: [{{{REPOSITORY}, key: a.asc}}]\n", "1:68", "a.asc does not exist", "relative to docker/build"),
    "an expired key": (f"repositories: [{{{REPOSITORY}, key: {json.dumps(OLD)}}}]\n", "1:68", "has expired", "again"),
    "a repository twice": (
        f"repositories: [{{{REPOSITORY}, key: a}}, {{{REPOSITORY}, key: a}}]\n", "1:79", "two repositories", "name"
    ),
    "a name that is taken": ("repositories: [{name: main, url: 'http://a.b', suite: ./, key: a}]\n", "1:23", "taken", "name"),
    "a suite without components": (
        "repositories: [{name: ab, url: 'http://a.b', suite: x, key: a}]\n", "1:53", "do not fit", "`./`"
    ),
    "a priority of the mirror's host": (
        f"mirrors: {{main: 'http://a.example/debian'}}\nrepositories: [{{{REPOSITORY}, key: a, pin: 9}}]\n",
        "2:76", "one host", "NAME/REPOSITORY",
    ),
    "Debian's archive with another key": (
        f"repositories: [{{{REPOSITORY.replace('a.example', 'deb.debian.org').replace('./', '/')}, key: {json.dumps(NEW)}}}]\n",
        "1:", "own mirror", "`mirrors`",
    ),
    "no folder of .debs": ("debs: [nowhere]\n", "1:8", "nowhere does not exist", "create it"),
    "a folder of .debs outside": ("debs: [../x]\n", "1:8", "debs[0] is '../x'", "inside docker/build"),
    "an empty file": ("", "1:1", "the file is empty", "suite: trixie"),
    "a key twice": ("suite: trixie\nsuite: trixie\n", "2:1", "key 'suite' appears twice", "one of them"),
    "a package's name": ("packages:\n  - Sudo\n", "2:5", "packages[0] is 'Sudo', not a Debian", "lower-case"),
    "two packages in a line": ("packages: [a0, b c]\n", "1:16", "packages[1] is 'b c', not a", "without spaces"),
    "a number for text": ("hostname: 12\n", "1:11", "hostname is 12, not a host name", "put it in quotes"),
    "text for a number": ("compression: {level: '3'}\n", "1:22", "level is '3', not 1 to 22", "1 to 22"),
    "a float for a number": ("compression: {level: 3.0}\n", "1:22", "level is 3.0, not", "1 to 22"),
    "a path upwards": ("overlays: [../../etc]\n", "1:12", "overlays[0] is '../../etc', not a folder", "inside docker"),
    "a user without a name": ("users:\n  - groups: []\n", "2:5", "users[0] has no 'name'", "add `name: …`, a user name"),
    "a word of other tools": ("includes: [a]\n", "1:1", "unknown key 'includes'", "did you mean `overlays: [overlays/"),
    "a word of mkosi": ("KernelCommandLine: a\n", "1:1", "unknown key", "`kernel_arguments: [quiet]`"),
    "a word like none": ("frobnicate: a\n", "1:1", "unknown key 'frobnicate'", "docs/profile.md"),
    "live-build's word for a suite": ("distribution: trixie\n", "1:15", "not a mapping", "`suite: trixie`"),
    "text for a switch": ("ssh: {password_login: 'no'}\n", "1:23", "password_login is 'no', not true or", "write true"),
    "an unknown locale": ("locale: en_XX.UTF-8\n", "1:9", "no locale 'en_XX.UTF-8'", "did you mean"),
    "an unknown further locale": ("locales: [de_DE.UTF-8, xx]\n", "1:24", "no locale 'xx'", "SUPPORTED"),
    "an unknown time zone": ("timezone: Europe/Berln\n", "1:11", "no time zone", "'Europe/Berlin'"),
    "an unknown layout": ("keyboard: {layout: 'us,qq'}\n", "1:20", "no layout 'qq'", "man 7 xkeyboard-config"),
    "a variant of another layout": (
        "keyboard: {layout: 'us,cz', variant: ',bkls'}\n", "1:38", "no variant 'bkls'", "'bksl'"
    ),
    "too many variants": ("keyboard: {variant: 'intl,x'}\n", "1:21", "2 variants for 1 layouts", "one for each"),
    "an unknown option": ("keyboard: {options: 'grp:alt_shift'}\n", "1:21", "no option", "grp:alt_shift_toggle"),
    "a user twice": ("users: [{name: a}, {name: b}, {name: a}]\n", "1:38", "user a appears twice", "leave one"),
    "another distribution's group": ("users: [{name: a, groups: [wheel]}]\n", "1:28", "Debian has no group wheel", "sudo: password"),
    "a uid twice": ("users: [{name: a, uid: 1000}, {name: b, uid: 1000}]\n", "1:46", "uid 1000 appears twice", ""),
    "two that are logged in": (
        "users: [{name: a, autologin: true}, {name: b, autologin: true}]\n", "1:58", "a and b both have `autologin`", "only one"
    ),
    "a password in clear": ("users: [{name: a, password_hash: secret}]\n", "1:34", "not a crypt(3) hash", "mkpasswd"),
    "a private key": ("users: [{name: a, ssh_keys: [id_ed25519]}]\n", "1:30", "not a public SSH key", ".pub"),
    "a unit in two lists": (
        "services: {enable: [ssh], mask: [ssh.service]}\n", "1:34", "ssh.service is under both `enable` and `mask`", "one of them"
    ),
    "an answer without a type": ("debconf: [a/b c]\n", "1:11", "not package, question, type and value", "one space"),
    "two answers": (
        "debconf: [aa a/b string x, aa a/b string y]\n", "1:28", "a/b of aa has two answers", "leave one"
    ),
    "a long label": (f"distribution: {{iso_label: {'A' * 33}}}\n", "1:27", "the label has 33 characters", "32 at most"),
    "a name with a quote": ("distribution: {name: 'A \"B\"'}\n", "1:22", "not one line of text", "without"),
    "an overlay twice": ("overlays: [overlays/a, overlays/a/]\n", "1:24", "overlays/a/ appears twice", "leave one"),
    "a hook twice": ("hooks: [hooks/a, {script: ./hooks/a}]\n", "1:27", "hook ./hooks/a appears twice", "leave one"),
    "hooks of one name": ("hooks: [a/x, b/x]\n", "1:14", "a/x and b/x have one name", "rename"),
    "an unknown stage": ("hooks: [{script: a, stage: early}]\n", "1:28", "hooks[0].stage is 'early'", "there are: after-"),
    "a hook without a script": ("hooks: [{inputs: []}]\n", "1:9", "hooks[0] has no 'script'", "add"),
    "a number for a hook": ("hooks: [1]\n", "1:9", "hooks[0] is 1, not a script relative to docker/build, or a mapping", ": value"),
    "an input outside": ("hooks: [{script: a, inputs: [../x]}]\n", "1:30", "inputs[0] is '../x', not a path", "inside docker"),
    "a file twice": (
        "files: [{path: /a, content: ''}, {path: /a, mode: '0600'}]\n", "1:41", "/a appears twice under `files`", "leave one"
    ),
    "two contents": ("files: [{path: /a, source: b, content: c}]\n", "1:40", "/a has `source` and `content`", "leave one"),
    "nothing of a file": ("files: [{path: /a}]\n", "1:9", "nothing is said of /a", "`mode`"),
    "a relative path": ("files: [{path: a/b, mode: '0600'}]\n", "1:16", "files[0].path is 'a/b', not an absolute", "a path such as"),
    "a path through ..": ("files: [{path: /a/../b, mode: '0600'}]\n", "1:16", "not an absolute path", "without .."),
    "a mode without quotes": ("files: [{path: /a, mode: 0600}]\n", "1:26", "mode is 384, not a mode in quotes", 'four octal digits, as "0600"'),
    "a number for an owner": ("files: [{path: /a, owner: '1000'}]\n", "1:27", "owner is '1000', not a name", "not a number"),
    "a file that would be gone": ("files: [{path: /run/a, content: ''}]\n", "1:16", "/run/a would be gone", "tmpfiles.d"),
    "a file in the way of booting": ("iso_files: [{path: /LIVE/a, source: b}]\n", "1:20", "/LIVE/a would hide", "/live, /boot"),
    "files in each other": (
        "iso_files: [{path: /a, source: b}, {path: /A/b, source: c}]\n", "1:43", "/A/b and /a are in each other", "leave one"
    ),
    "no firmware": ("boot: {firmware: []}\n", "1:18", "boot.firmware is empty", "bios, uefi, secure-boot"),
    "the list that boot was": ("boot: [bios]\n", "1:7", "boot is a list, not a mapping", "key: value"),
    "a quote for GRUB": ("kernel_arguments: [\"a'b\"]\n", "1:20", "not one kernel argument", "unless in double"),    "no release": ("mirrors:\n  suites: [updates]\n", "2:11", "mirrors.suites lacks release", "`release`"),
    "an alias": ("hostname: &a b\nlocale: *a\n", "2:9", "alias *a is not allowed", "inherits"),
    "a merge key": ("<<: {suite: trixie}\n", "1:1", "unknown key '<<'", "docs/profile.md"),
    "a key that is a list": ("[a]: b\n", "1:1", "a key must be a word", "key: value"),
    "a word for a choice that YAML reads as a switch": (
        "users: [{name: a, sudo: yes}]\n", "1:25", "users[0].sudo is true, not none or", "there are: none, password"
    ),
    "a locale without its encoding": ("locale: de_DE\n", "1:9", "no locale 'de_DE'", "did you mean 'de_DE.UTF-8'?"),
    "backports that are not named": ("packages: [vim/backports]\n", "1:12", "no such suite", "add `repositories: [backports]`"),
    "a tab": ("packages:\n\t- sudo\n", "2:1", "not valid YAML", "indent with spaces"),
    "an object of Python": ("hostname: !!python/object:os.x a\n", "1:11", "tag", "leave"),
    "a number as key": ("7: a\n", "1:1", "a key must be a word", "key: value"),
    "a bad boolean": ("hostname: !!bool perhaps\n", "1:11", "'perhaps' cannot be read", ""),
    "a huge number": (f"compression: {{level: {'9' * 5000}}}\n", "1:22", "cannot be read", ""),
    "a half character": ('description: "\\ud800"\n', "1:14", "cannot be read", ""),
    "NUL": ("suite: trixie\nhostname: a\0b\n", "2:12", "not valid YAML", "in quotes"),
    "not UTF-8": ("suite: trixie\nhostname: \udcff\n", "2:11", "UTF-8", ""),
    "deep nesting": ("packages: " + "[" * 90_000, "1:", "nested too deeply", ""),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_has_its_place_and_a_hint(tmp_path: Path, mistake: str) -> None:
    text, place, what, hint = MISTAKES[mistake]
    error = _fails(tmp_path, x=text)
    assert error.exit_code == 10
    assert error.where.startswith(f"{tmp_path / 'x.yaml'}:{place}")
    assert what in error.what
    assert hint in error.hint
    assert len(error.what) < 300, "a person reads it"


def test_an_open_bracket_is_found_where_it_begins(tmp_path: Path) -> None:
    error = _fails(tmp_path, x="suite: trixie\npackages: [sudo\n")
    assert (
        error.why
        == "expected ',' or ']', but got '<stream end>', while parsing a flow sequence that begins in line 2"
    )
    assert _fails(tmp_path, x="hostname: a\0b\n").why == "special characters are not allowed"


def test_what_is_no_profile_at_all_has_its_place(tmp_path: Path) -> None:
    error = _fails(tmp_path, x="#" * (schema.MAXIMUM_BYTES + 1))
    assert (error.where, "at most" in error.hint) == (str(tmp_path / "x.yaml"), True)
    (tmp_path / "x.yaml").unlink()
    (tmp_path / "x.yaml").mkdir()
    assert _fails(tmp_path).where == str(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").rmdir()
    error = _fails(tmp_path, y="suite: trixie\n", xyz="suite: trixie\n")
    assert (error.exit_code, error.where) == (11, str(tmp_path))


@pytest.mark.parametrize("name", ["", "../x", "x.yaml", "\0", "a" * 5000, "X"])
def test_odd_names_are_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.yaml").write_text("suite: trixie\n")
    with pytest.raises(ProfileNotFound):
        profiles.load(tmp_path, name)


def test_a_parent_that_is_not_there(tmp_path: Path) -> None:
    error = _fails(tmp_path, x="suite: trixie\ninherits: bsae\n", base="suite: trixie\n")
    assert (error.exit_code, error.where) == (11, f"{tmp_path / 'x.yaml'}:2:11")
    assert error.hint == "did you mean 'base'?"


@pytest.mark.parametrize("other", ["x", "y"])
def test_a_circle_of_profiles(tmp_path: Path, other: str) -> None:
    error = _fails(tmp_path, y="inherits: x\n", x=f"suite: trixie\ninherits: {other}\n")
    place = "x.yaml:2:11" if other == "x" else "y.yaml:1:11"
    assert (error.exit_code, error.where) == (10, str(tmp_path / place))
    assert error.why.startswith("x -> ")
    assert error.hint


def test_too_many_ancestors_are_not_called_a_circle(tmp_path: Path) -> None:
    texts = {f"p{i}": f"inherits: p{i + 1}\n" for i in range(12)}
    error = _fails(tmp_path, x="inherits: p0\n", p12="suite: trixie\n", **texts)
    assert "too many" in error.what
    assert error.hint


BASE = """
suite: trixie
packages: [aa, bb, cc]
overlays: [overlays/base]
hooks: [hooks/base]
kernel_arguments: [quiet]
mirrors: {main: http://base.example/debian/, components: [main, contrib]}
compression: {algorithm: zstd, level: 19}
keyboard: {layout: de, model: pc104}
users: [{name: ann, groups: [sudo]}, {name: ben}]
boot: {firmware: [bios]}
services: {enable: [a]}
"""


@pytest.mark.parametrize(
    ("child", "wanted"),
    [
        (
            "packages: [dd, -bb, aa]",
            {"packages": ("aa", "cc", "console-setup", "dd", "keyboard-configuration")},
        ),
        ("mirrors: {components: [main]}", {"mirror": "http://base.example/debian", "areas": ("main",)}),
        ("compression: {level: 3}", {"compression": "zstd", "compression_level": 3}),
        (
            "keyboard: {layout: us}",
            {"keyboard": {"layout": "us", "variant": "", "model": "pc104", "options": ""}},
        ),
        ("overlays: [overlays/x]", {"overlays": ["overlays/base", "overlays/x"]}),
        ("hooks: [hooks/x]", {"hooks": ["hooks/base", "hooks/x"]}),
        ("kernel_arguments: [splash]", {"kernel_arguments": ["quiet", "splash"]}),
        ("suite: bookworm", {"suite": "bookworm"}),
        (
            "boot: {timeout: 9}",
            {"boot": {"firmware": ["bios"], "timeout": 9, "entries": [], "persistence": False}},
        ),
        ("services: {enable: [b], mask: [c]}", {"services": {"enable": ["a", "b"], "mask": ["c"]}}),
        ("users: [{name: cat}]", {"users": [{"name": "cat"}]}),
        ("hostname: x", {"users": [{"name": "ann", "groups": ["sudo"]}, {"name": "ben"}]}),
    ],
)
def test_lists_add_up_mappings_merge_and_the_rest_replaces(
    tmp_path: Path, child: str, wanted: dict[str, object]
) -> None:
    loaded = _load(tmp_path, base=BASE, x=f"inherits: base\n{child}\n")
    assert {name: loaded.values.get(name, getattr(loaded, name, None)) for name in wanted} == wanted


def test_origins_name_the_nearest_place(tmp_path: Path) -> None:
    loaded = _load(tmp_path, base=BASE, x="inherits: base\npackages:\n  - aa\n")
    assert loaded.origins["aa"] == f"{tmp_path / 'x.yaml'}:3:5"
    assert loaded.origins["bb"] == f"{tmp_path / 'base.yaml'}:3:16"
    assert loaded.origins["hooks/base"] == f"{tmp_path / 'base.yaml'}:5:9"
    assert loaded.origins["overlays/base"] == f"{tmp_path / 'base.yaml'}:4:12"


def test_sources_name_what_was_chosen() -> None:
    profile = Profile(name="x", suites=("release", "security"), areas=("main", "contrib"))
    assert profile.sources == [
        "deb http://deb.debian.org/debian trixie main contrib",
        "deb http://deb.debian.org/debian-security trixie-security main contrib",
    ]


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    error = _fails(tmp_path, x="suite: bookwrm\nusers:\n  - name: A\n    shel: x\npackages: sudo\n")
    places = [one.where.removeprefix(f"{tmp_path}/x.yaml:") for one in (error, *error.others)]
    assert places == ["1:8", "3:11", "4:5", "5:11"]
    error = _fails(tmp_path, x="locale: xx\ntimezone: Nowhere\n")
    assert len(error.others) == 1, "so are those that only show together"


@pytest.mark.parametrize(
    ("said", "needs"),
    [
        ("locale: de_DE.UTF-8", {"locales"}), ("locale: C.UTF-8", set()), ("timezone: Europe/Berlin", {"tzdata"}),
        ("keyboard: {layout: de}", {"console-setup", "keyboard-configuration"}), ("keyboard: {layout: us}", set()),
        ("users: [{name: a, sudo: nopasswd}]", {"sudo"}), ("users: [{name: a}]", set()),
    ],
)  # fmt: skip
def test_what_a_key_needs_is_installed(tmp_path: Path, said: str, needs: set[str]) -> None:
    assert set(_load(tmp_path, x=f"{said}\n").packages) == needs


PARENT = "packages: [linux-image-amd64, live-boot, sudo, vim]\n"


def _layers(folder: Path, **texts: str) -> dict[str, tuple[str, ...]]:
    """Return the layers of x, whose ancestor is PARENT."""
    return dict(_load(folder, parent=PARENT, **texts).layers)


@pytest.mark.parametrize(
    ("name", "boots"),
    [("linux-image-amd64", True), ("linux-image-6.1.0-37-rt-amd64", True), ("initramfs-tools-core", True),
     ("live-boot", True), ("live-config-systemd", True), ("systemd-sysv", True), ("user-setup", True),
     ("linux-headers-amd64", False), ("systemd", False), ("live-tools", False), ("live-bootx", False),
     ("not-linux-image", False)],
)  # fmt: skip
def test_what_belongs_to_the_base(tmp_path: Path, name: str, boots: bool) -> None:
    layers = _layers(tmp_path, x=f"packages: [{name}]\n")
    assert layers == ({"base": (name,)} if boots else {"base": (), "packages-x": (name,)})


@pytest.mark.parametrize(
    ("mid", "x", "layers"),
    [
        ("", "user-setup", {"base": ("linux-image-amd64", "live-boot", "user-setup"), "packages-parent": ("sudo", "vim")}),
        ("", "-vim, tmux", {"packages-parent": ("sudo",), "packages-x": ("tmux",)}),
        ("-sudo", "sudo", {"packages-parent": ("vim",), "packages-x": ("sudo",)}),
    ],
    ids=["what boots goes into the base", "a minus reaches the ancestor's layer", "who puts it back owns it"],
)  # fmt: skip
def test_a_package_is_in_the_layer_of_who_asked_for_it(
    tmp_path: Path, mid: str, x: str, layers: dict[str, tuple[str, ...]]
) -> None:
    base = {"base": ("linux-image-amd64", "live-boot")}
    texts = {"mid": f"inherits: parent\npackages: [{mid}]\n", "x": f"inherits: mid\npackages: [{x}]\n"}
    assert _layers(tmp_path, **texts) == base | layers


@pytest.mark.parametrize(("child", "parent"), [("standard", "minimal"), ("desktop", "standard")])
def test_shipped_profiles_share_the_layers_of_those_they_inherit_from(child: str, parent: str) -> None:
    own, inherited = (profiles.load(SHIPPED, name).layers for name in (child, parent))
    assert own[: len(inherited)] == inherited


NAMES = st.sampled_from(["a", "b", "c", "live-boot", "linux-image-amd64"])
LISTS = st.lists(st.builds(str.__add__, st.sampled_from(["", "", "-"]), NAMES), max_size=5)
CHAINS = st.lists(LISTS, min_size=1, max_size=4).map(
    lambda lists: [(f"p{i}", one) for i, one in enumerate(lists)]
)


@given(CHAINS)
def test_packages_are_what_adding_and_removing_leaves_each_in_one_layer(
    chain: list[tuple[str, list[str]]],
) -> None:
    left: set[str] = set()
    for entry in (entry for _, listed in chain for entry in listed):
        left = left - {entry[1:]} if entry.startswith("-") else left | {entry}
    layers = dict(wanted.layers(chain))
    assert sorted(name for names in layers.values() for name in names) == sorted(left)
    assert set(layers["base"]) == {name for name in left if wanted.BASE.fullmatch(name)}
    assert list(layers) == sorted(layers), "the oldest ancestor is the lowest"


@given(CHAINS, st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=4))
def test_a_profile_that_only_adds_leaves_all_below_as_it_is(
    chain: list[tuple[str, list[str]]], added: list[str]
) -> None:
    before = wanted.layers(chain)
    assert wanted.layers([*chain, ("px", added)])[: len(before)] == before


# ---- components


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for profiles, beside three components; two need something to run, one of it in common."""
    lay_component(tmp_path, "agent", depends=["less", "adduser"])
    lay_component(tmp_path, "tool", depends=["less"])
    lay_component(tmp_path, "welcome")
    (tmp_path / "profiles").mkdir()
    return tmp_path / "profiles"


def test_what_a_component_needs_joins_the_layer_of_the_profile_that_names_it(folder: Path) -> None:
    base = "packages: [vim]\ncomponents: [tool]\n"
    loaded = _load(folder, base=base, x="inherits: base\npackages: [sudo]\ncomponents: [agent]\n")
    # less is in a layer below
    assert loaded.layers == (
        ("base", ()),
        ("packages-base", ("less", "vim")),
        ("packages-x", ("adduser", "sudo")),
    )
    assert loaded.components == ("tool", "agent")


def test_a_component_that_is_taken_out_takes_with_it_what_nobody_else_needs(folder: Path) -> None:
    child = "inherits: base\ncomponents: [-agent]\n"
    loaded = _load(folder, base="packages: [vim]\ncomponents: [agent, tool]\n", x=child)
    assert loaded.layers == (("base", ()), ("packages-base", ("less", "vim")))
    assert loaded.components == ("tool",)
    loaded = _load(folder, base="packages: [adduser]\ncomponents: [agent]\n", x=child)
    assert loaded.packages == ("adduser",), "somebody asked for it"


@pytest.mark.parametrize(
    ("name", "hint"), [("agnet", "did you mean 'agent'?"), ("zzz", "there are: agent, tool, welcome")]
)
def test_an_unknown_component_is_named_with_its_place(folder: Path, name: str, hint: str) -> None:
    with pytest.raises(ComponentError) as caught:
        _load(folder, x=f"packages: [sudo]\ncomponents:\n  - tool\n  - {name}\n")
    assert caught.value.what == f"there is no component '{name}'"
    assert caught.value.where == f"{folder / 'x.yaml'}:4:5"
    assert caught.value.hint == hint


def test_a_mistake_in_a_recipe_points_into_it_unless_the_component_is_taken_out(folder: Path) -> None:
    (folder.parent / "components/broken.yaml").write_text("description: A tool.\nbiuld: make\n")
    with pytest.raises(ComponentError) as caught:
        _load(folder, x="components: [broken]\n")
    assert caught.value.where == f"{folder.parent / 'components/broken.yaml'}:2:1"
    loaded = _load(folder, base="components: [broken]\n", x="inherits: base\ncomponents: [-broken]\n")
    assert loaded.components == ()


def test_a_suite_has_what_debian_publishes_for_it(folder: Path) -> None:
    for suite, archives in (("sid", ["sid"]), ("forky", ["forky", "forky-updates", "forky-security"])):
        loaded = _load(folder, x=f"suite: {suite}\ncomponents: [welcome]\n")
        assert list(loaded.archives) == archives
    error = _fails(folder, base="mirrors: {suites: [release, security]}\n", x="inherits: base\nsuite: sid\n")
    assert (error.what, error.where) == ("sid has no sid-security", f"{folder / 'base.yaml'}:1:29")


@pytest.mark.parametrize("entry", ["Tool", "../tool", "a b", "--tool", "x"])
def test_what_cannot_be_a_component_is_a_mistake_of_the_profile(folder: Path, entry: str) -> None:
    with pytest.raises(ProfileError) as caught:
        _load(folder, x=f"components: ['{entry}']\n")
    assert caught.value.where == f"{folder / 'x.yaml'}:1:14"


ENTRIES = st.lists(st.sampled_from(["a", "b", "c", "-a", "-b", "-c"]), max_size=5)


@given(st.lists(ENTRIES, min_size=1, max_size=4))
def test_a_minus_is_for_what_is_inherited_and_the_rest_adds_up(chain: list[list[str]]) -> None:
    merged = schema.Value([], "")
    for entries in chain:
        before = merged.plain
        new = schema.Value([schema.Value(entry, "") for entry in entries], "")
        merged = profiles.CORE["components"].merge(merged, new)
        kept = [name for name in before if f"-{name}" not in entries]
        assert len(set(merged.plain)) == len(merged.plain)
        assert set(merged.plain) == set(kept) | {entry for entry in entries if not entry.startswith("-")}
        assert merged.plain[: len(kept)] == kept


EMPTY = ("[]", "{}", "''", "null", "[[]]", "[{}]", "['']", "[null]", "{a: []}")


@pytest.mark.parametrize("key", profiles.keys())
def test_an_empty_value_is_taken_or_refused_with_its_place(tmp_path: Path, key: str) -> None:
    fields = profiles.keys()[key].kind.fields
    items = [f"{key}: {value}\n" for value in EMPTY]
    items += [f"{key}: {{{part}: {value}}}\n" for part in fields or () for value in EMPTY]
    for text in items:
        refused: SynosError | None = None
        try:
            _load(tmp_path, x=text)
        except (ProfileError, ProfileNotFound) as error:
            refused = error
        assert not refused or refused.where.startswith(f"{tmp_path / 'x.yaml'}:"), text


# ---- a profile with another suite


def test_a_profile_with_another_suite_is_what_a_file_would_be(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "x.yaml").write_text("inherits: base\nsuite: sid\npackages: [dd]\n")
    named = profiles.load(tmp_path, "x@bookworm")
    assert profiles.load(tmp_path, "x@sid") == profiles.load(tmp_path, "x")
    assert profiles.load(tmp_path, "base@trixie").name == "base", "its own, by inheritance or default"
    (tmp_path / "x-bookworm.yaml").write_text("inherits: x\nsuite: bookworm\n")
    written = profiles.load(tmp_path, "x-bookworm")
    assert dataclasses.replace(named, origins={}) == dataclasses.replace(written, origins={})
    with pytest.raises(ProfileError) as caught:
        profiles.load(tmp_path, "x@bookworm")
    assert caught.value.where == str(tmp_path / "x-bookworm.yaml")
    assert caught.value.hint == "write x-bookworm instead of x@bookworm"


@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [
        ("x@bookwrm", "suite is 'bookwrm', not trixie or", "did you mean 'bookworm'?"),
        ("x@", "suite is '', not trixie or", "there are: "),
        ("x@noble", "suite is 'noble', not", "is a suite of Ubuntu"),
        ("x@sid", "sid has no sid-security", "remove it"),
        ("y@sid", "there is no profile 'y'", "there are: "),
        (f"{'a' * 35}@bookworm", "a profile cannot be called", "40 characters at most"),
    ],
)
def test_a_suite_that_a_profile_cannot_have(tmp_path: Path, name: str, words: str, hint: str) -> None:
    for one in ("x", "a" * 35):
        (tmp_path / f"{one}.yaml").write_text("mirrors: {suites: [release, security]}\n")
    with pytest.raises((ProfileError, ProfileNotFound)) as caught:
        profiles.load(tmp_path, name)
    assert words in caught.value.what
    assert hint in caught.value.hint
