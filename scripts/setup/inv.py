"""`inv` of this clone; .venv/bin/inv is a copy of this file, behind the line that names its Python."""

import sys
from pathlib import Path

HERE = Path(__file__).absolute()
# .venv may be a link; and this file may be one, in a folder of PATH
ROOTS = [path.parents[2] for path in (HERE, HERE.resolve())]
sys.path[0] = str(next(root for root in ROOTS if (root / "synos_tasks").is_dir()))

from synos_tasks.__main__ import main  # noqa: E402

main()
