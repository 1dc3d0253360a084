package influx

import (
	"context"
	"log/slog"
	"time"
)

// owed is a time whose minutes and quarters are to be made again, for what was measured then has come late.
type owed struct {
	from, to time.Time // zero = none
	version  uint64    // rises whenever something comes to it
}

// owe adds a time.
func (o *outbox) owe(from, to time.Time) {
	o.mu.Lock()
	if o.owed.from.IsZero() || from.Before(o.owed.from) {
		o.owed.from = from
	}
	if to.After(o.owed.to) {
		o.owed.to = to
	}
	o.owed.version++
	o.mu.Unlock()
	select {
	case o.due <- struct{}{}:
	default:
	}
}

// slice is the first part of what is owed: a quarter of an hour at most, so that no request is long.
func (o *outbox) slice() (from, to time.Time, version uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.owed.from.IsZero() {
		return from, to, 0
	}
	from, to = o.owed.from, o.owed.from.Truncate(quarter).Add(quarter-time.Millisecond)
	if o.owed.to.Before(to) {
		to = o.owed.to
	}
	return from, to, o.owed.version
}

// paid forgets a slice, unless something has come to what is owed meanwhile.
func (o *outbox) paid(to time.Time, version uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.owed.version != version:
	case !to.Before(o.owed.to):
		o.owed = owed{version: version}
	default:
		o.owed.from = to.Add(time.Millisecond)
	}
}

// makeUp makes what is owed, slice by slice, and tries again what did not succeed until the measurements themselves are
// gone. What is owed when this process ends stays missing.
func (c *Client) makeUp(ctx context.Context) {
	for try := 0; ; {
		from, to, version := c.out.slice()
		switch {
		case from.IsZero():
			select {
			case <-c.out.due:
				continue
			case <-ctx.Done():
				return
			}
		case time.Since(to) > rawFor:
			c.out.paid(to, version)
			continue
		}
		err := c.Downsample(ctx, from, to)
		if err == nil {
			c.out.paid(to, version)
			try = 0
			continue
		}
		if ctx.Err() != nil {
			return
		}
		c.metrics.errors.WithLabelValues("downsample").Inc()
		if try == 0 {
			c.log.LogAttrs(ctx, slog.LevelWarn, "what came late is missing in the minutes, and is tried again", slog.String("event", "influx.downsample"), slog.Any("error", err))
		}
		wait := min(c.o.Retry<<min(try, 8), time.Minute)
		try++
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}
