"""How packages are installed, whichever tool does it."""

from __future__ import annotations

DPKG_CONF = "etc/dpkg/dpkg.cfg.d/99synos"
# Kept out of every image: documentation but for the licences, which must travel with the binaries.
DPKG_OPTIONS = (
    "force-unsafe-io",  # the root is thrown away if anything goes wrong, so no fsync per file
    "force-confold",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
)
APT_OPTIONS = ('Apt::Install-Recommends "false"', 'Acquire::Languages "none"')
