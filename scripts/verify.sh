#!/bin/sh
# Fails if a generated file is not what its source says, if go.mod is not tidy, or if proto/ breaks those
# who read the main branch's messages. Leaves the regenerated files in place.
set -eu
cd "$(dirname "$0")/.."

state() {
	for path in proto/gen persistence/postgres/gen gateway/rest/openapi.yaml; do
		[ -e "$path" ] && find "$path" -type f -exec sha256sum {} +
	done | sort -k 2
}

before=$(state)
scripts/generate.sh
after=$(state)
if [ "$before" != "$after" ]; then
	echo "verify: generated files differ from their sources; they are regenerated now, commit them:" >&2
	git status --short -- proto/gen persistence/postgres/gen gateway/rest/openapi.yaml >&2
	exit 1
fi

go mod verify >/dev/null || {
	echo "verify: a module differs from go.sum" >&2
	exit 1
}
if ! diff=$(go mod tidy -diff 2>&1); then
	printf '%s\n' "$diff" | grep -v '^go: downloading' | head -40 >&2
	echo "verify: go.mod or go.sum is not tidy (go mod tidy)" >&2
	exit 1
fi

for base in origin/main main; do
	if git cat-file -e "$base:proto" 2>/dev/null; then
		old=$(mktemp -d)
		trap 'rm -rf "$old"' EXIT
		git archive "$base" proto buf.yaml | tar -x -C "$old"
		"$(scripts/tools.sh buf)" breaking --against "$old"
		break
	fi
done
echo "verify: generated files, go.mod and proto/ are in order"
