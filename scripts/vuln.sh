#!/bin/sh
# Runs govulncheck on the program. Where its database cannot be reached it says so and goes on: that is no
# finding, and no clean bill either. Every other failure counts.
set -u
cd "$(dirname "$0")/.." || exit 1
tool=$(scripts/tools.sh govulncheck) || exit 1

out=$("$tool" . 2>&1)
code=$?
if [ "$code" -eq 0 ]; then
	echo "vuln: nothing known"
	exit 0
fi
printf '%s\n' "$out" >&2
case "$out" in
*"fetching vulnerabilities: "*)
	echo "vuln: NOT CHECKED: the vulnerability database cannot be reached from here" >&2
	exit 0
	;;
esac
exit "$code"
