// Package redis keeps in Redis what may be lost: the counts of tenants' quotas that all processes share. One script a
// decision, by the server's clock; every key lapses by itself. It does not decide what happens when Redis is away: it
// returns within Options.Timeout, and whoever calls goes on alone.
//
// Keys: starling:{<tenant>}:quota:<kind>, a rate; starling:{<tenant>}:held:<kind>, things that last. A tenant's keys
// share a slot (the braces), so that a cluster of Redis divides tenants. Size: 100 bytes a key, and of these only
// tenants that do something now.
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
	"github.com/redis/go-redis/v9/maintnotifications"

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
	c, err := goredis.ParseURL(o.URL)
	if err != nil {
		return nil, errors.New("read the URL of Redis: want redis://host:port/db") // its own error may repeat the password
	}
	timeout := cmp.Or(o.Timeout, 50*time.Millisecond)
	c.PoolSize, c.MaxRetries = cmp.Or(o.Conns, 16), -1 // a call that is sent twice counts twice
	c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolTimeout = timeout, timeout, timeout, timeout
	c.DialerRetries = 1
	c.ContextTimeoutEnabled = true
	c.ConnMaxIdleTime = time.Minute
	c.DisableIdentity = true
	c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	goredis.SetLogger(complaints{cmp.Or(o.Log, slog.New(slog.DiscardHandler))})
	return &Counter{
		client: goredis.NewClient(c), timeout: timeout, process: cmp.Or(o.Process, uuid.NewString()),
		take: goredis.NewScript(takeScript), tally: goredis.NewScript(tallyScript),
	}, nil
}

// complaints takes what the library would print.
type complaints struct{ log *slog.Logger }

// Printf implements the library's logger.
func (c complaints) Printf(ctx context.Context, format string, v ...any) {
	c.log.LogAttrs(ctx, slog.LevelDebug, "redis client", slog.String("event", "redis.client"), slog.String("detail", fmt.Sprintf(format, v...)))
}

// Close ends all connections.
func (c *Counter) Close() error { return c.client.Close() }

// Ping asks for a sign of life.
func (c *Counter) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := c.client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping redis: %w", err)
	}
	return nil
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

func key(tenant fleet.TenantID, what, kind string) string {
	return "starling:{" + string(tenant) + "}:" + what + ":" + kind
}

// micros writes microseconds with the nanoseconds as a fraction.
func micros(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Microsecond), 'f', 3, 64)
}
