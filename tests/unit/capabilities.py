"""What the process that runs the tests may do: root in a development container has another user's rights."""

from __future__ import annotations

from pathlib import Path

BITS = {"CHOWN": 0, "DAC_OVERRIDE": 1}
"""As in linux/capability.h."""


def has_capability(name: str) -> bool:
    """Tell whether this process has a capability."""
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "CapEff":
            return bool(int(value, 16) >> BITS[name] & 1)
    return False
