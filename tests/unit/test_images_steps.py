"""What is said of the steps of an image's build, and of the one that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from python_on_whales.exceptions import DockerException

from synos_tasks.engine.buildkit import follow_build
from synos_tasks.errors import BadSignature, ImageBuildFailed, MirrorUnreachable
from synos_tasks.images.building import mirror_errors
from synos_tasks.iso.proxies import NO_PROXIES

if TYPE_CHECKING:
    from collections.abc import Iterator

# printed by buildx 0.13.1
FETCHED = """\
#0 building with "default" instance using docker driver

#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 173B done
#1 DONE 0.0s

#4 [builder 1/3] FROM docker.io/library/debian:bookworm-slim
#4 CACHED

#5 [builder 2/3] RUN make && make install
#5 0.152 #4 DONE 9.9s
#5 DONE 1.5s

#5 [builder 2/3] RUN make && make install
#6 [builder 3/3] RUN apt-get update \x07
"""
FAILED = """\
#6 ERROR: process "/bin/sh -c apt-get update" did not complete successfully: exit code: 3
------
 > [builder 3/3] RUN apt-get update:
0.151 line 1
0.155 {line}
------
Dockerfile:2
--------------------
   2 | >>> RUN apt-get update
--------------------
ERROR: failed to solve: process "/bin/sh -c apt-get update" did not complete successfully: exit code: 3
"""


def lines(ending: str = "") -> Iterator[str]:
    yield from (FETCHED + ending).splitlines(keepends=True)
    if ending:
        raise DockerException(["docker"], 1, stderr=(FETCHED + ending).encode())


def test_a_step_is_a_line_with_its_seconds_once_it_has_ended() -> None:
    said: list[str] = []
    follow_build([*lines(), "#6 DONE 0.3s\n"], said.append)
    assert said == [
        "   cached  [builder 1/3] FROM docker.io/library/debian:bookworm-slim",
        "     1.5s  [builder 2/3] RUN make",
        "     0.3s  [builder 3/3] RUN apt-get update \ufffd",
    ]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("make: *** [all] Error 2", ImageBuildFailed),
        ("E: Failed to fetch http://deb.debian.org/x  Connection refused", MirrorUnreachable),
        ("E: Failed to fetch http://deb.debian.org/x  Hash Sum mismatch", BadSignature),
        ("E: Conflicting distribution: another one is served", BadSignature),
    ],
)
def test_a_failing_step_is_named_with_its_last_lines(line: str, kind: type[ImageBuildFailed]) -> None:
    with pytest.raises(kind) as caught, mirror_errors(NO_PROXIES):
        follow_build(lines(FAILED.format(line=line)), print)
    assert caught.value.where == "[builder 3/3] RUN apt-get update"
    assert caught.value.why.splitlines()[:2] == ["line 1", line]
    assert caught.value.why.endswith("exit code: 3")


def test_a_build_without_any_step_fails_with_what_buildkit_says() -> None:
    with pytest.raises(ImageBuildFailed) as caught:
        follow_build(lines("ERROR: failed to read dockerfile: no such file\n"), print)
    assert caught.value.why.endswith("ERROR: failed to read dockerfile: no such file")
