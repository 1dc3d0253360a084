#!/bin/sh
# Builds, checks and tests the operators' page (gateway/web).
#   scripts/page.sh build    builds it into gateway/web/dist, which the program carries, where its sources are newer
#   scripts/page.sh check    types, linter, unit tests
#   scripts/page.sh browser  makes sure that there is a Chromium: as root on Debian it installs it, else says what to install
#   scripts/page.sh test     the browser tests against the real program (bin/starling); further arguments go to the runner
# Usage: from anywhere in the checkout. Node 20.19 or newer with npm. CHROMIUM names another browser than /usr/bin/chromium.
set -eu
cd "$(dirname "$0")/../gateway/web"

install() {
	command -v npm >/dev/null || {
		echo "the page needs Node 20.19 or newer with npm: install it and try again" >&2
		exit 1
	}
	if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
		npm ci --no-progress --loglevel error >&2
		touch node_modules/.package-lock.json
	fi
}

built() {
	[ -f dist/index.html ] && [ -z "$(find src public index.html package-lock.json vite.config.ts ../../clients/ts/src -newer dist/index.html -type f | head -n 1)" ]
}

browser() {
	chromium=${CHROMIUM:-/usr/bin/chromium}
	[ -x "$chromium" ] && return
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >&2 && return
	fi
	echo "no Chromium at $chromium: install one, or name yours in CHROMIUM" >&2
	exit 1
}

# The runner's own line is "12 passed (1.2m)"; this one says the same and how many failed.
summed() {
	out=$(mktemp)
	trap 'rm -f "$out"' EXIT
	status=0
	npx --no-install playwright test "$@" >"$out" 2>&1 || status=$?
	cat "$out"
	count() { sed -n "s/^ *\([0-9][0-9]*\) $1.*/\1/p" "$out" | tail -n 1; }
	passed=$(count passed) failed=$(count failed)
	echo "page: ${passed:-0} passed, ${failed:-0} failed"
	[ "$status" = 0 ] || exit "$status"
	[ "${passed:-0}" -gt 0 ] || exit 1
}

case "${1:-}" in
build)
	built && exit 0
	install
	npx --no-install vite build --logLevel warn
	;;
check)
	install
	npx --no-install tsc --noEmit
	npx --no-install eslint --max-warnings 0 .
	summed --project=unit
	;;
browser)
	browser
	;;
test)
	shift
	install
	browser
	summed --project=e2e "$@"
	;;
*)
	echo "usage: scripts/page.sh build|check|browser|test" >&2
	exit 2
	;;
esac
