package influx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// span is a time, its ends included, in milliseconds since 1970; zero = none.
type span [2]int64

// with is the least span that has both.
func (s span) with(t span) span {
	switch {
	case s == span{}:
		return t
	case t == span{}:
		return s
	}
	return span{min(s[0], t[0]), max(s[1], t[1])}
}

// owed is a time whose minutes and quarters are to be made again, for what was measured then has come late.
type owed struct {
	from, to time.Time // zero = none
	version  uint64    // rises whenever something comes to it
}

func (o *owed) span() span {
	if o.from.IsZero() {
		return span{}
	}
	return span{o.from.UnixMilli(), o.to.UnixMilli()}
}

// cameLate notes when a block from disk was measured; settled: it was the last. What the server's tasks see by themselves is
// not owed.
func (o *outbox) cameLate(t span, settled bool) {
	o.mu.Lock()
	o.late = o.late.with(t)
	t = o.late
	if settled {
		o.late = span{}
	}
	o.remember()
	o.mu.Unlock()
	if from := time.UnixMilli(t[0]); settled && time.Since(from) >= lookBack/2 {
		o.owe(from, time.UnixMilli(t[1]))
	}
}

// remember keeps on disk what is owed, and what will be once all has come. o.mu is held.
func (o *outbox) remember() {
	if o.spool != nil {
		o.spool.owe(o.owed.span().with(o.late))
	}
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
	o.remember()
	o.mu.Unlock()
	select {
	case o.due <- struct{}{}:
	default:
	}
}

// owedIn reads what an earlier process that had the folder still owed.
func (s *spool) owedIn(folder string) (t span) {
	raw, err := os.ReadFile(filepath.Join(folder, owedName))
	if err != nil {
		return span{}
	}
	if n, _ := fmt.Sscanf(string(raw), "%d %d", &t[0], &t[1]); n != 2 || t[0] <= 0 || t[1] < t[0] {
		return span{}
	}
	return t
}

// owe keeps what is owed for the next process; what cannot be kept is owed by this one alone.
func (s *spool) owe(t span) {
	if s.dir == "" || t == s.owed {
		return
	}
	s.owed = t
	path := filepath.Join(s.dir, owedName)
	var err error
	if t == (span{}) {
		err = os.Remove(path)
	} else if err = os.WriteFile(path+".tmp", fmt.Appendf(nil, "%d %d\n", t[0], t[1]), 0o600); err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.metrics.errors.WithLabelValues("spool").Inc()
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
	defer o.remember()
	switch {
	case o.owed.version != version:
	case !to.Before(o.owed.to):
		o.owed = owed{version: version}
	default:
		o.owed.from = to.Add(time.Millisecond)
	}
}

// makeUp makes what is owed, slice by slice, and tries again what did not succeed until the measurements themselves are
// gone. What is owed when this process ends the next one finds.
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
