#!/bin/sh
# Makes the secrets that compose.yaml names, once, and prints the first API key:
#
#   sh deploy/secrets.sh
#
# HF_TOKEN, where it is set, is kept for models that ask for one.
set -eu
cd "$(dirname "$0")/.."

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# Only its owner enters the folder. The files in it are for every user: containers get each by
# itself, as it is, and read it as users of their own.
mkdir -m 700 secrets || {
    echo "secrets.sh: take the folder secrets/ away first, and restart everything afterwards" >&2
    exit 1
}
password=$(random)
key=parley_$(random)
digest=$(printf %s "$key" | sha256sum | cut -d ' ' -f 1)

printf 'requirepass %s\n' "$password" > secrets/broker.conf
printf 'redis://:%s@broker:6379/0\n' "$password" > secrets/PARLEY_REDIS_URL
printf '[{"name": "first", "sha256": "%s"}]\n' "$digest" > secrets/PARLEY_API_KEYS
printf %s "${HF_TOKEN:-}" > secrets/HF_TOKEN
printf '{"redis://broker:6379": "%s"}\n' "$password" > secrets/exporter.json
random > secrets/GRAFANA_PASSWORD
chmod 444 secrets/*

echo "The first API key; it is kept nowhere:" >&2
echo "$key"
