"""PostgreSQL: pg_dump of every database, each as of one moment; restored under another name, then swapped.

NAME~restoring is a database that is being restored, NAME~before what was there until the swap. A restore that is killed
leaves them, and maybe NAME closed to connections: recover() undoes that.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from synos_tasks import archive
from synos_tasks.errors import ServiceFailed, SynosError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.archive import Draft
    from synos_tasks.services.stack import StackContext

SERVICE = "postgres"
FACTS = {"version": str, "databases": {str: {"owner": str, "bytes": int, "tables": int, "rows": int}}}
VERSION_PARTS = 1
_NAME = re.compile(r"[^\0\ud800-\udfff]+")
_DATABASES = [
    {"name": _NAME, "owner": _NAME, "owners": ([_NAME],), "extensions": ([{"name": _NAME, "schema": _NAME}],)}
]
_ROLES = [
    {
        "name": _NAME, "login": bool, "inherit": (bool,), "createdb": (bool,), "connections": (range(-1, 2**31),), "until": (_NAME,),
        "settings": ([_NAME],), "member_of": ([_NAME],),
    }
]  # fmt: skip
HEALTH = "synos_health"
SUPERUSER, READER = "postgres", "synos_backup"
RESTORERS = ("synos_restore", "synos_restoring")
PSQL = ("psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1")
# not _restoring: somebody's own database may end so, and would be taken for a leftover; ~ is in no name that is backed up
RESTORING, BEFORE = "~restoring", "~before"
SESSION = "synos-restore"
OPTIONS = "-c search_path= -c role=none"
MOST = 5
# the server cuts names after 63 bytes: a longer one's place to restore into would be the database itself
LONGEST = 63 - len(RESTORING)

DATABASES = f"""
SELECT coalesce(json_agg(json_build_object('name', datname, 'owner', pg_get_userbyid(datdba), 'bytes', pg_database_size(oid))
                ORDER BY datname), '[]')
  FROM pg_database WHERE NOT datistemplate AND datname NOT IN ('postgres', '{HEALTH}')
   AND datname NOT LIKE '%{RESTORING}' AND datname NOT LIKE '%{BEFORE}'
"""  # noqa: S608  (a constant)
TABLES = """
SELECT json_build_object('tables', count(*), 'rows', coalesce(sum(n_live_tup), 0)) FROM pg_stat_user_tables
"""
ROLES = """
SELECT json_agg(json_build_object('name', rolname, 'login', rolcanlogin, 'inherit', rolinherit, 'createdb', rolcreatedb,
       'connections', rolconnlimit, 'until', rolvaliduntil, 'settings', rolconfig, 'member_of',
       ARRAY(SELECT pg_get_userbyid(roleid) FROM pg_auth_members WHERE member = one.oid)) ORDER BY rolname)
  FROM pg_roles AS one WHERE rolname !~ '^pg_' AND rolname <> 'postgres'
"""
PARTS = """
SELECT json_build_object(
       'owners', ARRAY(SELECT DISTINCT pg_get_userbyid(refobjid) FROM pg_shdepend AS one JOIN pg_database AS here ON here.oid = dbid
                        WHERE datname = current_database() AND deptype = 'o'),
       'extensions', (SELECT json_agg(json_build_object('name', extname, 'schema', nspname))
                        FROM pg_extension JOIN pg_namespace AS schema ON schema.oid = extnamespace))
"""
# A killed command's clients run on in the container: first they are ended. Then each line sees what the one before did. The closed one is opened first: what tells that a restore closed it is
# its NAME~restoring. One that is called ~before while nothing has its name never came to its swap's end.
RECOVER = f"""
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
 WHERE (application_name = '{SESSION}' OR usename IN {(READER, *RESTORERS)}) AND pid <> pg_backend_pid() \\g /dev/null
SELECT format('ALTER DATABASE %I WITH ALLOW_CONNECTIONS true', datname) FROM pg_database AS old
 WHERE NOT datallowconn AND EXISTS (SELECT FROM pg_database WHERE datname = old.datname || '{RESTORING}') \\gexec
SELECT format('ALTER DATABASE %I WITH ALLOW_CONNECTIONS true; ALTER DATABASE %1$I RENAME TO %I', datname, left(datname, -{len(BEFORE)}))
  FROM pg_database AS old WHERE datname LIKE '%{BEFORE}'
   AND NOT EXISTS (SELECT FROM pg_database WHERE datname = left(old.datname, -{len(BEFORE)})) \\gexec
SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database
 WHERE datname LIKE '%{RESTORING}' OR datname LIKE '%{BEFORE}' \\gexec
SELECT format('DROP OWNED BY %I; DROP ROLE %1$I', rolname) FROM pg_roles WHERE rolname IN {RESTORERS} \\gexec
"""  # noqa: S608  (a constant)


def facts(context: StackContext) -> dict[str, Any]:
    """Return version, and each database's owner, size, tables and estimated rows."""
    _run(context, *PSQL, "--quiet", "--file=/etc/synos/backup.sql")
    found = {}
    for one in _query(context, DATABASES):
        counts = _query(context, TABLES, one["name"])
        found[one["name"]] = {"owner": one["owner"], "bytes": one["bytes"], **counts}
    version = _query(context, "SELECT to_json(current_setting('server_version'))").split()[0]
    return {"version": version, "databases": found}


def amounts(facts: Mapping[str, Any]) -> dict[str, int]:
    """Return how much that is."""
    databases = facts["databases"].values()
    return {"database": len(databases), "table": sum(one["tables"] for one in databases)}


def save(context: StackContext, into: Draft, facts: Mapping[str, Any]) -> None:
    """Write roles (without passwords) and every database but the health check's."""
    for name in facts["databases"]:
        if len(name.encode()) > LONGEST:
            raise ServiceFailed(
                f"database {name!r} cannot be backed up",
                why=f"its name is longer than {LONGEST} bytes",
                hint=f"inv services.psql --superuser -- -c 'ALTER DATABASE \"{name}\" RENAME TO …'",
            )
    found = [(name, _file(name), one["owner"]) for name, one in facts["databases"].items()]
    databases = [{"name": name, "owner": owner, **_query(context, PARTS, name)} for name, _, owner in found]
    for file, content in (("databases.json", databases), ("roles.json", _query(context, ROLES))):
        with into.file(file) as out:
            out.write(json.dumps(content, indent=1).encode())
    for name, file, _ in found:
        with into.file(file) as out:
            dump = ("pg_dump", "--format=custom", "--compress=zstd:3")
            _run(context, *dump, database=name, user=READER, stdout=out.write)


def check(folder: Path, facts: Mapping[str, Any]) -> None:
    """Compare what the files are about with the manifest."""
    names = sorted(one["name"] for one in _read(folder)[0])
    if names != sorted(facts["databases"]):
        raise ValueError("databases.json has other databases than the manifest")
    for name in names:
        if len(name.encode()) > LONGEST or not (folder / _file(name)).is_file():
            raise ValueError(f"{_file(name)[:99]} is missing")


def load(context: StackContext, folder: Path) -> None:
    """Restore every database under another name; when all are whole, swap each in, in one transaction."""
    recover(context)
    try:
        _load(context, folder)
    except BaseException:
        with suppress(SynosError):  # the engine may be gone; the next command recovers it
            recover(context)
        raise


def recover(context: StackContext) -> bool:
    """Undo what is left of an interrupted load(), database by database, and finish swaps that were done.

    Tells whether there was anything. Raises ServiceFailed.
    """
    return bool(_run(context, *PSQL, "--tuples-only", stdin=RECOVER.encode()).strip())


def _load(context: StackContext, folder: Path) -> None:
    databases, roles = _read(folder)
    _run(context, *PSQL, "--quiet", "--file=/etc/synos/roles.sql", stdin=json.dumps(roles).encode())
    for one in databases:
        parts = (json.dumps(one["owners"] or [one["owner"]]), json.dumps(one["extensions"] or []))
        with (folder / _file(one["name"])).open("rb") as dump:
            words = ("sh", "/etc/synos/restore", one["name"] + RESTORING, one["owner"], *parts)
            left = _run(context, *words, stdin=dump).decode(errors="replace").splitlines()
        if left:
            listed = " ".join([*left[:MOST], *["..."] * (len(left) > MOST)])
            said = f"{one['name']}: left out, as only the superuser may: {listed}"
            context.say(ascii(said)[1:-1])  # names may have any characters
    for one in databases:
        _swap(context, one["name"])


def _read(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the databases and roles of a backup; raise ValueError."""
    databases = archive.read_json(folder / "databases.json", _DATABASES)
    roles = [{"name": one["owner"], "login": True} for one in databases]
    if (folder / "roles.json").exists():  # not in backups of older versions, nor are owners and extensions
        roles = archive.read_json(folder / "roles.json", _ROLES)
    return databases, roles


def _swap(context: StackContext, name: str) -> None:
    old, new, before = _quoted(name), _quoted(name + RESTORING), _quoted(name + BEFORE)
    if not any(one["name"] == name for one in _query(context, DATABASES)):
        _statements(context, f"ALTER DATABASE {new} RENAME TO {old}")
        return
    _statements(
        context,
        f"ALTER DATABASE {old} WITH ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {_literal(name)}",  # noqa: S608
        f"BEGIN; ALTER DATABASE {old} RENAME TO {before}; ALTER DATABASE {new} RENAME TO {old}; COMMIT",
        f"DROP DATABASE {before} WITH (FORCE)",
    )


def _statements(context: StackContext, *statements: str) -> None:
    sql = "".join(f"{statement};\n" for statement in statements).encode()
    _run(context, *PSQL, "--quiet", stdin=sql)


def _query(context: StackContext, sql: str, database: str = "") -> Any:  # noqa: ANN401
    """Return the JSON that a query answers: of the cluster to the superuser, of a database to the role that reads it."""
    user = READER if database else SUPERUSER
    words = (*PSQL, "--tuples-only", "--no-align")
    return json.loads(_run(context, *words, database=database or "postgres", user=user, stdin=sql.encode()))


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
