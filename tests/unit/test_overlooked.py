"""What is easily overlooked: names, orders and dates that could hide a change."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest

from synos_tasks.iso import code, compare
from synos_tasks.iso.stages import clean, initramfs
from synos_tasks.iso.tree import Delta
from tests.unit.fakes import files, workshop
from tests.unit.plans import BASE, FILES, LAYERS, changed, locked_with, planned
from tests.unit.test_tree_layers import _change

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.profile import Profile


@pytest.mark.parametrize("what", ["file", "link", "link to the same names"])
def test_a_full_folder_may_become_a_file_or_link(tmp_path: Path, what: str) -> None:
    def change(root: Path) -> None:
        (root / "moved").mkdir()
        (root / "var/deep").rename(root / "moved/deep")
        if what == "file":
            (root / "var/deep").write_text("x")
        else:
            (root / "var/deep").symlink_to("../moved/deep" if what.endswith("names") else "nowhere")

    with workshop(tmp_path) as shop:
        _, delta, layer = _change(shop, change)
    assert delta.removed == ["var/deep"]
    assert os.path.lexists(layer / "var/deep")


def _with_file(field: str, path: str) -> Profile:
    if field == "hooks":
        return dataclasses.replace(BASE, hooks=(path,))
    return dataclasses.replace(BASE, overlays=(path,))


@pytest.mark.parametrize("field", ["overlays", "hooks"])
@pytest.mark.parametrize(
    "name", ["tools", "order", "compression", "date", "code", "name", "suite", "build", "packages"]
)
def test_an_overlay_or_hook_may_have_any_name(field: str, name: str) -> None:
    profile, other = (_with_file(field, path) for path in (name, "a-name-of-no-other-input"))
    one, two = (planned(profile, files={**FILES, name: text}) for text in "12")
    assert one.key != two.key
    plain = planned(other, files={**FILES, "a-name-of-no-other-input": "1"})
    stage = "overlay" if field == "overlays" else "hooks"
    assert len(one.stage(stage).why) == len(plain.stage(stage).why), "nothing was overwritten"


@pytest.mark.parametrize(
    ("module", "function"),
    [("squashfs", "digest_of_file"), ("tree", "digest_of_file"), ("packages", "digest_of")],
)
def test_the_code_of_a_layer_matters(module: str, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planned()
    real = getattr(code, function)
    monkeypatch.setattr(code, function, lambda name: "x" if name.endswith(f".{module}") else real(name))
    after = planned()
    assert {"packages-parent", "system"} <= changed(before, after)


def test_the_order_of_layers_is_in_the_build_id() -> None:
    other = planned(dataclasses.replace(BASE, layers=(LAYERS[0], LAYERS[2], LAYERS[1])))
    assert (planned().key != other.key) == (planned().build_id != other.build_id)


def test_the_menu_depends_on_the_build_id() -> None:
    other = planned(lock=locked_with(2, version="9"))
    assert planned().stage("bootfiles").key != other.stage("bootfiles").key


@pytest.mark.parametrize(
    ("one", "two"),
    [(b"a\n", b"a"), (b"a\r\n", b"a\n"), (b"-- a\n", b"-- b\n"), (b"---\n", b""), (b"++ a", b"")],
)
def test_something_is_shown_of_any_texts_that_differ(tmp_path: Path, one: bytes, two: bytes) -> None:
    for name, content in (("one", one), ("two", two)):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (1, 1))
    shown = compare.difference(tmp_path / "one", tmp_path / "two")
    assert len(shown) >= 2 + (bool(one) and bool(two))


def test_the_newest_kernel_is_the_newest(tmp_path: Path) -> None:
    files(tmp_path, "boot/vmlinuz-6.1.0-9-amd64", "boot/vmlinuz-6.1.0-37-amd64", "usr/sbin/mkinitramfs")
    assert initramfs.kernel_version(tmp_path) == "6.1.0-37-amd64"


def test_a_folder_that_is_a_link_is_not_cleaned_through(tmp_path: Path) -> None:
    files(tmp_path, "outside/kept", "root/etc/a")
    (tmp_path / "root/dev").symlink_to(tmp_path / "outside")
    clean.clean(tmp_path / "root")
    assert (tmp_path / "outside/kept").exists()


def test_firmware_goes_into_the_initramfs() -> None:
    assert Delta(["usr/lib/firmware/a.bin"], []).touches_initramfs


def test_what_is_written_with_an_old_date_is_a_change(tmp_path: Path) -> None:
    def change(root: Path) -> None:
        (root / "etc/a").write_text("y")
        os.utime(root / "etc/a", (1_700_000_000, 1_700_000_000))

    with workshop(tmp_path) as shop:
        assert _change(shop, change)[1].changed == ["etc/a"]
