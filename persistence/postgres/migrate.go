package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/golang-migrate/migrate/v4"
	driver "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"starling/migrations"
)

// The ways in which a schema can be unfit for this program.
var (
	// ErrSchemaDirty: a migration stopped half-way; somebody has to look.
	ErrSchemaDirty = errors.New("schema is dirty: a migration stopped half-way")
	// ErrSchemaNewer: the database was migrated by a newer program.
	ErrSchemaNewer = errors.New("schema is newer than this program")
	// ErrSchemaOlder: migrations are missing (`starling migrate up`).
	ErrSchemaOlder = errors.New("schema is older than this program")
)

// SchemaStatus is where a database's schema stands; versions are the time stamps of migrations, 0 = none.
type SchemaStatus struct {
	Version uint
	Newest  uint // that this program knows
	Dirty   bool
	Pending int // migrations not yet applied
}

// Check says whether the program may work with the schema: nil, ErrSchemaDirty, ErrSchemaNewer or ErrSchemaOlder.
func (s SchemaStatus) Check() error {
	switch {
	case s.Dirty:
		return fmt.Errorf("version %d: %w", s.Version, ErrSchemaDirty)
	case s.Version > s.Newest:
		return fmt.Errorf("version %d, program %d: %w", s.Version, s.Newest, ErrSchemaNewer)
	case s.Version < s.Newest:
		return fmt.Errorf("version %d, program %d: %w", s.Version, s.Newest, ErrSchemaOlder)
	}
	return nil
}

// MigrateUp applies all pending migrations; it refuses a dirty or newer schema. Several processes may call it at the
// same time. The role of the URL must be allowed to make roles and extensions, the first time at least.
func MigrateUp(ctx context.Context, url string) error {
	s, err := MigrateStatus(ctx, url)
	if err != nil {
		return err
	}
	if err := s.Check(); err != nil && !errors.Is(err, ErrSchemaOlder) {
		return fmt.Errorf("migrate up: %w", err)
	}
	return migration(url, "up", (*migrate.Migrate).Up)
}

// MigrateDown takes back the newest steps migrations (all for steps <= 0). What they held is gone.
func MigrateDown(ctx context.Context, url string, steps int) error {
	s, err := MigrateStatus(ctx, url)
	if err != nil {
		return err
	}
	if err := s.Check(); err != nil && !errors.Is(err, ErrSchemaOlder) {
		return fmt.Errorf("migrate down: %w", err)
	}
	if steps <= 0 {
		return migration(url, "down", (*migrate.Migrate).Down)
	}
	return migration(url, "down", func(m *migrate.Migrate) error { return m.Steps(-steps) })
}

// MigrateStatus says where the schema stands; it changes nothing.
func MigrateStatus(ctx context.Context, url string) (SchemaStatus, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return SchemaStatus{}, fmt.Errorf("migrate status: %w", away(err))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing was written
	return schemaStatus(ctx, conn)
}

type rowQuerier interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

func schemaStatus(ctx context.Context, q rowQuerier) (SchemaStatus, error) {
	known, err := knownVersions()
	if err != nil {
		return SchemaStatus{}, err
	}
	s := SchemaStatus{Newest: known[len(known)-1]}
	var version int64
	err = q.QueryRow(ctx, "SELECT version, dirty FROM schema_migrations").Scan(&version, &s.Dirty)
	var failed *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows), errors.As(err, &failed) && failed.Code == "42P01": // no table: nothing applied
	case err != nil:
		return SchemaStatus{}, fmt.Errorf("read the schema's version: %w", away(err))
	}
	s.Version = uint(max(0, version))
	for _, v := range known {
		if v > s.Version {
			s.Pending++
		}
	}
	return s, nil
}

// knownVersions are the versions in the program, ascending.
func knownVersions() ([]uint, error) {
	names, err := fs.Glob(migrations.Files, "*.up.sql")
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("list migrations: %d found: %w", len(names), err)
	}
	out := make([]uint, len(names)) // Glob sorts
	for i, name := range names {
		stamp, _, _ := strings.Cut(name, "_")
		v, err := strconv.ParseUint(stamp, 10, 63)
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", name, err)
		}
		out[i] = uint(v)
	}
	return out, nil
}

func migration(url, what string, do func(*migrate.Migrate) error) (err error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("migrate %s: read the database URL: %w", what, err)
	}
	db := stdlib.OpenDB(*cfg)
	defer func() { err = errors.Join(err, closed(db)) }()
	to, err := driver.WithInstance(db, &driver.Config{})
	if err != nil {
		return fmt.Errorf("migrate %s: %w", what, err)
	}
	from, err := iofs.New(migrations.Files, ".")
	if err != nil {
		return fmt.Errorf("migrate %s: %w", what, err)
	}
	m, err := migrate.NewWithInstance("iofs", from, "pgx5", to)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", what, err)
	}
	if err := do(m); err != nil && !errors.Is(err, migrate.ErrNoChange) {
		return fmt.Errorf("migrate %s: %w", what, err)
	}
	return nil
}

// closed closes db, which the migration's driver may have closed already.
func closed(db *sql.DB) error {
	if err := db.Close(); err != nil {
		return fmt.Errorf("close the migration's connection: %w", err)
	}
	return nil
}
