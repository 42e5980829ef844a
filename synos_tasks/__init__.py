"""Invoke tasks that build Debian live ISOs, run services and development containers, and clean up.

A project's tasks.py needs two lines:

    from synos_tasks import collection
    ns = collection()
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from invoke.collection import Collection

__version__ = "0.1.0"


def collection(root: Path | None = None) -> Collection:
    """Return all verbs for the project in ``root``, by default the folder of the module that calls."""
    import os  # noqa: PLC0415  (the builder container imports this package without Invoke)
    from pathlib import Path  # noqa: PLC0415

    # Invoke turns bytecode off, so that each command would compile every module again
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    from synos_tasks.namespace import assemble  # noqa: PLC0415

    return assemble(root or Path(sys._getframe(1).f_globals["__file__"]).parent)  # noqa: SLF001
