"""What the engine is asked when a thing goes: its exact name or id, never by force, and never all."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synos_tasks.engine import api, removal
from synos_tasks.engine.removal import DockerRemoval
from synos_tasks.errors import EngineUnavailable
from tests.unit.fake_daemon import Daemon, listening

if TYPE_CHECKING:
    from collections.abc import Iterator

ID = f"sha256:{'a' * 64}"
MADE = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC).timestamp()
IN_USE = {"message": "conflict: unable to remove: container 1234 is using it"}


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with listening() as found:
        monkeypatch.setenv("DOCKER_HOST", found.host)
        yield found


@pytest.fixture
def docker() -> DockerRemoval:
    return DockerRemoval()


def remove(docker: DockerRemoval, kind: str, ident: str) -> str:
    if kind == "containers":
        return docker.container(ident)
    return docker.volume(ident, MADE) if kind == "volumes" else docker.network(ident)


def there(daemon: Daemon, name: str) -> None:
    """Let there be a volume of that name."""
    daemon.answers[f"GET /volumes/{name}"] = 200, {"Name": name, "CreatedAt": "2026-11-25T12:00:00Z"}


@pytest.mark.parametrize("kind", ["containers", "volumes", "networks"])
def test_a_thing_is_removed_by_its_exact_name_once_and_not_by_force(
    daemon: Daemon, docker: DockerRemoval, kind: str
) -> None:
    there(daemon, "x-1_2.3")
    daemon.answers[f"DELETE /{kind}/x-1_2.3"] = 204, None
    assert remove(docker, kind, "x-1_2.3") == ""
    assert [one for one in daemon.asked if one.startswith("DELETE")] == [f"DELETE /{kind}/x-1_2.3"]
    assert all(query.get("force", "false") == "false" for query in daemon.queries)


def test_a_volume_that_was_made_anew_meanwhile_stays(daemon: Daemon, docker: DockerRemoval) -> None:
    there(daemon, "x")
    daemon.answers["DELETE /volumes/x"] = 204, None
    assert docker.volume("x", MADE - 1) == "another volume has its name by now"
    assert daemon.asked == ["GET /volumes/x"]


def test_with_a_container_go_volumes_that_are_its_alone_only_where_that_is_asked_for(
    daemon: Daemon, docker: DockerRemoval
) -> None:
    docker.container("x")
    docker.container("x", volumes=True)
    assert [query["v"] for query in daemon.queries] == ["false", "true"]


def test_only_where_that_is_asked_for_a_container_goes_though_it_runs(
    daemon: Daemon, docker: DockerRemoval
) -> None:
    docker.container("x", running=True)
    assert daemon.queries[0]["force"] == "true"


@pytest.mark.parametrize("kind", ["containers", "volumes", "networks"])
def test_what_went_away_before_is_gone(daemon: Daemon, docker: DockerRemoval, kind: str) -> None:
    assert remove(docker, kind, "x") == ""


@pytest.mark.parametrize("kind", ["containers", "volumes", "networks"])
@pytest.mark.parametrize(
    ("status", "told", "said"),
    [
        (409, IN_USE, IN_USE["message"]),
        (500, {"message": "driver failed"}, "driver failed"),
        (403, {"message": "network x has active endpoints"}, "active endpoints"),
        (500, b"plain words", "plain words"),
        (500, b"", "500"),
        (304, b"", "304"),
    ],
)
def test_what_keeps_a_thing_is_told(
    daemon: Daemon, docker: DockerRemoval, kind: str, status: int, told: object, said: str
) -> None:
    there(daemon, "x")
    daemon.answers[f"DELETE /{kind}/x"] = status, told
    assert said in remove(docker, kind, "x")


def test_an_engine_that_does_not_answer_is_no_refusal(
    docker: DockerRemoval, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/d.sock")
    for work in (
        lambda: docker.volume("x", MADE),
        lambda: docker.image(ID, ()),
        lambda: docker.records(["a"]),
    ):
        with pytest.raises(EngineUnavailable):
            work()


# Images


def with_names(daemon: Daemon, *names: str, none: bool = False) -> None:
    daemon.answers[f"GET /images/{ID}/json"] = 200, {"Id": ID, "RepoTags": None if none else list(names)}
    for name in (*names, ID):
        daemon.answers[f"DELETE /images/{name}"] = 200, [{"Untagged": name}]


def deleted(daemon: Daemon) -> list[str]:
    return [one.removeprefix("DELETE /images/") for one in daemon.asked if one.startswith("DELETE")]


def test_an_image_loses_the_names_that_it_still_has(daemon: Daemon, docker: DockerRemoval) -> None:
    with_names(daemon, "a:1", "theirs:1", "b:1")
    assert docker.image(ID, ("a:1", "b:1", "moved:1")) == ""
    assert deleted(daemon) == ["a:1", "b:1"]
    assert all("force" not in query for query in daemon.queries)


def test_a_name_that_went_to_another_image_is_not_taken_and_the_image_is_not_gone(
    daemon: Daemon, docker: DockerRemoval
) -> None:
    """Were it told to be gone, its id would be forgotten, and nameless it would be nobody's."""
    for none in (True, False):
        with_names(daemon, none=none)
        assert "name" in docker.image(ID, ("a:1",))
    with_names(daemon, "theirs:1")
    assert "name" in docker.image(ID, ("a:1",))
    assert deleted(daemon) == []


def test_an_image_that_went_away_before_is_gone(daemon: Daemon, docker: DockerRemoval) -> None:
    assert docker.image(ID, ("a:1",)) == ""
    assert docker.image(ID, ()) == ""
    assert deleted(daemon) == []


@pytest.mark.parametrize("none", [True, False])
def test_a_nameless_image_goes_by_its_id(daemon: Daemon, docker: DockerRemoval, none: bool) -> None:
    with_names(daemon, none=none)
    assert docker.image(ID, ()) == ""
    assert deleted(daemon) == [ID]


def test_a_nameless_image_that_got_a_name_stays(daemon: Daemon, docker: DockerRemoval) -> None:
    with_names(daemon, "theirs:1")
    assert docker.image(ID, ()) == "it has a name by now"
    assert deleted(daemon) == []


def test_each_name_that_is_refused_is_told(daemon: Daemon, docker: DockerRemoval) -> None:
    with_names(daemon, "a:1", "b:1", "c:1")
    daemon.answers["DELETE /images/a:1"] = 409, {"message": "first"}
    daemon.answers["DELETE /images/c:1"] = 409, {"message": "third"}
    assert docker.image(ID, ("a:1", "b:1", "c:1")) == "first; third"


# Build cache


def pruned(daemon: Daemon) -> list[set[str]]:
    """Give the ids that each request chose, by the expression that BuildKit gets."""
    found = []
    for asked, query in zip(daemon.asked, daemon.queries, strict=True):
        assert asked == "POST /build/prune"
        assert set(query) == {"all", "filters"}
        [(name, values)] = json.loads(query["filters"]).items()
        assert name == "id"
        [(text, value)] = values.items()
        assert value is True
        expression = json.loads(text)  # between quotes, so that it is one word
        inner = re.fullmatch(r"\^\(([A-Za-z0-9|]+)\)\$", expression)
        assert inner, expression
        chosen = inner[1].split("|")
        assert all(chosen)
        found.append(set(chosen))
    return found


def test_exactly_the_records_that_were_named_are_chosen(daemon: Daemon, docker: DockerRemoval) -> None:
    daemon.answers["POST /build/prune"] = 200, {"CachesDeleted": ["abc", "def"], "SpaceReclaimed": 9}
    assert docker.records(["abc", "def", "ghi"]) == ["abc", "def"]
    # and once more for what was left: it may have been waiting for what is gone now
    assert pruned(daemon) == [{"abc", "def", "ghi"}, {"ghi"}]
    assert daemon.queries[0]["all"] == "true"  # else those of no image stay


@pytest.mark.parametrize("told", [{"CachesDeleted": None, "SpaceReclaimed": 0}, {}, None])
def test_where_none_went_none_is_told(daemon: Daemon, docker: DockerRemoval, told: object) -> None:
    daemon.answers["POST /build/prune"] = 200, told
    assert docker.records(["abc"]) == []


def test_a_refusal_means_that_none_went(daemon: Daemon, docker: DockerRemoval) -> None:
    daemon.answers["POST /build/prune"] = 500, {"message": "broken", "CachesDeleted": ["abc"]}
    assert docker.records(["abc"]) == []


BAD = [
    "",
    " ",
    ".*",
    "a|b",
    "a.c",
    "^",
    "$",
    "a\nb",
    'a"b',
    "a b",
    "ä",
    "\u0661",
    "*",
    "(",
    "[a-z]+",
    "\\w",
    "a)|(b",
]


@pytest.mark.parametrize("idents", [[], *([one] for one in BAD), BAD])
def test_without_an_id_that_can_be_one_nothing_is_asked(
    daemon: Daemon, docker: DockerRemoval, idents: list[str]
) -> None:
    """A request without a filter would remove all of it, whosever it is."""
    daemon.answers["POST /build/prune"] = 200, {"CachesDeleted": ["theirs"]}
    assert docker.records(idents) == []
    assert daemon.asked == []


def test_many_records_are_asked_for_in_parts_that_fit_an_address(
    daemon: Daemon, docker: DockerRemoval, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.answers["POST /build/prune"] = 200, {"CachesDeleted": ["one"]}
    idents = [f"{number:025d}" for number in range(2 * removal.AT_ONCE + 1)]
    assert docker.records(idents) == []
    parts = pruned(daemon)
    assert [len(part) for part in parts] == [removal.AT_ONCE, removal.AT_ONCE, 1]
    assert set().union(*parts) == set(idents)
    assert removal.AT_ONCE * 26 < 7000  # a line of a request is cut at 8 kB by many


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.text(max_size=6), st.from_regex(r"[a-z0-9]{1,25}", fullmatch=True)), max_size=6))
def test_whatever_is_asked_for_the_filter_is_never_empty_and_has_nothing_else(
    monkeypatch: pytest.MonkeyPatch, idents: list[str]
) -> None:
    daemon = Daemon()

    def request(method: str, path: str, query: dict[str, str], **_: object) -> tuple[int, None]:
        daemon.asked.append(f"{method} {path}")
        daemon.queries.append(query)
        return 500, None

    monkeypatch.setattr(api, "request", request)
    DockerRemoval().records(idents)
    good = {one for one in idents if re.fullmatch(r"[A-Za-z0-9]+", one)}
    assert pruned(daemon) == ([good] if good else [])
