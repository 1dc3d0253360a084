package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// Database is the name of the database that Start makes; it has the extension postgis.
	Database = "starling"

	superuser    = "postgres"
	startTries   = 4
	startTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
)

// Options says where and how a cluster runs.
type Options struct {
	// Dir is the folder that the cluster lives in, made if missing. When root starts the cluster and the
	// account postgres cannot enter Dir, the data goes to /var/lib/starling/<hash of Dir>; Remove knows.
	Dir string
	// Port on 127.0.0.1; 0 = any free one (a cluster that runs already keeps its port).
	Port int
	// Fast gives up durability for speed: for tests, whose data nobody wants back.
	Fast bool
	// Settings are further settings of the server, by name; they win over those made here.
	Settings map[string]string
	// Log gets a line per step; nil = silence.
	Log *slog.Logger
}

// Postgres is a running private cluster.
type Postgres struct {
	bin      binaries
	place    place
	port     int
	password string
	fast     bool
	settings map[string]string
}

// Start makes the cluster of o.Dir if there is none, starts it if it does not run, makes sure that the
// database "starling" with PostGIS exists and returns when it accepts connections. Calling it for a cluster that
// runs returns that cluster. It survives what kill -9 leaves behind. Errors: ErrMissing when the
// programs are not installed (its text says what to install), else what PostgreSQL said. The cluster outlives
// the caller until Stop.
func Start(ctx context.Context, o Options) (*Postgres, error) {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	bin, err := findBinaries(ctx)
	if err != nil {
		return nil, err
	}
	pl, err := locate(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	p := &Postgres{bin: bin, place: pl, fast: o.Fast, settings: o.Settings}
	if err := p.initialise(ctx, log); err != nil {
		return nil, err
	}
	if p.password, err = pl.readPassword(); err != nil {
		return nil, err
	}
	if err := p.ensureRunning(ctx, o.Port, log); err != nil {
		return nil, err
	}
	if err := p.recovered(ctx); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	if err := p.ensureDatabase(ctx); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// Find returns the cluster of dir and whether it runs; it starts nothing. Errors: ErrMissing;
// fs.ErrNotExist (wrapped) when dir holds no cluster.
func Find(ctx context.Context, dir string) (*Postgres, bool, error) {
	bin, err := findBinaries(ctx)
	if err != nil {
		return nil, false, err
	}
	pl, err := locate(ctx, dir)
	if err != nil {
		return nil, false, err
	}
	p := &Postgres{bin: bin, place: pl}
	if p.password, err = pl.readPassword(); err != nil {
		return nil, false, err
	}
	running := p.running(ctx)
	if running {
		p.port, err = pl.runningPort()
	}
	return p, running, err
}

// Remove stops the cluster of dir if it runs and deletes dir with all data in it. A dir that is not
// there is no error.
func Remove(ctx context.Context, dir string) error {
	pl, err := locate(ctx, dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(pl.pidFile()); err == nil {
		p, running, err := Find(ctx, dir)
		if err != nil {
			return err
		}
		if running {
			if err := p.Stop(); err != nil {
				return err
			}
		}
	}
	return errors.Join(os.RemoveAll(pl.base), os.RemoveAll(dir))
}

// URL is the connection string of the database "starling" as superuser, password included: a secret.
func (p *Postgres) URL() string { return p.DatabaseURL(Database) }

// DatabaseURL is URL for another database of the same cluster.
func (p *Postgres) DatabaseURL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, p.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Base is the folder that holds the cluster's data and password; see Options.Dir for when it is not Dir.
func (p *Postgres) Base() string { return p.place.base }

// Stop ends the server in order (at once for a Fast one) and waits until it is gone. Stopping a stopped cluster is
// no error.
func (p *Postgres) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout+10*time.Second)
	defer cancel()
	if !p.running(ctx) {
		return nil
	}
	if out, err := p.bin.asServer(ctx, "pg_ctl", p.stopArgs()...); err != nil {
		return fmt.Errorf("stop postgres in %s: %w: %s", p.place.data(), err, tail(out))
	}
	return nil
}

// StopCommand is the command line that stops the server, for a watchdog that outlives the caller.
func (p *Postgres) StopCommand() []string {
	return p.bin.serverCommand("pg_ctl", p.stopArgs()...)
}

func (p *Postgres) stopArgs() []string {
	mode := "fast"
	if p.fast {
		mode = "immediate"
	}
	return []string{"stop", "-D", p.place.data(), "-m", mode, "-w", "-t", strconv.Itoa(int(stopTimeout.Seconds()))}
}

// Exec runs SQL statements on a database of the cluster as superuser, each in its own transaction, and
// returns what they print without headers. It is for administration, not for the application.
func (p *Postgres) Exec(ctx context.Context, database, sql string) (string, error) {
	out, err := p.bin.psql(ctx, p.port, p.password, database, sql)
	if err != nil {
		return "", fmt.Errorf("run SQL on %s: %w: %s", database, err, strings.ReplaceAll(tail(out), p.password, "[redacted]"))
	}
	return out, nil
}

func (p *Postgres) running(ctx context.Context) bool {
	if p.place.stale() {
		return false
	}
	_, err := p.bin.asServer(ctx, "pg_ctl", "status", "-D", p.place.data())
	return err == nil
}

// initialise runs initdb into a folder beside the final one and renames it, so that an interrupted run
// leaves no half cluster that looks whole.
func (p *Postgres) initialise(ctx context.Context, log *slog.Logger) error {
	if p.place.initialised() {
		return nil
	}
	log.LogAttrs(ctx, slog.LevelInfo, "making a private postgres cluster", slog.String("dir", p.place.base))
	fresh, pwFile, err := p.place.prepareInit()
	if err != nil {
		return err
	}
	out, err := p.bin.asServer(ctx, "initdb", "-D", fresh, "-U", superuser, "--pwfile", pwFile,
		"--auth-host=scram-sha-256", "--auth-local=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err != nil {
		return fmt.Errorf("make a cluster in %s: %w: %s", fresh, err, tail(out))
	}
	return p.place.finishInit(fresh, pwFile)
}

func (p *Postgres) ensureRunning(ctx context.Context, wantPort int, log *slog.Logger) error {
	if p.running(ctx) {
		port, err := p.place.runningPort()
		if err != nil {
			return err
		}
		p.port = port
		switch stays := p.stays(ctx); {
		case stays && (wantPort == 0 || wantPort == port):
			return nil
		case stays:
			if err := p.Stop(); err != nil {
				return err
			}
		}
	}
	var last error
	for try := range startTries {
		if last = p.startOnce(ctx, wantPort); last == nil {
			log.LogAttrs(ctx, slog.LevelInfo, "postgres runs", slog.Int("port", p.port), slog.String("dir", p.place.base))
			return nil
		}
		// Two causes pass by themselves: a free port that another process took in between, and
		// orphans of a postmaster killed by -9 that still hold its shared memory.
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-time.After(time.Duration(try+1) * 500 * time.Millisecond):
		}
	}
	return last
}

// stays says that the server that runs goes on running: one that has just been killed looks alive until the machine has
// come to it.
func (p *Postgres) stays(ctx context.Context) bool {
	for range 40 {
		if _, err := p.Exec(ctx, "postgres", "SELECT 1"); err == nil || ctx.Err() != nil {
			return true
		}
		time.Sleep(250 * time.Millisecond)
		if !p.running(ctx) {
			return false
		}
	}
	return true
}

func (p *Postgres) startOnce(ctx context.Context, wantPort int) error {
	if p.place.stale() {
		if err := os.Remove(p.place.pidFile()); err != nil {
			return fmt.Errorf("remove stale pid file: %w", err)
		}
	}
	p.port = wantPort
	if p.port == 0 {
		port, err := freePort(ctx)
		if err != nil {
			return err
		}
		p.port = port
	}
	if err := p.place.writeSettings(p.port, p.fast, p.settings); err != nil {
		return err
	}
	out, err := p.bin.asServer(ctx, "pg_ctl", "start", "-D", p.place.data(), "-l", p.place.logFile(), "-w",
		"-t", strconv.Itoa(int(startTimeout.Seconds())))
	if err != nil {
		return fmt.Errorf("start postgres in %s: %w: %s: %s", p.place.data(), err, tail(out), tail(p.place.logTail()))
	}
	return nil
}

// recovered waits until a copy that recovers from archived WAL has come to its target: until then it only reads.
func (p *Postgres) recovered(ctx context.Context) error {
	for deadline := time.Now().Add(startTimeout); ; {
		out, err := p.Exec(ctx, "postgres", "SELECT pg_is_in_recovery()")
		if err == nil && strings.TrimSpace(out) == "f" {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("postgres in %s is still recovering: %s", p.place.data(), tail(p.place.logTail())), err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (p *Postgres) ensureDatabase(ctx context.Context) error {
	found, err := p.Exec(ctx, "postgres", "SELECT 1 FROM pg_database WHERE datname = '"+Database+"'")
	if err != nil {
		return err
	}
	if strings.TrimSpace(found) == "" {
		if _, err := p.Exec(ctx, "postgres", "CREATE DATABASE "+Database); err != nil {
			return err
		}
	}
	_, err = p.Exec(ctx, Database, "CREATE EXTENSION IF NOT EXISTS postgis")
	return err
}

func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// tail keeps the last lines of a program's output for an error message.
func tail(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) > 6 {
		lines = lines[len(lines)-6:]
	}
	return strings.Join(lines, " | ")
}
