#!/bin/sh
# Looks up known vulnerabilities of what the Python side (pip-audit) and the client and the page (npm audit) are built of.
# Where the advisory database cannot be reached, or does not know the packages, it says NOT CHECKED and goes on: that is no
# finding, and no clean bill either. Findings fail: in Python all, in npm from moderate upwards (the page is bundled, so
# what npm calls a development dependency is shipped too).
set -u
cd "$(dirname "$0")/.." || exit 1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
found=0

unreachable() {
	echo "audit: $1: NOT CHECKED: the advisory database cannot be reached from here" >&2
}

python() {
	tool=$(scripts/tools.sh pip-audit) || exit 1
	"$tool" --requirement python/requirements.lock --require-hashes --disable-pip --progress-spinner off --timeout 30 --format json >"$out/python" 2>"$out/errors"
	# What it could not look up it skips, and calls that success.
	python3 - "$out/python" <<'EOF'
import json
import sys

try:
    with open(sys.argv[1], encoding="utf-8") as f:
        packages = json.load(f)["dependencies"]
except (ValueError, KeyError):
    sys.exit(3)
bad = [(p["name"], p["version"], v["id"], ",".join(v["fix_versions"])) for p in packages for v in p.get("vulns", [])]
for name, version, advisory, fixed in bad:
    print(f"audit: python: {name} {version}: {advisory}, fixed in {fixed or 'nothing yet'}", file=sys.stderr)
skipped = [p["name"] for p in packages if "skip_reason" in p]
if bad:
    sys.exit(2)
if skipped or not packages:
    print(f"audit: python: {len(skipped)} of {len(packages)} packages are not known to the advisory database", file=sys.stderr)
    sys.exit(3)
print(f"audit: python: nothing known of {len(packages)} packages")
EOF
	case $? in
	0) ;;
	2) found=1 ;;
	*)
		cat "$out/errors" >&2
		unreachable python
		;;
	esac
}

node() {
	if (cd "$1" && npm audit --json --audit-level=moderate) >"$out/node" 2>"$out/errors"; then
		code=0
	else
		code=1
	fi
	if ! grep -q '"auditReportVersion"' "$out/node"; then
		tail -n 2 "$out/errors" >&2
		unreachable "$1"
	elif [ "$code" = 0 ]; then
		echo "audit: $1: nothing known from moderate upwards"
	else
		(cd "$1" && npm audit --audit-level=moderate) >&2
		found=1
	fi
}

python
command -v npm >/dev/null || {
	echo "audit.sh: npm is not installed" >&2
	exit 1
}
node clients/ts
node gateway/web
exit "$found"
