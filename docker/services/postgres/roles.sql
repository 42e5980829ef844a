-- Makes the roles of a backup that are missing here, from JSON on standard input. Those that are here keep their rights. A role
-- that is made gets no right that an application may not have, whatever the JSON says: it may come from another machine.
-- Prints what was left out, a line each.
\set roles `cat`
\i /etc/synos/ordinary.sql
\i /etc/synos/settings.sql
CREATE TEMP TABLE saved AS
SELECT one.*, NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) AS new
  FROM json_to_recordset(:'roles') AS one (name text, login boolean, inherit boolean, createdb boolean, connections integer,
       until timestamptz, settings text[], member_of text[], comment text, powers text[], grants json)
 WHERE name !~ '^pg_' AND name NOT IN ('synos_backup', 'synos_restore', 'synos_restoring');
SELECT format('CREATE ROLE %I NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS %s %s %s CONNECTION LIMIT %s %s',
       name, CASE WHEN login THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN coalesce(inherit, true) THEN 'INHERIT' ELSE 'NOINHERIT' END,
       CASE WHEN createdb THEN 'CREATEDB' ELSE 'NOCREATEDB' END, coalesce(connections, -1), coalesce('VALID UNTIL ' || quote_literal(until), ''))
  FROM pg_temp.saved WHERE new \gexec
SELECT format('ROLE %I %s;', name, array_to_string(powers, ' ')) FROM pg_temp.saved WHERE new AND powers <> '{}' ORDER BY name;

-- Memberships, where one of the two roles is new: those that are here keep theirs. Who grants must have the right to before.
CREATE TEMP TABLE wanted AS
SELECT one.name AS member, role, by, new OR EXISTS (SELECT FROM pg_temp.saved WHERE name = role AND new) AS new,
       CASE WHEN admin IS NULL THEN '' ELSE format(' WITH ADMIN %s, INHERIT %s, SET %s', admin::text, inherits::text, sets::text) END AS options
  FROM pg_temp.saved AS one, LATERAL (
       SELECT g.role, g.by, g.admin, g.inherit, g.set FROM json_to_recordset(grants) AS g (role text, by text, admin boolean, inherit boolean, set boolean)
       UNION ALL SELECT unnest(member_of), NULL, NULL, NULL, NULL) AS given (role, by, admin, inherits, sets);
SELECT format('SELECT said FROM pg_temp.try(%L) AS said WHERE said <> %L', format('GRANT %I TO %I%s%s', role, member, options,
       CASE WHEN by IN (SELECT rolname FROM pg_temp.ordinary) THEN format(' GRANTED BY %I', by) ELSE '' END), '')
  FROM pg_temp.wanted JOIN pg_temp.ordinary AS giver ON giver.rolname = role JOIN pg_temp.ordinary AS taker ON taker.rolname = member
 WHERE new ORDER BY by IN (SELECT rolname FROM pg_temp.ordinary) NULLS FIRST, options DESC \gexec
SELECT format('GRANT %I TO %I;', role, member) FROM pg_temp.wanted
 WHERE new AND NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid::regrole::text = quote_ident(role) AND member::regrole::text = quote_ident(wanted.member));

-- what a role may set for itself, and for no other role than an application's
SELECT format('SELECT said FROM pg_temp.set(%L, %L, %L) AS said WHERE said <> %L', format('ROLE %I', name), name, one, '')
  FROM pg_temp.saved, unnest(settings) AS one \gexec
SELECT format('COMMENT ON ROLE %I IS %L; ALTER ROLE %1$I CONNECTION LIMIT %3$s', name, comment, coalesce(connections, -1))
  FROM pg_temp.saved JOIN pg_temp.ordinary ON rolname = name WHERE comment IS NOT NULL OR connections IS NOT NULL \gexec
