//go:build integration

package postgres_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/zone"
	"starling/persistence/postgres"
)

// wire is a TCP proxy before the server that can cut connections at the moment of COMMIT.
type wire struct {
	t        testing.TB
	listener net.Listener
	server   string
	fault    atomic.Int32
	mu       sync.Mutex
	open     map[net.Conn]bool
	wg       sync.WaitGroup
}

const (
	healthy   int32 = iota
	cutBefore       // the server never sees the COMMIT
	cutAfter        // the server commits, the client never hears of it
	away            // no connection at all
)

func newWire(t testing.TB, databaseURL string) (w *wire, through string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	w = &wire{t: t, server: u.Host, open: map[net.Conn]bool{}}
	if w.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	u.Host = w.listener.Addr().String()
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		_ = w.listener.Close()
		w.cut()
		w.wg.Wait()
	})
	return w, u.String()
}

func (w *wire) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", w.server)
		if err != nil || w.fault.Load() == away {
			_ = c.Close()
			if s != nil {
				_ = s.Close()
			}
			continue
		}
		w.mu.Lock()
		w.open[c], w.open[s] = true, true
		w.mu.Unlock()
		cut := &atomic.Bool{}
		w.wg.Go(func() { w.up(c, s, cut) })
		w.wg.Go(func() { down(c, s, cut) })
	}
}

// prepared is how a pipeline names the COMMIT that it executes: in a message Bind, after an empty portal.
var prepared = fmt.Appendf(nil, "\x00stmtcache_%x\x00", func() []byte { sum := sha256.Sum256([]byte("commit")); return sum[:24] }())

// down carries what the server says; the answer to a COMMIT that is to have none ends the connection.
func down(c, s net.Conn, cut *atomic.Bool) {
	defer func() { _ = c.Close(); _ = s.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := s.Read(buf)
		if err != nil || cut.Load() {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// up carries what the client says, and looks for the COMMIT.
func (w *wire) up(c, s net.Conn, cut *atomic.Bool) {
	defer func() { _ = c.Close(); _ = s.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		commit := bytes.Contains(buf[:n], []byte("Q\x00\x00\x00\x0bcommit\x00")) || bytes.Contains(buf[:n], prepared)
		if commit && w.fault.Load() == cutBefore {
			return
		}
		if commit && w.fault.Load() == cutAfter {
			cut.Store(true) // the rest of what belongs to it still goes there
		}
		if _, err := s.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut closes all connections.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		_ = c.Close()
	}
	clear(w.open)
}

func TestACommitWithoutAnswerIsReadBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault    int32
		recorded bool
		audited  bool // the COMMIT travels with the audit intents
	}{
		"lost on the way there": {cutBefore, false, false}, "lost on the way back": {cutAfter, true, false},
		"with intents, lost on the way there": {cutBefore, false, true}, "with intents, lost on the way back": {cutAfter, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			direct, url := freshAt(t)
			shard := newShard(t, direct)
			r, register := registration(shard, "r1")
			mustAppend(t, direct, register)
			partitioned(t, url)
			w, through := newWire(t, url)
			s, err := postgres.Open(t.Context(), postgres.Options{URL: through, MaxConns: 2, MinConns: 1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			zoneID := newID[fleet.ZoneID]()
			entry := zone.RosterEntry{Robot: r.ID, Vertex: 1, PositionAt: day}
			units := []fact.Unit{creation(newTask(shard, day)), {Shard: shard, Facts: []fact.Fact{
				oneFact(string(zoneID), 0, day, fact.RosterEntered{Zone: zoneID, Entry: entry}),
			}}}
			for range 20 {
				units = append(units, creation(newTask(shard, day)))
			}
			if c.audited {
				for i := range units {
					units[i].Audit = intentOf(shard)
				}
			}
			var ids []fleet.EventID
			w.fault.Store(c.fault)
			for i, err := range s.Append(t.Context(), units) {
				if !errors.Is(err, fact.ErrUnknown) {
					t.Fatalf("unit %d: %v, want ErrUnknown", i, err)
				}
				ids = append(ids, units[i].Facts[0].ID)
			}
			w.fault.Store(healthy)
			var known []bool
			for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				if known, err = s.Recorded(t.Context(), shard, ids); err == nil || time.Now().After(until) {
					break
				}
			}
			if err != nil || slices.Contains(known, !c.recorded) {
				t.Fatalf("read back: %v %v, want all %v", known, err, c.recorded)
			}
			mustAppend(t, s, units...) // sent again: recorded once, whatever had happened
			rec, err := direct.LoadWarehouse(t.Context(), shard)
			if err != nil || len(rec.Tasks) != len(units)-1 {
				t.Fatalf("%d tasks, want %d: %v", len(rec.Tasks), len(units)-1, err)
			}
			if n := len(audited(t, direct, shard.Tenant)); c.audited && n != len(units) {
				t.Fatalf("%d intents of %d units", n, len(units))
			}
		})
	}
}

func TestAStoreThatIsAwayComesBack(t *testing.T) {
	t.Parallel()
	direct, url := freshAt(t)
	shard := newShard(t, direct)
	w, through := newWire(t, url)
	s, err := postgres.Open(t.Context(), postgres.Options{URL: through, MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	spec := newTask(shard, day)
	w.fault.Store(away)
	w.cut()
	for _, do := range []func() error{
		func() error { return s.Append(t.Context(), []fact.Unit{creation(spec)})[0] },
		func() error { _, err := s.LoadTask(t.Context(), shard, spec.ID); return err },
		func() error { return s.Ping(t.Context()) },
		func() error { _, err := s.Renew(t.Context(), "a", []fact.Held{{Shard: shard}}); return err },
	} {
		if err := do(); !errors.Is(err, fact.ErrUnavailable) {
			t.Fatalf("got %v, want ErrUnavailable", err)
		}
	}
	w.fault.Store(healthy)
	mustAppend(t, s, creation(spec))
}

// Whoever takes a shard sees every write of the former owner that succeeded: none comes after.
func TestATakerSeesAllThatTheFormerOwnerRecorded(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	shard := newShard(t, s)
	inc, _, err := s.Take(t.Context(), shard, "a")
	if err != nil {
		t.Fatal(err)
	}
	var recorded atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				units := make([]fact.Unit, 5)
				for i := range units {
					units[i] = creation(newTask(shard, day))
					units[i].Incarnation = inc
				}
				for _, err := range s.Append(t.Context(), units) {
					if errors.Is(err, fact.ErrFenced) {
						return
					}
					if err != nil {
						t.Errorf("append: %v", err)
						return
					}
					recorded.Add(1)
				}
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	if _, _, err := s.Take(t.Context(), shard, "b"); err != nil {
		t.Fatal(err)
	}
	rec, err := s.LoadWarehouse(t.Context(), shard)
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if int64(len(rec.Tasks)) != recorded.Load() || len(rec.Tasks) == 0 {
		t.Fatalf("the taker saw %d tasks, the former owner recorded %d", len(rec.Tasks), recorded.Load())
	}
}
