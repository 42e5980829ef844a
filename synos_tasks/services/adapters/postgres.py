"""PostgreSQL: pg_dump of every database, each as of one moment; restored under another name, then swapped.

NAME~restoring is a database that is being restored, NAME~before what was there until the swap. A restore that is killed
leaves them, and maybe NAME closed to connections: recover() undoes that.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from synos_tasks import archive
from synos_tasks.errors import ServiceFailed, SynosError
from synos_tasks.shapes import read_json

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.archive import Draft
    from synos_tasks.services.stack import StackContext

SERVICE = "postgres"
FACTS = {"version": str, "databases": {str: {"owner": str, "bytes": int, "tables": int, "rows": int}}}
PARTS = "databases"
VERSION_PARTS = 1
_NAME = re.compile(r"[^\0\ud800-\udfff]+")
_RIGHT = {"role": (_NAME,), "right": re.compile("CREATE|CONNECT|TEMPORARY"), "grantable": bool, "by": _NAME}
_DATABASES = [
    {
        "name": _NAME, "owner": _NAME, "owners": ([_NAME],), "extensions": ([{"name": _NAME, "schema": _NAME}],),
        "encoding": (re.compile("[A-Za-z0-9_]+"),), "provider": (re.compile("[bci]"),),
        "collate": (_NAME,), "ctype": (_NAME,), "locale": (_NAME,), "rules": (_NAME,),
        "open": (bool,), "template": (bool,), "connections": (range(-1, 2**31),), "comment": (_NAME,),
        "acl": ([_RIGHT],), "settings": ([{"role": (_NAME,), "settings": [_NAME]}],),
    }
]  # fmt: skip
_ROLES = [
    {
        "name": _NAME, "login": bool, "inherit": (bool,), "createdb": (bool,), "connections": (range(-1, 2**31),), "until": (_NAME,),
        "settings": ([_NAME],), "member_of": ([_NAME],), "comment": (_NAME,), "powers": ([_NAME],),
        "grants": ([{"role": _NAME, "by": _NAME, "admin": bool, "inherit": bool, "set": bool}],),
    }
]  # fmt: skip
HEALTH = "synos_health"
SUPERUSER, READER = "postgres", "synos_backup"
RESTORERS = ("synos_restore", "synos_restoring")
OWN = ("postgres", "template1")
"""Databases of the server itself: in a backup where somebody has put something into them."""
PSQL = ("psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1")
LINES = ("--quiet", "--tuples-only", "--no-align")
# not _restoring: the name of somebody's database may end so, and it would be taken for a leftover
RESTORING, BEFORE = "~restoring", "~before"
SESSION = "synos-restore"
OPTIONS = "-c search_path= -c role=none -c statement_timeout=0 -c lock_timeout=0 -c default_transaction_read_only=off"
MOST = 5
# the server cuts names after 63 bytes: NAME~restoring of a longer NAME would be NAME itself
LONGEST = 63 - len(RESTORING)
CLOSED = 9
"""Connection limit of NAME~restoring where NAME was closed to connections, so that recover() does not open it."""
EMPTIES = b"SELECT pg_catalog.set_config('search_path', '', false);"
HEAD = 2**16
"""Bytes of an archive in which that is: it is among the first entries."""

DATABASES = f"""
SELECT coalesce(json_agg(json_build_object('name', datname, 'owner', pg_get_userbyid(datdba), 'bytes', pg_database_size(one.oid),
       'encoding', pg_encoding_to_char(encoding), 'provider', datlocprovider, 'collate', datcollate, 'ctype', datctype,
       'locale', datlocale, 'rules', daticurules, 'open', datallowconn, 'template', datistemplate,
       'connections', datconnlimit, 'comment', shobj_description(one.oid, 'pg_database'),
       'acl', (SELECT json_agg(json_build_object('role', CASE WHEN grantee <> 0 THEN pg_get_userbyid(grantee) END,
                       'right', privilege_type, 'grantable', is_grantable, 'by', pg_get_userbyid(grantor)))
                 FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE pg_get_userbyid(grantee) <> '{READER}'),
       'settings', (SELECT json_agg(json_build_object('role', rolname, 'settings', setconfig))
                      FROM pg_db_role_setting LEFT JOIN pg_roles AS role ON role.oid = setrole WHERE setdatabase = one.oid))
                ORDER BY datname), '[]')
  FROM pg_database AS one WHERE datname NOT IN ('template0', '{HEALTH}') AND datconnlimit <> -2
   AND datname NOT LIKE '%{RESTORING}' AND datname NOT LIKE '%{BEFORE}'
"""  # noqa: S608  (a constant)
# what initdb has made has smaller numbers
HOLDS = " OR ".join(
    f"EXISTS (SELECT FROM {catalog} WHERE oid >= 16384 {but})"
    for catalog, but in (
        ("pg_class", "AND relpersistence <> 't'"), ("pg_namespace", "AND nspname !~ '^pg_'"), ("pg_proc", ""),
        ("pg_extension", ""), ("pg_largeobject_metadata", ""), ("pg_operator", ""), ("pg_ts_config", ""),
    )
)  # fmt: skip
COUNTS = f"""
SELECT json_build_object('tables', count(*), 'rows', coalesce(sum(n_live_tup), 0), 'holds', {HOLDS}) FROM pg_stat_user_tables
"""  # noqa: S608  (constants)
ROLES = """
SELECT json_agg(json_build_object('name', rolname, 'login', rolcanlogin, 'inherit', rolinherit, 'createdb', rolcreatedb,
       'connections', rolconnlimit, 'until', rolvaliduntil, 'settings', rolconfig,
       'comment', shobj_description(oid, 'pg_authid'), 'powers', array_remove(ARRAY[CASE WHEN rolsuper THEN 'SUPERUSER' END,
           CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
           CASE WHEN rolbypassrls THEN 'BYPASSRLS' END], NULL),
       'grants', (SELECT json_agg(json_build_object('role', pg_get_userbyid(roleid), 'by', pg_get_userbyid(grantor),
                         'admin', admin_option, 'inherit', inherit_option, 'set', set_option) ORDER BY grantor, roleid)
                    FROM pg_auth_members WHERE member = one.oid)) ORDER BY rolname)
  FROM pg_roles AS one WHERE rolname !~ '^pg_' AND rolname NOT IN ('postgres', 'synos_backup')
"""
# What no backup has, because a restore gives nobody the superuser's rights, and knows no password.
NOTES = """
SELECT coalesce(json_agg(json_build_object('what', what, 'why', why, 'data', false)), '[]') FROM (
  SELECT 'passwords of roles ' || string_agg(rolname, ', ' ORDER BY rolname) AS what, 'set them again: ALTER ROLE' AS why
    FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname <> 'synos'
  UNION ALL SELECT 'tablespace ' || spcname, 'what is in it is restored into the default one' FROM pg_tablespace WHERE oid >= 16384
  UNION ALL SELECT 'subscription ' || subname, 'only the superuser may make one' FROM pg_subscription
  UNION ALL SELECT 'ALTER SYSTEM SET ' || name, 'not of a database: set it again' FROM pg_file_settings WHERE sourcefile ~ 'auto[.]conf$'
  UNION ALL SELECT 'database ' || datname, 'its DROP DATABASE was interrupted' FROM pg_database WHERE datconnlimit = -2
) AS one WHERE what IS NOT NULL
"""
CONTENTS = """
SELECT json_build_object(
       'owners', ARRAY(SELECT DISTINCT pg_get_userbyid(refobjid) FROM pg_shdepend AS one JOIN pg_database AS here ON here.oid = dbid
                        WHERE datname = current_database() AND deptype = 'o'),
       'extensions', (SELECT json_agg(json_build_object('name', extname, 'schema', nspname))
                        FROM pg_extension JOIN pg_namespace AS schema ON schema.oid = extnamespace))
"""
# Clients of a killed command run on in the container, and are ended first. Each statement sees what the one before did.
# NAME is opened before its NAME~restoring is dropped, which tells that a restore closed it. Where there is a NAME~before
# and no NAME, the swap was interrupted.
RECOVER = f"""
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
 WHERE (application_name = '{SESSION}' OR usename IN {(READER, *RESTORERS)}) AND pid <> pg_backend_pid() \\g /dev/null
SELECT format('ALTER DATABASE %I WITH ALLOW_CONNECTIONS true', datname) FROM pg_database AS old
 WHERE NOT datallowconn AND EXISTS (SELECT FROM pg_database WHERE datname = old.datname || '{RESTORING}' AND datconnlimit = -1) \\gexec
SELECT format('ALTER DATABASE %I WITH ALLOW_CONNECTIONS true; ALTER DATABASE %1$I RENAME TO %I', datname, left(datname, -{len(BEFORE)}))
  FROM pg_database AS old WHERE datname LIKE '%{BEFORE}'
   AND NOT EXISTS (SELECT FROM pg_database WHERE datname = left(old.datname, -{len(BEFORE)})) \\gexec
SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database
 WHERE datname LIKE '%{RESTORING}' OR datname LIKE '%{BEFORE}' \\gexec
SELECT format('DROP OWNED BY %I; DROP ROLE %1$I', rolname) FROM pg_roles WHERE rolname IN {RESTORERS} \\gexec
"""  # noqa: S608  (a constant)


def facts(context: StackContext) -> dict[str, Any]:
    """Return version, each database's owner, size, tables and estimated rows, and what no backup can have."""
    _run(context, *PSQL, "--quiet", "--file=/etc/synos/backup.sql")
    found, missing, databases = {}, _query(context, NOTES), _databases(context)
    with _opened(context, databases) as places:
        counts = _each(context, COUNTS, places)
    for one, count in zip(databases, counts, strict=True):
        name, holds = one["name"], count or {"tables": 0, "rows": 0, "holds": True}
        if name in OWN and not holds["holds"]:
            continue
        if name in OWN:
            why = f"the superuser works in it: a restore makes it database {_place(name)}"
            missing.append(archive.left_out(f"the name of database {name}", why))
        if len(name.encode()) > LONGEST:
            rename = f"its name is longer than {LONGEST} bytes: ALTER DATABASE {_quoted(name)} RENAME TO ..."
            missing.append(archive.left_out(f"database {name}", rename, data=True))
            continue
        amounts = {"tables": holds["tables"], "rows": holds["rows"]}
        found[name] = {"owner": one["owner"], "bytes": one["bytes"], **amounts}
    version = _query(context, "SELECT to_json(current_setting('server_version'))").split()[0]
    return {"version": version, "databases": found, "left_out": missing}


def amounts(facts: Mapping[str, Any]) -> dict[str, int]:
    """Count what the facts are about."""
    databases = facts["databases"].values()
    return {"database": len(databases), "table": sum(one["tables"] for one in databases)}


def save(context: StackContext, into: Draft, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write roles (without passwords) and these databases; those that cannot be dumped are left out, with the reason."""
    with into.file("roles.json") as out:
        out.write(json.dumps(_query(context, ROLES), indent=1).encode())
    databases = [one for one in _databases(context) if one["name"] in facts["databases"]]
    gone = facts["databases"].keys() - {one["name"] for one in databases}
    lacks = [archive.left_out(f"database {name}", "removed since the backup began") for name in sorted(gone)]
    saved = []
    with _opened(context, databases) as places:
        contents = _each(context, CONTENTS, places)
        for one, place, content in zip(databases, places, contents, strict=True):
            try:
                with into.file(_file(one["name"])) as out:
                    dump = ("pg_dump", "--format=custom", "--compress=zstd:3")
                    _run(context, *dump, database=place, user=READER, stdout=out.write)
                saved.append({**one, **(content or {})})
            except ServiceFailed as error:
                lacks.append(archive.left_out(f"database {one['name']}", error.why or error.what, data=True))
    with into.file("databases.json") as out:
        out.write(json.dumps(saved, indent=1).encode())
    kept = {one["name"]: facts["databases"][one["name"]] for one in saved}
    return {**facts, "databases": kept, "left_out": [*facts["left_out"], *lacks]}


def check(folder: Path, facts: Mapping[str, Any]) -> None:
    """Compare what the files are about with the manifest."""
    names = sorted(one["name"] for one in _read(folder)[0])
    if names != sorted(facts["databases"]):
        raise ValueError("databases.json has other databases than the manifest")
    for name in names:
        if len(name.encode()) > LONGEST or not (folder / _file(name)).is_file():
            raise ValueError(f"{_file(name)[:99]} is missing")


def load(context: StackContext, folder: Path, facts: Mapping[str, Any]) -> list[str]:
    """Restore each database under another name; then swap each that is whole in, in one transaction."""
    recover(context)
    try:
        return _load(context, folder, facts["databases"])
    except BaseException:
        with suppress(SynosError):  # the engine may be gone; the next command recovers it
            recover(context)
        raise


def recover(context: StackContext) -> bool:
    """Undo what is left of an interrupted load(), database by database, and finish swaps that were done.

    Tells whether there was anything. Raises ServiceFailed.
    """
    return bool(_run(context, *PSQL, "--tuples-only", stdin=RECOVER.encode()).strip())


def _load(context: StackContext, folder: Path, names: Container[str]) -> list[str]:
    databases, roles = _read(folder)
    known = json.dumps([_without_nulls(role) for role in roles]).encode()
    said = _run(context, *PSQL, *LINES, "--file=/etc/synos/roles.sql", stdin=known)
    _say_left_out(context, "roles", said)
    chosen = [one for one in databases if one["name"] in names]
    failed: dict[str, str] = {}
    there = {one["name"] for one in _databases(context)}
    # all are made before the first takes its place
    for step in (partial(_make, context, folder), partial(_swap, context, there)):
        for one in [one for one in chosen if one["name"] not in failed]:
            try:
                step(one)
            except ServiceFailed as error:
                failed[one["name"]] = error.why or error.what
                _undo(context, _place(one["name"]))
    return [f"database {name!r} is as it was: {why}" for name, why in failed.items()]


def _make(context: StackContext, folder: Path, one: Mapping[str, Any]) -> None:
    """Restore a database under another name, and say what was left out."""
    place, path = _place(one["name"]), folder / _file(one["name"])
    _keep_search_path(path)
    record = _without_nulls({**one, "owners": one["owners"] or [one["owner"]]})
    with path.open("rb") as dump:
        said = _run(context, "sh", "/etc/synos/restore", place + RESTORING, json.dumps(record), stdin=dump)
    _say_left_out(context, place, said)


def _keep_search_path(dump: Path) -> None:
    """Let an archive be restored with the search path of the session, which `restore` sets as the database has it.

    pg_dump has it emptied, and then functions of indexes and generated columns do not find what they call.
    """
    with dump.open("r+b") as file:
        if (at := file.read(HEAD).find(EMPTIES)) >= 0:
            file.seek(at)
            file.write(b"RESET search_path;".ljust(len(EMPTIES)))


def _without_nulls(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if value is not None}


def _say_left_out(context: StackContext, what: str, said: bytes) -> None:
    lines = said.decode(errors="replace").splitlines()
    if lines:
        listed = " ".join([*lines[:MOST], *["..."] * (len(lines) > MOST)])
        text = f"{what}: left out, as only the superuser may: {listed}"
        context.say(ascii(text)[1:-1])  # names may have any characters


def _databases(context: StackContext) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _query(context, DATABASES)
    return found


@contextmanager
def _opened(context: StackContext, databases: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield the names under which databases can be read: those that are closed to connections are copied for it."""
    closed = {one["name"]: one["name"] + RESTORING for one in databases if not one["open"]}
    try:
        for name, copy in closed.items():
            makes = f"CREATE DATABASE {_quoted(copy)} TEMPLATE {_quoted(name)} CONNECTION LIMIT {CLOSED}"
            grants = f"GRANT CONNECT ON DATABASE {_quoted(copy)} TO {READER}"
            with suppress(ServiceFailed):  # then the dump fails, and that is reported
                _statements(context, makes, f"REVOKE ALL ON DATABASE {_quoted(copy)} FROM PUBLIC", grants)
        yield [closed.get(one["name"], one["name"]) for one in databases]
    finally:
        for copy in closed.values():
            _statements(context, f"DROP DATABASE IF EXISTS {_quoted(copy)} WITH (FORCE)")


def _each(context: StackContext, sql: str, names: Sequence[str]) -> list[Any]:
    """Return what each database answers to the role that reads it; None for one that does not."""
    if not names:
        return []
    loop = f'sql=$(cat); for PGDATABASE; do export PGDATABASE; printf %s "$sql" | {" ".join((*PSQL, *LINES))} || echo; echo; done'
    answers = _run(
        context, "sh", "-c", loop, "sh", *names, user=READER, database=names[0], stdin=sql.encode()
    ).split(b"\n\n")
    return [json.loads(answer) if answer.strip() else None for answer in answers[: len(names)]]


def _read(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the databases and roles of a backup; raise ValueError."""
    databases = read_json(folder / "databases.json", _DATABASES)
    roles = [{"name": one["owner"], "login": True} for one in databases]
    if (folder / "roles.json").exists():  # not in backups of older versions, nor are owners and extensions
        roles = read_json(folder / "roles.json", _ROLES)
    return databases, roles


def _swap(context: StackContext, there: Container[str], one: Mapping[str, Any]) -> None:
    """Let a database that was restored take its place, and remove what was ``there``."""
    name = _place(one["name"])
    old, new, before = _quoted(name), _quoted(name + RESTORING), _quoted(name + BEFORE)
    is_open, template = one["open"] is not False, bool(one["template"])
    limit = -1 if one["connections"] is None else one["connections"]
    opens = f"ALTER DATABASE {old} WITH ALLOW_CONNECTIONS {is_open} CONNECTION LIMIT {limit} IS_TEMPLATE {template}"
    if name not in there:
        _statements(context, f"BEGIN; ALTER DATABASE {new} RENAME TO {old}; {opens}; COMMIT")
        return
    _statements(
        context,
        f"ALTER DATABASE {old} WITH ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {_literal(name)}",  # noqa: S608
        f"BEGIN; ALTER DATABASE {old} RENAME TO {before}; ALTER DATABASE {before} WITH IS_TEMPLATE false;"
        f" ALTER DATABASE {new} RENAME TO {old}; {opens}; COMMIT",
        f"DROP DATABASE {before} WITH (FORCE)",
    )


def _undo(context: StackContext, name: str) -> None:
    """Remove what a restore of one database has left; the others that are restored stay."""
    sql = RECOVER.replace(f"LIKE '%{RESTORING}'", f"= {_literal(name + RESTORING)}")
    _run(context, *PSQL, *LINES, stdin=sql.encode())


def _place(name: str) -> str:
    """Return the name under which a database is restored: the superuser works in none that comes from a backup."""
    return f"{name}.restored" if name in OWN else name


def _statements(context: StackContext, *statements: str) -> None:
    sql = "".join(f"{statement};\n" for statement in statements).encode()
    _run(context, *PSQL, "--quiet", stdin=sql)


def _query(context: StackContext, sql: str) -> Any:  # noqa: ANN401
    """Return the JSON that a query about the cluster answers."""
    return json.loads(_run(context, *PSQL, *LINES, stdin=sql.encode()))


def _run(
    context: StackContext,
    *words: str,
    database: str = "postgres",
    user: str = SUPERUSER,
    **streams: Any,  # noqa: ANN401
) -> bytes:
    """Run a client. No application has anything in database `postgres`, and the superuser's sessions are in that one.

    A name on the command line could be a connection string. What a database's owner has set for its sessions does not
    count, and by SESSION the server knows which they are.
    """
    settings = {
        "HOST": "/run/postgresql",
        "USER": user,
        "DATABASE": database,
        "APPNAME": SESSION,
        "OPTIONS": OPTIONS,
    }
    environment = [f"--env=PG{key}={value}" for key, value in settings.items()]
    return context.compose.pipe(("exec", "--no-TTY", *environment, SERVICE, *words), **streams)


def _file(name: str) -> str:
    """Return the file of a database's archive."""
    return f"{quote(name, safe='$')}.dump"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
