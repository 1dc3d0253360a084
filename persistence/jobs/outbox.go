package jobs

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
)

// Outbox is what pumps facts out. (persistence/outbox.)
type Outbox interface {
	// Wake makes this process look at the shard at once, unless another process pumps it. It does not block.
	Wake(shard int)
	// Sweep looks at all shards for what nobody was woken for.
	Sweep(ctx context.Context) error
}

// OutboxKinds are the jobs of the outbox.
func OutboxKinds(o Outbox) []Kind {
	return []Kind{
		{
			Name: KindWake, Queue: Facts, Timeout: 10 * time.Second, Tries: 3,
			Do: func(_ context.Context, j Job) error {
				shard, err := strconv.Atoi(j.Key)
				if err != nil || shard < 0 || shard >= Shards {
					return fmt.Errorf("wake the outbox shard %q: there is none such: %w", j.Key, asynq.SkipRetry)
				}
				o.Wake(shard)
				return nil
			},
		},
		{
			Name: "outbox.sweep", Queue: Facts, Every: 10 * time.Second, Timeout: 30 * time.Second,
			Do: func(ctx context.Context, _ Job) error { return o.Sweep(ctx) },
		},
	}
}

// Wakes is the kind of wake-up for a process that makes them and pumps nothing.
func Wakes() Kind {
	return Kind{
		Name: KindWake, Queue: Facts, Timeout: 10 * time.Second, Tries: 3,
		Do: func(context.Context, Job) error { return ErrElsewhere },
	}
}
