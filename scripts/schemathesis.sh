#!/bin/sh
# Holds a running server to its own OpenAPI document: every operation, good and bad requests, all checks.
# It creates things: use a server that may be thrown away.
# Usage: scripts/schemathesis.sh URL TOKEN [further arguments of `schemathesis run`]
# With STARLING_IDS (see schemathesis_hooks.py) requests are led to things that exist.
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
scratch=$(mktemp -d)
config=$scratch/schemathesis.toml
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
real=
if [ -n "${STARLING_IDS:-}" ]; then
	tenant=$(printf %s "$STARLING_IDS" | sed 's/.*"tenant_id": *"\([^"]*\)".*/\1/')
	real="\"header.X-Tenant-ID\" = \"$tenant\"
\"header.If-Match\" = \"*\"
"
	export PYTHONPATH="$PWD/scripts${PYTHONPATH:+:$PYTHONPATH}" SCHEMATHESIS_HOOKS=schemathesis_hooks PYTHONDONTWRITEBYTECODE=1
fi
cat >"$config" <<END
[auth.openapi.bearer]
bearer = "$token"

# A cursor is only good if a list gave it, which no schema can say: the first page is asked for.
[parameters]
"query.cursor" = ""

$real
# An If-Match may name a version that is gone by.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 412, 429]

# What fits the schema here may still name a place that is not on the map, or a time far from the clock.
[[operations]]
include-operation-id = ["create-task", "create-tasks", "plan", "command-robot", "post-status", "put-zone", "create-robot", "create-map", "create-warehouse", "patch-lane", "patch-settings", "patch-tenant", "create-tenant", "list-audit", "export-audit"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 412, 422, 429]
END
st=$(scripts/tools.sh schemathesis)
cd "$scratch" # it leaves files where it runs
"$st" --config-file "$config" run "$url/openapi.json" --checks all --seed 1 "$@"
