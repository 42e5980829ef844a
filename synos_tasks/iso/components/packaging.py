"""The debian/ folder of a component: what its source does not bring is written from the recipe. Pure but for write()."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from synos_tasks.errors import ComponentFailed

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.components.recipe import Component

# a .deb of a folder or a commit is dated so: files in an ISO get the lock's date anyway
DATE = "Wed, 01 Jan 2025 00:00:00 +0000"
EPOCH = 1_735_689_600
"""The same, in seconds since 1970."""
MAINTAINER = "SynOS tasks <tasks@synos.invalid>"
SUFFIX = "+synos1"
"""Behind the version of a Debian source package, so that nobody takes ours for Debian's."""
_HEAD = re.compile(r"^(?P<name>\S+) \((?P<version>[^)]+)\) ")
_DATE = re.compile(r"^ -- .*  (?P<date>\S.*)$", re.MULTILINE)
_SYSTEMS = {"cmake": "cmake", "meson": "meson", "make": "makefile"}


def write(component: Component, tree: Path) -> None:
    """Complete the debian/ folder of a source tree."""
    folder = tree / "debian"
    if folder.is_symlink():  # the engine is root, and would write where it leads
        raise ComponentFailed(f"the debian folder of {component.name} is a link", where=component.origin)
    folder.mkdir(exist_ok=True)
    if component.build == "debian":
        changelog = folder / "changelog"
        text = changelog.read_text(errors="surrogateescape")
        changelog.write_text(ours(text, component), errors="surrogateescape")
        return
    for name, text in generated(component).items():
        path = folder / name
        if not path.exists() and not path.is_symlink():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if name == "rules" else 0o644)


def ours(changelog: str, component: Component) -> str:
    """Put an entry of SynOS above a Debian changelog, with the date of the newest one there."""
    head, date = _HEAD.match(changelog), _DATE.search(changelog)
    if not head or not date:
        return changelog
    changes = "".join(f"  * {patch}\n" for patch in component.patches) or "  * Compiled for SynOS.\n"
    return (
        f"{head['name']} ({head['version']}{SUFFIX}) UNRELEASED; urgency=medium\n\n{changes}\n"
        f" -- {MAINTAINER}  {date['date']}\n\n{changelog}"
    )


def generated(component: Component) -> dict[str, str]:
    """Return the files of a debian/ folder by name."""
    name = component.name
    needs = ", ".join(["debhelper-compat (= 13)", *component.build_depends])
    depends = ", ".join([*component.depends, "${shlibs:Depends}", "${misc:Depends}"])
    files = {
        "control": (
            f"Source: {name}\nSection: misc\nPriority: optional\nMaintainer: {MAINTAINER}\n"
            f"Build-Depends: {needs}\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n\n"
            f"Package: {name}\nArchitecture: any\nDepends: {depends}\n"
            f"Description: {component.description}\n"
        ),
        "changelog": f"{name} ({component.version}) UNRELEASED; urgency=medium\n\n  * Compiled for SynOS.\n\n"
        f" -- {MAINTAINER}  {DATE}\n",
        "rules": rules(component),
        "source/format": "3.0 (native)\n",
    }
    if component.license:
        files["copyright"] = (
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
            f"Upstream-Name: {name}\n\nFiles: *\nCopyright: the authors of {name}\nLicense: {component.license}\n"
        )
    return files


def rules(component: Component) -> str:
    """Return debian/rules."""
    options = "".join(f" {shlex.quote(option)}" for option in component.options)
    start = "#!/usr/bin/make -f\nexport DEB_BUILD_MAINT_OPTIONS = hardening=+all\n"
    if component.build == "cargo":
        return start + _CARGO.format(options=options, name=component.name)
    text = f"{start}%:\n\tdh $@ --buildsystem={_SYSTEMS[component.build]}\n"
    if component.build == "make":
        for step in ("build", "test", "install"):
            text += f"override_dh_auto_{step}:\n\tdh_auto_{step} -- PREFIX=/usr{options}\n"
    elif options:
        text += f"override_dh_auto_configure:\n\tdh_auto_configure --{options}\n"
    return text


_CARGO = """\
%:
\tdh $@
override_dh_auto_clean:
# crates are Debian's, in Debian's versions: a lock of crates.io's names others
override_dh_auto_configure:
\trm -f Cargo.lock
override_dh_auto_build:
\tcargo build --release --offline{options}
override_dh_auto_test:
ifeq (,$(filter nocheck,$(DEB_BUILD_OPTIONS)))
\tcargo test --release --offline{options}
endif
override_dh_auto_install:
\tfind target/release -maxdepth 1 -type f -executable ! -name '*.so' \\
\t\t-exec install -D -t debian/{name}/usr/bin {{}} +
"""
