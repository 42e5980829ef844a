"""What is asked over the engine's socket: sizes, cache records, and which of them go."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from synos_tasks.engine import cache
from synos_tasks.engine.cache import Record, epoch, union_bytes
from synos_tasks.errors import EngineUnavailable

OURS, THEIRS, BARE = (f"sha256:{letter * 64}" for letter in "abc")
NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC).timestamp()
USED: dict[str, Any] = {
    "LayersSize": 12345,
    "Images": [
        {"Id": OURS, "SharedSize": 30, "Size": 100},
        {"Id": THEIRS, "SharedSize": 0, "Size": 50},
        {"Id": BARE, "SharedSize": -1, "Size": 7},
    ],
    "Containers": [{"Id": "c1", "SizeRw": 11}, {"Id": "c2"}],
    "Volumes": [
        {"Name": "data", "UsageData": {"RefCount": 1, "Size": 99}},
        {"Name": "alias", "UsageData": {"RefCount": -1, "Size": -1}},
        {"Name": "x", "UsageData": None},
    ],
    "BuildCache": [
        {
            "ID": "r1", "Type": "regular", "Description": "mount / from exec /bin/sh -c x", "Parents": ["r0", "rx"],
            "InUse": False, "Shared": True, "Size": 5, "CreatedAt": "2026-11-25T10:00:00.123456789Z",
            "LastUsedAt": "2026-11-25T12:00:00.5Z",
        },
        {
            "ID": "r2", "Type": "exec.cachemount", "Description": "cached mount", " Parents": ["r1"], "InUse": True,
            "Shared": False, "Size": 6, "CreatedAt": "2026-11-25T12:00:00Z", "LastUsedAt": None,
        },
        {
            "ID": "r3", "Type": "regular", "Description": "", "InUse": False, "Shared": False, "Size": 0,
            "CreatedAt": "2026-11-25T12:00:00Z",
        },
    ],
}  # fmt: skip


@dataclass
class Daemon:
    """An engine. Answers by method and path, "GET /info" for instance; what it does not know is not found."""

    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Method and path, in order."""
    queries: list[dict[str, str]] = field(default_factory=list)
    """What came with each of them."""

    def request(
        self, method: str, path: str, query: dict[str, str] | None = None, **_: object
    ) -> tuple[int, Any]:
        asked = f"{method} {path.partition('?')[0]}"
        self.asked.append(asked)
        self.queries.append(query or {})
        return self.answers.get(asked, (404, {"message": "no such thing"}))


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    daemon = Daemon({"GET /system/df": (200, USED), "GET /version": (200, {"ApiVersion": "1.42"})})
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/d.sock")
    monkeypatch.setattr(cache, "_request", daemon.request)
    return daemon


# Sizes


@pytest.mark.parametrize(
    ("version", "asked"),
    [("1.44", "/v1.44/system/df"), ("1.52", "/v1.44/system/df"), ("1.9", "/system/df")],
)
def test_sizes_are_read_in_the_form_of_one_version(daemon: Daemon, version: str, asked: str) -> None:
    daemon.answers["GET /version"] = 200, {"ApiVersion": version}
    daemon.answers[f"GET {asked}"] = 200, USED
    usage = cache.disk_usage()
    assert f"GET {asked}" in daemon.asked
    assert usage.images == {OURS: 70, THEIRS: 50, BARE: 7}
    assert usage.containers == {"c1": 11, "c2": 0}
    assert usage.volumes == {"data": 99}
    assert usage.layers == 12345


def test_records_have_their_parents_however_the_engine_spells_that(daemon: Daemon) -> None:
    one, two, three = cache.disk_usage("build-cache").records
    assert one == Record(
        id="r1", parents=("r0", "rx"), type="regular", description="mount / from exec /bin/sh -c x",
        in_use=False, shared=True, bytes=5, used=NOON + 0.5,
    )  # fmt: skip
    assert (two.parents, two.in_use, two.used) == (("r1",), True, NOON)  # one that was not used was made
    assert three.parents == ()


def test_a_refusal_is_an_error_and_no_part_is_taken_for_the_whole(daemon: Daemon) -> None:
    daemon.answers["GET /system/df"] = 500, {"message": "broken"}
    with pytest.raises(EngineUnavailable) as caught:
        cache.disk_usage()
    assert caught.value.why == "broken"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0001-01-01T00:00:00Z", 0.0),
        ("2026-11-25T07:30:00-04:30", NOON),
        ("2026-11-25T12:00:00.5000001Z", NOON + 0.5),
        ("2026-11-25T13:00:00.500000999+01:00", NOON + 0.5),
    ],
)
def test_times_are_read_as_go_prints_them(text: str, seconds: float) -> None:
    assert epoch(text) == seconds


def history(daemon: Daemon, ident: str, *layers: tuple[str, int]) -> str:
    """Return the id of an image of these layers, the lowest first; the engine lists them the other way round."""
    told = [{"Created": 1, "CreatedBy": by, "Size": size, "Id": "<missing>"} for by, size in reversed(layers)]
    daemon.answers[f"GET /images/{ident}/history"] = 200, told
    return ident


def test_what_images_share_is_counted_once(daemon: Daemon) -> None:
    base = [("base", 100), ("ENV", 0)]
    one = history(daemon, OURS, *base, ("RUN a", 10), ("RUN b", 1))
    two = history(daemon, THEIRS, *base, ("RUN a", 10), ("RUN c", 2))
    assert union_bytes([one]) == union_bytes([one, one]) == 111
    assert union_bytes([one, two]) == union_bytes([two, one]) == 113
    # like steps on different layers are different layers, and so is a step twice in an image
    assert union_bytes([one, history(daemon, BARE, ("other", 100), ("RUN a", 10))]) == 221
    assert union_bytes([history(daemon, OURS, ("base", 100), ("RUN a", 10), ("RUN a", 10))]) == 120
    daemon.answers.clear()
    assert union_bytes([one]) == union_bytes([]) == 0  # it is gone
    daemon.answers[f"GET /images/{OURS}/history"] = 500, {"message": "the disk is broken"}
    with pytest.raises(EngineUnavailable) as refused:
        union_bytes([one])
    assert refused.value.why == "the disk is broken"


# Removing records


def pruned(daemon: Daemon) -> list[set[str]]:
    """Return the ids that each request chose, by the expression that BuildKit gets."""
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


def test_exactly_the_records_that_were_named_are_chosen(daemon: Daemon) -> None:
    daemon.answers["POST /build/prune"] = 200, {"CachesDeleted": ["abc", "def"], "SpaceReclaimed": 9}
    assert cache.prune_records(["abc", "def", "ghi"]) == ["abc", "def"]
    # and once more for what was left: it may have been waiting for what is gone now
    assert pruned(daemon) == [{"abc", "def", "ghi"}, {"ghi"}]
    assert daemon.queries[0]["all"] == "true"  # else those of no image stay


@pytest.mark.parametrize(
    "answer",
    [(200, {"CachesDeleted": None}), (200, None), (500, {"message": "broken", "CachesDeleted": ["abc"]})],
)
def test_where_none_went_none_is_returned(daemon: Daemon, answer: tuple[int, object]) -> None:
    daemon.answers["POST /build/prune"] = answer
    assert cache.prune_records(["abc"]) == []


BAD = ["", " ", ".*", "a|b", "a.c", "^", "a\nb", 'a"b', "a b", "ä", "\u0661", "(", "[a-z]+", "\\w", "a)|(b"]


def test_many_records_are_asked_for_in_parts_that_fit_an_address(daemon: Daemon) -> None:
    daemon.answers["POST /build/prune"] = 200, {"CachesDeleted": ["one"]}
    most = cache.RECORDS_AT_ONCE
    idents = [f"{number:025d}" for number in range(2 * most + 1)]
    assert cache.prune_records(idents) == []
    parts = pruned(daemon)
    assert [len(part) for part in parts] == [most, most, 1]
    assert set().union(*parts) == set(idents)
    assert most * 26 < 7000  # a line of a request is cut at 8 kB by many


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([])
@example(BAD)
@given(
    st.lists(
        st.sampled_from(BAD) | st.text(max_size=6) | st.from_regex(r"[a-z0-9]{1,25}", fullmatch=True),
        max_size=6,
    )
)
def test_whatever_is_asked_for_the_filter_is_never_empty_and_has_nothing_else(
    monkeypatch: pytest.MonkeyPatch, idents: list[str]
) -> None:
    """A request without a filter would remove all of it, whosever it is."""
    daemon = Daemon()
    monkeypatch.setattr(cache, "_request", daemon.request)
    cache.prune_records(idents)
    good = {one for one in idents if re.fullmatch(r"[A-Za-z0-9]+", one)}
    assert pruned(daemon) == ([good] if good else [])


# The socket


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of a user whose environment says nothing of Docker."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "config", "path"),
    [
        ({}, None, "/var/run/docker.sock"),
        ({"DOCKER_HOST": "unix:///run/user/1000/docker.sock"}, None, "/run/user/1000/docker.sock"),
        ({"DOCKER_HOST": "tcp://10.0.0.1:2376"}, None, None),
        ({"DOCKER_HOST": "ssh://me@there"}, None, None),
        ({"DOCKER_HOST": "npipe:////x"}, None, None),
        ({"DOCKER_CONTEXT": "there"}, None, None),
        ({"DOCKER_CONTEXT": "default"}, '{"currentContext": "there"}', "/var/run/docker.sock"),
        ({}, '{"currentContext": "there"}', None),
        *(({}, text, "/var/run/docker.sock") for text in ("", "{", "[]", "{}", '{"currentContext": ""}')),
    ],
)
def test_where_the_socket_is(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    config: str | None,
    path: str | None,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if config is not None:
        (home / ".docker").mkdir()
        (home / ".docker/config.json").write_text(config)
    assert cache.socket_path() == path


@pytest.mark.parametrize("path", ["/nowhere/d.sock", f"/{'x' * 200}"])
def test_a_socket_that_nobody_listens_at_is_an_error_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with pytest.raises(EngineUnavailable) as caught:
        cache.disk_usage()
    assert caught.value.where == f"DOCKER_HOST=unix://{path}"
    assert "DOCKER_HOST" in caught.value.hint


def test_what_is_not_there_is_none_and_a_refusal_is_never_taken_for_that(daemon: Daemon) -> None:
    assert cache.image_id("none:1") is None
    assert cache.is_running("none") is None
    daemon.answers["GET /images/one:1/json"] = 200, {"Id": OURS}
    assert cache.image_id("one:1") == OURS
    for path in ("/images/one:1/json", "/containers/one/json"):
        daemon.answers[f"GET {path}"] = 500, {"message": "broken"}
    for ask in (lambda: cache.image_id("one:1"), lambda: cache.is_running("one")):
        with pytest.raises(EngineUnavailable) as caught:
            ask()
        assert caught.value.why == "broken"
