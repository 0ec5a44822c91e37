#!/bin/bash
# Restores MLflow's database DATABASE_URI from the dump RESTORE_FILE in BACKUP_FOLDER.
#
# Nothing is deleted. The tables of today stay as the database NAME_before_TIME; where the user may not make databases, as
# the schema public_before_TIME. The dump goes into a fresh database (or schema), whole or not at all, and takes the name
# only after every table has as many rows as the dump. `pg_restore --clean` drops only what the dump holds: newer tables
# would stay, and their foreign keys would stop it half-way.
set -euo pipefail

folder=${BACKUP_FOLDER:-/backups}
dump=$folder/$(basename "${RESTORE_FILE:-}")
time=$(date -u +%Y%m%dT%H%M%SZ)
query=(psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1)
SECONDS=0

fail() {
    echo "error $*" >&2
    exit 1
}

if [ -z "${RESTORE_FILE:-}" ] || [ ! -f "$dump" ]; then
    fail "RESTORE_FILE is \`${RESTORE_FILE:-}\`; expected a dump in $folder: $(cd "$folder" && find . -name 'mlflow-*.dump' | sort | sed 's|^\./||' | xargs)"
fi
address='^(postgres(ql)?://[^/]+/)[^/?]+' # with the user's name and password, and the database's name
[[ $DATABASE_URI =~ $address ]] || fail "DATABASE_URI: expected postgresql://user:password@host:port/database"
beside() { # the address of another database of the server
    sed -E "s#$address#\1$1#" <<<"$DATABASE_URI"
}

facts=$("${query[@]}" --dbname="$DATABASE_URI" <<'SQL'
SELECT current_database(), role.rolcreatedb OR role.rolsuper, pg_has_role(datdba, 'USAGE'), pg_has_role(nspowner, 'USAGE'),
    (SELECT string_agg(coalesce(nullif(application_name, ''), 'a client') || coalesce(' at ' || host(client_addr), ''), ', ')
        FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND coalesce(backend_type, 'client backend') = 'client backend')
FROM pg_roles AS role, pg_database, pg_namespace
WHERE role.rolname = current_user AND datname = current_database() AND nspname = 'public'
SQL
)
IFS='|' read -r database may_make owns_database owns_schema sessions <<<"$facts"
[ -n "$database" ] || fail "the database has no schema public"
[ -z "$sessions" ] || fail "the database is in use by $sessions. Nothing is changed. Scale the server to 0 and wait until its pods are gone"
# Databases change their names from a third one, where a provider may admit nobody.
[ "$may_make" = f ] || "${query[@]}" --dbname="$(beside postgres)" --command="SELECT 1" >/dev/null 2>&1 || may_make=f
[ "$owns_database" = t ] || fail "the user of DATABASE_URI does not own the database $database: ALTER DATABASE $database OWNER TO ..."
[ "$may_make" = t ] || [ "$owns_schema" = t ] ||
    fail "the user of DATABASE_URI may make no database and does not own the schema public: ALTER ROLE ... CREATEDB, or ALTER SCHEMA public OWNER TO ..."

# Table and rows, of the dump and of today. Reading the dump's rows finds a damaged file before anything is changed.
rows=$(pg_restore --schema=public --data-only --file=- "$dump" | awk '
    copying && $0 == "\\." { copying = 0; print name "|" count; next }
    copying { count++; next }
    /^COPY / { copying = 1; count = 0; name = $2; sub(/^public\./, "", name) }')
[ -n "$rows" ] || fail "$dump holds no tables"
today=$("${query[@]}" --dbname="$DATABASE_URI" <<'SQL'
SELECT format('SELECT %L, count(*) FROM public.%I', quote_ident(tablename), tablename) FROM pg_tables WHERE schemaname = 'public' \gexec
SQL
)
echo "tables whose number of rows changes (today -> $(basename "$dump")):"
awk -F'|' '$1 == "" { next } NR == FNR { rows[$1] = $2; next } { old[$1] = $2 } END {
    for (name in rows) all[name]; for (name in old) all[name]
    for (name in all) {
        before = name in old ? old[name] : "-"; after = name in rows ? rows[name] : "-"
        if (before != after) printf "  %s: %s -> %s\n", name, before, after
    }
}' <(echo "$rows") <(echo "$today") | sort

compared() { # SQL that fails unless the schema public holds the dump's tables, no others, and all their rows
    echo 'DO $compare$ DECLARE one record; present bigint; BEGIN FOR one IN SELECT * FROM (VALUES'
    echo "$rows" | awk -F'|' '{ printf "%s($name$%s$name$, %s)\n", (NR > 1 ? "," : ""), $1, $2 }'
    cat <<'SQL'
) AS dump(name, rows) LOOP
    EXECUTE 'SELECT count(*) FROM public.' || one.name INTO present;
    IF present <> one.rows THEN RAISE EXCEPTION 'table %: % rows, the dump holds %', one.name, present, one.rows; END IF;
END LOOP;
SQL
    echo "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' INTO present;"
    echo "IF present <> $(echo "$rows" | wc -l) THEN RAISE EXCEPTION '% tables, the dump holds $(echo "$rows" | wc -l)', present; END IF; END \$compare\$;"
}

restored() { # the transaction; without its COMMIT, when something fails on the way, nothing has happened
    echo "BEGIN; $1"
    # PostgreSQL 17's pg_restore sets what older servers do not know.
    pg_restore --schema=public --no-owner --no-privileges --file=- "$dump" | sed '1,30{/^SET transaction_timeout = 0;$/d}'
    compared
    echo 'COMMIT;'
}

if [ "$may_make" = t ]; then
    fresh=${database}_restored_$time
    old=${database}_before_$time
    "${query[@]}" --dbname="$DATABASE_URI" <<SQL
SELECT format('CREATE DATABASE %I TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L', '$fresh', pg_encoding_to_char(encoding), datcollate, datctype)
FROM pg_database WHERE datname = current_database() \gexec
SQL
    trap '"${query[@]}" --dbname="$(beside postgres)" --command="DROP DATABASE IF EXISTS \"$fresh\""' EXIT
    restored "" | "${query[@]}" --dbname="$(beside "$fresh")" >/dev/null
    "${query[@]}" --dbname="$(beside postgres)" <<SQL
BEGIN;
ALTER DATABASE "$database" RENAME TO "$old";
ALTER DATABASE "$fresh" RENAME TO "$database";
COMMIT;
SQL
    trap - EXIT
    echo "The tables of before are the database $old. When all is well: DROP DATABASE \"$old\""
else
    old=public_before_$time
    restored "ALTER SCHEMA public RENAME TO \"$old\"; CREATE SCHEMA public;" | "${query[@]}" --dbname="$DATABASE_URI" >/dev/null
    echo "The tables of before are the schema $old. When all is well: DROP SCHEMA \"$old\" CASCADE"
fi
echo "$dump restored: $(echo "$rows" | wc -l) tables, $(echo "$rows" | awk -F'|' '{ sum += $2 } END { print sum }') rows, $SECONDS s"
