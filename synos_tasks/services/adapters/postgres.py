"""PostgreSQL: pg_dump of every database, each as of one moment; restored under another name, then swapped.

NAME~restoring is a database that is being restored, NAME~before what was there until the swap. A restore that is killed
leaves them, and maybe NAME closed to connections: recover() undoes that.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from synos_tasks.errors import ServiceFailed, SynosError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.archive import Draft
    from synos_tasks.services.stack import StackContext

SERVICE = "postgres"
FACTS = {"version": str, "databases": {str: {"owner": str, "bytes": int, "tables": int, "rows": int}}}
VERSION_PARTS = 1
DATA = "table"
HEALTH = "synos_health"
SUPERUSER = ("--host=/run/postgresql", "--username=postgres")
PSQL = ("psql", *SUPERUSER, "--no-psqlrc")
STRICT = (*PSQL, "--set=ON_ERROR_STOP=1")
# not _restoring: somebody's own database may end so, and would be taken for a leftover; ~ is in no name that is backed up
RESTORING, BEFORE = "~restoring", "~before"
LOADING = "synos-restore"
# the server cuts names after 63 characters: a longer one's place to restore into would be the database itself
LONGEST = 63 - len(RESTORING)
_PLAIN = re.compile(rf"[A-Za-z_][A-Za-z0-9_$-]{{0,{LONGEST - 1}}}")

DATABASES = f"""
SELECT coalesce(json_agg(json_build_object('name', datname, 'owner', pg_get_userbyid(datdba), 'bytes', pg_database_size(oid))
                ORDER BY datname), '[]')
  FROM pg_database WHERE NOT datistemplate AND datname NOT IN ('postgres', '{HEALTH}')
   AND datname NOT LIKE '%{RESTORING}' AND datname NOT LIKE '%{BEFORE}'
"""  # noqa: S608  (a constant)
TABLES = """
SELECT json_build_object('tables', count(*), 'rows', coalesce(sum(n_live_tup), 0)) FROM pg_stat_user_tables
"""
# A killed command's clients run on in the container: first they are ended. Then each line sees what the one before did. The closed one is opened first: what tells that a restore closed it is
# its NAME~restoring. One that is called ~before while nothing has its name never came to its swap's end.
RECOVER = f"""
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '{LOADING}' \\g /dev/null
SELECT format('ALTER DATABASE %I WITH ALLOW_CONNECTIONS true', datname) FROM pg_database AS old
 WHERE NOT datallowconn AND EXISTS (SELECT FROM pg_database WHERE datname = old.datname || '{RESTORING}') \\gexec
SELECT format('ALTER DATABASE %I WITH ALLOW_CONNECTIONS true; ALTER DATABASE %1$I RENAME TO %I', datname, left(datname, -{len(BEFORE)}))
  FROM pg_database AS old WHERE datname LIKE '%{BEFORE}'
   AND NOT EXISTS (SELECT FROM pg_database WHERE datname = left(old.datname, -{len(BEFORE)})) \\gexec
SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database
 WHERE datname LIKE '%{RESTORING}' OR datname LIKE '%{BEFORE}' \\gexec
"""  # noqa: S608  (a constant)


def facts(context: StackContext) -> dict[str, Any]:
    """Return version, and each database's owner, size, tables and estimated rows."""
    found = {}
    for one in json.loads(_query(context, "postgres", DATABASES)):
        counts = json.loads(_query(context, one["name"], TABLES))
        found[one["name"]] = {"owner": one["owner"], "bytes": one["bytes"], **counts}
    return {"version": _query(context, "postgres", "SHOW server_version").split()[0], "databases": found}


def amounts(facts: Mapping[str, Any]) -> dict[str, int]:
    """Return how much that is."""
    databases = facts["databases"].values()
    return {"database": len(databases), "table": sum(one["tables"] for one in databases)}


def save(context: StackContext, into: Draft, facts: Mapping[str, Any]) -> None:
    """Write roles (without passwords) and every database but the health check's."""
    owners = [{"name": name, "owner": one["owner"]} for name, one in facts["databases"].items()]
    with into.file("databases.json") as out:
        out.write(json.dumps(owners, indent=1).encode())
    with into.file("globals.sql") as out:
        _run(context, "pg_dumpall", *SUPERUSER, "--globals-only", "--no-role-passwords", stdout=out.write)
    for name in facts["databases"]:
        with into.file(f"{_safe(name)}.dump") as out:
            dump = ("pg_dump", *SUPERUSER, "--format=custom", "--compress=zstd:3", f"--dbname={name}")
            _run(context, *dump, stdout=out.write)


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
    return bool(_query(context, "postgres", RECOVER))


def _load(context: StackContext, folder: Path) -> None:
    databases = json.loads((folder / "databases.json").read_text())
    with (folder / "globals.sql").open("rb") as sql:  # roles that exist are errors that mean nothing
        _loading(context, *PSQL, "--quiet", "--dbname=postgres", stdin=sql)
    for one in databases:
        name, new = one["name"], one["name"] + RESTORING
        owner = _quoted(one["owner"])
        _statements(context, f"CREATE DATABASE {_quoted(new)} OWNER {owner} TEMPLATE template0")
        with (folder / f"{_safe(name)}.dump").open("rb") as dump:
            _loading(context, "pg_restore", *SUPERUSER, "--exit-on-error", f"--dbname={new}", stdin=dump)
    for one in databases:
        _swap(context, one["name"])
    _statements(context, "ANALYZE")


def _swap(context: StackContext, name: str) -> None:
    old, new, before = _quoted(name), _quoted(name + RESTORING), _quoted(name + BEFORE)
    if not any(one["name"] == name for one in json.loads(_query(context, "postgres", DATABASES))):
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
    _loading(context, *STRICT, "--quiet", "--dbname=postgres", stdin=sql)


def _query(context: StackContext, database: str, sql: str) -> str:
    words = (*STRICT, "--tuples-only", "--no-align", f"--dbname={database}")
    return _run(context, *words, stdin=sql.encode()).decode().strip()


def _run(context: StackContext, *words: str, **streams: Any) -> bytes:  # noqa: ANN401
    return context.compose.pipe(("exec", "--no-TTY", SERVICE, *words), **streams)


def _loading(context: StackContext, *words: str, stdin: bytes | IO[bytes]) -> None:
    """Run a client by whose sessions the server knows what a load() does."""
    context.compose.pipe(("exec", "--no-TTY", f"--env=PGAPPNAME={LOADING}", SERVICE, *words), stdin=stdin)


def _safe(name: str) -> str:
    """Return a database's name as a file's; raises ServiceFailed where it cannot be one."""
    if not _PLAIN.fullmatch(name):
        raise ServiceFailed(
            f"database {name!r} cannot be backed up",
            why=f"its name is not of letters, digits, _, $ and -, or longer than {LONGEST} characters",
            hint=f"inv services.psql --superuser -- -c 'ALTER DATABASE \"{name}\" RENAME TO …'",
        )
    return name


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
