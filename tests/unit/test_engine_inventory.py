"""What the engine has, of the answers that Docker gives."""

from __future__ import annotations

import copy
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.engine import inventory
from synos_tasks.engine.inventory import Container, Image, Network, Record, Volume, ended, epoch, union_bytes
from synos_tasks.errors import EngineUnavailable, HostUnfit
from tests.unit.fake_daemon import Daemon, listening

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS, THEIRS, BARE = (f"sha256:{letter * 64}" for letter in "abc")
NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC).timestamp()
USED: dict[str, Any] = {
    "LayersSize": 12345,
    "Images": [
        {
            "Containers": 1, "Created": 1700000000, "Id": OURS, "ParentId": "", "RepoDigests": None,
            "Labels": {"io.synos.project": "p"}, "RepoTags": ["synos-boot:1", "b:2"], "SharedSize": 30, "Size": 100,
        },
        {
            "Containers": 0, "Created": 1700000001, "Id": THEIRS, "ParentId": "", "RepoDigests": [],
            "Labels": None, "RepoTags": None, "SharedSize": 0, "Size": 50,
        },
        {
            "Containers": 0, "Created": 0, "Id": BARE, "ParentId": "", "RepoDigests": [],
            "Labels": {}, "RepoTags": ["<none>:<none>"], "SharedSize": -1, "Size": 7,
        },
    ],
    "Containers": [
        {
            "Id": "c1", "Names": ["/synos-nats-1", "/other/alias"], "Image": "synos-boot:1", "ImageID": OURS,
            "Created": 1700000002, "SizeRw": 11, "SizeRootFs": 111, "Labels": {"com.docker.compose.project": "stack"},
            "State": "running", "Status": "Up", "Mounts": [
                {"Type": "volume", "Name": "data", "Source": "/v/data/_data", "Destination": "/d"},
                {"Type": "bind", "Source": "/home", "Destination": "/h"},
                {"Type": "tmpfs", "Source": "", "Destination": "/t"},
            ],
            "NetworkSettings": {"Networks": {"net": {"NetworkID": "n1"}, "two": {"NetworkID": "n2"}}},
        },
        {
            "Id": "c2", "Names": None, "ImageID": THEIRS, "Created": 1700000003, "Labels": None, "State": "created",
            "Mounts": None, "NetworkSettings": None,
        },
    ],
    "Volumes": [
        {
            "CreatedAt": "2026-11-25T12:00:00Z", "Driver": "local", "Labels": {"io.synos.project": "p"},
            "Mountpoint": "/v/data/_data", "Name": "data", "Options": None, "UsageData": {"RefCount": 1, "Size": 99},
        },
        {
            "CreatedAt": "2026-11-25T13:00:00+01:00", "Driver": "local", "Labels": None, "Mountpoint": "/v/alias/_data",
            "Name": "alias", "Options": {"device": "/v/data/_data", "o": "bind", "type": "none"},
            "UsageData": {"RefCount": -1, "Size": -1},
        },
        {
            "CreatedAt": "2026-11-25T12:00:00Z", "Driver": "local", "Labels": {}, "Mountpoint": "/v/x/_data",
            "Name": "x", "Options": {}, "UsageData": None,
        },
    ],
    "BuildCache": [
        {
            "ID": "r1", "Type": "regular", "Description": "mount / from exec /bin/sh -c x", "Parents": ["r0", "rx"],
            "InUse": False, "Shared": True, "Size": 5, "CreatedAt": "2026-11-25T10:00:00.123456789Z",
            "LastUsedAt": "2026-11-25T12:00:00.5Z", "UsageCount": 2,
        },
        {
            "ID": "r2", "Type": "exec.cachemount", "Description": "cached mount", " Parents": ["r1"], "InUse": True,
            "Shared": False, "Size": 6, "CreatedAt": "2026-11-25T12:00:00Z", "LastUsedAt": None, "UsageCount": 0,
        },
        {
            "ID": "r3", "Type": "regular", "Description": "", "InUse": False, "Shared": False, "Size": 0,
            "CreatedAt": "2026-11-25T12:00:00Z", "UsageCount": 0,
        },
    ],
}  # fmt: skip
NETWORKS = [
    {
        "Name": "net",
        "Id": "n1",
        "Created": "2026-11-25T12:00:00.164365391Z",
        "Labels": {"io.synos.project": "p"},
    },
    {"Name": "bridge", "Id": "n0", "Created": "2026-11-25T12:00:00Z", "Labels": None},
]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with listening() as found:
        monkeypatch.setenv("DOCKER_HOST", found.host)
        found.answers |= {
            "GET /system/df": (200, copy.deepcopy(USED)),
            "GET /version": (200, {"ApiVersion": "1.42"}),
            "GET /networks": (200, NETWORKS),
            "GET /info": (200, {"DockerRootDir": "/var/lib/docker"}),
        }
        for number, ident in enumerate((OURS, THEIRS, BARE)):
            told = {
                "Id": ident,
                "Metadata": {"LastTagTime": f"2026-11-25T12:00:0{number}.000000001Z"},
                "RootFS": {"Type": "layers", "Layers": ["sha256:base", f"sha256:{number}"]},
            }
            found.answers[f"GET /images/{ident}/json"] = 200, told
        yield found


def test_images_are_told_with_their_layers_and_names(daemon: Daemon) -> None:
    assert inventory.take().images == (
        Image(
            id=OURS,
            tags=("synos-boot:1", "b:2"),
            labels={"io.synos.project": "p"},
            bytes=100,
            own_bytes=70,
            created=1700000000.0,
            tagged=NOON,
            layers=("sha256:base", "sha256:0"),
        ),
        Image(
            id=THEIRS,
            tags=(),
            labels={},
            bytes=50,
            own_bytes=50,
            created=1700000001.0,
            tagged=NOON + 1,
            layers=("sha256:base", "sha256:1"),
        ),
        # what it shares is not known
        Image(
            id=BARE,
            tags=(),
            labels={},
            bytes=7,
            own_bytes=7,
            created=0.0,
            tagged=NOON + 2,
            layers=("sha256:base", "sha256:2"),
        ),
    )


@pytest.mark.parametrize(
    ("version", "asked"),
    [
        ("1.42", "/system/df"),
        ("1.44", "/v1.44/system/df"),
        ("1.52", "/v1.44/system/df"),
        ("1.9", "/system/df"),
    ],
)
def test_what_is_used_is_asked_for_in_the_form_that_is_read_here(
    daemon: Daemon, version: str, asked: str
) -> None:
    daemon.answers["GET /version"] = 200, {"ApiVersion": version}
    daemon.answers[f"GET {asked}"] = 200, copy.deepcopy(USED)
    assert len(inventory.take().images) == 3
    assert f"GET {asked}" in daemon.asked


def test_an_image_that_went_away_meanwhile_is_not_there(daemon: Daemon) -> None:
    del daemon.answers[f"GET /images/{OURS}/json"]
    assert [one.id for one in inventory.take().images] == [THEIRS, BARE]


@pytest.mark.parametrize("metadata", [{}, None, {"LastTagTime": ""}, {"LastTagTime": "0001-01-01T00:00:00Z"}])
def test_an_image_may_never_have_had_a_name_nor_layers(daemon: Daemon, metadata: object) -> None:
    told = {"Metadata": metadata, "RootFS": {"Type": "layers", "Layers": None}}
    daemon.answers[f"GET /images/{OURS}/json"] = 200, told
    image = inventory.take().images[0]
    assert (image.tagged, image.layers) == (0.0, ())


def test_containers_are_told_with_what_they_use(daemon: Daemon) -> None:
    found = inventory.take().containers
    assert found == (
        Container(
            id="c1",
            name="synos-nats-1",
            image=OURS,
            labels={"com.docker.compose.project": "stack"},
            state="running",
            bytes=11,
            created=1700000002.0,
            volumes=("data",),
            networks=("n1", "n2", "net", "two"),
        ),
        Container(id="c2", name="", image=THEIRS, labels={}, state="created", bytes=0, created=1700000003.0),
    )
    assert [one.compose_project for one in found] == ["stack", ""]


def test_volumes_are_told_with_the_folder_that_they_are_another_name_of(daemon: Daemon) -> None:
    assert inventory.take().volumes == (
        Volume(name="data", labels={"io.synos.project": "p"}, bytes=99, created=NOON, place="/v/data/_data"),
        Volume(
            name="alias", labels={}, bytes=0, created=NOON, device="/v/data/_data", place="/v/alias/_data"
        ),
        Volume(name="x", labels={}, bytes=0, created=NOON, place="/v/x/_data"),
    )


def test_networks_are_told(daemon: Daemon) -> None:
    found = inventory.take().networks
    assert [(one.id, one.name, one.labels) for one in found] == [
        ("n1", "net", {"io.synos.project": "p"}),
        ("n0", "bridge", {}),
    ]
    assert found[0].created == pytest.approx(NOON + 0.164365, abs=1e-6)
    assert found[1] == Network(id="n0", name="bridge", labels={}, created=NOON)


def test_records_are_told_with_their_parents_however_the_engine_spells_that(daemon: Daemon) -> None:
    one, two, three = inventory.take().records
    assert one == Record(
        id="r1",
        parents=("r0", "rx"),
        type="regular",
        description="mount / from exec /bin/sh -c x",
        in_use=False,
        shared=True,
        bytes=5,
        used=NOON + 0.5,
    )
    assert (two.parents, two.in_use, two.used) == (("r1",), True, NOON)  # one that was not used was made
    assert three.parents == ()


def test_the_rest_is_told(daemon: Daemon) -> None:
    found = inventory.take()
    assert (found.layers_bytes, found.root_dir) == (12345, "/var/lib/docker")


def test_an_engine_that_has_nothing_gives_nothing(daemon: Daemon) -> None:
    nothing = {"Images": None, "Containers": None, "Volumes": None, "BuildCache": None, "LayersSize": 0}
    daemon.answers |= {"GET /system/df": (200, nothing), "GET /networks": (200, [])}
    assert inventory.take() == inventory.Inventory(root_dir="/var/lib/docker")


@pytest.mark.parametrize("path", ["/system/df", "/networks", "/info", f"/images/{OURS}/json"])
def test_an_engine_that_refuses_is_told_and_no_part_is_taken_for_the_whole(daemon: Daemon, path: str) -> None:
    daemon.answers[f"GET {path}"] = 500, {"message": "broken"}
    with pytest.raises(EngineUnavailable) as caught:
        inventory.take()
    assert (caught.value.where, caught.value.why) == (path, "broken")


@pytest.mark.parametrize("host", ["ssh://me@there", "tcp://10.0.0.1:2376"])
def test_an_engine_elsewhere_is_not_looked_at(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(HostUnfit, match="not this machine's"):
        inventory.take()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0001-01-01T00:00:00Z", 0.0),
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-11-25T12:00:00Z", NOON),
        ("2026-11-25T14:00:00+02:00", NOON),
        ("2026-11-25T07:30:00-04:30", NOON),
        ("2026-11-25T12:00:00.5Z", NOON + 0.5),
        ("2026-11-25T12:00:00.25Z", NOON + 0.25),
        ("2026-11-25T12:00:00.0625Z", NOON + 0.0625),
        ("2026-11-25T12:00:00.03125Z", NOON + 0.03125),
        ("2026-11-25T12:00:00.500000Z", NOON + 0.5),
        ("2026-11-25T12:00:00.5000001Z", NOON + 0.5),
        ("2026-11-25T12:00:00.500000999Z", NOON + 0.5),
        ("2026-11-25T13:00:00.500000999+01:00", NOON + 0.5),
    ],
)
def test_times_are_read_as_go_prints_them(text: str, seconds: float) -> None:
    assert epoch(text) == seconds


def stopped(daemon: Daemon, **state: object) -> Container:
    daemon.answers["GET /containers/c1/json"] = 200, {"State": state}
    return Container(id="c1", name="x", image=OURS, labels={}, state="exited", bytes=0, created=1.0)


def test_when_a_container_ended_is_asked(daemon: Daemon) -> None:
    assert ended(stopped(daemon, Running=False, FinishedAt="2026-11-25T12:00:00.1Z")) == NOON + 0.1
    assert ended(stopped(daemon, Running=False, FinishedAt="0001-01-01T00:00:00Z")) == 0.0
    # one that was started again has the end of its run before
    assert ended(stopped(daemon, Running=True, FinishedAt="2026-11-25T12:00:00Z")) == 0.0
    gone = stopped(daemon, Running=False, FinishedAt="2026-11-25T12:00:00Z")
    del daemon.answers["GET /containers/c1/json"]
    assert ended(gone) == 0.0


def history(daemon: Daemon, ident: str, *layers: tuple[str, int]) -> Image:
    """Give an image of these layers, the lowest first; the engine tells them the other way round."""
    told = [{"Created": 1, "CreatedBy": by, "Size": size, "Id": "<missing>"} for by, size in reversed(layers)]
    daemon.answers[f"GET /images/{ident}/history"] = 200, told
    return Image(id=ident, tags=(), labels={}, bytes=0, own_bytes=0, created=0.0)


def test_what_images_share_is_counted_once(daemon: Daemon) -> None:
    base = [("base", 100), ("ENV", 0)]
    one = history(daemon, OURS, *base, ("RUN a", 10), ("RUN b", 1))
    two = history(daemon, THEIRS, *base, ("RUN a", 10), ("RUN c", 2))
    assert union_bytes([one]) == 111
    assert union_bytes([one, two]) == union_bytes([two, one]) == 113
    assert union_bytes([one, one]) == 111
    assert union_bytes([]) == 0


def test_like_steps_on_different_layers_are_different_layers(daemon: Daemon) -> None:
    one = history(daemon, OURS, ("base", 100), ("RUN a", 10))
    two = history(daemon, THEIRS, ("other", 100), ("RUN a", 10))
    assert union_bytes([one, two]) == 220


def test_a_step_twice_in_an_image_is_two_layers(daemon: Daemon) -> None:
    assert union_bytes([history(daemon, OURS, ("base", 100), ("RUN a", 10), ("RUN a", 10))]) == 120


def test_an_image_that_is_gone_takes_nothing(daemon: Daemon) -> None:
    gone = history(daemon, OURS, ("base", 100))
    daemon.answers.clear()
    assert union_bytes([gone]) == 0
