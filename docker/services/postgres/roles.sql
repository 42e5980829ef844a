-- Makes the roles of a backup that are missing here, from JSON on standard input. Those that are here keep their rights. A role
-- that is made gets no right that an application may not have, whatever the JSON says: it may come from another machine.
\set roles `cat`
\i /etc/synos/ordinary.sql
CREATE TEMP TABLE saved AS
SELECT one.*, NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) AS new
  FROM json_to_recordset(:'roles') AS one (name text, login boolean, inherit boolean, createdb boolean,
       connections integer, until timestamptz, settings text[], member_of text[])
 WHERE name !~ '^pg_';
SELECT format('CREATE ROLE %I NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS %s %s %s CONNECTION LIMIT %s VALID UNTIL %L',
       name, CASE WHEN login THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN coalesce(inherit, true) THEN 'INHERIT' ELSE 'NOINHERIT' END,
       CASE WHEN createdb THEN 'CREATEDB' ELSE 'NOCREATEDB' END, coalesce(connections, -1), coalesce(until, 'infinity'))
  FROM pg_temp.saved WHERE new \gexec
SELECT format('GRANT %I TO %I', rolname, name)
  FROM pg_temp.saved, unnest(member_of) AS wanted JOIN pg_temp.ordinary ON rolname = wanted WHERE new \gexec
-- what a role may set for itself, and for no other role than an application's
SELECT 'BEGIN', format('SELECT set_config(%L, %L, true)', setting.name, substr(one, strpos(one, '=') + 1)),
       format('ALTER ROLE %I SET %I FROM CURRENT', saved.name, setting.name), 'COMMIT'
  FROM pg_temp.saved JOIN pg_temp.ordinary ON rolname = saved.name, unnest(settings) AS one
  JOIN pg_settings AS setting ON setting.name = split_part(one, '=', 1) AND setting.context = 'user' \gexec
