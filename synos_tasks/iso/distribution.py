"""The key `distribution`: what the system calls itself, in os-release, boot menu and the names of ISOs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.key import Expected, Key, Said, mistake, updates
from synos_tasks.iso.schema import mapping, relative, text, url
from synos_tasks.iso.suites import SUITES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from synos_tasks.errors import ProfileError
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.schema import Kind

LABEL_LENGTH = 32
_LINE = 'one line without " $ ` and \\'


def _line(doc: str) -> Kind:
    return text(
        r'[^"$`\\\x00-\x1f\x7f]{1,80}', "one line of text", doc, allowed=f"{_LINE}; 80 characters at most"
    )


def _long_label(said: Said) -> Iterator[ProfileError]:
    label = said.value("distribution", "iso_label")
    if label.data and len(str(label.data)) > LABEL_LENGTH:
        yield mistake(
            label, f"the label has {len(str(label.data))} characters", f"{LABEL_LENGTH} at most: ISO 9660"
        )


def _said(profile: Profile) -> dict[str, str]:
    """Return what the profile says, or else what follows from the project."""
    return {"id": profile.project, "name": profile.title, **profile.values.get("distribution", {})}


def os_release(profile: Profile) -> dict[str, str]:
    """Return the fields of os-release, unquoted; see os-release(5)."""
    said = _said(profile)
    version = said.get("version") or SUITES[profile.suite].version
    named = f"{version} ({said['codename']})" if version and "codename" in said else version
    fields = {
        "PRETTY_NAME": " ".join(filter(None, [said["name"], named or profile.suite, "" if "version" in said else f"({profile.name})"])),
        "NAME": said["name"],
        "ID": said["id"],
        "ID_LIKE": "debian",
        "VERSION_ID": version,
        "VERSION": named if "version" in said else "",
        "VERSION_CODENAME": said.get("codename", profile.suite),
        "DEBIAN_CODENAME": profile.suite if "codename" in said else "",
        "VARIANT_ID": profile.name,
        "HOME_URL": said.get("url", ""),
        "SUPPORT_URL": said.get("support_url", ""),
        "BUG_REPORT_URL": said.get("bug_url", ""),
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value}


def files(profile: Profile) -> dict[str, str]:
    """Return path and text of the files that tell what the system is."""
    release = os_release(profile)
    pretty = release["PRETTY_NAME"]
    return {
        "usr/lib/os-release": "".join(f'{name}="{value}"\n' for name, value in release.items()),
        "etc/issue": f"{pretty} \\n \\l\n\n",
        "etc/issue.net": f"{pretty}\n",
    }


def menu_title(profile: Profile) -> str:
    """Return what the boot menu calls the system."""
    said = _said(profile)
    return said.get("grub_title") or f"{said['name']} {said.get('version') or profile.name}"


def iso_name(profile: Profile) -> str:
    """Return the name of the newest ISO, without its ending."""
    said = _said(profile)
    return said.get("iso_name") or f"{said['id']}-{profile.name}"


def iso_label(profile: Profile) -> str:
    """Return the ISO 9660 volume id: at most 32 capitals, digits and underscores."""
    name = f"{_said(profile)['id']}-{profile.name}"
    label = "".join(letter if letter.isalnum() else "_" for letter in name.upper())
    return str(_said(profile).get("iso_label") or label[:LABEL_LENGTH])


def _expect(profile: Profile, _said: dict[str, str]) -> Iterable[Expected]:
    """Expect what os-release says."""
    for name, value in os_release(profile).items():
        yield Expected(f"os-release: {name}", value, f'. /etc/os-release; printf %s "${name}"')


KEY = Key(
    kind=mapping(
        {
            "id": text(r"[a-z0-9][a-z0-9._-]{0,40}", "an id", "ID of os-release.", allowed="lower-case letters, digits, . _ and -"),
            "name": _line("What people call it: NAME of os-release, and the menu."),
            "version": text(r"[A-Za-z0-9][A-Za-z0-9._~+-]{0,30}", "a version in quotes", "VERSION_ID of os-release.",
                            allowed="letters, digits, . _ ~ + and -"),
            "codename": text(r"[a-z0-9][a-z0-9._-]{0,40}", "a codename", "VERSION_CODENAME of os-release; Debian's is then DEBIAN_CODENAME.",
                             allowed="lower-case letters, digits, . _ and -"),
            "url": url("HOME_URL of os-release."),
            "support_url": url("SUPPORT_URL of os-release."),
            "bug_url": url("BUG_REPORT_URL of os-release."),
            "iso_label": text(r"[A-Z0-9_]{1,64}", "a label", "Volume label of the ISO.", allowed="capitals, digits and _; 32 at most"),
            "iso_name": text(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,80}", "a file name", "Name of the ISO without `.iso`; the build id is added.",
                             allowed="letters, digits, . _ + ~ and -"),
            "grub_title": _line("The first entry of the menu."),
            "grub_theme": relative("a folder relative to docker/build", "A theme of GRUB, with theme.txt in it."),
            "splash": relative("a picture relative to docker/build", "A PNG behind the menu."),
        },
        "What the system calls itself.",
        allowed="a mapping as `{name: Kiosk OS}`; the release of Debian is `suite: trixie`",
    ),
    default={},
    merge=updates,
    check=_long_label,
    expect=_expect,
    aliases=(
        "branding", "os_release", "identity", "product", "name", "title", "id", "version", "image_name", "image_id", "image_version",
        "iso_volume", "iso_application", "iso_publisher", "iso_name", "iso_label", "volid", "iso_file_name", "iso_volume_id", "iso_release_name", "iso_disk_name", "label", "splash",
    ),
    example='{id: kiosk-os, name: Kiosk OS, version: "1.0", iso_name: kiosk-os-1.0}',
)  # fmt: skip
