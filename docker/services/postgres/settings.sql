-- Defines pg_temp.set(): sets what a backup says for a role or database, as the role WHO, which the server checks. Returns why it cannot
-- be, '' where it is. What the superuser alone may set is refused, but for variables of applications, which only have a name with a dot.
CREATE FUNCTION pg_temp.set(target text, who text, setting text) RETURNS text LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    key text := split_part(setting, '=', 1);
    value text := substr(setting, strpos(setting, '=') + 1);
    module text := split_part(key, '.', 1);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_temp.ordinary WHERE rolname = who) THEN
        RETURN format('%s SET %s;', target, key);
    ELSIF lower(key) = 'role' AND EXISTS (SELECT FROM pg_temp.ordinary WHERE rolname = value AND pg_has_role(who, rolname, 'MEMBER')) THEN
        EXECUTE format('ALTER %s SET role TO %L', target, value);
    ELSIF EXISTS (SELECT FROM pg_settings WHERE lower(name) = lower(key) AND context = 'user') THEN
        PERFORM set_config('role', who, true), set_config(key, value, true);
        EXECUTE format('ALTER %s SET %I FROM CURRENT', target, key);
        PERFORM set_config('role', 'none', true);
    ELSIF key ~ '^[A-Za-z_][A-Za-z0-9_$]*\.[A-Za-z_][A-Za-z0-9_$]*$' AND NOT EXISTS (SELECT FROM pg_settings WHERE lower(name) = lower(key))
      AND NOT EXISTS (SELECT FROM pg_available_extensions WHERE lower(name) = lower(module))
      AND lower(module) NOT IN ('auto_explain', 'auth_delay', 'basic_archive', 'passwordcheck', 'pgaudit', 'plperl', 'plpython', 'pltcl', 'sepgsql') THEN
        EXECUTE format('ALTER %s SET %I.%I TO %L', target, module, split_part(key, '.', 2), value);
    ELSE
        RETURN format('%s SET %s;', target, key);
    END IF;
    RETURN '';
EXCEPTION WHEN OTHERS THEN
    RETURN format('%s SET %s: %s;', target, key, SQLERRM);
END $$;
-- Runs a statement that is made of a backup's data; returns why it failed, '' where it did not.
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    EXECUTE statement;
    RETURN '';
EXCEPTION WHEN OTHERS THEN
    RETURN format('%s: %s;', statement, SQLERRM);
END $$;
