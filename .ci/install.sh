#!/usr/bin/env bash
# What the tests of servers and containers need beside Python, where it is not there and can be had: PostgreSQL, and a
# docker engine with debootstrap. Does nothing where all of it is there.
set -euo pipefail
missing=()
if [ ! -x "$(command -v initdb)" ] && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    missing+=(postgresql)
fi
if ! docker info >/dev/null 2>&1; then
    [ -x "$(command -v dockerd)" ] || missing+=(docker.io)
    [ -x "$(command -v debootstrap)" ] || missing+=(debootstrap)
fi
if [ "${#missing[@]}" = 0 ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || [ ! -x "$(command -v apt-get)" ]; then
    echo "not here: ${missing[*]}. Installing it takes root on Debian or Ubuntu; a docker engine elsewhere will do, too:" >&2
    echo "start it, or set DOCKER_HOST" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${missing[@]}"
