#!/bin/sh
# Checks and tests the clients (clients/ts) and the examples of docs/api.md.
#   scripts/clients.sh check     compiles, compares the generated types with the OpenAPI document, runs the unit tests
#   scripts/clients.sh test      runs the integration tests and the examples against the real program (bin/starling)
#   scripts/clients.sh generate  writes the types anew from gateway/rest/openapi.yaml
# Usage: from anywhere in the checkout. Node 20 or newer; `test` also wants curl and bin/starling (or $STARLING).
set -eu
cd "$(dirname "$0")/../clients/ts"

install() {
	if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
		npm ci --silent
		touch node_modules/.package-lock.json
	fi
}

# Runs tests quietly: what fails in full, and the runner's closing lines.
quiet() {
	out=$(mktemp)
	trap 'rm -f "$out"' EXIT
	if node --test "$@" >"$out" 2>&1; then
		grep -E '^# (tests|pass|fail|skipped|duration_ms) ' "$out"
	else
		grep -v '^ok ' "$out" >&2
		exit 1
	fi
}

case "${1:-}" in
check)
	install
	npm run -s generate:check
	npm run -s compile
	npm run -s build
	quiet build/test/unit/*.test.js
	;;
test)
	install
	npm run -s compile
	quiet build/test/integration/*.test.js
	;;
generate)
	install
	npm run -s generate
	;;
*)
	echo "usage: scripts/clients.sh check|test|generate" >&2
	exit 2
	;;
esac
