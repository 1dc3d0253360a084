//go:build integration

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/google/uuid"

	"starling/actors"
	"starling/cluster"
	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/view"
	"starling/persistence/postgres"
)

// alertsProcess is an engine whose alerts people handle as fast as they can.
type alertsProcess struct {
	system *actors.System
	store  *postgres.Store
	shard  fleet.Shard
	undo   chan alert.Remedy
}

func newAlertsProcess(ctx context.Context, database string, shard fleet.Shard) (*alertsProcess, error) {
	p := &alertsProcess{shard: shard, undo: make(chan alert.Remedy, 1024)}
	var err error
	if p.store, err = postgres.Open(ctx, postgres.Options{URL: database, MaxConns: 4}); err != nil {
		return nil, err
	}
	p.system, err = actors.NewSystem(actors.Options{
		Journal: p.store, Store: p.store, Ownership: p.store, Links: &lateLinks{}, Views: view.New(), Log: slog.New(slog.DiscardHandler),
		Place:      func(as *actor.ActorSystem, h actors.Host) (actors.Placement, error) { return cluster.Start(as, h) },
		Seed:       uint64(time.Now().UnixNano()),
		UndoRemedy: func(_ fleet.Shard, _ alert.ID, r alert.Remedy) { p.undo <- r },
		AlertRules: func(context.Context, fleet.Shard) alert.Rules {
			return alert.Rules{Causes: map[alert.Cause]alert.Rule{alert.Congestion: {Dwell: -1, Clear: time.Hour, CoolDown: -1}}}
		},
	})
	return p, err
}

// jam keeps five zones jammed.
func (p *alertsProcess) jam() {
	var list []alert.Condition
	for i := range 5 {
		list = append(list, alert.Condition{
			Subject: alert.Subject{Type: alert.SubjectZone, ID: fmt.Sprint("z", i)}, Cause: alert.Congestion, Level: alert.L2, Message: "jam",
		})
	}
	for {
		p.system.ReviewAlerts(p.shard, alert.Review{Feed: alert.FeedCongestion, Conditions: list})
		time.Sleep(20 * time.Millisecond)
	}
}

// handle does something about some alert and says so when it is durable: each step bears a text of its own.
func (p *alertsProcess) handle(ctx context.Context, rng *rand.Rand) error {
	open, err := p.store.Alerts.ListAlerts(ctx, p.shard.Tenant, fact.AlertFilter{}, fact.Page{Limit: 100})
	if err != nil || len(open.Items) == 0 {
		return err
	}
	id, tag := open.Items[rng.IntN(len(open.Items))].ID, uuid.NewString()
	by := fleet.Actor{User: fleet.UserID(uuid.NewString())}
	var v alert.View
	if rng.IntN(3) == 0 {
		v, err = p.system.RecordRemedy(ctx, p.shard, alert.RemedyApplied{Alert: id, Remedy: alert.Remedy{ID: tag, Kind: "cap_admission", Label: tag}, By: by})
	} else {
		list := []alert.Command{
			alert.Acknowledge{Text: tag},
			alert.Comment{Text: tag},
			alert.Snooze{Until: time.Now().Add(time.Hour), Text: tag},
			alert.Resolve{Text: tag},
			alert.Rollback{Text: tag},
			alert.Rollback{Text: tag},
		}
		v, err = p.system.HandleAlert(ctx, p.shard, id, list[rng.IntN(len(list))], by, "", nil)
	}
	var c *fact.ConflictError
	switch {
	case errors.As(err, &c) && c.Key == "state", errors.Is(err, fact.ErrNotFound), errors.Is(err, fact.ErrBusy):
		return nil
	case err != nil:
		return err
	}
	last := v.Handling[len(v.Handling)-1]
	if last.Details.Text == tag { // else there was nothing to do
		fmt.Println("done", id, last.Seq, last.Action, tag)
	}
	return nil
}

// TestAlertsProcess is the process that TestHandlingOfAlertsSurvivesKill kills.
func TestAlertsProcess(t *testing.T) {
	key := os.Getenv("STARLING_TEST_ALERTS_SHARD")
	if key == "" {
		return // not started by that test
	}
	tenant, warehouse, _ := strings.Cut(key, "/")
	p, err := newAlertsProcess(t.Context(), os.Getenv("DATABASE_URL"), fleet.Shard{Tenant: fleet.TenantID(tenant), Warehouse: fleet.WarehouseID(warehouse)})
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // nobody listens any more
	}()
	if err := p.system.Open(t.Context(), p.shard); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("STARLING_TEST_ALERTS_UNDO") != "" {
		for r := range p.undo {
			if _, err := p.system.RecordRemedy(t.Context(), p.shard, alert.RemedyUndone{Remedy: r.ID, Reason: "rolled back"}); err != nil {
				t.Fatal(err)
			}
			fmt.Println("undone", r.ID)
		}
	}
	go func() {
		for range p.undo { // nobody undoes anything: the process is killed before
		}
	}()
	go p.jam()
	rng := rand.New(rand.NewPCG(uint64(os.Getpid()), 1))
	for {
		if err := p.handle(t.Context(), rng); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// child starts the process and gives what it says, line by line.
func child(t *testing.T, database string, shard fleet.Shard, more ...string) (lines chan string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestAlertsProcess$")
	cmd.Env = append(os.Environ(), append(more, "STARLING_TEST_ALERTS_SHARD="+shard.Key(), "DATABASE_URL="+database)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	lines = make(chan string, 4096)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		_ = cmd.Wait()
	}()
	return lines, func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
}

// Whatever was acknowledged to people about an alert is on record after kill -9, once and in order; and what a rollback was to
// undo is undone in a later life.
func TestHandlingOfAlertsSurvivesKill(t *testing.T) {
	database, store, shard := lockedWarehouse(t)
	type promise struct {
		id  alert.ID
		seq int64
		tag string
	}
	var promised []promise
	rollbacks := 0
	for life := range 6 {
		lines, kill := child(t, database, shard)
		n, want := 0, 15+10*life
		for line := range lines {
			f := strings.Fields(line)
			if len(f) != 5 || f[0] != "done" {
				if !strings.HasPrefix(line, "PASS") {
					t.Fatalf("life %d says %q", life, line)
				}
				continue
			}
			seq, _ := strconv.ParseInt(f[2], 10, 64)
			promised = append(promised, promise{alert.ID(f[1]), seq, f[4]})
			if f[3] == string(alert.ActRollback) {
				rollbacks++
			}
			if n++; n == want {
				kill()
			}
		}
		if n < want {
			t.Fatalf("life %d ended after %d steps of %d", life, n, want)
		}
	}
	lines, kill := child(t, database, shard, "STARLING_TEST_ALERTS_UNDO=1")
	go func() {
		for range lines {
		}
	}()
	defer kill()
	soon(t, "all that was rolled back is undone", func() error {
		l, err := store.Alerts.ListAlerts(t.Context(), shard.Tenant, fact.AlertFilter{}, fact.Page{Limit: 500})
		if err != nil {
			return err
		}
		for i := range l.Items {
			for _, r := range l.Items[i].Remedies {
				if r.State == alert.Undoing {
					return fmt.Errorf("remedy %s of alert %s is still to be undone", r.ID, l.Items[i].ID)
				}
			}
		}
		return nil
	})
	byAlert := map[alert.ID]fact.Alert{}
	undone := 0
	for _, p := range promised {
		a, ok := byAlert[p.id]
		if !ok {
			var err error
			if a, err = store.Alerts.GetAlert(t.Context(), shard.Tenant, p.id); err != nil {
				t.Fatal(err)
			}
			byAlert[p.id] = a
			for i, h := range a.Handling {
				if i > 0 && h.Seq <= a.Handling[i-1].Seq {
					t.Errorf("alert %s: step %d follows step %d", p.id, h.Seq, a.Handling[i-1].Seq)
				}
				undone += len(h.Details.TakenBack)
			}
		}
		i := slices.IndexFunc(a.Handling, func(h alert.Handling) bool { return h.Seq == p.seq })
		if i < 0 || a.Handling[i].Details.Text != p.tag {
			t.Errorf("step %d of alert %s was acknowledged and is not on record", p.seq, p.id)
		}
	}
	if rollbacks == 0 || undone == 0 {
		t.Errorf("%d rollbacks took back %d things: nothing was tried", rollbacks, undone)
	}
	t.Logf("%d acknowledged steps of %d alerts over 6 lives, %d rollbacks", len(promised), len(byAlert), rollbacks)
}
