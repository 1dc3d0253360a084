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
	"github.com/golang-migrate/migrate/v4/source"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"starling/engine/fact"
	"starling/migrations"
)

// What can be wrong with a schema.
var (
	// ErrDirty: a migration broke off half-way; somebody has to look.
	ErrDirty = errors.New("schema is dirty: a migration failed half-way")
	// ErrNewer: the database was migrated by a newer program.
	ErrNewer = errors.New("schema is newer than this program")
	// ErrOlder: migrations are missing.
	ErrOlder = errors.New("schema is older than this program")
)

// SchemaStatus says where a database stands. Version 0 = nothing applied.
type SchemaStatus struct {
	Version uint64 // of the last migration applied
	Newest  uint64 // that this program knows
	Pending int    // migrations not yet applied
	Dirty   bool
}

// Check is nil where the program may run on the schema, else ErrDirty, ErrNewer or ErrOlder.
func (s SchemaStatus) Check() error {
	switch {
	case s.Dirty:
		return fmt.Errorf("%w (version %d)", ErrDirty, s.Version)
	case s.Version > s.Newest:
		return fmt.Errorf("%w (schema %d, program %d)", ErrNewer, s.Version, s.Newest)
	case s.Pending > 0:
		return fmt.Errorf("%w (schema %d, program %d, %d to apply)", ErrOlder, s.Version, s.Newest, s.Pending)
	}
	return nil
}

// Migrate brings the database to the newest schema ("up"), takes the last migration back ("down"), or changes nothing
// ("status"), and says where it stands then. A dirty or newer schema is refused (ErrDirty, ErrNewer). Two migrations
// at once wait for each other.
func Migrate(ctx context.Context, url, direction string) (SchemaStatus, error) {
	if direction != "up" && direction != "down" && direction != "status" {
		return SchemaStatus{}, fmt.Errorf("migrate %q: want up, down or status", direction)
	}
	m, err := migrator(ctx, url)
	if err != nil {
		return SchemaStatus{}, err
	}
	st, err := status(m)
	if err == nil && direction != "status" {
		err = step(ctx, m, st, direction)
		if err == nil {
			st, err = status(m)
		}
	}
	files, database := m.Close()
	return st, errors.Join(err, files, database)
}

// Status says where the database stands.
func Status(ctx context.Context, url string) (SchemaStatus, error) {
	return Migrate(ctx, url, "status")
}

// CheckSchema is nil where the program may run on the database (see SchemaStatus.Check).
func CheckSchema(ctx context.Context, url string) error {
	st, err := Status(ctx, url)
	if err != nil {
		return err
	}
	return st.Check()
}

func step(ctx context.Context, m *migrate.Migrate, st SchemaStatus, direction string) error {
	if err := st.Check(); err != nil && !errors.Is(err, ErrOlder) {
		return fmt.Errorf("migrate %s: %w", direction, err)
	}
	stop := context.AfterFunc(ctx, func() { m.GracefulStop <- true })
	defer stop()
	var err error
	switch {
	case direction == "up":
		err = m.Up()
	case st.Version > 0:
		err = m.Steps(-1)
	}
	if err != nil && !errors.Is(err, migrate.ErrNoChange) {
		return fmt.Errorf("migrate %s: %w", direction, err)
	}
	return ctx.Err()
}

func migrator(ctx context.Context, url string) (*migrate.Migrate, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("read the database URL: it is not a PostgreSQL URL or keyword string")
	}
	files, err := iofs.New(migrations.Files, ".")
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	db := stdlib.OpenDB(*config)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect for migrations: %w: %w", fact.ErrUnavailable, err), db.Close(), files.Close())
	}
	return newMigrate(files, db, config.Database)
}

func newMigrate(files source.Driver, db *sql.DB, name string) (*migrate.Migrate, error) {
	d, err := driver.WithInstance(db, &driver.Config{})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the migrations: %w", err), db.Close(), files.Close())
	}
	m, err := migrate.NewWithInstance("embedded", files, name, d)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the migrations: %w", err), d.Close(), files.Close())
	}
	return m, nil
}

func status(m *migrate.Migrate) (SchemaStatus, error) {
	var st SchemaStatus
	version, dirty, err := m.Version()
	if err != nil && !errors.Is(err, migrate.ErrNilVersion) {
		return st, fmt.Errorf("read the schema's version: %w", err)
	}
	st.Version, st.Dirty = uint64(version), dirty
	all, err := versions()
	if err != nil {
		return st, err
	}
	for _, v := range all {
		st.Newest = max(st.Newest, v)
		if v > st.Version {
			st.Pending++
		}
	}
	return st, nil
}

// versions are the numbers of the embedded migrations.
func versions() ([]uint64, error) {
	names, err := fs.Glob(migrations.Files, "*.up.sql")
	if err != nil {
		return nil, fmt.Errorf("list the migrations: %w", err)
	}
	out := make([]uint64, 0, len(names))
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		v, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migration %s has no number: %w", name, err)
		}
		out = append(out, v)
	}
	return out, nil
}
