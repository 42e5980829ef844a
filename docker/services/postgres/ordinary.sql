-- Roles that have no rights but an application's: neither by themselves nor through a role that they are in.
CREATE TEMP VIEW ordinary AS
SELECT one.rolname FROM pg_roles AS one WHERE one.rolname !~ '^pg_' AND NOT EXISTS (
    SELECT FROM pg_roles AS other WHERE pg_has_role(one.oid, other.oid, 'MEMBER')
       AND (other.rolsuper OR other.rolcreaterole OR other.rolreplication OR other.rolbypassrls
         OR other.rolname ~ '^pg_' AND other.rolname NOT IN
            ('pg_monitor', 'pg_read_all_settings', 'pg_read_all_stats', 'pg_stat_scan_tables', 'pg_database_owner')));
