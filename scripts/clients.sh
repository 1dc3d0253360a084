#!/bin/sh
# Checks and tests the clients (clients/ts) and the examples of docs/api.md.
#   scripts/clients.sh check     compiles, compares the generated types with the OpenAPI document, runs the unit tests
#   scripts/clients.sh test      runs the integration tests and the examples against the real program (bin/starling)
#   scripts/clients.sh generate  writes the types anew from gateway/rest/openapi.yaml
# Usage: from anywhere in the checkout. Node 20 or newer; `test` also wants bash, curl and bin/starling (or $STARLING).
set -eu
cd "$(dirname "$0")/../clients/ts"

need() {
	for program in "$@"; do
		command -v "$program" >/dev/null || {
			echo "clients.sh: $program is not installed" >&2
			exit 1
		}
	done
}

install() {
	need node npm
	if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
		npm ci --loglevel=error >&2
		touch node_modules/.package-lock.json
	fi
}

# Runs tests: what fails in full, and the runner's closing lines.
quiet() {
	out=$(mktemp)
	trap 'rm -f "$out"' EXIT
	status=0
	node --test --test-reporter=tap "$@" >"$out" 2>&1 || status=$?
	if [ "$status" -ne 0 ]; then
		# Without the tests that passed: their two lines and what stands under them.
		awk '/^# Subtest: / { title = $0; next } /^ok / { passed = 1; next } /^not ok / { passed = 0; print title } !passed || /^# / { print } /^  \.\.\.$/ { passed = 0 }' "$out" >&2
		exit "$status"
	fi
	grep -E '^# (tests|pass|fail|skipped|duration_ms) ' "$out"
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
	need bash curl
	install
	npm run -s compile
	npm run -s build
	quiet --test-concurrency=3 build/test/integration/*.test.js
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
