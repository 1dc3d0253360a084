package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"starling/engine/fact"
	"starling/persistence/postgres/gen"
)

// An intent is the audit entry of a request that has not been answered yet (status 0). It rides in the transaction of what
// the request writes, under a savepoint: whatever goes wrong with it is undone, counted and logged, and the write succeeds.

const (
	// auditPatience is how long an intent waits for a lock on the log: longer than making a month's partition takes. The
	// transaction that waits holds a connection and its shard's fence.
	auditPatience = 200 * time.Millisecond
	// auditQuiet is how often faults of intents are logged at most.
	auditQuiet = 5 * time.Second
	// addAudit is the name under which a connection has the statement AddAudit.
	addAudit = "add_audit"
)

type auditKey struct{}

// WithAudit puts the intent of a request into its context: every writing transaction of the repositories records it. The
// entry must not be changed any more. nil = there is none.
func WithAudit(ctx context.Context, e *fact.AuditEntry) context.Context {
	return context.WithValue(ctx, auditKey{}, e)
}

// AuditOf returns the intent of a context, nil = there is none.
func AuditOf(ctx context.Context) *fact.AuditEntry {
	e, _ := ctx.Value(auditKey{}).(*fact.AuditEntry)
	return e
}

// intentsOf lists what a transaction has to record besides what it is for.
func intentsOf(ctx context.Context, m mode) []*fact.AuditEntry {
	if e := AuditOf(ctx); e != nil && m == writing {
		return []*fact.AuditEntry{e}
	}
	return nil
}

// seal commits the transaction of conn with the intents of what it has written: in one round trip where nothing is wrong
// with them. Errors are those of COMMIT, or the connection's own.
func (s *Store) seal(ctx context.Context, conn *pgxpool.Conn, entries []*fact.AuditEntry) error {
	var patience time.Duration
	if len(entries) > 0 {
		if patience = s.shutter.enter(time.Now()); patience == 0 {
			s.lostIntents(ctx, len(entries), errShut)
		}
	}
	if patience == 0 {
		return commit(ctx, conn)
	}
	err := s.prepareIntents(ctx, conn, patience)
	if err == nil {
		b := &pgx.Batch{}
		rows := s.queueIntents(ctx, b, entries, patience)
		b.Queue("commit")
		var done int
		var last pgconn.CommandTag
		if done, last, err = inOrder(conn.SendBatch(ctx, b), b.Len()); err == nil {
			s.left(patience, nil)
			if err := committed(last); err != nil {
				return err
			}
			s.keptIntents(ctx, rows, len(entries))
			return nil
		}
		if done == b.Len()-1 { // what COMMIT itself said
			s.left(patience, err)
			return err
		}
	}
	s.left(patience, err)
	if conn.Conn().IsClosed() {
		return err
	}
	if err := s.salvage(ctx, conn, entries, err); err != nil {
		var answer *pgconn.PgError
		if errors.As(err, &answer) { // there was nothing to go back to: what is to be committed had failed before
			return fmt.Errorf("%w: %w", pgx.ErrTxCommitRollback, err)
		}
		return err
	}
	return commit(ctx, conn)
}

func commit(ctx context.Context, conn *pgxpool.Conn) error {
	tag, err := conn.Exec(ctx, "commit")
	if err != nil {
		return err
	}
	return committed(tag)
}

// committed holds the answer to COMMIT to its word: a transaction in which a statement failed answers ROLLBACK, and that is
// no error of the server's.
func committed(tag pgconn.CommandTag) error {
	if tag.String() != "COMMIT" {
		return pgx.ErrTxCommitRollback
	}
	return nil
}

// prepareIntents prepares the statement on a connection that does not have it yet. Preparing looks at the table and may
// wait for its lock: it stands under the savepoint too.
func (s *Store) prepareIntents(ctx context.Context, conn *pgxpool.Conn, patience time.Duration) error {
	has := conn.Conn().PgConn().CustomData()
	if has[addAudit] != nil {
		return nil
	}
	b := &pgx.Batch{}
	b.Queue("savepoint audit")
	b.Queue("SELECT set_config('lock_timeout', $1, true)", millis(patience))
	if _, _, err := inOrder(conn.SendBatch(ctx, b), b.Len()); err != nil {
		return err
	}
	if _, err := conn.Conn().Prepare(ctx, addAudit, gen.AddAudit); err != nil {
		return err
	}
	has[addAudit] = true
	_, err := conn.Exec(ctx, "release savepoint audit")
	return err
}

// queueIntents adds what records the entries under the savepoint "audit", and returns how many there are.
func (s *Store) queueIntents(ctx context.Context, b *pgx.Batch, entries []*fact.AuditEntry, patience time.Duration) (rows int) {
	b.Queue("savepoint audit")
	u := &queue{}
	q := gen.New(u)
	byTenant, _ := auditParams(entries)
	for i := range byTenant {
		p := &byTenant[i]
		rows += len(p.AuditIds)
		_ = q.ScopeAudit(ctx, gen.ScopeAuditParams{TenantID: p.TenantID, PatienceMs: int32(patience.Milliseconds())}) // a queue takes all
		_, _ = q.AddAudit(ctx, *p)
	}
	for _, statement := range u.batch.QueuedQueries {
		if statement.SQL == gen.AddAudit {
			statement.SQL = addAudit
		}
		b.QueuedQueries = append(b.QueuedQueries, statement)
	}
	b.Queue("release savepoint audit")
	return rows
}

// inOrder reads the results of a batch and returns how many statements succeeded, and what the last one said; after the
// first that fails the server does no more.
func inOrder(r pgx.BatchResults, n int) (done int, last pgconn.CommandTag, err error) {
	for ; done < n && err == nil; done++ {
		last, err = r.Exec()
	}
	if err != nil {
		done--
		_ = r.Close() // says the same again
		return done, last, err
	}
	return done, last, r.Close()
}

// salvage undoes the audit part that failed, and tries entries alone where their own values may be to blame. Nothing
// has been committed. Errors are the connection's own.
func (s *Store) salvage(ctx context.Context, conn *pgxpool.Conn, entries []*fact.AuditEntry, cause error) error {
	if _, err := conn.Exec(ctx, "rollback to savepoint audit"); err != nil {
		return err
	}
	if _, data := refused(cause); len(entries) == 1 && !unlucky(cause) || !data && !unlucky(cause) {
		s.lostIntents(ctx, len(entries), cause)
		return nil
	}
	parts := [][]*fact.AuditEntry{entries}
	if len(entries) > 1 {
		parts = [][]*fact.AuditEntry{entries[:len(entries)/2], entries[len(entries)/2:]}
	}
	for _, part := range parts {
		patience := s.shutter.enter(time.Now())
		if patience == 0 {
			s.lostIntents(ctx, len(part), errShut)
			continue
		}
		b := &pgx.Batch{}
		rows := s.queueIntents(ctx, b, part, patience)
		_, _, err := inOrder(conn.SendBatch(ctx, b), b.Len())
		s.left(patience, err)
		switch {
		case err == nil:
			s.keptIntents(ctx, rows, len(part))
			continue
		case conn.Conn().IsClosed():
			return err
		case unlucky(err): // twice is enough
			err = errors.Join(errors.New("unlucky again"), errText(err))
		}
		if err := s.salvage(ctx, conn, part, err); err != nil {
			return err
		}
	}
	return nil
}

// keptIntents counts intents that were recorded, rows of n: the others have no usable id.
func (s *Store) keptIntents(ctx context.Context, rows, n int) {
	s.metrics.audit.WithLabelValues("intent").Add(float64(rows))
	if rows < n {
		s.lostIntents(ctx, n-rows, errNotUUID)
	}
}

// errText keeps of an error what it says.
func errText(err error) error { return errors.New(err.Error()) }

// lostIntents counts intents that were not recorded. Their entries are added when the requests have been answered; only
// where the process dies in between they are missing.
func (s *Store) lostIntents(ctx context.Context, n int, cause error) {
	s.metrics.audit.WithLabelValues("intent_lost").Add(float64(n))
	now := time.Now().UnixNano()
	if last := s.complained.Load(); now-last < int64(auditQuiet) || !s.complained.CompareAndSwap(last, now) {
		return
	}
	s.log.LogAttrs(ctx, slog.LevelError, "audit intent not recorded, the write goes on", slog.String("event", "audit.intent_lost"),
		slog.Int("entries", n), slog.String("error", cause.Error()))
}
