#!/bin/sh
# Regenerates what is generated and committed: Go code from proto/ (buf) and from SQL (sqlc).
# Usage: scripts/generate.sh    from anywhere in the checkout
set -eu
cd "$(dirname "$0")/.."

for plugin in protoc-gen-go protoc-gen-go-grpc protoc-gen-go-vtproto; do
	tool=$(scripts/tools.sh "$plugin")
	PATH="$(dirname "$tool"):$PATH"
done
export PATH
buf=$(scripts/tools.sh buf)
"$buf" lint
"$buf" generate
if [ -d persistence/postgres/queries ]; then
	sqlc=$(scripts/tools.sh sqlc)
	"$sqlc" generate
fi
go generate ./... # the OpenAPI document
