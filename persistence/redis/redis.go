// Package redis keeps in Redis what may be lost: the counts of tenants' quotas that all processes share, the newest views
// of robots and tasks for processes that do not hold them, and the locks of dispatching and replanning. Every decision is
// one script, by the server's clock; every key lapses by itself. What is lost is made again: counts begin anew, views are
// read from the store of facts, locks keep their tokens. It does not decide what happens when Redis is away: calls return
// within their bound, and whoever calls goes on alone.
//
// Keys are listed in docs/redis.md; all of a tenant share a slot (the braces), so that a cluster of Redis divides tenants.
// Size: 100 bytes a quota, and of these only tenants that do something now; a robot's view 0.7 kB, an open task's 0.8 kB
// and its payload; at most Mirror's PerSecond views a second.
package redis

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"starling/engine/fleet"
)

// Options say how to connect. The zero value of a field is its stated default.
type Options struct {
	URL     string        // redis://user:password@host:port/db, rediss:// with TLS
	Timeout time.Duration // of a call with all it needs, a new connection included; 0 = 50 ms
	Conns   int           // at most; 0 = 16
	Process string        // names this process in tallies; "" = a random name
	Log     *slog.Logger  // hears the library's complaints; nil = silence
}

// Counter counts quotas. It is safe for concurrent use.
type Counter struct {
	client  *goredis.Client
	timeout time.Duration
	process string
	take    *goredis.Script
	tally   *goredis.Script
}

//go:embed take.lua
var takeScript string

//go:embed tally.lua
var tallyScript string

// Open prepares connections and makes none: a server that is away is found at the first call. Errors: the URL cannot
// be read.
func Open(o Options) (*Counter, error) {
	timeout := cmp.Or(o.Timeout, 50*time.Millisecond)
	client, err := dial(&o, timeout)
	if err != nil {
		return nil, err
	}
	return &Counter{
		client: client, timeout: timeout, process: cmp.Or(o.Process, uuid.NewString()),
		take: goredis.NewScript(takeScript), tally: goredis.NewScript(tallyScript),
	}, nil
}

// Close ends all connections.
func (c *Counter) Close() error { return c.client.Close() }

// Ping asks for a sign of life.
func (c *Counter) Ping(ctx context.Context) error {
	return ping(ctx, c.client, c.timeout)
}

// Take takes cost from the bucket of the tenant and kind where that keeps its debt within tolerance. debt is how long
// the bucket needs afterwards to be as good as new.
func (c *Counter) Take(ctx context.Context, tenant fleet.TenantID, kind string, cost, tolerance time.Duration) (ok bool, debt time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := c.take.Run(ctx, c.client, []string{key(tenant, "quota", kind)}, micros(cost), micros(tolerance)).Slice()
	if err != nil {
		return false, 0, fmt.Errorf("count %s of tenant %s in redis: %w", kind, tenant, err)
	}
	if len(answer) == 2 {
		taken, isInt := answer[0].(int64)
		text, isText := answer[1].(string)
		if us, err := strconv.ParseFloat(text, 64); isInt && isText && err == nil {
			return taken == 1, time.Duration(us * float64(time.Microsecond)), nil
		}
	}
	return false, 0, fmt.Errorf("count %s of tenant %s in redis: %w", kind, tenant, errAnswer)
}

var errAnswer = errors.New("the script's answer has another shape")

// Held is what a process holds of a tenant's things of a kind.
type Held = struct {
	Tenant fleet.TenantID
	Kind   string
	Held   int
}

// Tally says what this process holds, which is forgotten after keep, and returns for each how many all others hold: one
// round trip for all of them.
func (c *Counter) Tally(ctx context.Context, held []Held, keep time.Duration) (others []int, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	others, err = c.tallies(ctx, held, keep)
	if goredis.HasErrorPrefix(err, "NOSCRIPT") { // a Redis that was started since
		if err = c.tally.Load(ctx, c.client).Err(); err == nil {
			others, err = c.tallies(ctx, held, keep)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("tell redis what is held: %w", err)
	}
	return others, nil
}

func (c *Counter) tallies(ctx context.Context, held []Held, keep time.Duration) ([]int, error) {
	pipe := c.client.Pipeline()
	answers := make([]*goredis.Cmd, len(held))
	for i, h := range held {
		answers[i] = c.tally.EvalSha(ctx, pipe, []string{key(h.Tenant, "held", h.Kind)}, c.process, h.Held, keep.Milliseconds())
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	out := make([]int, len(held))
	for i, a := range answers {
		n, err := a.Int()
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

// micros writes microseconds with the nanoseconds as a fraction.
func micros(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Microsecond), 'f', 3, 64)
}
