// Package migrations holds the numbered SQL files that make the schema, embedded in the program. It does nothing
// with them: persistence/postgres applies them, sqlc reads them.
//
// Files are append-only, each with a down, and safe while the version before still runs (add, backfill, switch,
// drop). Each file is one transaction that acts as starling_migrate, so that this role owns all tables.
package migrations

import "embed"

// Files are the migrations, <timestamp>_<name>.up.sql and .down.sql.
//
//go:embed *.sql
var Files embed.FS
