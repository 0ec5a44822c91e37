#!/usr/bin/env bash
# Debian's docker engine and debootstrap, where the container tests have no docker engine yet and this is possible.
set -euo pipefail
if docker info >/dev/null 2>&1; then
    exit 0
fi
if [ -x "$(command -v dockerd)" ] && [ -x "$(command -v debootstrap)" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || [ ! -x "$(command -v apt-get)" ]; then
    echo "no docker engine here, and installing one takes root on Debian or Ubuntu: start docker, or set DOCKER_HOST" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends docker.io debootstrap
