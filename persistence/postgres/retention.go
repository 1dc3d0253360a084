package postgres

import (
	"context"
	"fmt"
	"time"

	"starling/engine/fact"
	"starling/persistence/postgres/gen"
)

// forgetRows is how many inbox rows one statement removes, and forgetRounds how many statements a run takes at most: what is
// left comes with the next run.
const (
	forgetRows   = 10_000
	forgetRounds = 500
)

// Forget drops the days of the outbox of which everything was sent more than so many days ago, and the inbox rows that are
// older than inbox. Idempotency keys and audit months are kept by the store's own upkeep, which needs no worker.
func (r *JobsRepo) Forget(ctx context.Context, outboxDays int, inbox time.Duration) (f fact.Forgotten, err error) {
	q := gen.New(r.pool)
	days, err := q.ForgetSent(ctx, int32(outboxDays))
	if err != nil {
		return f, fmt.Errorf("drop old days of the outbox: %w", readError(err))
	}
	f.Outbox = int(days)
	before := time.Now().Add(-inbox)
	for range forgetRounds {
		n, err := q.ForgetInbox(ctx, gen.ForgetInboxParams{ProcessedBefore: before, PageSize: forgetRows})
		if err != nil {
			return f, fmt.Errorf("forget old inbox rows: %w", readError(err))
		}
		f.Inbox += int(n)
		if n < forgetRows {
			break
		}
	}
	return f, nil
}
