package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"starling/actors"
	"starling/deploy/stack"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/view"
	"starling/persistence/postgres"
)

// demoTenant is the tenant of `starling dev`.
const (
	demoTenant = fleet.TenantID("d0000000-0000-4000-8000-000000000001")
	demoSlug   = "demo"
)

// devOptions are what `starling dev` can be told.
type devOptions struct {
	Data      string
	Port      int
	LinkPort  int
	Metrics   int
	Postgres  int
	Reset     bool
	ReadyFile string
	Robots    int
	TasksMin  int
	Problem   string
	Seed      uint64
	External  bool // the servers that the environment names, no private ones
	Quiet     bool // no log, and no servers but the database (the bench)
	Views     func(*view.Store) actors.Views
}

func newDevCmd() *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Everything in one process on embedded parts, with a demo warehouse",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			most := 2000
			if o.Problem != "" {
				most = 10_000
				if !cmd.Flags().Changed("robots") {
					o.Robots = 0 // its team
				}
			}
			if o.Robots < 0 || o.Robots > most {
				return usageError{fmt.Errorf("--robots: want 0..%d", most)}
			}
			if o.External && o.Reset {
				return usageError{errors.New("--reset forgets private servers' data; those of --external are not this program's to clear")}
			}
			return runDev(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Data, "data", ".starling", "folder of the data")
	f.IntVar(&o.Port, "port", 8080, "HTTP port, 0 = a free one")
	f.IntVar(&o.LinkPort, "link-port", 0, "robot link's port, 0 = a free one")
	f.IntVar(&o.Metrics, "metrics-port", 0, "port of /metrics, 0 = the HTTP port")
	f.IntVar(&o.Postgres, "postgres-port", 0, "private PostgreSQL's port, 0 = a free one")
	f.BoolVar(&o.Reset, "reset", false, "forget all data first")
	f.BoolVar(&o.External, "external", false, "use the servers of DATABASE_URL, REDIS_URL, KAFKA_BROKERS …, start none")
	f.StringVar(&o.ReadyFile, "ready-file", "", "write what a client needs to know here once robots move")
	f.IntVar(&o.Robots, "robots", 200, "robots of the demo, 0 = no demo")
	f.IntVar(&o.TasksMin, "tasks-per-minute", 60, "tasks that the demo creates")
	f.Uint64Var(&o.Seed, "seed", 1, "of the demo")
	f.StringVar(&o.Problem, "problem", "", "run a League of Robot Runners problem instead: its floor, robots, tasks and delays")
	return cmd
}

// dev is a running development process.
type dev struct {
	*app
	o      devOptions
	pg     *stack.Postgres // nil = the database is not ours
	parts  *embedded
	lock   *os.File
	client *client
	token  string
	until  time.Time
	log    *os.File
}

// startDev starts database, engine and doors on loopback. What it returns must be stopped, also with an error.
func startDev(ctx context.Context, o devOptions) (*dev, error) {
	d := &dev{o: o}
	var err error
	if o.Data, err = filepath.Abs(o.Data); err != nil {
		return d, err
	}
	if o.Reset {
		if err := resetData(ctx, o.Data); err != nil {
			return d, err
		}
	}
	if err := os.MkdirAll(o.Data, 0o755); err != nil {
		return d, fmt.Errorf("make the data folder: %w", err)
	}
	if err := d.lockData(o.Data); err != nil {
		return d, err
	}
	log, err := d.openLog(o)
	if err != nil {
		return d, err
	}
	settings, err := d.servers(ctx, o, log)
	if err != nil {
		return d, err
	}
	key, err := devKey(o.Data)
	if err != nil {
		return d, err
	}
	maps.Copy(settings, map[string]string{
		"ENV": envDev, "HTTP_HOST": "127.0.0.1", "LINK_HOST": "127.0.0.1",
		"HTTP_PORT": fmt.Sprint(o.Port), "LINK_PORT": fmt.Sprint(o.LinkPort), "METRICS_PORT": fmt.Sprint(o.Metrics),
		"AUDIT_DIR": filepath.Join(o.Data, "audit"), "INFLUX_DIR": filepath.Join(o.Data, "influx"),
	})
	if os.Getenv("REQUEST_TIMEOUT_MS") == "" {
		settings["REQUEST_TIMEOUT_MS"] = "60000" // the demo's map is imported by a request, on whatever machine, however busy
	}
	c, faults := LoadConfig(func(k string) string {
		if v, ok := settings[k]; ok {
			return v
		}
		return os.Getenv(k)
	}, os.ReadFile)
	if err := faults.Err(); err != nil {
		return d, err
	}
	c.HTTPCertFile, c.LinkCertFile, c.LinkClientCAFile = "", "", "" // what it listens on is loopback, and its own client speaks plainly
	w := wiring{Config: c, Log: log, Roles: []string{roleGateway, roleEngine, roleWorker}, Alone: !o.External, DevKey: key, Views: o.Views}
	if d.app, err = start(ctx, w); err != nil {
		return d, err
	}
	return d, d.admit(ctx)
}

// servers starts the private servers, or takes those of the environment, brings the schema up and says what to put into
// the configuration.
func (d *dev) servers(ctx context.Context, o devOptions, log *slog.Logger) (map[string]string, error) {
	if o.External {
		at := os.Getenv("DATABASE_URL")
		if at == "" {
			return nil, usageError{errNoServers}
		}
		_, err := postgres.Migrate(ctx, at, "up")
		return map[string]string{}, err
	}
	var err error
	if d.pg, err = stack.Start(ctx, stack.Options{Dir: filepath.Join(o.Data, "postgres"), Port: o.Postgres, Log: log}); err != nil {
		return nil, err
	}
	if _, err := postgres.Migrate(ctx, d.pg.URL(), "up"); err != nil {
		return nil, err
	}
	settings := map[string]string{}
	if !o.Quiet {
		if d.parts, settings, err = startEmbedded(ctx, filepath.Join(o.Data, "embedded"), os.Getenv); err != nil {
			return nil, err
		}
	}
	settings["DATABASE_URL"], settings["DATABASE_URL"+fileSuffix] = d.pg.URL(), ""
	return settings, nil
}

// resetData stops a database that a killed process has left and forgets all data.
func resetData(ctx context.Context, dir string) error {
	if err := stack.Remove(ctx, filepath.Join(dir, "postgres")); err != nil {
		return fmt.Errorf("forget the database: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("forget the data: %w", err)
	}
	return nil
}

// lockData makes this process the only one on the folder: that is what lets it grant without a lease.
func (d *dev) lockData(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the data folder: %w", err)
	}
	d.lock = f
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another process uses %s", dir)
	}
	return nil
}

// openLog writes the log into the data folder, so that the terminal stays calm.
func (d *dev) openLog(o devOptions) (*slog.Logger, error) {
	w := io.Discard
	if !o.Quiet {
		f, err := os.OpenFile(filepath.Join(o.Data, "starling.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the log: %w", err)
		}
		d.log, w = f, f
	}
	return newLogger(w, LogOptions{Level: slog.LevelInfo, Service: "starling", Env: envDev, Version: buildVersion()}), nil
}

// admit makes the demo tenant and a token for it.
func (d *dev) admit(ctx context.Context) error {
	if _, err := d.store.Tenants.GetTenantByID(ctx, demoTenant); missing(err) {
		t := fact.Tenant{ID: demoTenant, Slug: demoSlug, Name: "Demo", Settings: json.RawMessage(`{}`), CreatedAt: time.Now()}
		if err := d.store.Tenants.CreateTenant(ctx, t, nil); err != nil {
			return fmt.Errorf("create the demo tenant: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("find the demo tenant: %w", err)
	}
	var err error
	if d.token, d.until, err = d.issuer.Issue(auth.Grant{Tenant: demoTenant, Role: auth.Admin, TTL: 30 * 24 * time.Hour}, time.Now()); err != nil {
		return err
	}
	d.client = newClient(d.url(), d.token)
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return waitHealthy(ready, d.client)
}

func (d *dev) linkAddr() string { return d.linkAt.Addr().String() }

// stop ends the process's parts in order.
func (d *dev) stop() {
	if d.app != nil {
		d.app.stop()
	}
	if d.parts != nil {
		d.parts.stop()
	}
	if d.pg != nil {
		_ = d.pg.Stop()
	}
	if d.log != nil {
		_ = d.log.Close()
	}
	if d.lock != nil {
		_ = d.lock.Close()
	}
}

// warehouse is a floor with an active map.
type warehouse struct {
	ID, MapID string
	Version   int
}

// warehouse finds or makes a warehouse by its code, with this map active.
func (d *dev) warehouse(ctx context.Context, code, format, text string) (warehouse, error) {
	var l struct {
		Items []struct {
			ID   string `json:"warehouse_id"`
			Code string `json:"warehouse_code"`
		} `json:"items"`
	}
	var w warehouse
	if err := d.client.call(ctx, http.MethodGet, "/api/v1/warehouses?limit=500", "", nil, &l); err != nil {
		return w, err
	}
	for _, x := range l.Items {
		if x.Code == code {
			w.ID = x.ID
		}
	}
	if w.ID == "" {
		var out struct {
			ID string `json:"warehouse_id"`
		}
		body := map[string]any{"warehouse_code": code, "name": "Demo warehouse", "timezone": "UTC"}
		if err := d.client.call(ctx, http.MethodPost, "/api/v1/warehouses", "", body, &out); err != nil {
			return w, err
		}
		w.ID = out.ID
	}
	var err error
	if w.MapID, w.Version, err = d.client.activeMap(ctx, w.ID); err == nil {
		return w, nil
	}
	w.Version = 1
	w.MapID, _, err = d.client.upload(ctx, w.ID, "floor", format, text, 1, true)
	return w, err
}
