"""Machines that share a remote store make each stage once; what nobody trusted has signed, each makes itself."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import Clone, copy_project
from tests.conftest import remove_labelled
from tests.rclone import S3, s3, serving
from tests.signing import new_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.build_helpers import Answer

pytestmark = pytest.mark.integration
MADE_EACH_TIME = {"bootfiles", "iso"}


@pytest.fixture(scope="module")
def shared(warm: Clone, minimal: Answer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bucket, in a folder, to which a machine has pushed `minimal` by S3; `key` and `key.pub` are beside it."""
    root = tmp_path_factory.mktemp("team") / "root"
    (root / "bucket").mkdir(parents=True)
    key = root.parent / "key"
    new_key(key)
    with s3(root) as url:
        push = partial(
            warm.try_inv,
            *("build.store", "push", "--profile", "minimal", "--to", "s3://bucket/store"),
            INVOKE_SYNOS_BUILD_STORE_SIGNING_KEY=str(key),
            AWS_ENDPOINT_URL=url,
        )
        refused = push(**{**S3, "AWS_SECRET_ACCESS_KEY": "wrong"})
        assert refused.code == 50
        assert "SignatureDoesNotMatch" in refused.err
        pushed = push(**S3).json
        assert (pushed["entries"], pushed["there"]) == (6, 0)
    return root


@pytest.fixture
def cold(shared: Path, warm: Clone, tmp_path: Path) -> Iterator[Clone]:
    """Another machine of the team, which has built nothing."""
    copy = copy_project(tmp_path / "cold")
    for lock in (warm.root / "docker/build/profiles").glob("*.lock.yaml"):
        shutil.copy(lock, copy.root / "docker/build/profiles")
    copy.inv("build.store", "trust", "--key", str(shared.parent / "key.pub"))
    yield copy
    remove_labelled(copy.settings.project.id)


def fetched(answer: Answer) -> set[str]:
    return {stage["name"] for stage in answer.json["stages"] if stage["fetched"]}


def test_a_cold_machine_fetches_all_and_has_the_same_bytes(
    cold: Clone, shared: Path, minimal: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3(shared) as url:
        for name, value in {
            **S3,
            "AWS_ENDPOINT_URL": url,
            "INVOKE_SYNOS_BUILD_STORE": "s3://bucket/store",
            "INVOKE_SYNOS_BUILD_STORE_SIGNING_KEY": str(shared.parent / "key"),
        }.items():
            monkeypatch.setenv(name, value)
        planned = cold.inv("build.plan", "--profile", "minimal")
        found = cold.inv("build.iso", "--profile", "minimal")
        pushed = cold.inv("build.store", "push", "--profile", "minimal").json
    assert (pushed["entries"], pushed["there"]) == (0, 6)
    names = {stage["name"] for stage in found.json["stages"]}
    assert fetched(found) == names - MADE_EACH_TIME
    assert {row["name"] for row in planned.json["stages"] if row["where"] == "remote"} == fetched(found)
    assert planned.json["download_bytes"] > 100 * 10**6
    assert found.json["sha256"] == minimal.json["sha256"]
    assert not list((cold.root / ".synos/downloads").iterdir())


def test_what_is_wrong_is_made_here_and_the_bytes_are_the_same(
    cold: Clone, shared: Path, minimal: Answer
) -> None:
    """One file has a flipped bit, one entry is another's, and one is signed by a stranger."""
    copy = cold.root.parent / "bucket"
    shutil.copytree(shared / "bucket/store", copy)
    keys = {stage["name"]: stage["key"] for stage in minimal.json["stages"]}
    layer = copy / "objects" / keys["system"] / "layer.squashfs"
    raw = bytearray(layer.read_bytes())
    raw[len(raw) // 2] ^= 1
    layer.write_bytes(raw)
    shutil.copy(
        copy / "objects" / keys["system"] / "entry.json", copy / "objects" / keys["overlay"] / "entry.json"
    )
    entry = copy / "objects" / keys["identity"] / "entry.json"
    entry.write_text(entry.read_text().replace('"sig": "', '"sig": "AA'))
    with serving(copy, "http") as url:
        found = cold.inv("build.iso", "--profile", "minimal", INVOKE_SYNOS_BUILD_STORE=url)
    assert fetched(found) == {"base", "packages-minimal", "initramfs"}
    assert found.json["sha256"] == minimal.json["sha256"]
    assert found.err.count("is ignored") == 3


def test_no_store_that_is_not_there_and_no_key_ends_a_build(cold: Clone, shared: Path) -> None:
    store = (shared / "bucket/store").as_uri()
    gone = cold.inv("build.plan", "--profile", "minimal", INVOKE_SYNOS_BUILD_STORE="http://127.0.0.1:1")
    assert "Connection refused" in gone.err
    (cold.root / "docker/build/store.keys").unlink()
    untrusted = cold.inv("build.plan", "--profile", "minimal", INVOKE_SYNOS_BUILD_STORE=store)
    assert "build.store trust --key" in untrusted.err
    assert {row["where"] for row in untrusted.json["stages"]} == {"make"}
