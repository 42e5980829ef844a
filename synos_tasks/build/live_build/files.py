"""What live-build's files become: each function takes one file into the profile, or lists it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from synos_tasks.build.live_build import options, script
from synos_tasks.build.live_build.draft import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from synos_tasks.build.live_build.draft import Draft

    Convert = Callable[[Draft, Path, str, re.Match[str]], None]

_MADE = re.compile(r"etc/(default/(locale|keyboard)|locale\.gen|hosts|os-release)|usr/lib/os-release")
"""What keys of a profile make, and the self-test compares."""
_OF_THE_ISO = {"isolinux", "boot", "EFI", "efi", "live", "install", ".disk"}
_HOOK_READS = {
    "hook-variables": r"\bLB_[A-Z]|\bLIVE_IMAGE|/live-build/", "hook-installs": r"\bapt(-get)?\s[^\n]*\binstall\b",
}  # fmt: skip
_SOURCE = re.compile(
    r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<url>\w+://\S+)\s+(?P<suite>\S+)(?P<components>.*)"
)
_PIN = re.compile(r"\s*Package: \*\nPin: origin \"?([^\s\"]+)\"?\nPin-Priority: (\d+)\s*")


def packages(draft: Draft, path: Path, where: str, _match: re.Match[str]) -> None:
    """Add the packages of a list."""
    of = tables()["packages"]
    for place, line in _enabled(draft, path, where):
        words = re.sub(r"\s#.*", "", line).split()
        if re.fullmatch(r"!\s*Packages\s+Priority\s+standard", line):
            words = of["standard"].split()
        elif line.startswith("!"):
            draft.leave(place, line, "command")
            continue
        for word in words:
            name = word.removesuffix(":amd64").removesuffix("+")
            if "installer" in name and name in of["replaced"].split():
                draft.leave(place, name, "installer")
            elif re.fullmatch(r"[^=]*:.*", name):
                draft.leave(place, name, "amd64")
            elif name not in of["replaced"].split():
                draft.add("packages", f"-{name[:-1]}" if name.endswith("-") else name, place)


def _enabled(draft: Draft, path: Path, where: str) -> Iterator[tuple[str, str]]:
    """Yield place and text of the lines whose condition holds."""
    on = True
    for number, raw in enumerate(draft.text(path).splitlines(), 1):
        line, place = raw.strip(), f"{where}:{number}"
        if condition := re.fullmatch(r"#(n?)if\s+(\w+)\s*(.*)", line):
            negated, name, wanted = condition.groups()
            value = draft.option(script.option_of(name)).split()
            on = bool({*wanted.split()} & {*value}) is not bool(negated)
            if not on:
                draft.leave(place, line, "condition")
        elif line.startswith("#endif"):
            on = True
        elif line.startswith("#include"):
            draft.leave(place, line, "list-of-2")
        elif on and line and not line.startswith("#"):
            yield place, line


def overlay(draft: Draft, path: Path, where: str, match: re.Match[str]) -> None:
    """Copy a file of the root into an overlay, or take what it says into the profile."""
    inside, name = match["inside"], f"{draft.name}-before" if "_before_" in where else draft.name
    if re.fullmatch(r"etc/live/config\.conf\.d", inside):
        return
    if re.fullmatch(r"etc/live/config\.conf(\.d/.+)?", inside):
        for option, value, place in script.assignments(draft.text(path, script.LARGEST), where, draft.leave):
            if option == "live-config-cmdline":
                options.command_line(draft, "kernel_arguments", value, place)
            elif not options.configure(draft, option.removeprefix("live-"), value, place):
                draft.leave(place, f"{option}={value}", "live-config")
    elif inside in {"etc/hostname", "etc/timezone"} and path.is_file():
        draft.set(inside.removeprefix("etc/"), draft.text(path).strip(), where)
    elif re.match(r"(usr/)?lib/live/config/.", inside):
        draft.leave(where, path.name, "live-config")
    else:
        _lay(draft, path, where, f"overlays/{name}/{inside}")
        if _MADE.fullmatch(inside):
            draft.leave(where, f"/{inside}", "made")
        mode = path.lstat().st_mode & 0o7777
        is_special = not path.is_symlink() and (mode & 0o7000 or mode & 0o444 != 0o444)
        if is_special and path.is_dir():
            draft.leave(where, f"mode {mode:04o}", "folder-mode")
        elif is_special:
            draft.add("files", {"path": f"/{inside}", "mode": f"{mode:04o}"}, where)


def _lay(draft: Draft, path: Path, where: str, target: str) -> None:
    """Copy a file into an overlay."""
    folder = "/".join(target.split("/")[:2])
    draft.files[target] = path
    draft.add("overlays", folder, where.removesuffix(target.removeprefix(folder)))


def iso_file(draft: Draft, path: Path, where: str, match: re.Match[str]) -> None:
    """Copy a file that lies on the ISO."""
    inside, top = match["inside"], match["inside"].partition("/")[0]
    if top not in _OF_THE_ISO:
        draft.files[f"iso/{draft.name}/{inside}"] = path
        item = {"path": f"/{top}", "source": f"iso/{draft.name}/{top}"}
        draft.add("iso_files", item, where.removesuffix(inside) + top)
    elif not path.is_dir():
        draft.leave(where, inside, "iso-folder")


def hook(draft: Draft, path: Path, where: str, match: re.Match[str]) -> None:
    """Copy a hook."""
    target = f"hooks/{draft.name}/{_safe(path.name)}"
    if target in draft.files:  # hooks/normal and hooks/live may have one of the same name
        target = f"hooks/{draft.name}/{match['kind'] or 'old'}-{_safe(path.name)}"
    draft.files[target] = path
    draft.add("hooks", target, where)
    for reason, pattern in _HOOK_READS.items():
        if re.search(pattern, draft.text(path)):
            draft.leave(where, "the hook", reason)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name)[-50:]


def key(draft: Draft, path: Path, _where: str, match: re.Match[str]) -> None:
    """Copy the key of an archive."""
    name = match["name"] or match["old"]
    draft.keys[name] = f"keys/{draft.name}-{_safe(name)}.asc"
    draft.files[draft.keys[name]] = path


def sources(draft: Draft, path: Path, where: str, match: re.Match[str]) -> None:
    """Note the archives of a list, until all keys and priorities are known."""
    text = re.sub(r"@(PARENT_)?DISTRIBUTION@", draft.option("distribution"), draft.text(path))
    text = re.sub(r"@(PARENT_)?ARCHIVE_AREAS@", draft.option("archive-areas", "main"), text)
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith(("#", "deb-src")):
            draft.sources.append((match["name"] or match["old"], line.strip(), f"{where}:{number}"))


def repositories(draft: Draft) -> None:
    """Turn archives into repositories with their keys and priorities."""
    seen: list[str] = []
    # the one key is that of the one archive, whatever the names of their files are
    foreign = [
        name for name, line, _ in draft.sources if not re.search(f" {options.DEBIAN.pattern}/? ", line)
    ]
    only = [*draft.keys.values()] if len(draft.keys) == len({*foreign}) == 1 else [""]
    for name, line, where in draft.sources:
        found = _SOURCE.fullmatch(line)
        if not found:
            draft.leave(where, line, "no-source")
            continue
        url, suite = found["url"].rstrip("/"), found["suite"]
        signed_by = re.search(r"signed-by=(\S+)", found["options"] or "")
        inside = f"overlays/{draft.name}{signed_by[1]}" if signed_by else ""
        stored = draft.keys.get(name) or (inside if inside in draft.files else only[0])
        kind = suite.removeprefix(draft.option("distribution"))
        if options.DEBIAN.fullmatch(url) and kind == "-backports":
            draft.add("repositories", "backports", where)
        elif options.DEBIAN.fullmatch(url):
            if kind not in {"", "-updates", "-security", "/updates"}:
                draft.leave(where, line, "debian-suite")
        elif not stored or "trusted=yes" in (found["options"] or ""):
            draft.leave(where, line, "no-key")
        else:
            label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
            again = f"-{seen.count(label) + 1}" if label in seen else ""
            one = {"name": f"{label}{again}", "url": url, "suite": suite}
            one |= {} if suite.endswith("/") else {"components": found["components"].split()}
            pin = draft.pins.get(url.split("/")[2])
            draft.add("repositories", {**one, "key": stored, **({"pin": pin} if pin else {})}, where)
            seen.append(label)


def preferences(draft: Draft, path: Path, where: str, match: re.Match[str]) -> None:
    """Keep the priority of a host's packages; lay other preferences and settings of apt into the finished system."""
    if pin := _PIN.fullmatch(re.sub(r"(?m)^(#|Explanation:).*\n", "", draft.text(path))):
        draft.pins[pin[1]] = int(pin[2])
        return
    folder = "apt.conf.d" if ".conf" in path.name else "preferences.d"
    _lay(draft, path, where, f"overlays/{draft.name}/etc/apt/{folder}/{match['name'] or path.name}")
    draft.leave(where, path.name, "apt")


def preseed(draft: Draft, path: Path, where: str, _match: re.Match[str]) -> None:
    """Take answers to debconf's questions."""
    for number, line in enumerate(draft.text(path).replace("\\\n", " ").splitlines(), 1):
        words = line.split(None, 3)
        if not words or line.lstrip().startswith("#"):
            continue
        if words[0] == "d-i" or ".cfg.installer" in where or ".cfg.binary" in where:
            draft.leave(f"{where}:{number}", line, "installer")
        elif len(words) < 3 or words[2] == "seen":
            draft.leave(f"{where}:{number}", line, "no-answer")
        else:
            draft.add("debconf", " ".join(words), where)


def deb(draft: Draft, path: Path, where: str, _match: re.Match[str]) -> None:
    """Copy a package."""
    if path.name.endswith(("_amd64.deb", "_all.deb")):
        draft.files[f"debs/{draft.name}/{path.name}"] = path
        draft.add("debs", f"debs/{draft.name}", where.rpartition("/")[0])
        draft.add("packages", path.name.partition("_")[0], where)
    else:
        draft.leave(where, path.name, "amd64")


def picture(draft: Draft, path: Path, where: str, match: re.Match[str]) -> None:
    """Copy the picture behind the boot menu, or the theme of GRUB."""
    inside = match["theme"].partition("/")[2] if match["theme"] else ""
    target = f"files/{draft.name}/{f'theme/{inside}' if inside else 'splash.png'}"
    if target in draft.files:
        draft.leave(where, path.name, "one-picture")
        return
    draft.files[target] = path
    if inside == "theme.txt" and "../" in draft.text(path):
        draft.leave(where, path.name, "theme")
    elif inside == "theme.txt":
        draft.set("distribution.grub_theme", f"files/{draft.name}/theme", where)
    elif not inside:
        draft.set("distribution.splash", target, where)


_ALL = packages, overlay, iso_file, hook, key, sources, preferences, preseed, deb, picture
CONVERT: dict[str, Convert] = {one.__name__: one for one in _ALL}
