#!/bin/sh
# The Python side (python/): its environment, checks, tests and processes.
#   scripts/python.sh setup          makes the environment once and prints the path of its python
#   scripts/python.sh check          formatting, linter, types, and that the lock fits pyproject.toml
#   scripts/python.sh test [ARGS]    the tests; ARGS go to pytest
#   scripts/python.sh run [MODULE]   runs a process, starling.predict by itself
#   scripts/python.sh lock [ARGS]    writes requirements.lock anew (--upgrade: with the newest versions)
# Usage: from anywhere in the checkout. A Python 3.11 or newer with venv; $PYTHON names one that is not in the PATH.
#
# The lock is requirements.lock, which uv writes and installs from: every package with its version and hashes, for all
# platforms. It is not uv.lock, since that names the registry of whoever wrote it, and this repository names none.
# The environment is ${XDG_CACHE_HOME:-$HOME/.cache}/starling/python/<hash of lock and interpreter>; python/.venv leads there.
set -eu
cd "$(dirname "$0")/.."
root=$PWD

# The interpreter that the environment is made with.
interpreter() {
	for p in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
		if "$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			command -v "$p"
			return
		fi
	done
	# Debian keeps ensurepip, without which there is no venv, in a package of its own.
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ -z "${tried:-}" ]; then
		tried=1
		apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv >&2 && interpreter && return
	fi
	echo "python.sh: needs Python 3.11 or newer with venv (Debian: apt-get install python3 python3-venv)" >&2
	exit 1
}

# Makes the environment where it is not there yet, and sets $venv.
setup() {
	base=$(interpreter)
	cache="${XDG_CACHE_HOME:-$HOME/.cache}/starling/python"
	name=$({ "$base" -VV && cat python/requirements.lock; } | "$base" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')
	venv="$cache/$name"
	if [ ! -e "$venv/complete" ]; then
		mkdir -p "$cache"
		if command -v flock >/dev/null; then # two makes at once make it once
			exec 9>"$cache/lock"
			flock 9
		fi
	fi
	if [ ! -e "$venv/complete" ]; then
		echo "making the Python environment (once per lock; kept in $venv)" >&2
		uv=$(scripts/tools.sh uv)
		rm -rf "$venv" # a venv knows its own place: it is made where it stays
		"$base" -m venv --without-pip "$venv" >&2
		VIRTUAL_ENV=$venv "$uv" pip install --quiet --no-config --require-hashes --no-deps -r python/requirements.lock >&2
		touch "$venv/complete"
	fi
	if command -v flock >/dev/null; then exec 9>&-; fi
	if [ "$(readlink python/.venv 2>/dev/null)" != "$venv" ]; then
		ln -sfn "$venv" python/.venv # for editors
	fi
	PATH="$venv/bin:$PATH" PYTHONPATH="$root/python/src" PYTHONDONTWRITEBYTECODE=1
	export PATH PYTHONPATH PYTHONDONTWRITEBYTECODE
}

compile() {
	(cd python && "$(../scripts/tools.sh uv)" pip compile --quiet --no-config --universal --generate-hashes --no-annotate \
		--custom-compile-command 'scripts/python.sh lock' --group dev --output-file "$@" pyproject.toml)
}

case "${1:-}" in
setup)
	setup
	echo "$venv/bin/python"
	;;
check)
	setup
	cd python
	ruff format --quiet --diff .
	ruff check --quiet .
	mypy
	cd ..
	fresh=$(mktemp -d)
	trap 'rm -rf "$fresh"' EXIT
	cp python/requirements.lock "$fresh/requirements.lock" # what is locked stays where it still fits
	compile "$fresh/requirements.lock"
	if ! diff -u python/requirements.lock "$fresh/requirements.lock" >&2; then
		echo "python.sh: requirements.lock does not fit pyproject.toml: scripts/python.sh lock" >&2
		exit 1
	fi
	;;
test)
	shift
	setup
	cd python
	exec python -m pytest "$@"
	;;
run)
	module=${2:-starling.predict}
	setup
	STARLING_VERSION=$(git describe --tags --always --dirty 2>/dev/null || echo devel)
	export STARLING_VERSION
	exec python -m "$module"
	;;
lock)
	shift
	compile requirements.lock "$@"
	;;
*)
	echo "usage: scripts/python.sh setup|check|test|run|lock" >&2
	exit 2
	;;
esac
