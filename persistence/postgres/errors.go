package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"starling/engine/fact"
)

// Classes and codes of SQLSTATE that we tell apart.
const (
	classData       = "22" // the values are bad
	classConstraint = "23"
	codeReference   = "23503"
	codeUnique      = "23505"
	codeCheck       = "23514"
	codeSerialize   = "40001"
	codeDeadlock    = "40P01"
	codeLockTimeout = "55P03"
)

// refused returns the server's answer where it is about the data: the statement can be tried without it.
func refused(err error) (*pgconn.PgError, bool) {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return nil, false
	}
	class := e.Code[:2]
	return e, (class == classData || class == classConstraint) && !rerouted(e)
}

// rerouted says that a row was on its way into a partition while the bounds of partitions changed (a day's partition
// was attached meanwhile): the broken check is one without a name.
func rerouted(e *pgconn.PgError) bool { return e.Code == codeCheck && e.ConstraintName == "" }

// unlucky says that the server gave up in favour of another transaction: the same may succeed now.
func unlucky(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == codeSerialize || e.Code == codeDeadlock || rerouted(e) || overlooked(e))
}

// overlooked says that a key is in use although the transaction had just looked and not found it: its row moved into a
// new day's partition between the looking and the writing. A second look finds it.
func overlooked(e *pgconn.PgError) bool {
	return e.Code == codeUnique && strings.HasPrefix(e.TableName, "idempotency_keys")
}

// lockedOut says that a wait for a lock was in vain.
func lockedOut(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == codeLockTimeout
}

// decidedly says of an error of COMMIT that nothing was committed: the server refused, or rolled back, and lives.
func decidedly(err error) bool {
	_, data := refused(err)
	return data || unlucky(err) || errors.Is(err, pgx.ErrTxCommitRollback)
}

// unavailable says that nothing was recorded because the store did not do it. The cause is told, not wrapped: a
// context that ended is not the caller's doubt here.
func unavailable(err error) error { return fmt.Errorf("%w: %v", fact.ErrUnavailable, err) } //nolint:errorlint // see above

// unknown says that only reading back can tell.
func unknown(err error) error { return fmt.Errorf("%w: %v", fact.ErrUnknown, err) } //nolint:errorlint // as unavailable

// rejected says that the values are to blame; the server's message may repeat them, its code and column do not.
func rejected(e *pgconn.PgError) error {
	where := e.ConstraintName
	if where == "" {
		where = e.ColumnName
	}
	return fmt.Errorf("%w: SQLSTATE %s %s %s", fact.ErrRejected, e.Code, e.TableName, where)
}

// readError puts the failure of a query, or of a small write, into the words of package fact: ErrNotFound, ErrRejected, ErrBusy,
// a *ConflictError as it came, the context's own error, else ErrUnavailable.
func readError(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := refused(err); ok {
		return rejected(e)
	}
	for _, own := range []error{
		fact.ErrNotFound, fact.ErrConflict, fact.ErrRejected, fact.ErrPrecondition, fact.ErrBadCursor, fact.ErrUnavailable,
		fact.ErrUnknown, fact.ErrBusy, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, own) {
			return err
		}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return fact.ErrNotFound
	}
	return unavailable(err)
}

// broke says that err is the violation of this unique rule.
func broke(err error, constraint string) bool {
	e, ok := refused(err)
	return ok && e.Code == codeUnique && e.ConstraintName == constraint
}

// misses says that err is a reference to what is not there.
func misses(err error, constraint string) bool {
	e, ok := refused(err)
	return ok && e.Code == codeReference && e.ConstraintName == constraint
}
