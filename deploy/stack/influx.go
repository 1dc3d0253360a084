package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"syscall"
	"time"
)

const (
	// InfluxOrg and InfluxBucket are what a private InfluxDB has from the start; the bucket keeps its points for ever.
	InfluxOrg    = "starling"
	InfluxBucket = "robot_status"

	influxUser     = "starling"
	influxToken    = "token"
	influxPassword = "password"
	influxTimeout  = 3 * time.Minute // opening a million points took a minute on a busy machine
	influxPatience = 20 * time.Second
	influxAnswer   = 30 * time.Second
)

// InfluxOptions says where and how an InfluxDB runs.
type InfluxOptions struct {
	// Dir is the folder that it lives in, made if missing.
	Dir string
	// Port on 127.0.0.1; 0 = the one it had in Dir before, else any free one.
	Port int
	// Guarded: it ends with the process that started it, however that ends, and its folder with it. Else it outlives that
	// process until Stop or Kill.
	Guarded bool
	// Adopt: one that runs in Dir already is taken as it is. Else that is an error.
	Adopt bool
	// Args are further options of influxd, such as --storage-wal-max-concurrent-writes=2.
	Args []string
	// Log gets a line per step; nil = silence.
	Log *slog.Logger
}

// Influx is a private InfluxDB 2 with one organisation, one bucket and one token that may do everything. What it
// acknowledged outlives Stop and Kill.
// Size sketch: 100 to 350 MB of memory, 1 s to start; building the program once takes minutes.
type Influx struct {
	*daemon

	program string
	port    int
	token   string
	o       InfluxOptions
	client  *http.Client
	log     *slog.Logger
}

// StartInflux starts an InfluxDB in o.Dir and returns when it is healthy and set up. Errors: ErrNoInflux, or what
// InfluxDB said.
func StartInflux(ctx context.Context, o InfluxOptions) (*Influx, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	program, err := findInflux(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	d, err := newDaemon(o.Dir, o.Guarded, o.Adopt)
	if err != nil {
		return nil, err
	}
	i := &Influx{daemon: d, program: program, o: o, client: &http.Client{Timeout: influxAnswer, Transport: &http.Transport{DisableKeepAlives: true}}, log: o.Log}
	if err := i.orRemove(i.prepare(ctx)); err != nil {
		return nil, err
	}
	return i, nil
}

func (i *Influx) prepare(ctx context.Context) error {
	ports, err := i.keepPorts(ctx, i.o.Port, 1)
	if err != nil {
		return err
	}
	i.port = ports[0]
	if i.token, err = i.keepSecret(influxToken); err != nil {
		return err
	}
	if i.pid() != 0 {
		return i.untilReady(ctx)
	}
	return i.StartAgain(ctx)
}

// StartAgain starts it after Stop or Kill: the same address, token and data.
func (i *Influx) StartAgain(ctx context.Context) error {
	if pid := i.pid(); pid != 0 {
		return fmt.Errorf("start InfluxDB in %s: it runs already as process %d", i.base, pid)
	}
	argv := append([]string{
		i.program, "--http-bind-address=" + loopback(i.port), "--bolt-path=" + i.path("influxd.bolt"), "--sqlite-path=" + i.path("influxd.sqlite"),
		"--engine-path=" + i.path("engine"), "--reporting-disabled", "--ui-disabled", "--log-level=warn",
	}, i.o.Args...)
	if err := i.start(argv, []string{"HOME=" + i.base, "TMPDIR=" + i.base}); err != nil {
		return err
	}
	if err := i.untilReady(ctx); err != nil {
		return errors.Join(err, i.Kill())
	}
	i.log.LogAttrs(ctx, slog.LevelInfo, "influxdb runs", slog.Int("port", i.port), slog.String("dir", i.base))
	return nil
}

func (i *Influx) untilReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, influxTimeout)
	defer cancel()
	if err := i.await(ctx, i.healthy); err != nil {
		return err
	}
	return i.setUp(ctx)
}

func (i *Influx) healthy(ctx context.Context) error {
	return i.ask(ctx, http.MethodGet, "/health", nil, nil)
}

// setUp makes the organisation, the bucket and the token, unless they are there.
func (i *Influx) setUp(ctx context.Context) error {
	var state struct {
		Allowed bool `json:"allowed"`
	}
	if err := i.ask(ctx, http.MethodGet, "/api/v2/setup", nil, &state); err != nil || !state.Allowed {
		return err
	}
	password, err := i.keepSecret(influxPassword)
	if err != nil {
		return err
	}
	return i.ask(ctx, http.MethodPost, "/api/v2/setup", map[string]any{
		"username": influxUser, "password": password, "org": InfluxOrg, "bucket": InfluxBucket, "token": i.token, "retentionPeriodSeconds": 0,
	}, nil)
}

// ask makes one request; an answer other than 2xx is an error with its text, which holds no secret.
func (i *Influx) ask(ctx context.Context, method, path string, body, answer any) error {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return fmt.Errorf("ask InfluxDB: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, i.URL()+path, &content)
	if err != nil {
		return fmt.Errorf("ask InfluxDB: %w", err)
	}
	res, err := i.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask InfluxDB: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(io.LimitReader(res.Body, longestAnswer))
	if err != nil {
		return fmt.Errorf("ask InfluxDB: %w", err)
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("ask InfluxDB: %s %s: status %d: %s", method, path, res.StatusCode, tail(string(got)))
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(got, answer); err != nil {
		return fmt.Errorf("read the answer of InfluxDB: %w", err)
	}
	return nil
}

// URL is its address: http://127.0.0.1:port.
func (i *Influx) URL() string { return "http://" + loopback(i.port) }

// Org is the name of its organisation.
func (i *Influx) Org() string { return InfluxOrg }

// Bucket is the name of the bucket that it has from the start.
func (i *Influx) Bucket() string { return InfluxBucket }

// Token may do everything: a secret.
func (i *Influx) Token() string { return i.token }

// Port is that of URL.
func (i *Influx) Port() int { return i.port }

// PID is the number of its process, 0 = it does not run.
func (i *Influx) PID() int { return i.pid() }

// Base is the folder that holds all of it.
func (i *Influx) Base() string { return i.base }

// Stop ends it in order. Nothing running is no error.
func (i *Influx) Stop() error { return i.end(syscall.SIGTERM, influxPatience) }

// Kill ends it as a crash does.
func (i *Influx) Kill() error { return i.end(syscall.SIGKILL, killPatience) }

// Remove ends it as a crash does and removes its folder.
func (i *Influx) Remove() error { return i.remove() }
