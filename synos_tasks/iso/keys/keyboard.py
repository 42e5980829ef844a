"""The keyboard, on the console and in graphical sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.key import Expected, Key, Said, mistake, updates
from synos_tasks.iso.keys.locale import known, near
from synos_tasks.iso.schema import mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from synos_tasks.errors import ProfileError
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.system import System

US = {"layout": "us", "variant": "", "model": "pc105", "options": ""}
_COMMAS = "names as `man 7 xkeyboard-config` has them, with commas between"


def _unknown(said: Said) -> Iterator[ProfileError]:
    value = said.value("keyboard")
    if value.data is None:
        return
    layouts = known()["layouts"]
    parts = {name: (value.entries.get(name), said["keyboard"][name].split(",")) for name in US}
    chosen = parts["layout"][1]
    for name, (one, words) in parts.items():
        if one is None:
            continue
        if name == "variant" and len(words) > len(chosen):
            hint = "one for each layout, with commas between; nothing between two commas is no variant"
            yield mistake(one, f"there are {len(words)} variants for {len(chosen)} layouts", hint)
            continue
        of = {"layout": [layouts] * len(words), "model": [known()["models"]], "options": [known()["options"]] * len(words),
              "variant": [layouts.get(layout, []) for layout in chosen]}  # fmt: skip
        for word, names in zip(words, of[name], strict=False):
            if word and word not in names:
                hint = near(word, names, "`man 7 xkeyboard-config`")
                yield mistake(one, f"there is no {name.rstrip('s')} {word!r}", hint)


def apply(system: System, keyboard: dict[str, str]) -> None:
    """Write /etc/default/keyboard, and let console-setup renew what it derives from it."""
    values = {f"XKB{name.upper()}": keyboard[name] for name in ("model", "layout", "variant", "options")}
    text = "".join(f'{name}="{value}"\n' for name, value in values.items())
    system.write("etc/default/keyboard", f'{text}BACKSPACE="guess"\n')
    if keyboard != US and system.has("usr/bin/setupcon"):
        system.run(["setupcon", "--save-only"], key="keyboard")


def expect(_profile: Profile, keyboard: dict[str, str]) -> Iterable[Expected]:
    """Expect it in the file that consoles and graphical sessions read."""
    said = "; ".join(keyboard[name] for name in US)
    names = "; ".join(f"$XKB{name.upper()}" for name in US)
    yield Expected("keyboard", said, f'. /etc/default/keyboard; printf %s "{names}"')


KEY = Key(
    kind=mapping(
        {
            "layout": text(r"[a-z]{2,8}(,[a-z]{2,8}){0,3}", "an XKB layout such as us", "Layouts, such as `us,cz`.", allowed=_COMMAS),
            "variant": text(r"[A-Za-z0-9_,-]{0,60}", "an XKB variant", "A variant for each, such as `,bksl`.", allowed=_COMMAS),
            "model": text(r"[A-Za-z0-9_-]{1,40}", "an XKB model such as pc105", "Model.", allowed=_COMMAS),
            "options": text(
                r"[A-Za-z0-9_:,()+-]{0,200}", "XKB options", "Options, such as `grp:alt_shift_toggle`.", allowed=_COMMAS
            ),
        },
        "Keyboard, in XKB's terms.",
    ),
    default=US,
    merge=updates,
    check=_unknown,
    packages=lambda value: [] if {**US, **value} == US else ["console-setup", "keyboard-configuration"],
    apply=apply,
    expect=expect,
    aliases=("keymap", "keytable", "keyboard_layout", "keyboard_layouts", "xkb", "console"),
    example="{layout: de, variant: nodeadkeys}",
)  # fmt: skip
