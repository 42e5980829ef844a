"""What an application has put into a database never runs as the superuser, and what is honest comes back as it was."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import Clone, docker
from tests.conftest import running_services
from tests.services_clones import container

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration
PSQL = ["psql", "-h", "/run/postgresql", "-U", "postgres", "-X", "-q", "-v", "ON_ERROR_STOP=1"]
STRANGE = ("dbname=postgres application_name=x", "a b/../c'\"\\%\n;ü")
TRAP = """
CREATE SCHEMA traps;
CREATE FUNCTION traps.act(name text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE way text;
BEGIN
  FOREACH way IN ARRAY ARRAY['SELECT 1', 'SET ROLE postgres', 'RESET ROLE', 'RESET SESSION AUTHORIZATION'] LOOP
    BEGIN
      EXECUTE way;
      RAISE LOG 'trap % superuser=% after %', name, current_setting('is_superuser'), way;
      EXECUTE 'ALTER ROLE synos SUPERUSER';
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
  END LOOP;
  FOREACH way IN ARRAY ARRAY[
    format('ALTER DATABASE %I SET search_path = traps, pg_catalog', current_database()),
    'GRANT CONNECT ON DATABASE synos TO ' || current_user,
    'GRANT pg_execute_server_program TO synos',
    'CREATE FUNCTION traps.planted() RETURNS void LANGUAGE sql SECURITY DEFINER AS ''ALTER ROLE synos SUPERUSER''',
    'CREATE FUNCTION traps.fired() RETURNS event_trigger LANGUAGE plpgsql AS ''BEGIN ALTER ROLE synos SUPERUSER; END''',
    'CREATE EVENT TRIGGER fired ON ddl_command_end EXECUTE FUNCTION traps.fired()'] LOOP
    BEGIN EXECUTE way; EXCEPTION WHEN OTHERS THEN NULL; END;
  END LOOP;
  RETURN true;
END $$;
CREATE FUNCTION traps.trap(name text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RETURN traps.act(name); END $$;
CREATE FUNCTION traps.number(name text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN PERFORM traps.trap(name); RETURN 1; END $$;
CREATE FUNCTION traps.fires() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM traps.trap(TG_ARGV[0]); RETURN NEW; END $$;
"""
TRAPS = {
    "check": "CREATE TABLE t_check (i int CHECK (traps.trap('check'))); INSERT INTO t_check VALUES (1)",
    "domain": "CREATE DOMAIN d AS int CHECK (traps.trap('domain')); CREATE TABLE t_domain (i d); INSERT INTO t_domain VALUES (1)",
    "index": "CREATE TABLE t_index AS SELECT 1 AS i; CREATE INDEX ON t_index ((traps.trap('index')))",
    "predicate": "CREATE TABLE t_part AS SELECT 1 AS i; CREATE INDEX ON t_part (i) WHERE traps.trap('predicate')",
    "exclusion": "CREATE TABLE t_excl (i int, EXCLUDE USING btree ((traps.number('exclusion') + i) WITH =)); INSERT INTO t_excl VALUES (1)",
    "generated": "CREATE TABLE t_gen (i int, g int GENERATED ALWAYS AS (traps.number('generated')) STORED); INSERT INTO t_gen VALUES (1)",
    "default": "CREATE TABLE t_default (i int, d int DEFAULT traps.number('default')); INSERT INTO t_default VALUES (1)",
    "matview": "CREATE MATERIALIZED VIEW t_mat AS SELECT traps.trap('matview') AS b",
    "view": "CREATE VIEW t_view AS SELECT traps.trap('view') AS b",
    "rule": "CREATE TABLE t_rule (i int); INSERT INTO t_rule VALUES (1);"
    " CREATE RULE r AS ON INSERT TO t_rule DO ALSO SELECT traps.trap('rule')",
    "trigger": "CREATE TABLE t_trig (i int); INSERT INTO t_trig VALUES (1);"
    " CREATE TRIGGER fires BEFORE INSERT ON t_trig FOR EACH ROW EXECUTE FUNCTION traps.fires('trigger');"
    " ALTER TABLE t_trig ENABLE ALWAYS TRIGGER fires",
    "partition": "CREATE TABLE t_list (i int) PARTITION BY LIST ((traps.number('partition') + i));"
    " CREATE TABLE t_list_2 PARTITION OF t_list FOR VALUES IN (2); INSERT INTO t_list VALUES (1)",
    "policy": "CREATE TABLE t_rls (i int); INSERT INTO t_rls VALUES (1); CREATE POLICY p ON t_rls USING (traps.trap('policy'));"
    " ALTER TABLE t_rls ENABLE ROW LEVEL SECURITY; ALTER TABLE t_rls FORCE ROW LEVEL SECURITY",
    "statistics": "CREATE TABLE t_stat AS SELECT 1 AS i; CREATE STATISTICS s ON (traps.number('statistics') + i) FROM t_stat",
    "cast": "CREATE TYPE traps.c AS (i int); CREATE FUNCTION traps.c_text(traps.c) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM traps.trap('cast'); RETURN ''; END $$;"
    " CREATE CAST (traps.c AS text) WITH FUNCTION traps.c_text(traps.c) AS IMPLICIT;"
    " CREATE TABLE t_cast (c traps.c, CHECK (c::text IS NOT NULL)); INSERT INTO t_cast VALUES (ROW(1))",
    "operator": "CREATE FUNCTION traps.eq(name, name) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN RETURN traps.trap('operator'); END $$;"
    " CREATE OPERATOR traps.= (LEFTARG = name, RIGHTARG = name, FUNCTION = traps.eq);"
    " CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = traps.eq)",
    "json_build_object": "CREATE FUNCTION public.json_build_object(text, bigint, text, numeric) RETURNS json LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM traps.trap('json_build_object'); RETURN '{\"tables\": 0, \"rows\": 0}'; END $$",
    "shadow": "CREATE FUNCTION traps.current_setting(text) RETURNS text LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM traps.trap('current_setting'); RETURN ''; END $$;"
    " CREATE FUNCTION traps.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM traps.trap('set_config'); RETURN ''; END $$;"
    " CREATE VIEW traps.pg_stat_user_tables AS SELECT traps.trap('catalog') AS n_live_tup;"
    " CREATE VIEW traps.pg_extension AS SELECT traps.trap('catalog') AS extname",
    "extension": "CREATE SCHEMA ext; CREATE OPERATOR ext.= (LEFTARG = name, RIGHTARG = name, FUNCTION = traps.eq);"
    " CREATE FUNCTION ext.format(text, text) RETURNS text LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM traps.trap('extension'); RETURN $1; END $$; CREATE EXTENSION hstore SCHEMA ext;"
    " CREATE TABLE t_hstore (h ext.hstore); INSERT INTO t_hstore VALUES ('a=>1')",
    "settings": "ALTER DATABASE hostile SET search_path = traps, public, pg_catalog",
}
LOADED = {"check", "domain", "index", "predicate", "exclusion", "generated", "matview", "cast"}
"""Those that loading an archive cannot avoid to run."""
HONEST = """
CREATE SCHEMA sales;
CREATE TABLE sales.orders (id serial PRIMARY KEY, who citext NOT NULL, secret bytea);
INSERT INTO sales.orders (who, secret) SELECT 'N' || i, digest(i::text, 'sha256') FROM generate_series(1, 500) AS i;
SELECT setval('sales.orders_id_seq', 4711);
GRANT SELECT ON sales.orders TO auditors;
GRANT UPDATE (who) ON sales.orders TO analyst;
REVOKE DELETE ON sales.orders FROM synos;
GRANT USAGE, CREATE ON SCHEMA sales TO analyst;
ALTER DEFAULT PRIVILEGES IN SCHEMA sales GRANT SELECT ON TABLES TO auditors;
CREATE TABLE own (i int);
INSERT INTO own VALUES (1), (2);
CREATE POLICY mine ON own USING (i = 1);
ALTER TABLE own ENABLE ROW LEVEL SECURITY;
ALTER TABLE own FORCE ROW LEVEL SECURITY;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM sales.orders;
CREATE FUNCTION next_order() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('sales.orders_id_seq') $$;
SELECT lo_from_bytea(90001, 'a large object');
GRANT SELECT ON LARGE OBJECT 90001 TO analyst;
COMMENT ON TABLE sales.orders IS 'what was ordered';
"""


@pytest.fixture(scope="module")
def own(service_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose services hold what follows."""
    with running_services(tmp_path_factory.mktemp("hostile")) as clone:
        yield clone


def psql(clone: Clone, database: str, sql: str, user: str = "postgres", *, check: bool = True) -> str:
    """What PostgreSQL answers, as the superuser or, over TCP, as another role."""
    host = "/run/postgresql" if user == "postgres" else "127.0.0.1"
    settings = {
        "DATABASE": database,
        "USER": user,
        "HOST": host,
        "PASSFILE": "/run/postgresql/pgpass",
        "PASSWORD": "",
    }
    if user == "postgres":
        settings["OPTIONS"] = "-c search_path=pg_catalog"  # these tests must not step into the traps either
    if user == "analyst":
        settings["PASSWORD"] = "hers"
    argv = [
        "docker",
        "exec",
        "--interactive",
        *(f"--env=PG{key}={value}" for key, value in settings.items() if value),
    ]
    argv += [container(clone, "postgres"), "psql", "-X", "-q", "-At", "-v", f"ON_ERROR_STOP={int(check)}"]
    done = subprocess.run(argv, input=sql, capture_output=True, text=True, check=False)
    assert not (check and done.returncode), done.stderr
    return done.stdout


def dump(clone: Clone, database: str) -> str:
    """All that is in a database, with owners and privileges."""
    argv = ["docker", "exec", f"--env=PGDATABASE={database}", container(clone, "postgres")]
    argv += ["pg_dump", "--host=/run/postgresql", "--username=postgres"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", text)


def set_traps(clone: Clone) -> None:
    psql(clone, "postgres", "CREATE DATABASE hostile OWNER synos")
    psql(clone, "hostile", TRAP, "synos")
    for sql in TRAPS.values():
        psql(clone, "hostile", sql, "synos")


def assert_nobody_got_more(clone: Clone) -> None:
    """Nobody is more than an application, no trap ran as the superuser, and none is left for it to step into."""
    powerful = (
        "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolsuper OR rolcreaterole OR rolreplication"
    )
    assert psql(clone, "postgres", powerful) == "postgres\n"
    members = (
        "SELECT roleid::regrole, member::regrole FROM pg_auth_members WHERE roleid::regrole::text ~ '^(pg_|postgres)'"
        " AND NOT (roleid::regrole::text IN ('pg_read_all_settings', 'pg_read_all_stats', 'pg_stat_scan_tables'))"
    )
    assert psql(clone, "postgres", members) == "pg_read_all_data|synos_backup\n"
    names = psql(
        clone, "postgres", "SELECT datname FROM pg_database WHERE datallowconn AND datname !~ E'\\n'"
    ).splitlines()
    left = "SELECT oid::regprocedure::text FROM pg_proc WHERE prosecdef AND proowner = 10 UNION ALL SELECT evtname FROM pg_event_trigger"
    assert {name: psql(clone, name, left) for name in names} == dict.fromkeys(names, "")
    assert "superuser=on" not in log(clone)


def log(clone: Clone) -> str:
    argv = ["docker", "logs", container(clone, "postgres")]
    return subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    ).stdout


def test_an_honest_database_comes_back_as_it_was(own: Clone) -> None:
    psql(
        own,
        "postgres",
        "CREATE ROLE analyst LOGIN PASSWORD 'hers'; CREATE ROLE auditors; GRANT auditors TO analyst",
    )
    psql(
        own,
        "postgres",
        "ALTER ROLE analyst SET search_path = '$user', sales; CREATE DATABASE shop OWNER synos",
    )
    psql(
        own,
        "shop",
        "CREATE EXTENSION pgcrypto SCHEMA public; CREATE EXTENSION citext SCHEMA public; CREATE EXTENSION pg_stat_statements SCHEMA public",
    )
    psql(own, "shop", HONEST, "synos")
    psql(own, "shop", "CREATE TABLE sales.notes (t text); INSERT INTO sales.notes VALUES ('n')", "analyst")
    psql(own, "shop", "REVOKE CREATE ON SCHEMA sales FROM analyst", "synos")
    psql(
        own,
        "postgres",
        "REVOKE CONNECT ON DATABASE shop FROM PUBLIC; GRANT CONNECT ON DATABASE shop TO analyst",
    )
    before, roles = (
        dump(own, "shop"),
        psql(
            own,
            "postgres",
            "SELECT rolname, rolpassword FROM pg_authid WHERE rolname !~ '^synos_' ORDER BY 1",
        ),
    )
    saved = own.inv("services.backup").json["name"]
    psql(own, "shop", "DROP SCHEMA sales CASCADE; SELECT lo_unlink(90001)")
    own.inv("services.restore", saved, "--yes", "--no-backup")
    assert dump(own, "shop").splitlines() == before.splitlines()
    assert (
        psql(
            own,
            "postgres",
            "SELECT rolname, rolpassword FROM pg_authid WHERE rolname !~ '^synos_' ORDER BY 1",
        )
        == roles
    )
    extensions = "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension WHERE extowner = 10"
    assert psql(own, "shop", extensions) == "citext pg_stat_statements pgcrypto plpgsql\n"
    # and on a machine that has none of these roles
    psql(own, "postgres", "DROP DATABASE shop; DROP ROLE analyst; DROP ROLE auditors")
    own.inv("services.restore", saved, "--yes", "--no-backup")
    assert dump(own, "shop").splitlines() == before.splitlines()
    role = "SELECT rolcanlogin, rolconfig, pg_has_role('analyst', 'auditors', 'MEMBER') FROM pg_roles WHERE rolname = 'analyst'"
    assert psql(own, "postgres", role) == 't|{"search_path=\\"$user\\", sales"}|t\n'
    assert_nobody_got_more(own)


def test_what_the_superuser_owned_comes_back_to_nobody(own: Clone) -> None:
    psql(own, "postgres", "CREATE DATABASE mixed OWNER synos; CREATE DATABASE desk")
    makes = "CREATE TABLE public.kept AS SELECT 7 AS i; CREATE FUNCTION public.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"
    for name in ("mixed", "desk"):
        psql(own, name, makes)
    told = own.inv("services.restore", own.inv("services.backup").json["name"], "--yes", "--no-backup")
    assert "mixed: left out, as only the superuser may: ALTER" in told.err
    assert "ALTER TABLE public.kept OWNER TO postgres;" in told.err
    for name in ("mixed", "desk"):
        assert psql(own, name, "SELECT i FROM public.kept") == "7\n"
        owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 'kept'"
        assert psql(own, name, owner) == "synos_restored\n"
    assert (
        psql(own, "postgres", "SELECT datdba::regrole FROM pg_database WHERE datname = 'desk'")
        == "postgres\n"
    )
    assert_nobody_got_more(own)


def test_no_trap_runs_as_the_superuser(own: Clone) -> None:
    set_traps(own)
    for name in STRANGE:
        psql(own, "postgres", 'CREATE DATABASE "' + name.replace('"', '""') + '" OWNER synos')
    saved = own.inv("services.backup").json
    assert set(STRANGE) < set(saved["holds"]["postgres"]["databases"])
    assert_nobody_got_more(own)
    before, seen = dump(own, "hostile"), len(log(own))
    own.inv("services.restore", saved["name"], "--yes")
    ran = set(re.findall(r"trap (\w+) superuser=off", log(own)[seen:]))
    assert ran >= LOADED
    assert_nobody_got_more(own)
    left = "SELECT count(*) FROM pg_roles WHERE rolname IN ('synos_restore', 'synos_restoring')"
    assert psql(own, "postgres", left) == "0\n"
    owners = "SELECT DISTINCT proowner::regrole FROM pg_proc WHERE proname IN ('planted', 'fired')"
    assert set(psql(own, "hostile", owners).split()) <= {"synos", "synos_restored"}
    assert dump(own, "hostile").splitlines() == before.splitlines()


def test_roles_of_a_backup_from_elsewhere_get_no_power(own: Clone) -> None:
    wants = ["postgres", "pg_execute_server_program", "pg_read_all_data", "boss", "robot", "synos_backup"]
    evil = {"name": 'evil"; ALTER ROLE synos SUPERUSER; --', "member_of": wants}
    settings = ["session_preload_libraries=/tmp/x.so", "role=postgres", "work_mem=8MB"]
    roles = [
        {
            "name": "robot",
            "login": True,
            "superuser": True,
            "createrole": True,
            "member_of": [*wants[:4], wants[5]],
            "settings": settings,
        },
        {"name": "pg_evil", "login": True},
        {"name": "boss", "settings": ["search_path=traps"]},
        evil,
    ]
    psql(own, "postgres", "CREATE ROLE boss SUPERUSER")
    argv = [
        "docker",
        "exec",
        "--interactive",
        container(own, "postgres"),
        *PSQL,
        "--file=/etc/synos/roles.sql",
    ]
    subprocess.run(argv, input=json.dumps(roles), text=True, check=True, capture_output=True)
    told = "SELECT rolname, rolcanlogin, rolconfig FROM pg_roles WHERE rolname ~ '^(robot|boss|pg_evil)' ORDER BY 1"
    assert psql(own, "postgres", told) == "boss|f|\nrobot|t|{work_mem=8MB}\n"
    members = "SELECT roleid::regrole FROM pg_auth_members WHERE member = 'robot'::regrole"
    assert psql(own, "postgres", members) == ""
    psql(own, "postgres", "DROP ROLE boss")
    assert_nobody_got_more(own)


@pytest.mark.parametrize(
    "verb", ["secrets-rotate", "heal", pytest.param("upgrade", marks=pytest.mark.long), "restart", "up"]
)
def test_no_other_verb_steps_into_a_trap(own: Clone, verb: str) -> None:
    traps = "CREATE TRIGGER beats BEFORE INSERT OR UPDATE ON beat FOR EACH ROW EXECUTE FUNCTION traps.fires('beat')"
    for name, sql in (
        ("synos_health", f"{TRAP}; {traps}"),
        ("synos_health", TRAPS["operator"]),
        ("synos", TRAP),
    ):
        psql(own, name, sql, "synos", check=False)
    psql(
        own,
        "postgres",
        "ALTER DATABASE synos_health SET search_path = public, traps, pg_catalog",
        "synos",
        check=False,
    )
    if verb == "heal":
        docker("kill", container(own, "postgres"))
    own.inv(f"services.{verb}")
    assert_nobody_got_more(own)
