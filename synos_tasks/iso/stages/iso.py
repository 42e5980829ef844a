"""iso: a hybrid image for CD and USB stick, BIOS and UEFI, written by xorriso."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from synos_tasks.iso import distribution, secrets
from synos_tasks.iso.inputs import kind, sha256, walk
from synos_tasks.iso.key import Key, Said, adds, mistake, same_file
from synos_tasks.iso.schema import list_of, mapping, relative, text
from synos_tasks.iso.stages.bootfiles import EFI_IMAGE
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from synos_tasks.errors import ProfileError
    from synos_tasks.iso.key import Expected
    from synos_tasks.iso.layers import StageInputs
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.tools import BuildContext

NAME = "iso"
RESERVED = ("live", "boot", "efi", ".disk")
"""Folders that boot loaders and live-boot look for."""
MEDIUM = "/run/live/medium"


def _contradictions(said: Said) -> Iterator[ProfileError]:
    seen: list[str] = []
    for one in said.value("iso_files").items:
        place, path = one.entries["path"], str(one.entries["path"].data).lower()
        if path.split("/")[1] in RESERVED:
            hint = f"{', '.join(f'/{name}' for name in RESERVED)} are for what boots"
            yield mistake(place, f"{place.data} would hide what the ISO boots from", hint)
        for other in seen:
            if f"{path}/".startswith(f"{other}/") or other.startswith(f"{path}/"):
                what = (
                    f"{place.data} appears twice under `iso_files`"
                    if path == other
                    else f"{place.data} and {other} are in each other"
                )
                yield mistake(place, what, "leave one of them out; a folder comes with all that is in it")
        seen.append(path)


KEY = Key(
    kind=list_of(
        mapping(
            {
                "path": text(
                    r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._+-]{1,60}){1,6}", "an absolute path", "Where it is on the ISO.",
                    allowed="a path such as /README of letters, digits, . _ + - and /; six folders deep at most",
                ),
                "source": relative("a path relative to docker/build", "A file or folder."),
            },
            required=("path", "source"),
        ),
        "Files and folders of the ISO itself, outside the root file system. The running system finds them in /run/live/medium.",
    ),
    merge=adds,
    check=_contradictions,
    aliases=("includes.binary", "binary"),
    example="[{path: /README, source: files/README}]",
)  # fmt: skip


def _files(profile: Profile) -> list[dict[str, str]]:
    return list(profile.values.get("iso_files", []))


STAGE = StageSpec(
    fields=("name", "project"),
    keys={"distribution": distribution.KEY, "iso_files": KEY},
    paths=lambda profile: [one["source"] for one in _files(profile)],
)


def make(context: BuildContext, tree: Path, live: Mapping[str, Path], target: Path) -> None:
    """Write the ISO to ``target``: the files of ``tree``, and ``live`` as name to path below /live."""
    profile, firmware = context.profile, set(context.profile.values["boot"]["firmware"])
    date = dt.datetime.fromtimestamp(context.epoch, dt.UTC)
    # by way of standard output: into a file that is there already, xorriso writes several times as slowly
    argv = ["sh", "-c", 'exec "$@" >"$0"', str(target)]
    # level 3: files of 4 GiB and more
    argv += ["xorriso", "-as", "mkisofs", "-o", "-", "-iso-level", "3", "-r", "-J", "-joliet-long"]
    argv += ["-V", distribution.iso_label(profile)]
    # GPT and MBR ids come from the modification date
    argv += [f"--modification-date={date:%Y%m%d%H%M%S}00", "--set_all_file_dates", f"{date:%Y%m%d%H%M%S}00"]
    if "bios" in firmware:
        argv += ["-b", "boot/grub/eltorito.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
        argv += ["--grub2-boot-info", "--grub2-mbr", "/usr/lib/grub/i386-pc/boot_hybrid.img"]
        argv += ["-c", "boot/boot.cat"]
    if {"uefi", "secure-boot"} & firmware:
        argv += ["-partition_offset", "16", "-append_partition", "2", "0xef", str(tree.with_name(EFI_IMAGE))]
        argv += ["-appended_part_as_gpt"]
        argv += ["-eltorito-alt-boot"] if "bios" in firmware else ["-c", "boot/boot.cat"]
        argv += ["-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
    grafts = [f"/live/{name}={path}" for name, path in live.items()]
    more = {one["path"]: context.find(one["source"], folder=None) for one in _files(profile)}
    grafts += [f"{path}={source}" for path, source in more.items()]
    found = [
        path for source in more.values() for path in (source, *(walk(source) if source.is_dir() else ()))
    ]
    secrets.refuse((path for path in found if kind(path) == "a file"), context.secrets, NAME)
    context.run(NAME, [*argv, "-graft-points", f"/={tree}", *grafts])


def expect(inputs: StageInputs) -> Iterable[Expected]:
    """Expect what is said under `iso_files` on the medium."""
    for one in _files(inputs.context.profile):
        source = inputs.context.find(one["source"], folder=None)
        if not source.is_dir():
            yield same_file(f"{one['path']} on the ISO", f"{MEDIUM}{one['path']}", sha256(source))
