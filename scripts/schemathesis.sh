#!/bin/sh
# Holds a running server to its own OpenAPI document: every operation, good and bad requests, all checks.
# It creates things: use a server that may be thrown away.
# Usage: scripts/schemathesis.sh URL TOKEN [further arguments of `schemathesis run`]
set -eu
cd "$(dirname "$0")/.."

[ $# -ge 2 ] || {
	echo "usage: scripts/schemathesis.sh URL TOKEN [ARGS]" >&2
	exit 2
}
url=$1
token=$2
shift 2
# Arguments are seen by every user of the machine: the token goes by a file.
config=$(mktemp)
trap 'rm -f "$config"' EXIT
trap 'exit 1' INT TERM
printf '[auth.openapi.bearer]\nbearer = "%s"\n' "$token" >"$config"
"$(scripts/tools.sh schemathesis)" --config-file "$config" run "$url/openapi.json" --checks all --seed 1 "$@"
