package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
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
	// ErrUnderWay: somebody is migrating just now.
	ErrUnderWay = errors.New("the schema is being migrated")
)

const (
	// migrationLock is held by whoever migrates, for as long as it does.
	migrationLock = 7264120260001
	// patience bounds how long a statement of a migration waits for a table: while it waits, whoever wants the table after
	// it waits too. A migration that gives up has changed nothing and can be tried again.
	patience = 5 * time.Second
)

// SchemaStatus says where a database stands. Version 0 = nothing applied.
type SchemaStatus struct {
	Version uint64 // of the last migration applied; 0 too while somebody is migrating
	Newest  uint64 // that this program knows
	Pending int    // migrations not yet applied
	Dirty   bool
	// UnderWay says that somebody is migrating just now.
	UnderWay bool
}

// Check is nil where the program may run on the schema, else ErrUnderWay, ErrDirty, ErrNewer or ErrOlder.
func (s SchemaStatus) Check() error {
	switch {
	case s.UnderWay:
		return ErrUnderWay
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
// ("status"), and says where it stands then. A dirty or newer schema is refused (ErrDirty, ErrNewer). Of two at once one
// waits for the other until ctx ends. A migration that fails, or whose process ends, leaves the schema as it was before it.
func Migrate(ctx context.Context, url, direction string) (SchemaStatus, error) {
	return migrateWith(ctx, url, direction, migrations.Files)
}

func migrateWith(ctx context.Context, url, direction string, files fs.FS) (st SchemaStatus, err error) {
	if direction != "up" && direction != "down" && direction != "status" {
		return st, fmt.Errorf("migrate %q: want up, down or status", direction)
	}
	all, err := versions(files)
	if err != nil {
		return st, err
	}
	turn, err := takeTurn(ctx, url, direction == "status")
	if err != nil {
		return st, err
	}
	defer turn.end(ctx)
	if turn.others {
		return SchemaStatus{UnderWay: true, Newest: slices.Max(all)}, nil
	}
	m, err := migrator(ctx, url, files)
	if err != nil {
		return st, err
	}
	st, err = status(m, all)
	if err == nil && direction != "status" {
		err = step(ctx, m, st, direction)
		after, e := status(m, all)
		st, err = after, errors.Join(err, e)
	}
	sourceErr, databaseErr := m.Close()
	return st, errors.Join(err, sourceErr, databaseErr)
}

// turn is a session that holds migrationLock, so that nobody else migrates; others says that somebody does, where it only
// wants to look.
type turn struct {
	conn   *pgx.Conn
	others bool
}

func takeTurn(ctx context.Context, url string, look bool) (*turn, error) {
	config, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect for migrations: %w: %w", fact.ErrUnavailable, err)
	}
	t := &turn{conn: conn}
	if look {
		var free bool
		if err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock_shared($1)", migrationLock).Scan(&free); err == nil {
			t.others = !free
			return t, nil
		}
	} else if _, err = conn.Exec(ctx, "SELECT pg_advisory_lock($1)", migrationLock); err == nil {
		return t, nil
	}
	t.end(ctx)
	return nil, fmt.Errorf("wait for another migration: %w", err)
}

// end lets the next one in: the lock goes with its session.
func (t *turn) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = t.conn.Close(ctx) // the server ends a session whose client is gone
}

func parseURL(url string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		// The error of the parser may repeat the URL, which holds a password.
		return nil, errors.New("read the database URL: it is not a PostgreSQL URL or keyword string")
	}
	config.RuntimeParams["application_name"] = "starling migrate"
	return config, nil
}

// Status says where the database stands.
func Status(ctx context.Context, url string) (SchemaStatus, error) {
	return Migrate(ctx, url, "status")
}

// CheckSchema is nil where the program may run on the database (see SchemaStatus.Check). It waits for a migration that is
// under way, a minute at most.
func CheckSchema(ctx context.Context, url string) error {
	for deadline := time.Now().Add(time.Minute); ; {
		st, err := Status(ctx, url)
		if err != nil {
			return err
		}
		if !st.UnderWay || time.Now().After(deadline) {
			return st.Check()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
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

func migrator(ctx context.Context, url string, from fs.FS) (*migrate.Migrate, error) {
	config, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["lock_timeout"] = millis(patience)
	files, err := iofs.New(from, ".")
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
	m, err := migrate.NewWithInstance("embedded", files, name, &whole{Driver: d})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the migrations: %w", err), d.Close(), files.Close())
	}
	return m, nil
}

// whole is a driver that applies a migration and notes its version in one transaction: whatever happens in between, the
// schema is of the version that it says. A file that is no transaction is noted as dirty while it runs.
type whole struct {
	database.Driver
	target int // version after the file that comes next
}

// SetVersion is called before a file with dirty = true and after it with false.
func (w *whole) SetVersion(version int, dirty bool) error {
	if w.target = version; dirty {
		return nil
	}
	return w.Driver.SetVersion(version, false)
}

func (w *whole) Run(file io.Reader) error {
	text, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("read the migration: %w", err)
	}
	body, ok := transaction(string(text), w.target)
	if !ok {
		if err := w.Driver.SetVersion(w.target, true); err != nil {
			return err
		}
		return w.Driver.Run(strings.NewReader(body))
	}
	err = w.Driver.Run(strings.NewReader(body))
	if err == nil {
		return nil
	}
	said := err.Error()
	var refusal database.Error // its text repeats the whole file
	if errors.As(err, &refusal) {
		said = fmt.Sprintf("line %d: %s", refusal.Line, refusal.Err)
	}
	back := w.Driver.Run(strings.NewReader("ROLLBACK"))
	return errors.Join(fmt.Errorf("on the way to version %d, nothing of which was kept: %s", w.target, said), back)
}

// transaction is the text of a migration that is one transaction, with the version noted at its end; false = it is none.
func transaction(text string, target int) (string, bool) {
	var code []string
	for line := range strings.Lines(text) {
		if l := strings.TrimSpace(line); l != "" && !strings.HasPrefix(l, "--") {
			code = append(code, l)
		}
	}
	end := strings.LastIndex(text, "COMMIT;")
	if len(code) < 2 || code[0] != "BEGIN;" || code[len(code)-1] != "COMMIT;" || end < 0 {
		return text, false
	}
	note := "RESET ROLE;\nDELETE FROM " + driver.DefaultMigrationsTable + ";\n"
	if target >= 0 { // -1 = nothing is left
		note += fmt.Sprintf("INSERT INTO %s (version, dirty) VALUES (%d, false);\n", driver.DefaultMigrationsTable, target)
	}
	return text[:end] + note + text[end:], true
}

func status(m *migrate.Migrate, all []uint64) (SchemaStatus, error) {
	var st SchemaStatus
	version, dirty, err := m.Version()
	if err != nil && !errors.Is(err, migrate.ErrNilVersion) {
		return st, fmt.Errorf("read the schema's version: %w", err)
	}
	st.Version, st.Dirty = uint64(version), dirty
	for _, v := range all {
		st.Newest = max(st.Newest, v)
		if v > st.Version {
			st.Pending++
		}
	}
	return st, nil
}

// versions are the numbers of the migrations.
func versions(files fs.FS) ([]uint64, error) {
	names, err := fs.Glob(files, "*.up.sql")
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
