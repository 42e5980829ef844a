"""Compression beside later stages: when one of these writes into a file that is being compressed, all is made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration
WRITTEN = "usr/share/base-files/profile"


def patch(clone: Clone, path: str, old: str, new: str) -> None:
    """Change a line of the clone's own code."""
    text = (clone.root / path).read_text()
    assert text.count(old) == 1
    (clone.root / path).write_text(text.replace(old, new))


@pytest.mark.long
def test_a_layer_never_holds_what_a_later_stage_wrote(clone: Clone) -> None:
    # the base's compression begins late, and the stage that writes in place is done before
    begin = "    algorithm, level = compression\n"
    late = '    import time\n    time.sleep(9 if stage == "base" else 0)\n'
    patch(clone, "synos_tasks/iso/stages/squashfs.py", begin, late + begin)
    work = "    _live_config(profile, root)\n    _locale("
    write = (
        f'    with (root / "{WRITTEN}").open("a") as stream:\n        stream.write("# written in place\\n")\n'
    )
    patch(clone, "synos_tasks/iso/stages/system.py", work, write + work)
    built = clone.inv("build.iso", "--profile", "minimal")
    assert "made again, one by one" in built.err
    last = {}
    for stage in built.json["stages"]:
        if stage["name"] in {"base", "system"}:
            layer = f"/cache/objects/{stage['key']}/layer.squashfs"
            last[stage["name"]] = clone.in_store(f"unsquashfs -cat {layer} {WRITTEN} | tail -n 1")
    assert last["system"] == "# written in place"
    assert last["base"] != last["system"]
