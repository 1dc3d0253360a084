package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"starling/engine/fleet"
)

// dial prepares connections and makes none. Errors: the URL cannot be read.
func dial(o *Options, timeout time.Duration) (*goredis.Client, error) {
	c, err := goredis.ParseURL(o.URL)
	if err != nil {
		return nil, errors.New("read the URL of Redis: want redis://host:port/db") // its own error may repeat the password
	}
	c.PoolSize, c.MaxRetries = cmp.Or(o.Conns, 16), -1 // a call that is sent twice counts twice
	c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolTimeout = timeout, timeout, timeout, timeout
	c.DialerRetries = 1
	c.ContextTimeoutEnabled = true
	c.ConnMaxIdleTime = time.Minute
	c.DisableIdentity = true
	c.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	goredis.SetLogger(complaints{cmp.Or(o.Log, slog.New(slog.DiscardHandler))})
	return goredis.NewClient(c), nil
}

// complaints takes what the library would print.
type complaints struct{ log *slog.Logger }

// Printf implements the library's logger.
func (c complaints) Printf(ctx context.Context, format string, v ...any) {
	c.log.LogAttrs(ctx, slog.LevelDebug, "redis client", slog.String("event", "redis.client"), slog.String("detail", fmt.Sprintf(format, v...)))
}

// ping asks for a sign of life.
func ping(ctx context.Context, c *goredis.Client, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := c.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping redis: %w", err)
	}
	return nil
}

func key(tenant fleet.TenantID, what, kind string) string {
	return "starling:{" + string(tenant) + "}:" + what + ":" + kind
}
