"""Keys change when what matters changes, and downstream of it only."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.iso import code
from synos_tasks.iso.lock import Lock, Package
from synos_tasks.iso.profile import Profile, User
from synos_tasks.iso.stages.overlay import OURS
from tests.unit.plans import (
    ALL,
    BASE,
    FILES,
    ID_ALONE,
    LAYERS,
    LOCK,
    NOT_THE_MENU,
    changed,
    locked_with,
    planned,
    since,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MORE = (*LAYERS[:2], ("packages-x", ("tmux", "vim")))
CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "suite": ({"suite": "trixie"}, ALL),
    "architecture": ({"architecture": "arm64"}, NOT_THE_MENU),
    "bootstrapper": ({"bootstrapper": "debootstrap"}, NOT_THE_MENU),
    "mirror": ({"mirror": "http://a.example"}, since("system")),
    "security_mirror": ({"security_mirror": "http://a.example"}, since("system")),
    "suites": ({"suites": ("release",)}, since("system")),
    "areas": ({"areas": ("main", "contrib")}, since("system")),
    "layers": ({"layers": MORE}, since("packages-x")),
    "components": ({"components": ("tool",)}, since("system") | {"component-tool", "components"}),
    "users": ({"users": (User(name="ann"),)}, since("system")),
    "hostname": ({"hostname": "a"}, since("system")),
    "locale": ({"locale": "en_US.UTF-8"}, since("system")),
    "timezone": ({"timezone": "Europe/Berlin"}, since("system")),
    "keyboard": ({"keyboard": ("de", "", "pc105")}, since("system")),
    "name": ({"name": "y"}, since("overlay") | {"bootfiles"}),
    "description": ({"description": "other"}, set()),
    "overlays": ({"overlays": ()}, since("overlay")),
    "hooks": ({"hooks": ()}, since("hooks")),
    "compression": ({"compression": "xz"}, NOT_THE_MENU),
    "compression_level": ({"compression_level": 19}, NOT_THE_MENU),
    "boot": ({"boot": ("bios",)}, ID_ALONE | {"bootfiles"}),
    "kernel_arguments": ({"kernel_arguments": ("quiet",)}, ID_ALONE | {"bootfiles"}),
    "distribution": ({"distribution": "tuxos"}, since("overlay")),
    "title": ({"title": "Tux OS"}, since("overlay") | {"bootfiles"}),
    "ancestors": ({"ancestors": ("y",)}, set()),
    "origins": ({"origins": {"sudo": "elsewhere.yaml:1:1"}}, set()),
    "options": ({"options": {"of no stage": 1}}, set()),
}


def test_every_field_of_a_profile_is_looked_at() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Profile)}


@pytest.mark.parametrize("field", CHANGES)
def test_a_change_reaches_the_stages_that_depend_on_it(field: str) -> None:
    change, stages = CHANGES[field]
    assert changed(planned(), planned(dataclasses.replace(BASE, **change))) == stages


# of the package in the uppermost layer of packages
PACKAGE_CHANGES: dict[str, tuple[str, set[str]]] = {
    "name": ("vim-tiny", since("packages-x")),
    "version": ("2", since("packages-x")),
    "architecture": ("all", since("packages-x")),
    "sha256": ("other", since("packages-x")),
    "layer": ("packages-parent", since("packages-parent")),
    # where a package is, and what only the download is checked against
    "size": ("2", set()),
    "archive": ("security", set()),
    "path": ("elsewhere", set()),
}


def test_every_field_of_a_package_is_looked_at() -> None:
    assert set(PACKAGE_CHANGES) == {field.name for field in dataclasses.fields(Package)}


@pytest.mark.parametrize("field", PACKAGE_CHANGES)
def test_a_locked_package_reaches_its_layer_and_those_above(field: str) -> None:
    value, stages = PACKAGE_CHANGES[field]
    assert changed(planned(), planned(lock=locked_with(2, **{field: value}))) == stages


def test_a_package_of_the_base_reaches_the_initramfs_too() -> None:
    assert changed(planned(), planned(lock=locked_with(0, version="2"))) == NOT_THE_MENU


def test_the_date_of_the_lock_matters_everywhere_and_what_asked_for_it_nowhere() -> None:
    assert {field.name for field in dataclasses.fields(Lock)} == {"request", "epoch", "packages"}
    assert changed(planned(), planned(lock=dataclasses.replace(LOCK, epoch=1))) == ALL
    assert changed(planned(), planned(lock=dataclasses.replace(LOCK, request="s"))) == set()


@pytest.mark.parametrize(
    ("path", "first"),
    [(OURS, "overlay"), ("overlays/x", "overlay"), ("hooks/x", "hooks")],
)
def test_what_a_file_holds_matters_from_its_stage_on(path: str, first: str) -> None:
    assert changed(planned(), planned(files={**FILES, path: "other"})) == since(first)


def test_files_of_other_profiles_do_not_matter() -> None:
    assert planned(files={**FILES, "hooks/other": "9"}) == planned()


@pytest.mark.parametrize(("field", "first"), [("overlays", "overlay"), ("hooks", "hooks")])
def test_the_order_of_hooks_and_overlays_matters(field: str, first: str) -> None:
    files = {**FILES, f"{field}/y": "3"}
    orders: list[dict[str, Any]] = [
        {field: tuple(f"{field}/{name}" for name in order)} for order in ("xy", "yx")
    ]
    one, two = (planned(dataclasses.replace(BASE, **order), files=files) for order in orders)
    assert changed(one, two) == since(first)


KINDS = {
    "base": NOT_THE_MENU,
    "packages": since("packages-parent"),
    "system": since("system"),
    "overlay": since("overlay"),
    "hooks": since("hooks"),
    "identity": ID_ALONE,
    "initramfs": ID_ALONE | {"initramfs"},
    "squashfs": ID_ALONE | {"squashfs"},
    "bootfiles": ID_ALONE | {"bootfiles"},
    "iso": ID_ALONE,
}


def _with_code(monkeypatch: pytest.MonkeyPatch, function: str, one: str) -> None:
    """Let one module have other code than it has."""
    before: Callable[[str], str] = getattr(code, function)
    monkeypatch.setattr(code, function, lambda module: "other" if module == one else before(module))


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_of_a_stage_matters_for_that_stage(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planned(release=True)
    _with_code(monkeypatch, "digest_of", f"synos_tasks.iso.stages.{kind}")
    after = planned(release=True)
    below_squashfs = {"squashfs"} if "identity" in KINDS[kind] else set()
    assert changed(before, after) == KINDS[kind] | below_squashfs
    asked = {
        one.kind
        for one, two in zip(before.stages, after.stages, strict=True)
        if one.why["code"] != two.why["code"]
    }
    assert asked == {kind}


@pytest.mark.parametrize(
    ("module", "stages"),
    [("tools", NOT_THE_MENU | {"bootfiles"}), ("tree", NOT_THE_MENU), ("stages.squashfs", NOT_THE_MENU), ("layers", NOT_THE_MENU), ("listing", NOT_THE_MENU),
     ("run", ID_ALONE | {"bootfiles", "initramfs"}), ("report", set())],
)  # fmt: skip
def test_code_that_stages_share_matters_to_those_that_share_it(
    module: str, stages: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = planned()
    _with_code(monkeypatch, "digest_of_file", f"synos_tasks.iso.{module}")
    assert changed(before, planned()) == stages


@pytest.mark.parametrize("field", ["overlays", "hooks"])
@pytest.mark.parametrize(
    "name", ["tools", "order", "compression", "date", "code", "name", "build", "packages"]
)
def test_an_overlay_or_hook_may_have_any_name(field: str, name: str) -> None:
    changes: list[dict[str, Any]] = [{field: (path,)} for path in (name, "a-name-of-no-other-input")]
    profile, other = (dataclasses.replace(BASE, **change) for change in changes)
    one, two = (planned(profile, files={**FILES, name: text}) for text in "12")
    assert one.key != two.key
    plain = planned(other, files={**FILES, "a-name-of-no-other-input": "1"})
    stage = "overlay" if field == "overlays" else "hooks"
    assert len(one.stage(stage).why) == len(plain.stage(stage).why), "nothing was overwritten"


def test_the_menu_depends_on_the_build_id() -> None:
    other = planned(lock=locked_with(2, version="9"))
    assert planned().stage("bootfiles").key != other.stage("bootfiles").key
