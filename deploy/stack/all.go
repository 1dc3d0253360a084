package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	envName          = "env"
	postgresPortName = "postgres-port"
	mostFolders      = 100 // that others may delete while one waits for the lock of one
)

// EnvFile is where Up writes what clients of the servers of dir need to know: lines NAME='value', as a shell and
// `starling` read them. It holds secrets.
func EnvFile(dir string) string { return filepath.Join(dir, envName) }

// EnsureAll gets whatever is missing of all servers: what Ensure, EnsureRedis … do. Building InfluxDB takes longest and
// goes on, at low priority, beside the rest.
func EnsureAll(ctx context.Context, w io.Writer) error {
	return together(func() error { return EnsureInflux(ctx, w) }, func() error {
		for _, ensure := range []func(context.Context, io.Writer) error{Ensure, EnsureRedis, EnsureMosquitto, EnsureKafka, EnsureKeycloak} {
			if err := ensure(ctx, w); err != nil {
				return err
			}
		}
		return nil
	})
}

// together runs all to their end: to cut an installation or a start off because another failed would leave it half done.
func together(all ...func() error) error {
	failed := make([]error, len(all))
	var wait sync.WaitGroup
	for i, f := range all {
		wait.Go(func() { failed[i] = f() })
	}
	wait.Wait()
	return errors.Join(failed...)
}

// Up starts all servers, each in a folder of its own in dir, or takes those that run there already, and writes the file
// of EnvFile. They keep their ports, secrets and data from one Up to the next and outlive the caller until Down. An
// error stops none of them: what runs is found again by the next Up, or ended by Down. Of Up, Down and RemoveAll of one
// dir, in any process, one waits for the other.
func Up(ctx context.Context, dir string, log *slog.Logger) error {
	unlock, err := lockFolder(ctx, dir, true)
	if err != nil {
		return err
	}
	defer unlock()
	env := make([]map[string]string, 6) // of each server
	if err := together(func() error {
		p, err := startKept(ctx, dir, log)
		if err != nil {
			return err
		}
		env[0] = map[string]string{"DATABASE_URL": p.URL()}
		return nil
	}, func() error {
		r, err := StartRedis(ctx, RedisOptions{Dir: filepath.Join(dir, "redis"), Adopt: true, Log: log})
		if err != nil {
			return err
		}
		env[1] = map[string]string{"REDIS_URL": r.URL()}
		return nil
	}, func() error {
		k, err := StartKafka(ctx, KafkaOptions{Dir: filepath.Join(dir, "kafka"), Adopt: true, Log: log})
		if err != nil {
			return err
		}
		env[2] = map[string]string{"KAFKA_BROKERS": strings.Join(k.Brokers(), ",")}
		return nil
	}, func() error {
		i, err := StartInflux(ctx, InfluxOptions{Dir: filepath.Join(dir, "influx"), Adopt: true, Log: log})
		if err != nil {
			return err
		}
		env[3] = map[string]string{"INFLUX_URL": i.URL(), "INFLUX_ORG": i.Org(), "INFLUX_BUCKET": i.Bucket(), "INFLUX_TOKEN": i.Token()}
		return nil
	}, func() error {
		m, err := StartMosquitto(ctx, MosquittoOptions{Dir: filepath.Join(dir, "mosquitto"), Adopt: true, Log: log})
		if err != nil {
			return err
		}
		env[4] = map[string]string{"MQTT_URL": m.URL()}
		return nil
	}, func() error {
		k, err := StartKeycloak(ctx, KeycloakOptions{Dir: filepath.Join(dir, "keycloak"), Adopt: true, Log: log})
		if err != nil {
			return err
		}
		env[5] = map[string]string{"OIDC_ISSUER": k.Issuer(), "OIDC_AUDIENCE": KeycloakAudience, "OIDC_CLIENT_ID": KeycloakPage}
		return nil
	}); err != nil {
		return err
	}
	all := map[string]string{}
	for _, some := range env {
		maps.Copy(all, some)
	}
	return writeEnv(dir, all)
}

// lockFolder waits until no other caller works on the stack of dir, which it makes if it is to. Without a dir there is
// nothing to lock. The lock is on the folder itself: who has waited for one that has been deleted begins anew.
func lockFolder(ctx context.Context, dir string, create bool) (unlock func(), err error) {
	for tries := 0; ; tries++ {
		if create {
			err := os.MkdirAll(dir, 0o755) // the account postgres must pass
			if errors.Is(err, fs.ErrExist) && tries < mostFolders {
				continue // it was there, and deleted when MkdirAll looked what it is
			} else if err != nil {
				return nil, fmt.Errorf("make the stack's folder: %w", err)
			}
		}
		f, err := os.Open(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && create && tries < mostFolders: // deleted again at once
			continue
		case errors.Is(err, fs.ErrNotExist) && !create:
			return func() {}, nil
		case err != nil:
			return nil, fmt.Errorf("lock the stack's folder: %w", err)
		}
		if err := awaitLock(ctx, f); err != nil {
			return nil, errors.Join(fmt.Errorf("lock the stack's folder: %w", err), f.Close())
		}
		mine, err := f.Stat()
		if is, statErr := os.Stat(dir); err == nil && statErr == nil && os.SameFile(mine, is) {
			return func() { _ = f.Close() }, nil
		}
		_ = f.Close()
	}
}

func awaitLock(ctx context.Context, f *os.File) error {
	look := time.NewTicker(readyPause)
	defer look.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) //nolint:gosec // a descriptor is small
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("another one works on it: %w", ctx.Err())
		}
	}
}

// EnvKeys are the names in the file of EnvFile, in its order.
func EnvKeys() []string {
	return []string{
		"DATABASE_URL", "REDIS_URL", "KAFKA_BROKERS", "INFLUX_URL", "INFLUX_ORG", "INFLUX_BUCKET", "INFLUX_TOKEN", "MQTT_URL",
		"OIDC_ISSUER", "OIDC_AUDIENCE", "OIDC_CLIENT_ID",
	}
}

func writeEnv(dir string, env map[string]string) error {
	var b strings.Builder
	b.WriteString("# Written by `make stack-up`; changes are lost. Secrets: for the eyes of who started it.\n")
	for _, key := range EnvKeys() {
		fmt.Fprintf(&b, "%s='%s'\n", key, env[key]) // none of them has a quote in it
	}
	fresh := EnvFile(dir) + ".new"
	if err := errors.Join(os.WriteFile(fresh, []byte(b.String()), 0o600), os.Rename(fresh, EnvFile(dir))); err != nil {
		return fmt.Errorf("write the stack's environment: %w", err)
	}
	return nil
}

// startKept starts the PostgreSQL of dir on the port that it had before, if that is free.
func startKept(ctx context.Context, dir string, log *slog.Logger) (*Postgres, error) {
	kept, o := filepath.Join(dir, postgresPortName), Options{Dir: filepath.Join(dir, "postgres"), Log: log}
	if p, running, err := Find(ctx, o.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	} else if !running {
		if b, err := os.ReadFile(kept); err == nil {
			o.Port, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		if o.Port == 0 || !portFree(ctx, o.Port) {
			if o.Port, err = quietPort(ctx); err != nil {
				return nil, err
			}
		}
	} else {
		o.Port = p.port
	}
	p, err := Start(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(kept, []byte(strconv.Itoa(p.port)+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("keep the port of PostgreSQL: %w", err)
	}
	return p, nil
}

// folders are those of the servers that daemon runs, in the order in which they are stopped.
func folders() []string { return []string{"keycloak", "mosquitto", "influx", "kafka", "redis"} }

// Running says which servers of dir run, by name, with the numbers of their processes.
func Running(ctx context.Context, dir string) (map[string]int, error) {
	out := map[string]int{}
	for _, name := range folders() {
		d, err := daemonOf(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if d != nil && d.pid() != 0 {
			out[name] = d.pid()
		}
	}
	p, running, err := Find(ctx, filepath.Join(dir, "postgres"))
	switch {
	case errors.Is(err, fs.ErrNotExist): // never made
	case err != nil:
		return nil, err
	case running:
		if out["postgres"], err = p.place.pid(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Down stops all servers of dir in order. What does not run, or was never made, is no error. Their data stay.
func Down(ctx context.Context, dir string) error {
	unlock, err := lockFolder(ctx, dir, false)
	if err != nil {
		return err
	}
	defer unlock()
	return down(ctx, dir)
}

func down(ctx context.Context, dir string) error {
	var all []error
	for _, name := range folders() {
		d, err := daemonOf(filepath.Join(dir, name))
		if err == nil && d != nil {
			err = d.end(syscall.SIGTERM, kafkaPatience)
		}
		if err != nil {
			all = append(all, fmt.Errorf("stop %s: %w", name, err))
		}
	}
	p, running, err := Find(ctx, filepath.Join(dir, "postgres"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		all = append(all, err)
	case running:
		all = append(all, p.Stop())
	}
	return errors.Join(all...)
}

// RemoveAll stops all servers of dir and deletes dir with all data in it.
func RemoveAll(ctx context.Context, dir string) error {
	unlock, err := lockFolder(ctx, dir, false)
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(down(ctx, dir), Remove(ctx, filepath.Join(dir, "postgres")), os.RemoveAll(dir))
}

// daemonOf finds the server of a folder, which it does not make; nil = there is no such folder.
func daemonOf(dir string) (*daemon, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return newDaemon(dir, false, true)
}
