package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"starling/bench/robots"
)

// simOptions are the flags of `starling sim`.
type simOptions struct {
	URL, Link, Token, Warehouse, Scenario string
	Robots                                int
	Seed                                  uint64
	StatusEvery                           time.Duration
	// Of a scenario that is played in this process: list them, print JSON lines, write a recording.
	List, JSON bool
	Out        string
	// TLS of the link. CA "" = plain, unless Cert is there: then the system's authorities are trusted.
	LinkCA, LinkCert, LinkKey string
}

// linkTLS is how the robots reach the link, nil = plainly.
func (o *simOptions) linkTLS() (*tls.Config, error) {
	if o.LinkCA == "" && o.LinkCert == "" && o.LinkKey == "" {
		return nil, nil
	}
	if (o.LinkCert == "") != (o.LinkKey == "") {
		return nil, usageError{errors.New("--link-cert and --link-key go together")}
	}
	return clientTLS(o.LinkCA, o.LinkCert, o.LinkKey)
}

// scenario is the file that --scenario names; delayConfig is as the League of Robot Runners has it.
type scenario struct {
	Motion struct {
		SpeedMPS    float64 `json:"speed_mps"`
		AccelMPS2   float64 `json:"accel_mps2"`
		QuarterTurn float64 `json:"quarter_turn_s"`
	} `json:"motion"`
	Battery *struct {
		PerM      float64 `json:"drain_per_m"`
		PerS      float64 `json:"drain_per_s"`
		PerCharge float64 `json:"charge_per_s"`
	} `json:"battery"`
	Delays *struct {
		MinDelay int     `json:"minDelay"`
		MaxDelay int     `json:"maxDelay"`
		PDelay   float64 `json:"pDelay"`
		Mean     float64 `json:"gaussMeanRatio"`
		Std      float64 `json:"gaussStdRatio"`
	} `json:"delayConfig"`
	Faults []struct {
		Robot  int     `json:"robot"`
		AfterS float64 `json:"after_s"`
		ForS   float64 `json:"for_s"`
		Kind   string  `json:"kind"`
	} `json:"faults"`
}

// fleetOptions reads a scenario.
func fleetOptions(path string, o *robots.Options) error {
	o.Motion = robots.Motion{SpeedMPS: 1, AccelMPS2: 1, QuarterTurn: time.Second}
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var s scenario
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("read scenario %s: %w", path, err)
	}
	second := func(x float64) time.Duration { return time.Duration(x * float64(time.Second)) }
	if s.Motion.SpeedMPS > 0 {
		o.Motion = robots.Motion{SpeedMPS: s.Motion.SpeedMPS, AccelMPS2: s.Motion.AccelMPS2, QuarterTurn: second(s.Motion.QuarterTurn)}
	}
	if d := s.Delays; d != nil {
		o.Delays = robots.Delays{P: d.PDelay, Min: second(float64(d.MinDelay)), Max: second(float64(d.MaxDelay)), Mean: d.Mean, Std: d.Std}
	}
	if b := s.Battery; b != nil {
		o.Battery.PerM, o.Battery.PerS, o.Battery.PerCharge = b.PerM, b.PerS, b.PerCharge
	}
	kinds := map[string]robots.FaultKind{"stop": robots.FaultStop, "silent": robots.FaultSilent, "reboot": robots.FaultReboot}
	for _, f := range s.Faults {
		k, ok := kinds[f.Kind]
		if !ok || f.Robot < 0 {
			return fmt.Errorf("read scenario %s: fault kind %q of robot %d: want stop, silent or reboot", path, f.Kind, f.Robot)
		}
		o.Faults = append(o.Faults, robots.Fault{Robot: f.Robot, After: second(f.AfterS), For: second(f.ForS), Kind: k})
	}
	return nil
}

// simulate registers virtual robots where they are missing and runs them until ctx is done.
func simulate(ctx context.Context, o simOptions, out io.Writer) error {
	if o.Robots < 1 || o.Robots > 100_000 {
		return usageError{errors.New("--robots: want 1..100000")}
	}
	if o.StatusEvery < 100*time.Millisecond || o.StatusEvery > time.Minute {
		return usageError{errors.New("--status-every: want 100ms..1m")}
	}
	secure, err := o.linkTLS()
	if err != nil {
		return err
	}
	c := newClient(o.URL, o.Token)
	id, version, err := c.activeMap(ctx, o.Warehouse)
	if err != nil {
		return err
	}
	vs, err := c.vertices(ctx, id, version)
	if err != nil {
		return err
	}
	if o.Robots > len(vs) {
		return fmt.Errorf("%d robots do not fit on %d vertices", o.Robots, len(vs))
	}
	start := rand.New(rand.NewPCG(o.Seed, 1)).Perm(len(vs))[:o.Robots]
	places := make([]vertexItem, o.Robots)
	for i, v := range start {
		places[i] = vs[v]
	}
	rs, err := register(ctx, c, o.Warehouse, "sim", places)
	if err != nil {
		return err
	}
	fo := robots.Options{LinkAddr: o.Link, Token: o.Token, TLS: secure, WarehouseID: o.Warehouse, Robots: rs, Seed: o.Seed, StatusEvery: o.StatusEvery, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if err := fleetOptions(o.Scenario, &fo); err != nil {
		return err
	}
	if fo.Battery.Chargers, err = c.chargers(ctx, id, version); err != nil {
		return err
	}
	f, err := robots.New(fo)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d virtual robots on map %s version %d\n", o.Robots, id, version)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	done := make(chan struct{})
	go func() { // ends with ctx
		f.Run(ctx)
		close(done)
	}()
	for {
		select {
		case <-done:
			return nil
		case <-tick.C:
			s := &f.Stats
			fmt.Fprintf(out, "connected %d, statuses %d, moves %d, orders %d, reconnects %d\n",
				s.Connected.Load(), s.Statuses.Load(), s.Moves.Load(), s.Orders.Load(), s.Reconnects.Load())
		}
	}
}

// registrars is how many robots are registered at once.
const registrars = 16

// register makes sure that one robot a place is registered, and returns them where they start. A robot that was
// registered by an earlier run is found again by its code.
func register(ctx context.Context, c *client, warehouse, prefix string, places []vertexItem) ([]robots.Robot, error) {
	rs := make([]robots.Robot, len(places))
	errs := make([]error, len(places))
	var all sync.WaitGroup
	slots := make(chan struct{}, registrars)
	for i, p := range places {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			code := fmt.Sprintf("%s-%05d", prefix, i+1)
			rs[i] = robots.Robot{Code: code, Vertex: uint32(p.Index), X: p.X, Y: p.Y}
			rs[i].ID, errs[i] = registerOne(ctx, c, warehouse, code)
		})
	}
	all.Wait()
	return rs, errors.Join(errs...)
}

func registerOne(ctx context.Context, c *client, warehouse, code string) (string, error) {
	var out struct {
		ID string `json:"robot_id"`
	}
	body := map[string]any{"robot_code": code, "protocol": "link", "warehouse_id": warehouse, "fleet": "virtual", "model": "virtual", "max_speed_mps": 1.0}
	err := c.again(ctx, http.MethodPost, "/api/v1/robots", "", body, &out)
	var e *apiError
	if !errors.As(err, &e) || e.Status != http.StatusConflict {
		return out.ID, err
	}
	var l struct {
		Items []struct {
			ID        string `json:"robot_id"`
			Warehouse string `json:"warehouse_id"`
		} `json:"items"`
	}
	if err := c.again(ctx, http.MethodGet, "/api/v1/robots?robot_code="+code, "", nil, &l); err != nil {
		return "", err
	}
	if len(l.Items) != 1 || l.Items[0].Warehouse != warehouse {
		return "", fmt.Errorf("robot code %s is taken in another warehouse", code)
	}
	return l.Items[0].ID, nil
}
