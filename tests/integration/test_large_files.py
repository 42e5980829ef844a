"""A file of 4 GiB and more is whole on the ISO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import ROOT, docker

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration
SIZE = 4100 * 2**20
SCRIPT = f"""\
import pathlib
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.protocol import Events
from synos_tasks.iso.stages import bootfiles, iso
from synos_tasks.iso.tools import BuildContext

work = pathlib.Path("/work")
large, tree = work / "large", work / "iso"
tree.mkdir()
with large.open("wb") as stream:  # with a hole: it takes no room
    stream.truncate({SIZE})
    stream.seek(-7, 2)
    stream.write(b"the end")
events = Events(work / "log", lambda _: None)
context = BuildContext(profile=Profile(name="large"), events=events, epoch=1_700_000_000, work=work)
bootfiles.make(context, "0123456789ab", tree, kernels=["6"], file_systems=1)
iso.make(context, tree, {{"filesystem.squashfs": large}}, work / "image.iso")
"""
# the last part of the file: its first block, its blocks, and the size of all parts
LOOK = """\
xorriso -indev /work/image.iso -find /live/filesystem.squashfs -exec report_lba -- 2>/dev/null |
    sed -n 's/^File data lba: *1 , *\\([0-9]*\\) , *\\([0-9]*\\) , *\\([0-9]*\\) .*/\\1 \\2 \\3/p' >/work/part
read -r block blocks size </work/part
echo "$size"
tail -c "+$((block * 2048 + 1))" /work/image.iso | head -c "$((size - (2097151 * 2048)))" | tail -c 7
"""


@pytest.mark.long
def test_a_file_system_of_more_than_four_gib_is_whole_on_the_iso(clone: Clone, builder_image: str) -> None:
    code = f"--volume={ROOT / 'synos_tasks'}:/project/synos_tasks:ro"
    run = ["run", "--rm", f"--label={clone.label}", "--network=none", code, builder_image, "sh", "-euc"]
    said = docker(*run, f"python3 - <<'END'\n{SCRIPT}END\n{LOOK}")
    assert said.splitlines() == [str(SIZE), "the end"]
