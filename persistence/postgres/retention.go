package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"starling/engine/fact"
	"starling/persistence/postgres/gen"
)

// forgetRows is how many inbox rows one statement removes, and forgetRounds how many statements a run takes at most: what is
// left comes with the next run. So it is with forgetDays of the outbox.
const (
	forgetRows   = 10_000
	forgetRounds = 500
	forgetDays   = 100
)

// Forget drops the days of the outbox that ended more than so many days ago and of which nothing is to be sent any more, each
// in a transaction of its own, 0 = none; and the inbox rows that are older than inbox. Idempotency keys and audit months are kept by the store's own upkeep, which needs no worker.
func (r *JobsRepo) Forget(ctx context.Context, outboxDays int, inbox time.Duration) (f fact.Forgotten, err error) {
	q := gen.New(r.pool)
	f.Outbox, err = forgetSent(ctx, q, outboxDays) // whoever writes has its way first: that is no reason to keep the others
	before := time.Now().Add(-inbox)
	for range forgetRounds {
		n, e := q.ForgetInbox(ctx, gen.ForgetInboxParams{ProcessedBefore: before, PageSize: forgetRows})
		if e != nil {
			return f, errors.Join(err, fmt.Errorf("forget old inbox rows: %w", readError(e)))
		}
		f.Inbox += int(n)
		if n < forgetRows {
			break
		}
	}
	return f, err
}

func forgetSent(ctx context.Context, q *gen.Queries, days int) (gone int, err error) {
	if days <= 0 {
		return 0, nil
	}
	for range forgetDays {
		n, err := q.ForgetSent(ctx, int32(days))
		if err != nil {
			return gone, fmt.Errorf("drop old days of the outbox: %w", readError(err))
		}
		if n == 0 {
			break
		}
		gone += int(n)
	}
	return gone, nil
}
