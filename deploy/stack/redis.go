package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	redisPackage  = "redis-server"
	redisPassword = "password"
	redisConf     = "redis.conf"
	redisPatience = 10 * time.Second
	redisTimeout  = time.Minute
)

// ErrNoRedis says that Redis is not installed; the text around it says what to install.
var ErrNoRedis = errors.New("Redis is not installed")

// RedisOptions says where and how a Redis runs.
type RedisOptions struct {
	// Dir is the folder that it lives in, made if missing.
	Dir string
	// Port on 127.0.0.1; 0 = the one it had in Dir before, else any free one.
	Port int
	// Guarded: it ends with the process that started it, however that ends, and its folder with it. Else it outlives that
	// process until Stop or Kill.
	Guarded bool
	// Adopt: one that runs in Dir already is taken as it is. Else that is an error.
	Adopt bool
	// Log gets a line per step; nil = silence.
	Log *slog.Logger
}

// Redis is a private Redis with a password. What it was told outlives Stop and, but for the last second, Kill.
type Redis struct {
	*daemon

	program  string
	port     int
	password string
	log      *slog.Logger
}

// StartRedis starts a Redis in o.Dir and returns when it answers. One that runs there already is
// an error. Errors: ErrNoRedis, or what Redis said.
func StartRedis(ctx context.Context, o RedisOptions) (*Redis, error) {
	program, err := findProgram("redis-server")
	if err != nil {
		return nil, fmt.Errorf("%w: on Debian install it with `apt-get install %s`, elsewhere install Redis 7 or newer", ErrNoRedis, redisPackage)
	}
	d, err := newDaemon(o.Dir, o.Guarded, o.Adopt)
	if err != nil {
		return nil, err
	}
	r := &Redis{daemon: d, program: program, port: o.Port, log: o.Log}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if err := r.orRemove(r.prepare(ctx)); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Redis) prepare(ctx context.Context) error {
	ports, err := r.keepPorts(ctx, r.port, 1)
	if err != nil {
		return err
	}
	r.port = ports[0]
	if r.password, err = r.keepSecret(redisPassword); err != nil {
		return err
	}
	if r.pid() != 0 {
		return r.untilReady(ctx)
	}
	return r.StartAgain(ctx)
}

// StartAgain starts it after Stop or Kill: the same port, password and data.
func (r *Redis) StartAgain(ctx context.Context) error {
	if pid := r.pid(); pid != 0 {
		return fmt.Errorf("start Redis in %s: it runs already as process %d", r.base, pid)
	}
	conf := fmt.Sprintf("bind 127.0.0.1\nport %d\nrequirepass %s\ndaemonize no\nsave \"\"\nappendonly yes\nappendfsync everysec\nmaxmemory 256mb\nmaxmemory-policy noeviction\n", r.port, r.password)
	if err := os.WriteFile(r.path(redisConf), []byte(conf), 0o600); err != nil { // not as arguments: other users can read those
		return fmt.Errorf("write the settings of Redis: %w", err)
	}
	if err := r.start([]string{r.program, r.path(redisConf)}, nil); err != nil {
		return err
	}
	if err := r.untilReady(ctx); err != nil {
		return errors.Join(err, r.Kill())
	}
	r.log.LogAttrs(ctx, slog.LevelInfo, "redis runs", slog.Int("port", r.port), slog.String("dir", r.base))
	return nil
}

func (r *Redis) untilReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return r.await(ctx, r.ping)
}

func (r *Redis) addr() string { return loopback(r.port) }

func (r *Redis) ping(ctx context.Context) error {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", r.addr())
	if err != nil {
		return fmt.Errorf("reach Redis: %w", err)
	}
	defer func() { _ = c.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	if _, err := fmt.Fprintf(c, "AUTH %s\r\nPING\r\n", r.password); err != nil {
		return fmt.Errorf("reach Redis: %w", err)
	}
	lines := bufio.NewReader(c)
	for _, want := range []string{"+OK", "+PONG"} {
		line, err := lines.ReadString('\n')
		if got := strings.TrimSpace(line); err != nil || got != want {
			return fmt.Errorf("reach Redis: %q, %w", got, err)
		}
	}
	return nil
}

// URL is its address with the password, a secret: redis://:password@127.0.0.1:port/0.
func (r *Redis) URL() string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", r.password), Host: r.addr(), Path: "/0"}
	return u.String()
}

// PID is the number of its process, 0 = it does not run.
func (r *Redis) PID() int { return r.pid() }

// Base is the folder that holds all of it.
func (r *Redis) Base() string { return r.base }

// Stop ends it in order; Kill at once, as a crash does. Nothing running is no error.
func (r *Redis) Stop() error { return r.end(syscall.SIGTERM, redisPatience) }

// Kill ends it as a crash does.
func (r *Redis) Kill() error { return r.end(syscall.SIGKILL, killPatience) }

// Remove ends it as a crash does and removes its folder.
func (r *Redis) Remove() error { return r.remove() }

// EnsureRedis installs Debian's package when Redis is missing and the caller is root on a system with apt-get; else a
// missing Redis is ErrNoRedis with what to install. No server of the distribution is started.
func EnsureRedis(ctx context.Context, w io.Writer) error {
	missing := fmt.Errorf("%w: install Redis 7 or newer (Debian: `apt-get install %s`)", ErrNoRedis, redisPackage)
	return ensureProgram(ctx, w, "redis-server", redisPackage, missing)
}
