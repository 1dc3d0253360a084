package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// Options says how to reach the database.
type Options struct {
	URL         string
	MaxConns    int32                 // 0 = 16
	MinConns    int32                 // kept open while idle
	MaxIdle     time.Duration         // 0 = 5 min
	MaxLifetime time.Duration         // 0 = 1 h
	Registerer  prometheus.Registerer // nil = no metrics
	Log         *slog.Logger          // nil = none
	// Lease is how long an owner may grant after it sent its last renewal, Drift how far clocks may run apart meanwhile:
	// a taker waits for both. 0 = 1.5 s and 100 ms.
	Lease time.Duration
	Drift time.Duration
}

// Store is the database: it satisfies the engine's journal, store and ownership, and holds the repositories.
// Safe for concurrent use.
type Store struct {
	pool  *pgxpool.Pool
	log   *slog.Logger
	lease time.Duration // and drift

	metrics storeMetrics

	mu    sync.Mutex
	doubt map[fleet.EventID]string // of units whose commit was not confirmed: the transaction's id
}

// doubtBound bounds Store.doubt: units of unknown outcome that nobody has asked about yet.
const doubtBound = 1 << 16

// Open connects and checks the schema: it returns ErrSchemaDirty, ErrSchemaNewer or ErrSchemaOlder for one that the
// program may not work with, and wraps fact.ErrUnavailable where there is no connection.
func Open(ctx context.Context, o Options) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("open the store: read the database URL: %w", err)
	}
	cfg.MaxConns = orDefault(o.MaxConns, 16)
	cfg.MinConns = o.MinConns
	cfg.MaxConnIdleTime = orDefault(o.MaxIdle, 5*time.Minute)
	cfg.MaxConnLifetime = orDefault(o.MaxLifetime, time.Hour)
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "starling"
	}
	// Whoever logs in, row-level security holds: a superuser would not be bound by it.
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		s, err := schemaStatus(ctx, c)
		if err != nil {
			return err
		}
		if err := s.Check(); err != nil {
			return err
		}
		if _, err := c.Exec(ctx, "SET ROLE starling_app"); err != nil {
			return fmt.Errorf("become starling_app: %w", err)
		}
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s := &Store{
		pool: pool, log: o.Log, doubt: map[fleet.EventID]string{},
		lease: orDefault(o.Lease, 1500*time.Millisecond) + orDefault(o.Drift, 100*time.Millisecond),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.register(o.Registerer); err != nil {
		pool.Close()
		return nil, err
	}
	if err := s.EnsurePartitions(ctx, 3); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return s, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Ping asks the database for a sign of life; wraps fact.ErrUnavailable where there is none.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.pool.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("ping the store: %w", away(err))
	}
	return nil
}

// Close waits for what is under way and closes all connections.
func (s *Store) Close() { s.pool.Close() }

// EnsurePartitions makes the partitions of the days to come. Call it at least daily with days >= 2; a late call loses
// nothing (there is a default partition).
func (s *Store) EnsurePartitions(ctx context.Context, days int) error {
	if _, err := s.pool.Exec(ctx, "SELECT ensure_partitions($1)", days); err != nil {
		return fmt.Errorf("ensure partitions: %w", away(err))
	}
	return nil
}

// ForgetPartitions drops the first answers of days that ended more than a day ago.
func (s *Store) ForgetPartitions(ctx context.Context) error {
	if _, err := s.pool.Exec(ctx, "SELECT forget_partitions()"); err != nil {
		return fmt.Errorf("forget partitions: %w", away(err))
	}
	return nil
}

// inTenant runs do in one transaction that sees the rows of this tenant alone. An error of the commit itself wraps
// fact.ErrUnknown.
func (s *Store) inTenant(ctx context.Context, tenant fleet.TenantID, do func(pgx.Tx) error) error {
	return s.inTx(ctx, "SELECT set_config('app.tenant_id', $1, true)", string(tenant), do)
}

// inPlatform runs do in one transaction of a platform administrator: tenants and users of all.
func (s *Store) inPlatform(ctx context.Context, do func(pgx.Tx) error) error {
	return s.inTx(ctx, "SELECT set_config('app.platform', $1, true)", "on", do)
}

func (s *Store) inTx(ctx context.Context, setting, value string, do func(pgx.Tx) error) error {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return away(err)
	}
	defer s.rollback(ctx, tx)
	if _, err := tx.Exec(ctx, setting, value); err != nil {
		return away(err)
	}
	if err := do(tx); err != nil {
		return away(err)
	}
	if err := tx.Commit(ctx); err != nil {
		return commitError(err)
	}
	return nil
}

// rollback ends a transaction that may have been committed already. Where it cannot, the connection is closed, which
// ends it as well.
func (s *Store) rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := tx.Rollback(ctx); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		s.log.LogAttrs(ctx, slog.LevelDebug, "transaction not rolled back", slog.String("event", "store.rollback"), slog.Any("error", err))
	}
}

// commitError says what an error of COMMIT means: the server's own refusal is certain, anything else is not.
func commitError(err error) error {
	var refused *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrTxCommitRollback):
		return fmt.Errorf("commit: %w: %w", fact.ErrRejected, err)
	case errors.As(err, &refused) && !severed(refused):
		return fmt.Errorf("commit: %w", away(err))
	}
	return fmt.Errorf("commit: %w: %w", fact.ErrUnknown, err)
}

// away wraps errors that say that the store cannot be reached, or cannot take the transaction now, in
// fact.ErrUnavailable; nothing was recorded. Others, and those wrapped already, pass as they are.
func away(err error) error {
	if err == nil || errors.Is(err, fact.ErrUnavailable) || errors.Is(err, fact.ErrUnknown) || domain(err) {
		return err
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && !severed(refused) && !transient(refused) {
		return err
	}
	return fmt.Errorf("%w: %w", fact.ErrUnavailable, err)
}

// domain says that the error is about the data, not about the database.
func domain(err error) bool {
	for _, known := range []error{
		fact.ErrConflict, fact.ErrRejected, fact.ErrFenced, fact.ErrNotFound, fact.ErrPrecondition, fact.ErrBadCursor,
		pgx.ErrNoRows, ErrSchemaDirty, ErrSchemaNewer, ErrSchemaOlder,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// severed says that the server ended the connection: shut down, crashed, starting up.
func severed(e *pgconn.PgError) bool {
	switch e.Code {
	case "57P01", "57P02", "57P03", "57P05", "08000", "08003", "08006", "08001", "08004", "08007":
		return true
	}
	return false
}

// transient says that the same transaction may succeed later: no resources, deadlock, serialisation, lock timeout,
// cancelled, read-only while failing over.
func transient(e *pgconn.PgError) bool {
	switch e.Code[:2] {
	case "53", "40", "58":
		return true
	}
	return e.Code == "55P03" || e.Code == "57014" || e.Code == "25006"
}
