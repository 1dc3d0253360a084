package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// Options says how to connect. The zero value of a field is its stated default.
type Options struct {
	URL              string
	MaxConns         int                 // 16; two more are kept for the leases, two for taking shards
	MinConns         int                 // 2
	MaxIdle          time.Duration       // 5 min
	MaxLifetime      time.Duration       // 1 h
	StatementTimeout time.Duration       // 10 s; of one statement, on the server
	Lease            time.Duration       // 1.5 s: how long a renewed lease lasts
	Drift            time.Duration       // 100 ms: how far clocks may run apart within a lease
	PartitionDays    int                 // 3: days for which partitions are made ahead
	AuditMonths      int                 // whole months of the audit log kept before the present one; 0 = all
	Outbox           func(shards uint16) // hears of each commit that left facts in the outbox, bit i: in shard i; must not wait. nil = nobody
	Log              *slog.Logger        // nil = silence
	Registerer       prometheus.Registerer
}

// Store is the database. It is safe for concurrent use.
type Store struct {
	o       Options
	log     *slog.Logger
	pool    *pgxpool.Pool // acts as starling_app
	leases  *pgxpool.Pool // acts as starling_worker: a renewal never waits for a free connection
	takes   *pgxpool.Pool // the same for what may have to wait for locks: taking shards, upkeep
	bells   *pgxpool.Pool // one connection of the bell, if there is one: whoever takes a shard must not wait for notices
	metrics *metrics
	turns   *turns
	reports *turns // before turns, for lists of the audit log
	doubts  doubts
	// complained is when (UnixNano) lost intents were last logged.
	complained atomic.Int64
	shutter    shutter
	stop       context.CancelFunc
	done       sync.WaitGroup

	Tenants    *TenantsRepo
	Users      *UsersRepo
	Warehouses *WarehousesRepo
	Maps       *MapsRepo
	Zones      *ZonesRepo
	Lanes      *LanesRepo
	Diagrams   *DiagramsRepo
	Robots     *RobotsRepo
	Tasks      *TasksRepo
	Commands   *CommandsRepo
	Decisions  *DecisionsRepo
	Audit      *AuditRepo
	Alerts     *AlertsRepo
	Hooks      *HooksRepo
	// DeadLetters are facts that could not be sent.
	DeadLetters *DeadLettersRepo
}

const (
	roleApp    = "starling_app"
	roleWorker = "starling_worker"
	leaseConns = 2
	takeConns  = 2
	// idleInTransaction ends a transaction whose client has gone silent: it may hold the fence that a taker waits for.
	idleInTransaction = 5 * time.Second
)

// Open prepares the pools and starts the upkeep of partitions. It does not wait for the server: a store that is away
// answers fact.ErrUnavailable until it is back. Errors: the URL cannot be read.
func Open(ctx context.Context, o Options) (*Store, error) {
	o.MaxConns, o.MinConns = cmp.Or(o.MaxConns, 16), cmp.Or(o.MinConns, 2)
	o.MaxIdle, o.MaxLifetime = cmp.Or(o.MaxIdle, 5*time.Minute), cmp.Or(o.MaxLifetime, time.Hour)
	o.StatementTimeout = cmp.Or(o.StatementTimeout, 10*time.Second)
	o.Lease, o.Drift = cmp.Or(o.Lease, 1500*time.Millisecond), cmp.Or(o.Drift, 100*time.Millisecond)
	o.PartitionDays = cmp.Or(o.PartitionDays, 3)
	s := &Store{o: o, log: o.Log, metrics: newMetrics()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.pool, err = s.connect(ctx, roleApp, o.MaxConns, o.MinConns); err != nil {
		return nil, err
	}
	s.turns, s.reports = newTurns(max(1, o.MaxConns), s.metrics), newAuditReads(o.MaxConns, s.metrics)
	if s.leases, err = s.connect(ctx, roleWorker, leaseConns, 1); err == nil {
		s.takes, err = s.connect(ctx, roleWorker, takeConns, 0)
	}
	if err == nil {
		s.bells, err = s.connect(ctx, roleWorker, 1, 0)
	}
	if err == nil && o.Registerer != nil {
		if err = s.metrics.register(o.Registerer, s.pool); err != nil {
			err = fmt.Errorf("register the metrics of postgres: %w", err)
		}
	}
	if err != nil {
		s.closePools()
		return nil, err
	}
	s.Tenants, s.Users, s.Warehouses = &TenantsRepo{s}, &UsersRepo{s}, &WarehousesRepo{s}
	s.Maps, s.Zones, s.Lanes, s.Robots = &MapsRepo{s}, &ZonesRepo{s}, &LanesRepo{s}, &RobotsRepo{s}
	s.Alerts = &AlertsRepo{s}
	s.Hooks = &HooksRepo{s}
	s.Tasks, s.Commands, s.Decisions, s.Audit = &TasksRepo{s}, &CommandsRepo{s}, &DecisionsRepo{s}, &AuditRepo{s}
	s.DeadLetters, s.Diagrams = &DeadLettersRepo{s}, &DiagramsRepo{s}
	upkeep, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.done.Go(func() { s.upkeep(upkeep, time.Minute, s.partitions) })
	s.done.Go(func() { s.upkeep(upkeep, time.Hour, s.forgetAudit) }) // each try may shut the log for a moment
	return s, nil
}

func (s *Store) connect(ctx context.Context, role string, maxConns, minConns int) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(s.o.URL)
	if err != nil {
		// The error of the parser may repeat the URL, which holds a password.
		return nil, errors.New("read the database URL: it is not a PostgreSQL URL or keyword string")
	}
	c.MaxConns, c.MinConns = int32(max(1, maxConns)), int32(min(minConns, maxConns))
	c.MaxConnIdleTime, c.MaxConnLifetime = s.o.MaxIdle, s.o.MaxLifetime
	c.MaxConnLifetimeJitter = s.o.MaxLifetime / 10
	for name, value := range map[string]string{
		"timezone":                            "UTC",
		"jit":                                 "off", // statements are short
		"statement_timeout":                   millis(s.o.StatementTimeout),
		"idle_in_transaction_session_timeout": millis(idleInTransaction),
	} {
		c.ConnConfig.RuntimeParams[name] = value
	}
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "starling"
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET ROLE "+role)
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("prepare the pool of %s: %w", role, err)
	}
	return pool, nil
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Close waits for what is under way and closes all connections.
func (s *Store) Close() {
	s.stop()
	s.done.Wait()
	s.closePools()
}

func (s *Store) closePools() {
	for _, p := range []*pgxpool.Pool{s.pool, s.leases, s.takes, s.bells} {
		if p != nil {
			p.Close()
		}
	}
}

// Ping asks the server for an answer (SELECT 1) on a connection of the pool.
func (s *Store) Ping(ctx context.Context) error {
	if _, err := s.leases.Exec(ctx, "SELECT 1"); err != nil { // those of requests may all be in use
		return fmt.Errorf("ping postgres: %w", readError(err))
	}
	return nil
}

// upkeep does a chore at the start and once a day, sooner where it did not succeed.
func (s *Store) upkeep(ctx context.Context, again time.Duration, chore func(context.Context) error) {
	for {
		wait := 24 * time.Hour
		if err := chore(ctx); err != nil {
			wait = again
			if ctx.Err() == nil {
				s.log.LogAttrs(ctx, slog.LevelWarn, "partitions not kept", slog.String("event", "postgres.partitions"),
					slog.Any("error", err))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// partitions makes those of the days to come, and drops those of old keys.
func (s *Store) partitions(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	q := gen.New(s.pool)
	for _, parent := range []string{"outbox_events", "idempotency_keys", "audit_logs"} {
		if _, err := q.EnsurePartitions(ctx, gen.EnsurePartitionsParams{Parent: parent, Days: int32(s.o.PartitionDays)}); err != nil {
			return fmt.Errorf("make partitions of %s: %w", parent, err)
		}
	}
	if _, err := q.ForgetPartitions(ctx); err != nil {
		return fmt.Errorf("drop partitions: %w", err)
	}
	return nil
}

// forgetAudit drops old months of the audit log, as the worker: the program's role cannot.
func (s *Store) forgetAudit(ctx context.Context) error {
	if s.o.AuditMonths <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := gen.New(s.takes).ForgetAudit(ctx, int32(s.o.AuditMonths)); err != nil {
		return fmt.Errorf("drop old months of the audit log: %w", err)
	}
	return nil
}

// mode is how a transaction begins.
type mode string

const (
	reading mode = "begin read only"
	writing mode = "begin"
)

// inTenant runs fn in a transaction of the tenant. A statement of fn that fails ends it.
func (s *Store) inTenant(ctx context.Context, m mode, tenant fleet.TenantID, fn func(q *gen.Queries) error) error {
	return s.transact(ctx, m, tenant, gen.SetTenant, []any{string(tenant)}, fn)
}

// asPlatform runs fn in a transaction that sees all rows of tenants, and no row of any other table.
func (s *Store) asPlatform(ctx context.Context, m mode, fn func(q *gen.Queries) error) error {
	return s.transact(ctx, m, "", gen.SetPlatform, nil, fn)
}

// tries is how often a transaction is tried where the server gives up in favour of another one: a deadlock with whoever makes
// a partition, and then a key that has moved into it, are two.
const tries = 3

// transact runs fn in a transaction, and again where the server gave up in favour of another one. A try that fails leaves
// nothing: what fn set outside, it sets again.
func (s *Store) transact(ctx context.Context, m mode, tenant fleet.TenantID, scope string, args []any, fn func(q *gen.Queries) error) error {
	conn, release, err := s.acquire(ctx, tenant, others)
	if err != nil {
		return readError(err)
	}
	defer release()
	intents := intentsOf(ctx, m)
	for try := 0; try == 0 || try < tries && unlucky(err); try++ {
		err = s.attempt(ctx, conn, m, scope, args, fn, intents)
	}
	if errors.Is(err, fact.ErrUnknown) {
		return err
	}
	return readError(err)
}

// attempt returns what the server said, as it said it; fact.ErrUnknown where it did not say whether it committed.
func (s *Store) attempt(
	ctx context.Context, conn *pgxpool.Conn, m mode, scope string, args []any, fn func(q *gen.Queries) error, intents []*fact.AuditEntry,
) error {
	b := &pgx.Batch{}
	b.Queue(string(m))
	b.Queue(gen.ActAsApp)
	b.Queue(scope, args...)
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		rollback(ctx, conn)
		return err
	}
	var db gen.DBTX = conn
	if m == reading {
		db = fresh{conn}
	}
	if err := fn(gen.New(db)); err != nil {
		rollback(ctx, conn)
		return err
	}
	if err := s.seal(ctx, conn, intents); err != nil {
		if m == writing && !decidedly(err) {
			return unknown(err)
		}
		return err
	}
	return nil
}

// rollback ends a transaction that failed, so that its connection can be used again; one that cannot is thrown away
// by the pool.
func rollback(ctx context.Context, conn *pgxpool.Conn) {
	if conn.Conn().IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, _ = conn.Exec(ctx, "rollback") // its failure closes the connection
}

// fresh plans each query for its own parameters: optional filters then use the index that fits them.
type fresh struct{ conn *pgxpool.Conn }

func (f fresh) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return f.conn.Exec(ctx, sql, args...)
}

func (f fresh) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return f.conn.Query(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}

func (f fresh) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return f.conn.QueryRow(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}

// queue collects statements that return nothing and sends them in one round trip.
type queue struct {
	conn  *pgxpool.Conn
	batch pgx.Batch
}

func (u *queue) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	u.batch.Queue(sql, args...)
	return pgconn.CommandTag{}, nil
}

func (u *queue) Query(context.Context, string, ...any) (pgx.Rows, error) {
	return nil, errors.New("a queue answers no queries")
}

func (u *queue) QueryRow(context.Context, string, ...any) pgx.Row { return noRow{} }

// SendBatch implements gen.DBTX.
func (f fresh) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return f.conn.SendBatch(ctx, b)
}

// SendBatch implements gen.DBTX: what is in b goes at once.
func (u *queue) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return u.conn.SendBatch(ctx, b)
}

type noRow struct{}

// Scan implements pgx.Row.
func (noRow) Scan(...any) error { return errors.New("a queue answers no queries") }

func (u *queue) flush(ctx context.Context) error {
	if u.batch.Len() == 0 {
		return nil
	}
	err := u.conn.SendBatch(ctx, &u.batch).Close()
	u.batch = pgx.Batch{}
	return err
}
