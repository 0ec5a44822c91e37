#!/bin/sh
# Dumps the database DATABASE_URI into BACKUP_FOLDER and keeps the newest BACKUP_KEEP dumps.
# A dump counts, and old ones go, only after it was read back and holds tables.
set -eu

folder=${BACKUP_FOLDER:-/backups}
keep=${BACKUP_KEEP:-14}
dump=mlflow-$(date -u +%Y%m%dT%H%M%SZ).dump
unfinished=$folder/.$dump.unfinished
trap 'rm -f "$unfinished"' EXIT

if [ "$keep" -lt 1 ]; then
    echo "error BACKUP_KEEP is $keep; expected 1 or more: with fewer every dump would be deleted" >&2
    exit 1
fi

# What a restore has put aside within the database is no part of it.
pg_dump --format=custom --no-owner --no-privileges --exclude-schema='public_before_*' --file="$unfinished" --dbname="$DATABASE_URI"
tables=$(pg_restore --list "$unfinished" | grep -c ' TABLE DATA ' || true)
if [ "$tables" -lt 1 ]; then
    echo "error the dump holds no tables: is DATABASE_URI the database that MLflow uses? Older dumps are kept" >&2
    exit 1
fi
mv "$unfinished" "$folder/$dump"
echo "$folder/$dump: $tables tables, $(wc -c <"$folder/$dump") bytes"

# Names carry the time, so that their order is the order of time.
find "$folder" -maxdepth 1 -name 'mlflow-*.dump' | sort -r | tail -n "+$((keep + 1))" | while read -r old; do
    rm -f "$old"
    echo "$old: deleted"
done
