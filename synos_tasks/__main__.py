"""`inv`, as the wheel installs it: Invoke's own program, which also offers `init` where there is no project yet."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

from invoke.collection import Collection
from invoke.exceptions import Exit
from invoke.program import Program

from synos_tasks.root.init import init, new_id

BEFORE_A_PROJECT = ("init", "new-id")


class Inv(Program):
    """Invoke's program; the verbs that make a project need none."""

    def load_collection(self) -> None:
        """Load tasks.py of this folder or one above, or else the verbs that make a project of this one."""
        wanted = self.core.unparsed[0] if self.core.unparsed else self.args.help.value
        if wanted not in BEFORE_A_PROJECT:
            try:
                super().load_collection()
            except Exit as error:
                if wanted:
                    message = f"{error.message}\nThere is no project in {Path.cwd()} or above: `inv init` makes one."
                    raise Exit(message, code=47) from None
            else:
                return
        # init needs no setting, and must not stumble over a file that it will not overwrite
        if wanted != "init":
            self.config.set_project_location(str(Path.cwd()))
            self.config.load_project()
        self.collection = Collection(init, new_id)


def main() -> None:
    """Run `inv`. What it starts finds the commands of its virtual environment, `inv` above all."""
    if sys.prefix != sys.base_prefix:
        folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        os.environ["PATH"] = os.pathsep.join(folders)
    Inv(name="Invoke", binary="inv[oke]", binary_names=["inv", "invoke"], version=version("invoke")).run()


if __name__ == "__main__":
    main()
