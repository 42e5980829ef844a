"""The adapter of each service: how it reads what there is, what it refuses, and the commands it gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks import archive
from synos_tasks.archive import Draft
from synos_tasks.errors import EngineUnavailable, ServiceFailed
from synos_tasks.services import adapters
from synos_tasks.services.adapters import nats, postgres, redis
from synos_tasks.services.adapters.postgres import LONGEST, _file, _literal, _quoted
from tests.unit.fake_compose import Scene, scene

RECOVER = " ".join(postgres.RECOVER.split())
INFO = """\
# Server\r
redis_version:7.0.15\r
\r
# Keyspace\r
db0:keys=12,expires=0,avg_ttl=0\r
db3:keys=1,expires=1,avg_ttl=7\r
db15:keys=1,expires=1,avg_ttl=59000\r
"""
STREAMS = [
    {
        "config": {"name": "ORDERS", "subjects": ["orders.*"]},
        "state": {"messages": 5, "bytes": 9, "consumer_count": 2},
    },
    {"config": {"name": "KV_x"}, "state": {"messages": 0}},
    {"config": {"name": "PASSING", "storage": "memory"}, "state": {"messages": 9}},
]
DATABASES = [
    {"name": "shop", "owner": "synos", "bytes": 9000, "open": True},
    {"name": "synos", "owner": 'o"dd', "bytes": 7000, "open": True},
]

ROLES = [
    {"name": "synos", "login": True, "inherit": True, "createdb": False, "connections": -1, "until": None, "settings": None, "member_of": []}
]  # fmt: skip
PARTS = {"owners": ["synos", "reporting"], "extensions": [{"name": "citext", "schema": "public"}]}


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def queries(here: Scene) -> list[str]:
    return [" ".join(given.decode().split()) for given in here.compose.given]


def answers_databases(here: Scene, databases: list[dict[str, Any]]) -> None:
    here.compose.printed = {
        "pg_file_settings": b"[]",
        "FROM pg_database": json.dumps(databases).encode() + b"\n",
        "pg_stat_user_tables": b'{"tables" : 2, "rows" : 30, "holds": true}\n\n' * len(databases),
        "server_version": b'"17.5 (Debian 17.5-1)"\n',
        "pg_shdepend": (json.dumps(PARTS).encode() + b"\n\n") * len(databases),
        "pg_auth_members": json.dumps(ROLES).encode(),
        "pg_dump ": b"PGDMP",
    }


@pytest.mark.parametrize(
    ("text", "beats", "keys"),
    [
        (INFO, 1, {"db0": 12, "db3": 1}),
        ("redis_version:7.0.15\r\ndb15:keys=1,expires=1,avg_ttl=59000\r\n", 1, {}),
        ("redis_version:7.0.15\r\ndb15:keys=3,expires=1,avg_ttl=59000\r\n", 1, {"db15": 2}),
        ("redis_version:7.0.15\r\ndb15:keys=1,expires=1,avg_ttl=59000\r\n", 0, {"db15": 1}),
    ],
)
def test_redis_tells_its_keys_without_that_of_the_health_check(
    here: Scene, text: str, beats: int, keys: dict[str, int]
) -> None:
    here.compose.printed = {"INFO": f"{text}library_name\nmine\nengine\nLUA\nOK\n{beats}\n".encode()}
    facts = redis.facts(here.context)
    assert (facts["version"], facts["keys"], facts["functions"]) == ("7.0.15", keys, 1)
    assert [one["what"] for one in facts["left_out"]] == ["key synos:health of db15"] * beats
    assert archive.lost(facts) == []


@pytest.mark.parametrize("fails", [False, True])
def test_redis_is_loaded_while_it_is_stopped_and_runs_again_whatever_happens(
    here: Scene, tmp_path: Path, fails: bool
) -> None:
    here.compose.printed = {"backup": b"REDIS0011"}
    redis.save(here.context, Draft(tmp_path), {})
    here.forget()
    if fails:
        here.compose.fails["/etc/synos/restore"] = ServiceFailed("docker compose failed")
    with pytest.raises(ServiceFailed) if fails else nullcontext():
        redis.load(here.context, tmp_path, {})
    assert [words[0] for words in here.compose.asked] == ["stop", "run", "up"]
    assert here.compose.given == [b"", b"REDIS0011", b""]


@pytest.mark.parametrize(
    ("said", "version"),
    [("nats-server: v2.11.0-preview.1\n", "2.11.0-preview.1"), ("nats-server: 2.10.27+ds\n", "2.10.27+ds")],
)
def test_nats_tells_its_version_streams_and_consumers(here: Scene, said: str, version: str) -> None:
    here.compose.printed = {"stream ls": json.dumps(STREAMS).encode(), "--version": said.encode()}
    facts = nats.facts(here.context)
    assert facts == {
        "version": version,
        "streams": {"ORDERS": {"messages": 5, "consumers": 2}, "KV_x": {"messages": 0, "consumers": 0}},
        "left_out": [archive.left_out("stream PASSING", "it is in memory: a restart loses it too")],
    }
    for nothing in (b"null", b"[]"):
        here.compose.printed["stream ls"] = nothing
        assert nats.facts(here.context)["streams"] == {}


def test_the_superuser_opens_no_database_of_an_application(here: Scene, tmp_path: Path) -> None:
    answers_databases(here, DATABASES)
    postgres.save(here.context, Draft(tmp_path / "saved"), postgres.facts(here.context))
    postgres.load(here.context, tmp_path / "saved", FACTS)
    for words in here.compose.asked:
        assert ("--env=PGUSER=postgres" in words) == ("--env=PGDATABASE=postgres" in words)
        assert f"--env=PGOPTIONS={postgres.OPTIONS}" in words
        assert not [word for word in words if "dbname" in word]


def laid(folder: Path, roles: bool = True) -> Path:
    folder.mkdir()
    (folder / "databases.json").write_text(
        json.dumps([{**one, **PARTS} if roles else one for one in DATABASES])
    )
    if roles:
        (folder / "roles.json").write_text(json.dumps(ROLES))
    for one in DATABASES:
        (folder / f"{one['name']}.dump").write_text(f"dump of {one['name']}")
    return folder


def test_what_is_left_out_is_said_and_no_name_acts_on_the_terminal(here: Scene, tmp_path: Path) -> None:
    answers_databases(here, DATABASES[:1])
    here.compose.printed["restore shop"] = b"ALTER TABLE a OWNER TO postgres;\nALTER VIEW \x1b[2J\n"
    postgres.load(here.context, laid(tmp_path / "saved"), FACTS)
    assert here.said == [
        "shop: left out, as only the superuser may: ALTER TABLE a OWNER TO postgres; ALTER VIEW \\x1b[2J"
    ]


def test_a_backup_of_an_older_version_has_its_owners_as_roles(here: Scene, tmp_path: Path) -> None:
    answers_databases(here, DATABASES)
    postgres.load(here.context, laid(tmp_path / "saved", roles=False), FACTS)
    made = [one["name"] for one in json.loads(queries(here)[1])]
    assert made == ["synos", 'o"dd']
    [words] = here.compose.did("restore shop~restoring")
    assert json.loads(words[-1])["owners"] == ["synos"]


FACTS: dict[str, Any] = {"databases": {one["name"]: {} for one in DATABASES}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:  # noqa: ANN401
    """Draw JSON that is like ``value`` but for one place in it."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        copy = value.copy()
        copy[key] = draw(changed(value[key]))
        return copy
    return draw(JSON)


@given(data=st.data())
def test_whatever_json_a_backup_of_postgres_holds_it_is_restored_or_damage(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    here, saved = scene(folder / "scene"), laid(folder / "saved")
    answers_databases(here, DATABASES)
    path = saved / data.draw(st.sampled_from(["databases.json", "roles.json"]))
    text = json.dumps(data.draw(changed(json.loads(path.read_text())))).encode()
    path.write_bytes(data.draw(st.just(text) | st.binary(max_size=9)))
    try:
        postgres.check(saved, FACTS)
    except ValueError:
        return
    postgres.load(here.context, saved, FACTS)


@pytest.mark.parametrize(
    ("adapter", "names"),
    [(nats, ["nats.tar"]), (postgres, ["databases.json", "shop.dump"]), (redis, ["redis.rdb"])],
)
def test_a_file_that_is_missing_in_a_backup_is_damage(
    adapter: adapters.ServiceAdapter, names: list[str], tmp_path: Path
) -> None:
    saved = laid(tmp_path / "saved")
    for name in ("nats.tar", "redis.rdb"):
        (saved / name).touch()
    adapter.check(saved, FACTS)
    for name in names:
        (saved / name).rename(saved / "away")
        with pytest.raises(ValueError, match=name):
            adapter.check(saved, FACTS)
        (saved / "away").rename(saved / name)


@pytest.mark.parametrize("part", ["dump of synos", 'RENAME TO "shop~before"'])
@pytest.mark.parametrize("error", [EngineUnavailable("it went away"), KeyboardInterrupt()])
def test_a_restore_that_ends_early_is_undone_at_once(
    here: Scene, tmp_path: Path, part: str, error: BaseException
) -> None:
    answers_databases(here, DATABASES)
    here.compose.fails[part] = error
    with pytest.raises(type(error)):
        postgres.load(here.context, laid(tmp_path / "saved"), FACTS)
    first, *others, failed, last = queries(here)
    assert first == last == RECOVER
    assert part in failed
    assert not [text for text in others if "RENAME" in text or "DROP" in text]


@pytest.mark.parametrize("part", ["dump of shop", 'RENAME TO "shop~before"'])
def test_a_database_that_cannot_be_restored_is_named_and_the_others_are(
    here: Scene, tmp_path: Path, part: str
) -> None:
    answers_databases(here, DATABASES)
    here.compose.fails[part] = ServiceFailed("docker compose failed", why="no such function")
    failed = postgres.load(here.context, laid(tmp_path / "saved"), FACTS)
    assert failed == ["database 'shop' is as it was: no such function"]
    assert 'RENAME TO "synos";' in here.compose.given[-1].decode()
    [undone] = [text for text in queries(here) if "'shop~restoring'" in text]
    assert "DROP DATABASE" in undone


def test_a_database_that_cannot_be_dumped_is_named_and_the_others_are_saved(
    here: Scene, tmp_path: Path
) -> None:
    answers_databases(here, DATABASES)
    facts = postgres.facts(here.context)
    shop = f"--env=PGDATABASE=shop --env=PGAPPNAME={postgres.SESSION} --env=PGOPTIONS={postgres.OPTIONS}"
    here.compose.fails[f"{shop} postgres pg_dump"] = ServiceFailed(
        "docker compose failed", why="invalid page"
    )
    with archive.create(tmp_path, "mine", {}) as draft:
        saved = postgres.save(here.context, draft.below("postgres"), facts)
    assert list(saved["databases"]) == ["synos"]
    assert archive.lost(saved) == ["database shop: invalid page"]
    postgres.check(tmp_path / "mine/postgres", saved)
    archive.verify(tmp_path / "mine")


def test_what_ended_a_restore_is_told_though_it_cannot_be_mended(here: Scene, tmp_path: Path) -> None:
    answers_databases(here, DATABASES)

    def goes(_: tuple[str, ...]) -> None:
        here.compose.fails["format("] = EngineUnavailable("no Docker Engine answers")
        raise EngineUnavailable("the first trouble")

    here.compose.acts["dump of shop"] = goes
    with pytest.raises(EngineUnavailable, match="the first trouble"):
        postgres.load(here.context, laid(tmp_path / "saved"), FACTS)


@pytest.mark.parametrize(
    "name", ["synos", "_x", "A-b$1", "x" * LONGEST, "", "../x", ".", "a b", "1a", 'a"b', "ä\n", "%2e"]
)
def test_any_name_is_a_files_of_its_own(name: str) -> None:
    file = _file(name)
    assert "/" not in file
    assert file.isascii()
    assert file.isprintable()
    assert unquote(file) == f"{name}.dump"


@pytest.mark.parametrize("name", ["x" * (LONGEST + 1), "ä" * 30])
def test_a_name_without_room_for_its_ending_is_left_out_with_a_way_out(here: Scene, name: str) -> None:
    """The server cuts names after 63 bytes, and so would drop the database itself."""
    assert LONGEST + len(postgres.RESTORING) == 63
    answers_databases(here, [*DATABASES, {"name": name, "owner": "synos", "bytes": 1, "open": True}])
    facts = postgres.facts(here.context)
    assert list(facts["databases"]) == ["shop", "synos"]
    [lost] = archive.lost(facts)
    assert f"database {name}: " in lost
    assert "RENAME TO" in lost


def test_an_archive_is_restored_with_the_search_path_of_the_session(here: Scene, tmp_path: Path) -> None:
    answers_databases(here, DATABASES)
    saved = laid(tmp_path / "saved")
    statement = b"SELECT pg_catalog.set_config('search_path', '', false);"
    (saved / "shop.dump").write_bytes(b"PGDMP\0" + statement + b"\n\0" + statement)
    postgres.load(here.context, saved, FACTS)
    [given] = [one for one in here.compose.given if one.startswith(b"PGDMP")]
    assert given == b"PGDMP\0" + b"RESET search_path;".ljust(len(statement)) + b"\n\0" + statement


def test_what_comes_from_a_backup_is_not_where_the_superuser_works(here: Scene, tmp_path: Path) -> None:
    databases = [
        {"name": name, "owner": "synos", "bytes": 1, "open": True} for name in ("postgres", "template1")
    ]
    answers_databases(here, databases)
    facts = postgres.facts(here.context)
    assert [one["what"] for one in facts["left_out"]] == [
        f"the name of database {one['name']}" for one in databases
    ]
    postgres.save(here.context, Draft(tmp_path), facts)
    here.forget()
    postgres.load(here.context, tmp_path, facts)
    renamed = [text for text in queries(here) if 'RENAME TO "' in text]
    assert all(
        'RENAME TO "postgres.restored"' in text or 'RENAME TO "template1.restored"' in text
        for text in renamed
    )
    assert len(renamed) == 2


@given(st.text())
def test_quotes_hold_any_name(text: str) -> None:
    for quoted, mark in ((_quoted(text), '"'), (_literal(text), "'")):
        assert quoted[0] == quoted[-1] == mark
        assert quoted[1:-1].replace(mark * 2, "") == text.replace(mark, "")
        assert quoted[1:-1].replace(mark * 2, mark) == text


@pytest.mark.allow_process(reason="a fresh interpreter imports the package with one more file")
def test_a_new_adapter_is_one_file(tmp_path: Path) -> None:
    sources = Path(adapters.__file__).resolve().parents[2]
    shutil.copytree(sources, tmp_path / "synos_tasks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(adapters.ADAPTERS["redis"].__file__, tmp_path / "synos_tasks/services/adapters/mine.py")  # type: ignore[attr-defined]
    code = "from synos_tasks.services.adapters import ADAPTERS; print(*sorted(ADAPTERS))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["mine", "nats", "postgres", "redis"]
