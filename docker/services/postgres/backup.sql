-- Makes the role that reads databases for a backup, so that the superuser opens none that an application can change.
-- a server that started with an older pg_hba.conf does not let it in yet
SELECT pg_reload_conf(), pg_sleep(1) WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'synos_backup') \g /dev/null
SELECT 'CREATE ROLE synos_backup' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'synos_backup') \gexec
ALTER ROLE synos_backup LOGIN NOSUPERUSER INHERIT NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS PASSWORD NULL;
GRANT pg_read_all_data TO synos_backup;
ALTER ROLE synos_backup SET lo_compat_privileges = on;  -- pg_read_all_data is not for large objects
SELECT format('GRANT CONNECT ON DATABASE %I TO synos_backup', datname) FROM pg_database
 WHERE datallowconn AND NOT has_database_privilege('synos_backup', oid, 'CONNECT') \gexec
