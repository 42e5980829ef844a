"""What live-build's options and live-config's parameters become in a profile, by tables.yaml."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from synos_tasks.build.live_build.draft import Left, tables
from synos_tasks.build.live_build.script import COMPUTED
from synos_tasks.iso.suites import CODENAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.build.live_build.draft import Draft

    Convert = Callable[[Draft, str, str, str], None]

OFF = {"", "false", "none", "no", "disabled"}
DEBIAN = re.compile(
    r"https?://((deb|ftp\.[a-z]{2}|security|httpredir)\.debian\.org|http\.debian\.net)(/debian(-security)?)?/?"
)


def convert(draft: Draft) -> None:
    """Turn options into lines of the profile, or list them."""
    rules, without_loss = tables()["options"], " ".join(tables()["without_loss"]).split()
    for name in [*(one for one in rules if one in draft.options), *(draft.options.keys() - rules.keys())]:
        (value, where), rule = draft.options[name], rules.get(name, {})
        if name in without_loss or re.fullmatch(rule.get("default", "(?!)"), value):
            continue
        what, is_said = f"--{name} {value}".strip().replace(COMPUTED, ""), value not in OFF or "off" in rule
        same = value.rstrip("/") in {
            draft.option(rule.get("same", name)).rstrip("/"),
            draft.option("distribution"),
        }
        if COMPUTED in value:
            draft.leave(where, what, "computed")
        elif "key" in rule and value:
            CONVERT[rule.get("as", "")](draft, rule["key"], value, where)
        elif rule and is_said and not ("same" in rule and (same or DEBIAN.fullmatch(value))):
            if value not in rule.get("fine", []):
                draft.left.append(Left(where, what, rule["why"], rule.get("do", "")))
        elif not rule and is_said:
            draft.leave(where, what, "unknown-option")


def words_of(value: str) -> list[str]:
    """Return what stands between spaces and commas."""
    return [word for word in re.split(r"[\s,]+", value) if word]


def add_all(draft: Draft, key: str, value: str, where: str) -> None:
    """Add each word to a list."""
    for word in words_of(value):
        draft.add(key, word, where)


def _mirror(draft: Draft, key: str, value: str, where: str) -> None:
    if not DEBIAN.fullmatch(value):
        draft.set(key, value, where)


def _without(suite: str) -> Convert:
    def convert_suites(draft: Draft, key: str, value: str, where: str) -> None:
        if value in OFF:
            suites = draft.lines.get(("mirrors", "suites"), (["release", "updates", "security"], ""))[0]
            draft.set(key, [one for one in suites if one != suite], where)

    return convert_suites


def _kernels(draft: Draft, key: str, value: str, where: str) -> None:
    for kind in draft.option("linux-packages", "linux-image").split():
        for flavour in words_of(value) if kind != "none" else []:
            draft.add(key, f"{kind}-{flavour.partition(':')[0]}", where)


def _bootloaders(draft: Draft, key: str, value: str, where: str) -> None:
    names, secure = {*words_of(value)}, draft.option("uefi-secure-boot") != "disable"
    uefi = ["uefi", *(["secure-boot"] if secure else [])] if "grub-efi" in names else []
    draft.set(key, [*(["bios"] if names - {"grub-efi"} else []), *uefi], where)


def _debootstrap(draft: Draft, key: str, value: str, where: str) -> None:
    for word in value.split():
        if word.startswith("--include="):
            add_all(draft, key, word.partition("=")[2], where)
        elif word not in {"--variant=minbase", "--merged-usr", "--no-merged-usr"}:
            draft.leave(where, word, "bootstrapper")


def command_line(draft: Draft, key: str, value: str, where: str) -> None:
    """Take the kernel's command line into the profile."""
    try:
        words = shlex.split(value)
    except ValueError:
        words = value.split()
    for word in words:
        name, _, text = re.sub(r"^live-config[./]", "", word).partition("=")
        if not configure(draft, name, text, where):
            draft.add(key, word, where)


def configure(draft: Draft, name: str, value: str, where: str) -> bool:
    """Take a parameter of live-config into the profile; tell whether it is one."""
    table, words = tables(), words_of(value)
    if name in {"locales", "locale", "lang"} and words:
        first, *others = [one if "." in one else f"{one}.UTF-8" for one in words]
        draft.set("locale", first, where)
        add_all(draft, "locales", " ".join(others), where)
    elif name == "user-default-groups":
        known = table["groups"].split()
        draft.set("users.groups", [one for one in words if one in known], where)
        if others := [one for one in words if one not in known]:
            draft.leave(where, f"groups {', '.join(others)}", "groups")
    elif name in {"noroot", "noautologin"}:
        draft.set(
            "users.sudo" if name == "noroot" else "users.autologin",
            "none" if name == "noroot" else False,
            where,
        )
    elif name in table["words"]:
        draft.set(table["words"][name], value, where)
    elif name in table["words_lost"].split():
        draft.leave(where, f"{name}={value}".rstrip("="), "live-config")
    else:
        return name in table["words_without_loss"].split()
    return True


CONVERT: dict[str, Convert] = {
    "": lambda draft, key, value, where: draft.set(key, value, where),
    "suite": lambda draft, key, value, where: draft.set(key, CODENAMES.get(value, value), where),
    "list": lambda draft, key, value, where: draft.set(key, words_of(value), where),
    "boolean": lambda draft, key, value, where: draft.set(key, value not in OFF, where),
    "label": lambda draft, key, value, where: draft.set(key, re.sub(r"\W", "_", value.upper(), flags=re.ASCII), where),
    "lower": lambda draft, key, value, where: draft.set(key, value.lower(), where),
    "number": lambda draft, key, value, where: draft.set(key, int(value) if value.isdigit() else value, where),
    "backports": lambda draft, key, value, where: None if value in OFF else draft.add(key, "backports", where),
    "items": add_all, "mirror": _mirror, "without_security": _without("security"), "without_updates": _without("updates"),
    "kernels": _kernels, "bootloaders": _bootloaders, "debootstrap": _debootstrap, "command_line": command_line,
}  # fmt: skip
