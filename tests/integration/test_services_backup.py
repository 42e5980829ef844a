"""Backups have the whole of three services, told apart by feature, or say what they lack; and newer servers read them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import nats
import nats.js.errors
import pytest
from nats.js import api

from synos_tasks.engine.failures import version_tuple
from tests.build_helpers import ROOT, docker
from tests.conftest import running_services
from tests.services_clones import container, port_of, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nats.aio.client import Client as Nats

    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration
ROLES = {
    "role without login": "CREATE ROLE auditors NOINHERIT",
    "role with limits": "CREATE ROLE analyst LOGIN CONNECTION LIMIT 5 VALID UNTIL '2031-01-01'",
    "role that makes databases": "CREATE ROLE builder CREATEDB",
    "grant with admin option": "GRANT auditors TO builder WITH ADMIN OPTION",
    "grant without inherit": "GRANT auditors TO analyst WITH INHERIT FALSE, SET TRUE",
    "grant without set": "GRANT builder TO synos WITH INHERIT TRUE, SET FALSE",
    "grant by another role": "CREATE ROLE helper; SET ROLE builder; GRANT auditors TO helper; RESET ROLE",
    "setting of a role": "ALTER ROLE analyst SET search_path = '$user', sales",
    "role of a role": "ALTER ROLE analyst SET role = 'auditors'",
    "variable of an application": "ALTER ROLE analyst SET app.tenant = 'a''b'",
    "comment on a role": "COMMENT ON ROLE auditors IS 'it''s theirs'",
    "limit of the applications' role": "ALTER ROLE synos CONNECTION LIMIT 50",
}
PLAIN = "SET transaction_read_only = off; SET default_transaction_read_only = off; SET statement_timeout = 0"
ODD = """ "a'b""c/../%d$" """.strip()
DATABASES = {
    "settings of a database": "CREATE DATABASE app OWNER synos; ALTER DATABASE app SET timezone = 'Asia/Tokyo'",
    "settings of a role in a database": "ALTER ROLE synos IN DATABASE app SET work_mem = '7MB'",
    "variable of a database": "ALTER DATABASE app SET app.region = 'eu'",
    "rights on a database": "REVOKE CONNECT ON DATABASE app FROM public; GRANT CONNECT ON DATABASE app TO analyst WITH GRANT OPTION",
    "connection limit": "ALTER DATABASE app CONNECTION LIMIT 7",
    "comment on a database": "COMMENT ON DATABASE app IS 'it''s an app'",
    "SQL_ASCII": "CREATE DATABASE raw OWNER synos TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
    "LATIN1": "CREATE DATABASE latin OWNER synos TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
    "ICU": "CREATE DATABASE swedish OWNER synos TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'sv-SE'"
    " ICU_RULES '& V << w <<< W' LOCALE 'C'",
    "template": "ALTER DATABASE swedish IS_TEMPLATE true",
    "builtin locale, and a name with a space": 'CREATE DATABASE "my app" OWNER synos TEMPLATE template0'
    " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'",
    "name with any character": f"CREATE DATABASE {ODD} OWNER builder",
    "setting that shuts out": f"ALTER DATABASE {ODD} SET default_transaction_read_only = on; ALTER DATABASE {ODD} SET statement_timeout = '1ms'",
    "closed database": "CREATE DATABASE closed OWNER synos",
    "search path over the server's own": "ALTER DATABASE closed SET search_path = own, public, pg_catalog",
}
CONTENTS = {
    "large object": ("app", "SELECT lo_from_bytea(4711, 'large'); GRANT SELECT ON LARGE OBJECT 4711 TO analyst"),
    "comment on a large object": ("app", "COMMENT ON LARGE OBJECT 4711 IS 'big'"),
    "extension and what needs its search path": (
        "app",
        ("CREATE EXTENSION unaccent; CREATE FUNCTION plain(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN RETURN lower(unaccent($1)); END $$; CREATE TABLE a (t text, s text GENERATED ALWAYS AS (plain(t)) STORED);"
        " INSERT INTO a VALUES ('É')"),
    ),
    "the same in SQL": (
        "app",
        ("CREATE FUNCTION plainer(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(unaccent($1))';"
        " CREATE TABLE b (t text, s text GENERATED ALWAYS AS (plainer(t)) STORED); INSERT INTO b VALUES ('É')"),
    ),
    "default privileges": ("app", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO auditors"),
    "row security": ("app", ("CREATE TABLE mine (i int); INSERT INTO mine VALUES (1); "
     " ALTER TABLE mine ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON mine USING (i = 2)")),
    "identity and sequence": ("app", "CREATE TABLE ids (i int GENERATED ALWAYS AS IDENTITY (START 5), t text); INSERT INTO ids (t) VALUES ('x')"),
    "partitions": ("app", ("CREATE TABLE parts (i int) PARTITION BY RANGE (i); CREATE TABLE p1 PARTITION OF parts FOR VALUES FROM (0) TO (9);"
     " INSERT INTO parts VALUES (3)")),
    "unlogged table": ("app", "CREATE UNLOGGED TABLE fast AS SELECT 1 AS i"),
    "materialized view": ("app", "CREATE MATERIALIZED VIEW seen AS SELECT lower(t) FROM a"),
    "enum, domain, range": ("app", "CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN pos AS int CHECK (VALUE > 0); CREATE TYPE r AS RANGE (subtype = int)"),
    "statistics and foreign key": ("app", "CREATE TABLE k (i int PRIMARY KEY, j int REFERENCES k); CREATE STATISTICS st ON i, j FROM k"),
    "bytes of no encoding": ("raw", r"CREATE TABLE t (t text); INSERT INTO t VALUES (E'caf\xe9')"),
    "bytes of LATIN1": ("latin", r"SET client_encoding = 'LATIN1'; CREATE TABLE t (t text); INSERT INTO t VALUES (E'caf\xe9')"),
    "order of ICU": ("swedish", "CREATE TABLE t (t text PRIMARY KEY); INSERT INTO t VALUES ('v'), ('w')"),
    "name that hides a built-in": (
        "closed",
        ("CREATE SCHEMA own; CREATE FUNCTION own.lower(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'mine'::text $$;"
        " CREATE TABLE public.t (t text, s text GENERATED ALWAYS AS (pg_catalog.lower(t)) STORED, o text GENERATED ALWAYS AS (own.lower(t)) STORED);"
        " INSERT INTO public.t VALUES ('A')"),
    ),
    "rows under an odd name": ("a'b\"c/../%d$", "CREATE TABLE t AS SELECT 1 AS i"),
}  # fmt: skip
REDIS = {
    "string": "SET text hello",
    "expiry": "SET soon x PXAT 4102444800123",
    "integer": "SET number 42",
    "bits": "SETBIT bits 70 1",
    "hyperloglog": "PFADD visitors a b c",
    "list": "RPUSH list a b c",
    "set": "SADD set a 1 2",
    "sorted set": "ZADD scores 1.5 a -inf b",
    "hash": "HSET hash a 1 b 2",
    "expiry of a field": "HPEXPIREAT hash 4102444800456 FIELDS 1 a",
    "geo": "GEOADD places 13.36 38.11 here",
    "stream": "XADD events 1-1 a 1",
    "consumer group": "XGROUP CREATE events readers 0",
    "pending entry": "XREADGROUP GROUP readers me COUNT 1 STREAMS events >",
    "function": "FUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function() return 1 end)\"",
}
CATALOG = {
    "roles": "SELECT rolname, rolcanlogin, rolinherit, rolcreatedb, rolconnlimit, rolvaliduntil, rolconfig, shobj_description(oid, 'pg_authid')"
    " FROM pg_roles WHERE rolname !~ '^(pg_|synos_)' ORDER BY 1",
    "members": "SELECT roleid::regrole::text, member::regrole::text, grantor::regrole::text, admin_option, inherit_option, set_option FROM pg_auth_members WHERE member::regrole::text <> 'synos_backup' ORDER BY 1, 2, 3",
    "databases": "SELECT datname, datdba::regrole, pg_encoding_to_char(encoding), datlocprovider, datcollate, datctype, datlocale, daticurules,"
    " datconnlimit, datallowconn, datistemplate, shobj_description(oid, 'pg_database') FROM pg_database ORDER BY 1",
    "rights": "SELECT datname, grantee::regrole::text, grantor::regrole::text, privilege_type, is_grantable FROM pg_database,"
    " aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee::regrole::text <> 'synos_backup' ORDER BY 1, 2, 3, 4",
    "settings": "SELECT datname, setrole::regrole::text, setconfig FROM pg_db_role_setting LEFT JOIN pg_database AS d ON d.oid = setdatabase"
    " WHERE setrole::regrole::text <> 'synos_backup' ORDER BY 1, 2",
}


@pytest.fixture(scope="module")
def own(service_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose services hold one of each feature."""
    with running_services(tmp_path_factory.mktemp("whole")) as clone:
        psql(clone, "postgres", ";\n".join([*ROLES.values(), *DATABASES.values()]))
        for database, sql in CONTENTS.values():
            owner = "builder" if database.startswith("a'") else "synos"
            psql(clone, database, f"{PLAIN}; SET SESSION AUTHORIZATION {owner}; {sql}")
        psql(clone, "postgres", "ALTER DATABASE closed WITH ALLOW_CONNECTIONS false")
        redis(
            clone,
            *(f"SELECT {number}\nSET here {number}" for number in range(16)),
            "SELECT 0",
            *REDIS.values(),
        )
        asyncio.run(seed(clone))
        yield clone


def psql(clone: Clone, database: str, sql: str) -> str:
    """What PostgreSQL answers the superuser."""
    argv = ["docker", "exec", "--interactive", f"--env=PGDATABASE={database}", container(clone, "postgres")]
    argv += ["psql", "-h", "/run/postgresql", "-U", "postgres", "-XqAt", "-v", "ON_ERROR_STOP=1"]
    done = subprocess.run(argv, input=sql, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def redis(clone: Clone, *commands: str) -> str:
    """What Redis answers its operator, who may do all."""
    argv = ["docker", "exec", "--interactive", container(clone, "redis"), "sh", "-c"]
    argv += ["{ cat /run/redis/operator; echo; cat; } | redis-cli --user operator --askpass"]
    text = "".join(f"{one}\n" for one in commands)
    answer = subprocess.run(argv, input=text, capture_output=True, text=True, check=True).stdout
    assert "ERR" not in answer, answer
    return answer


def postgres_holds(clone: Clone) -> dict[str, str]:
    """All catalogues of the cluster, and a dump of each database."""
    found = {name: psql(clone, "postgres", sql) for name, sql in CATALOG.items()}
    names = json.loads(
        psql(
            clone,
            "postgres",
            "SELECT json_agg(datname) FROM pg_database WHERE datname NOT IN ('template0', 'synos_health')",
        )
    )
    for name in names:
        closed = name == "closed"
        if closed:
            psql(clone, "postgres", "ALTER DATABASE closed WITH ALLOW_CONNECTIONS true")
        argv = ["docker", "exec", f"--env=PGDATABASE={name}", "--env=PGOPTIONS=-c statement_timeout=0"]
        argv += [
            container(clone, "postgres"),
            "pg_dump",
            "--create",
            "--host=/run/postgresql",
            "--username=postgres",
        ]
        text = subprocess.run(argv, capture_output=True, check=True).stdout.decode("latin-1")
        # rights come in an order of their own: the catalogue is compared instead
        found[name] = re.sub(
            r"(?m)^(\\(un)?restrict |GRANT .* ON DATABASE |REVOKE .* ON DATABASE |-- Dumped ).*\n", "", text
        )
        if closed:
            psql(clone, "postgres", "ALTER DATABASE closed WITH ALLOW_CONNECTIONS false")
    return found


def redis_holds(clone: Clone) -> dict[str, str]:
    """Types, expiry and values of all keys in all databases, and the functions."""
    script = (
        "local out = {} for db = 0, 15 do redis.call('SELECT', db) local keys = redis.call('KEYS', '*') table.sort(keys)"
        " for _, key in ipairs(keys) do if key ~= 'synos:health' then out[#out + 1] = db .. ' ' .. key .. ' ' .. redis.call('TYPE', key).ok"
        " .. ' ' .. redis.call('PEXPIRETIME', key) .. ' ' .. redis.sha1hex(redis.call('DUMP', key)) end end end return out"
    )
    answer = redis(
        clone,
        f'EVAL "{script}" 0',
        "FUNCTION LIST WITHCODE",
        "XINFO STREAM events FULL",
        "HPEXPIRETIME hash FIELDS 1 a",
    )
    return {str(number): line for number, line in enumerate(answer.splitlines())}


async def connected(clone: Clone) -> Nats:
    return await nats.connect(
        f"nats://127.0.0.1:{port_of(clone, 'nats')}", user="synos", password=secret(clone, "nats")
    )


async def seed(clone: Clone) -> None:
    """One of each kind of stream and consumer."""
    client = await connected(clone)
    js = client.jetstream()
    await js.add_stream(api.StreamConfig(
        name="ORDERS", subjects=["orders.>"], description="what was ordered", max_msgs=900, max_age=10**6, max_msg_size=4096,
        duplicate_window=60, compression=api.StoreCompression.S2, allow_direct=True, metadata={"team": "shop"},
        max_msgs_per_subject=50, discard=api.DiscardPolicy.NEW, deny_delete=True,
        republish=api.RePublish(src="orders.>", dest="again.>"),
    ))  # fmt: skip
    await js.add_stream(name="JOBS", subjects=["jobs"], retention=api.RetentionPolicy.WORK_QUEUE)
    await js.add_stream(name="INTEREST", subjects=["interest"], retention=api.RetentionPolicy.INTEREST)
    await js.add_stream(name="COPY", mirror=api.StreamSource(name="ORDERS", filter_subject="orders.1"))
    await js.add_stream(name="ALL", sources=[api.StreamSource(name="ORDERS", filter_subject="orders.2")])
    await js.add_stream(name="PASSING", subjects=["passing"], storage=api.StorageType.MEMORY)
    for number in range(20):
        await js.publish(f"orders.{number % 3}", f"order {number}".encode(), headers={"Number": str(number)})
        await js.publish("jobs", b"job")
    await js.add_consumer("ORDERS", api.ConsumerConfig(
        durable_name="pull", ack_policy=api.AckPolicy.EXPLICIT, filter_subjects=["orders.0", "orders.1"], max_deliver=3,
        ack_wait=30, backoff=[1, 30], max_ack_pending=9, metadata={"who": "me"}, description="pulls",
    ))  # fmt: skip
    for name in ("COPY", "ALL"):
        while (await js.stream_info(name)).state.messages < 6:
            await asyncio.sleep(0.1)
    await js.add_consumer(
        "ORDERS", durable_name="push", deliver_subject="push.here", deliver_group="g", flow_control=False
    )
    await js.add_consumer("JOBS", durable_name="worker", ack_policy=api.AckPolicy.EXPLICIT)
    pull = await js.pull_subscribe_bind("pull", "ORDERS")
    for message in await pull.fetch(4):
        await message.ack_sync()
    await pull.fetch(2)  # delivered, and not acknowledged
    bucket = await js.create_key_value(bucket="settings", history=5, ttl=0)
    for value in (b"1", b"2"):
        await bucket.put("a", value)
    await bucket.put("gone", b"x")
    await bucket.delete("gone")
    store = await js.create_object_store("files")
    await store.put("one", b"x" * 300_000)
    await client.close()


NEWER = "RUN sed -i s/trixie/forky/ /etc/apt/sources.list && echo 'Acquire::Check-Valid-Until \"false\";' >/etc/apt/apt.conf.d/99old"
"""What makes an image install from a testing release, also where the mirror's copy of that is old."""
STREAMS = ("limits and a description", "work queue", "interest", "mirror", "source", "key and value", "deleted key", "objects", "headers",
           "pull consumer", "push consumer", "position of a consumer", "consumer of a work queue")  # fmt: skip


def nats_holds(clone: Clone) -> dict[str, Any]:
    """Config and state of streams and consumers, and the messages."""

    async def asked() -> dict[str, Any]:
        client, found = await connected(clone), {}
        js = client.jetstream()
        for one in json.loads((await client.request("$JS.API.STREAM.LIST", b"{}", timeout=5)).data)[
            "streams"
        ]:
            name, state = one["config"]["name"], one["state"]
            if name == "PASSING":
                continue
            kept = {
                key: state.get(key)
                for key in ("messages", "bytes", "first_seq", "last_seq", "num_deleted", "num_subjects")
            }
            raw = await client.request(f"$JS.API.CONSUMER.LIST.{name}", b"{}", timeout=5)
            consumers = {
                consumer["name"]: [consumer["config"], consumer["delivered"]["stream_seq"], consumer["ack_floor"]["stream_seq"],
                                   consumer["num_ack_pending"], consumer["num_pending"]]
                for consumer in json.loads(raw.data)["consumers"] or ()
                if consumer["config"].get("durable_name")
            }  # fmt: skip
            messages = []
            for number in range(max(1, state["first_seq"]), state["last_seq"] + 1):
                try:
                    message = await js.get_msg(name, number)
                except nats.js.errors.NotFoundError:
                    continue
                messages.append((number, message.subject, message.data, message.headers))
            found[name] = (one["config"], kept, consumers, messages)
        await client.close()
        return found

    return asyncio.run(asked())


def test_all_comes_back_into_an_empty_stack_as_the_catalogues_had_it(own: Clone) -> None:
    features = [
        *ROLES,
        *DATABASES,
        *CONTENTS,
        *REDIS,
        *STREAMS,
        *(f"database {number} of Redis" for number in range(16)),
    ]
    assert len(set(features)) == len(features) >= 40
    before = postgres_holds(own), redis_holds(own), nats_holds(own)
    removed = own.inv("services.down", "--volumes", "--yes").json
    own.inv("services.restore", removed["backup"].rpartition("/")[2], "--yes", "--no-backup")
    after = postgres_holds(own), redis_holds(own), nats_holds(own)
    for was, now in zip(before, after, strict=True):
        different = {key: (was[key], now.get(key)) for key in was if was[key] != now.get(key)}
        assert not different
        assert now.keys() == was.keys()


@pytest.mark.long
def test_newer_servers_take_what_older_ones_had(own: Clone) -> None:
    before, older = (postgres_holds(own), redis_holds(own)), nats_holds(own)
    own.inv("services.backup", "--name", "older")
    for name in ("postgres", "nats"):
        file = own.root / f"docker/services/Dockerfile.{name}"
        text = file.read_text().replace("FROM ${BASE}\n", f"FROM ${{BASE}}\n{NEWER}\n")
        file.write_text(text.replace("ARG VERSION=17", "ARG VERSION=18"))
    assert "is of another version of PostgreSQL" in own.inv("services.up", fails=True).err
    own.inv("services.up", "--only", "nats")
    assert nats_holds(own) == with_new_settings(older), "the newer server has the older one's volume"
    own.inv("services.down", "--volumes", "--yes", "--no-backup")
    own.inv("services.restore", "older", "--yes", "--no-backup")
    assert (postgres_holds(own), redis_holds(own)) == before
    assert nats_holds(own) == with_new_settings(older)
    own.inv("services.heal")
    own.inv("services.backup", "--name", "newer")
    newer, old = (one["facts"] for one in own.inv("services.backups").json["backups"])
    for name in ("postgres", "nats"):
        assert version_tuple(newer[name]["version"]) > version_tuple(old[name]["version"])


def with_new_settings(streams: dict[str, Any]) -> dict[str, Any]:
    """Return streams as a newer server shows them, with settings that the older one does not have."""
    return {name: ({**config, "allow_msg_ttl": False}, *rest) for name, (config, *rest) in streams.items()}


@pytest.mark.parametrize(
    ("service", "lay", "said"),
    [
        ("postgres", "echo 17 >/var/lib/postgresql/data/PG_VERSION", "a cluster at its root"),
        ("nats", "mkdir -p '/data/jetstream/$G/streams/ORDERS'", "a server without accounts"),
    ],
)
def test_a_volume_of_another_image_is_refused_and_nothing_is_made_in_it(
    service_images: None, service: str, lay: str, said: str
) -> None:
    image = {"postgres": "synos-postgres", "nats": "synos-nats"}[service]
    tag = docker("image", "ls", "--format={{.Repository}}:{{.Tag}}", image).splitlines()[0]
    script = f"{lay}; sed '/etc.synos.apply/d' /etc/synos/start >/tmp/start; sh /tmp/start; echo $?; ls /var/lib/postgresql/data /data 2>/dev/null"
    argv = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        f"--volume={ROOT}/docker/services/{service}:/etc/synos:ro",
    ]
    done = subprocess.run(
        [*argv, "--entrypoint=sh", tag, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert said in done.stderr
    assert "DOCKER_DEPLOYMENT_GUIDE.md" in done.stderr
    assert done.stdout.split()[0] == "1"
    assert "17" not in done.stdout.split()
