-- Statements about tables, whatever they hold; for copying a whole database out and in.
--
-- Only the connection's own schema counts, and nothing that an extension brought along. What is ours is
-- said by name_ours first, since a DO block takes no arguments.

-- name: plain_output
-- Until the transaction ends, write dates and numbers in the one form that every server reads.
SELECT set_config('datestyle', 'ISO, YMD', true),
    set_config('intervalstyle', 'postgres', true),
    set_config('extra_float_digits', '3', true);

-- name: tables
-- List the tables with their columns in order.
SELECT c.relname::text AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = current_schema()
    AND c.relkind IN ('r', 'p')
    AND a.attnum > 0
    AND NOT a.attisdropped
    AND a.attgenerated = ''
    AND NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    )
GROUP BY c.relname
ORDER BY c.relname;

-- name: references
-- List which table has rows that need rows of another one.
SELECT DISTINCT child.relname::text AS child, parent.relname::text AS parent
FROM pg_constraint k
JOIN pg_class child ON child.oid = k.conrelid
JOIN pg_class parent ON parent.oid = k.confrelid
JOIN pg_namespace n ON n.oid = child.relnamespace
WHERE k.contype = 'f' AND n.nspname = current_schema() AND child.oid <> parent.oid
ORDER BY child, parent;

-- name: sequences
-- List the sequences with the last number each has given; NULL while it has given none.
SELECT sequencename::text AS name, last_value
FROM pg_sequences
WHERE schemaname = current_schema()
ORDER BY sequencename;

-- name: set_sequence
-- Let a sequence go on after a number.
SELECT setval(format('%I', :name::text)::regclass, :last_value::bigint, true);

-- name: name_ours
-- Say until the transaction ends which tables and functions are ours, each list between commas.
SELECT set_config('catalyst.tables', :tables, true),
    set_config('catalyst.functions', :functions, true);

-- name: require_no_rows
-- Raise object_not_in_prerequisite_state for the first of our tables that has a row.
DO $$
DECLARE
    one text;
    has_rows boolean;
BEGIN
    FOR one IN
        SELECT tablename FROM pg_tables
        WHERE schemaname = current_schema()
            AND tablename = ANY (string_to_array(current_setting('catalyst.tables'), ','))
        ORDER BY tablename
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', one) INTO has_rows;
        IF has_rows THEN
            RAISE EXCEPTION '%', one USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END LOOP;
END
$$;

-- name: drop_ours
-- Drop our tables, what is made of them, and our functions.
DO $$
DECLARE
    one text;
BEGIN
    FOR one IN
        SELECT tablename FROM pg_tables
        WHERE schemaname = current_schema()
            AND tablename = ANY (string_to_array(current_setting('catalyst.tables'), ','))
    LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I CASCADE', one);
    END LOOP;
    FOR one IN
        SELECT p.oid::regprocedure FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = current_schema()
            AND p.prokind = 'f'
            AND p.proname = ANY (string_to_array(current_setting('catalyst.functions'), ','))
    LOOP
        EXECUTE format('DROP FUNCTION %s', one);
    END LOOP;
END
$$;

-- name: empty_ours
-- Take every row out of our tables, also those that the schema itself brought along.
DO $$
BEGIN
    EXECUTE (
        SELECT 'TRUNCATE ' || string_agg(format('%I', tablename), ', ') FROM pg_tables
        WHERE schemaname = current_schema()
            AND tablename = ANY (string_to_array(current_setting('catalyst.tables'), ','))
    );
END
$$;

-- name: require_sequences_ahead
-- Raise object_not_in_prerequisite_state for an identity column that would give a number again.
DO $$
DECLARE
    one record;
    highest bigint;
    given bigint;
BEGIN
    FOR one IN
        SELECT c.relname, a.attname, format('%I', c.relname) AS quoted
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = current_schema() AND c.relkind = 'r' AND a.attidentity <> ''
    LOOP
        EXECUTE format('SELECT coalesce(max(%I), 0) FROM %s', one.attname, one.quoted) INTO highest;
        SELECT coalesce(last_value, 0) INTO given FROM pg_sequences
        WHERE schemaname = current_schema()
            AND format('%I.%I', schemaname, sequencename)::regclass
                = pg_get_serial_sequence(one.quoted, one.attname)::regclass;
        IF highest > coalesce(given, 0) THEN
            RAISE EXCEPTION '%.%', one.relname, one.attname
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END LOOP;
END
$$;
