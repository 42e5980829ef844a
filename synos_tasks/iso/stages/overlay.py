"""overlay: what the system says it is, then the files of a person, laid over the layers below without unpacking these."""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ProfileError, guess
from synos_tasks.iso import distribution
from synos_tasks.iso import inputs as project
from synos_tasks.iso.digests import is_executable
from synos_tasks.iso.inputs import kind, walk
from synos_tasks.iso.key import Expected, Key, Said, adds, mistake, repeated, same_file
from synos_tasks.iso.root import within
from synos_tasks.iso.schema import list_of, mapping, relative, text
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from synos_tasks.iso.layers import Listing, StageInputs
    from synos_tasks.iso.profile import Profile

BASE_OVERLAY = "overlays/synos-base"
"""Under every profile's own overlays."""
VOLATILE = ("dev", "proc", "run", "sys", "tmp")
SHOWN = 5
_ACCOUNT = text(
    r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", "a name", allowed="the name of a user or group, not a number"
)


def _contradictions(said: Said) -> Iterator[ProfileError]:
    files = said.value("files").items
    twice = repeated(one.entries["path"] for one in files)
    for one in files:
        path, parts = one.entries["path"], one.entries
        if path in twice:
            yield mistake(path, f"{path.data} appears twice under `files`", "leave one of them out")
        if "source" in parts and "content" in parts:
            yield mistake(
                parts["content"], f"{path.data} has `source` and `content`", "leave one of them out"
            )
        if len(parts) == 1:
            yield mistake(
                one, f"nothing is said of {path.data}", "add `source`, `content`, `owner`, `group` or `mode`"
            )
        if str(path.data).split("/")[1] in VOLATILE:
            hint = "a file in /usr/lib/tmpfiles.d makes it at each start"
            yield mistake(path, f"{path.data} would be gone when the system starts", hint)


def _twice(said: Said) -> Iterator[ProfileError]:
    for one in repeated(said.value("overlays").items, normpath):
        yield mistake(one, f"{one.data} appears twice under `overlays`", "leave one of them out")


KEYS = {
    "overlays": Key(
        kind=list_of(
            relative("a folder relative to docker/build"),
            "Folders whose files are copied over the root file system, in this order. Files belong to root, with mode 644 or "
            "755; below the home of one of `users`, to that user. etc/skel is copied to these homes too.",
        ),
        default=[],
        merge=adds,
        check=_twice,
        aliases=(
            "overlay", "includes", "rootfs", "includes_chroot", "includes_chroot_after_packages", "extra_trees",
            "skeleton_trees", "copy_dir", "root_overlay",
    ),
        example="[overlays/kiosk]",
    ),
    "files": Key(
        kind=list_of(
            mapping(
                {
                    "path": text(
                        r"(/(?!\.{1,2}(/|$))[^/\x00-\x1f\x7f]{1,200})+", "an absolute path", "Where it is in the system.",
                        allowed="a path such as /etc/motd, without .. and without / at its end",
                    ),
                    "source": relative("a file relative to docker/build", "The content, from a file."),
                    "content": text(r"[\s\S]*", "text", "The content itself. Without `source` and `content`: what a package or an overlay has there."),
                    "owner": _ACCOUNT,
                    "group": _ACCOUNT,
                    "mode": text(r"[0-7]{3,4}", "a mode in quotes", 'Such as "0600" or "4755".', allowed='three or four octal digits, as "0600", which YAML takes for the number 384 without quotes'),
                },
                required=("path",),
            ),
            "Files laid over all overlays, with owner and mode. The group is by default that of the owner.",
        ),
        merge=adds,
        check=_contradictions,
        aliases=("file", "permissions", "modes"),
        example='[{path: /etc/NetworkManager/system-connections/lan, source: files/lan, mode: "0600"}]',
    ),
}  # fmt: skip


def _folders(profile: Profile) -> tuple[str, ...]:
    return BASE_OVERLAY, *profile.values["overlays"]


def _files(profile: Profile) -> list[dict[str, str]]:
    return list(profile.values.get("files", []))


STAGE = StageSpec(
    order=40,
    fields=("name", "suite", "project", "title"),
    files=lambda profile: [one["source"] for one in _files(profile) if "source" in one],
    folders=_folders,
    keys={**KEYS, "distribution": distribution.KEY},
)


def make_files(inputs: StageInputs, lower: Listing, target: Path) -> dict[str, Any]:
    """Lay the files out; later ones win. Raises ProfileError. ``laid`` has the source of each path; '' where no file of docker/build decides."""
    profile = inputs.context.profile
    laid = dict.fromkeys(distribution.files(profile), "")
    for name, content in distribution.files(profile).items():
        lower.make_parents(target, name)
        (target / name).write_text(content)
    folders = {name: inputs.context.find(name, folder=True) for name in _folders(profile)}
    accounts = _Accounts(inputs, target)
    for name, folder in folders.items():
        if kind(folder / "etc") == kind(folder / "etc/skel") == "a folder":
            for home in accounts.homes:
                laid |= copy(folder / "etc/skel", lower, target, f"{name}/etc/skel", home)
    for name, folder in folders.items():
        laid |= copy(folder, lower, target, name)
    said = [_File(inputs, lower, target, index, one) for index, one in enumerate(_files(profile))]
    for file in said:
        file.place()
        if file.is_new:
            laid[file.path] = file.said.get("source", "")
    brought = {file.path for file in said if not file.is_new}
    for home, owner in accounts.homes.items():
        for path in walk(target / home):
            inside = str(path.relative_to(target))
            if lower.kind(inside) != "a folder" and inside not in brought:
                os.chown(path, *owner, follow_symlinks=False)
    for file in said:
        file.settle(accounts)
    _warn_of_modes(inputs, folders.values(), {one["path"].lstrip("/") for one in _files(profile)})
    return {"laid": laid}


def copy(source: Path, lower: Listing, target: Path, name: str = "", below: str = "") -> dict[str, str]:
    """Copy a folder into the layer, to ``below``: modes from git (755 or 644), owner root, links kept.

    Return ``name`` and the path in it, by the path in the system, of files, links and (with / at its end) new folders.
    Raises ProfileError where a file or link would replace a folder, or a folder a file.
    """
    found = {}
    for path in walk(source):
        relative = str(path.relative_to(source))
        # an overlay before this one may have laid a link where this one has a folder
        laid = within(target, lower.behind_links(f"{below}/{relative}".lstrip("/")))
        inside = str(laid.relative_to(target))
        is_folder = path.is_dir() and not path.is_symlink()
        there = kind(target / inside) or lower.kind(inside)
        if there and (there != "a folder" if is_folder else there == "a folder"):
            raise ProfileError(
                f"overlay {source.name}: /{inside} is {kind(path)}, in the root it is {there}",
                where=str(path),
                hint="an overlay adds and replaces files; a hook can remove folders",
            )
        lower.make_parents(target, inside)
        if is_folder:
            lower.make_folder(target, inside)
            if not there:
                found[f"{inside}/"] = f"{name}/{relative}"
            continue
        found[inside] = f"{name}/{relative}"
        (target / inside).unlink(missing_ok=True)
        if path.is_symlink():
            (target / inside).symlink_to(path.readlink())
        else:
            project.copy(path, target / inside)
            (target / inside).chmod(0o755 if is_executable(path) else 0o644)
    return found


class _Accounts:
    """Users and groups of the system."""

    def __init__(self, inputs: StageInputs, target: Path) -> None:
        self.users, self.groups = (
            {
                fields[0]: fields
                for line in _read(inputs, target, path).splitlines()
                if len(fields := line.split(":")) >= 3
            }
            for path in ("etc/passwd", "etc/group")
        )
        named = [user["name"] for user in inputs.context.profile.values["users"]]
        found = [self.users[name] for name in named if name in self.users]
        self.homes = {
            one[5].strip("/"): (int(one[2]), int(one[3])) for one in found if one[5].startswith("/home/")
        }
        """Owner and group of the homes of the profile's users."""


def _read(inputs: StageInputs, target: Path, path: str) -> str:
    return (target / path).read_text() if kind(target / path) == "a file" else inputs.read(path)


@dataclass
class _File:
    """One of `files`."""

    inputs: StageInputs
    lower: Listing
    target: Path
    index: int
    said: dict[str, str]

    @property
    def path(self) -> str:
        """Where it is in the layer."""
        return self.lower.behind_links(self.said["path"].lstrip("/"))

    @property
    def is_new(self) -> bool:
        """Tell whether the profile says what is in it."""
        return "source" in self.said or "content" in self.said

    def place(self) -> None:
        """Lay it out; raise ProfileError."""
        for parent in [str(one) for one in reversed(Path(self.path).parents)][1:]:
            if self._kind(parent) not in {"", "a folder"}:
                raise self._mistake(
                    "path", f"/{parent} is {self._kind(parent)}", "name the path where it leads"
                )
        laid, there = self.target / self.path, self._kind(self.path)
        if self.is_new and there == "a folder":
            raise self._mistake(
                "path",
                f"/{self.path} is a folder",
                "without `source` and `content`, owner and mode can be set",
            )
        if not self.is_new and there in {"", "a link"}:
            what = f"/{self.path} is a link" if there else f"there is no /{self.path} in a package or overlay"
            raise self._mistake("path", what, "give it `source` or `content`, or correct the path")
        self.lower.make_parents(self.target, self.path)
        if self.is_new:
            self._make(laid)
        elif not kind(laid) and there == "a folder":
            self.lower.make_folder(self.target, self.path)
        elif not kind(laid):
            self.inputs.bring(self.path, laid)

    def settle(self, accounts: _Accounts) -> None:
        """Set owner and mode; raise ProfileError."""
        laid = self.target / self.path
        status = laid.lstat()
        uid, gid = status.st_uid, status.st_gid
        if "owner" in self.said:
            user = self._account("owner", accounts.users)
            uid, gid = int(user[2]), int(user[3])
        if "group" in self.said:
            gid = int(self._account("group", accounts.groups)[2])
        if {"owner", "group"} & self.said.keys():
            os.chown(laid, uid, gid)  # which takes rights away
        laid.chmod(int(self.said["mode"], 8) if "mode" in self.said else stat.S_IMODE(status.st_mode))

    def _make(self, laid: Path) -> None:
        laid.unlink(missing_ok=True)
        if "source" in self.said:
            source = self.inputs.context.find(self.said["source"])
            project.copy(source, laid)
            laid.chmod(0o755 if is_executable(source) else 0o644)
        else:
            laid.write_bytes(self.said["content"].encode())

    def _kind(self, path: str) -> str:
        return kind(self.target / path) or self.lower.kind(path)

    def _mistake(self, part: str, what: str, hint: str) -> ProfileError:
        where = self.inputs.context.profile.origins.get(f"files[{self.index}].{part}", "files")
        return ProfileError(what, where=where, hint=hint)

    def _account(self, part: str, known: dict[str, list[str]]) -> list[str]:
        if (name := self.said[part]) not in known:
            what = {"owner": "user", "group": "group"}[part]
            raise self._mistake(
                part, f"there is no {what} {name!r}", f"{guess(name, known)}; packages and `users` make them"
            )
        return known[name]


def _warn_of_modes(inputs: StageInputs, folders: Iterable[Path], said: set[str]) -> None:
    """Name what has a mode that no overlay keeps: setuid and its like, or closed to others in a folder that is not."""
    lost = []
    for folder in folders:
        for path in walk(folder):
            mode, above = path.lstat().st_mode, path.parent.lstat().st_mode
            odd = mode & 0o7000 or (above & 0o004 and not mode & 0o004)
            inside = str(path.relative_to(folder))
            if odd and not path.is_symlink() and inside not in said:
                lost.append(f"/{inside}")
    if lost:
        more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
        inputs.context.events.warn(
            f"overlays have mode 644 or 755, as in git; other modes are lost: {', '.join(lost[:SHOWN])}{more}: set them under `files:`"
        )


def expect(inputs: StageInputs) -> Iterable[Expected]:
    """Expect what is said under `files`."""
    for one in _files(inputs.context.profile):
        quoted, parts = shlex.quote(one["path"]), {"owner": "%U", "group": "%G", "mode": "%a"}
        wanted = [
            one[part].lstrip("0") or "0" if part == "mode" else one[part] for part in parts if part in one
        ]
        if wanted:
            form = " ".join(parts[part] for part in parts if part in one)
            yield Expected(
                f"{one['path']}: {', '.join(part for part in parts if part in one)}",
                " ".join(wanted),
                f"stat -c '{form}' {quoted}",
            )
        digest = hashlib.sha256(one["content"].encode()).hexdigest() if "content" in one else ""
        if "source" in one:
            digest = project.sha256(inputs.context.find(one["source"]))
        if digest:
            yield same_file(f"{one['path']}: content", quoted, digest)
