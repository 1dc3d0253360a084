package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"starling/engine/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testShard = fleet.Shard{Tenant: "t", Warehouse: "w"}

func TestIdentityReadsBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringMatching(`[a-z0-9-]{1,12}`)
		shard := fleet.Shard{Tenant: fleet.TenantID(part.Draw(t, "tenant")), Warehouse: fleet.WarehouseID(part.Draw(t, "warehouse"))}
		id := rapid.OneOf(rapid.Just(""), part).Draw(t, "id")
		s, got, ok := ParseIdentity(Identity(shard, id))
		if !ok || s != shard || got != id {
			t.Fatalf("%v %q became %v %q %v", shard, id, s, got, ok)
		}
	})
	for _, bad := range []string{"", "t", "t/", "/w", "/w/x", "t/w/x/y"} {
		if _, _, ok := ParseIdentity(bad); ok {
			t.Errorf("%q was read as an identity", bad)
		}
	}
}

// Members whose names differ in the last character alone get fair shares, and one that joins takes from each only
// what becomes its own.
func TestOwnerSpreadsAndMovesLittle(t *testing.T) {
	t.Parallel()
	members := []string{"10.0.0.1:8080", "10.0.0.1:8081", "10.0.0.1:8082", "10.0.0.1:8083"}
	shares := map[string]int{}
	const keys = 20_000
	for i := range keys {
		key := fmt.Sprintf("tenant-%d/warehouse-%d", i%7, i)
		was, is := owner(key, members[:3]), owner(key, members)
		if was != is && is != members[3] {
			t.Fatalf("%s moved from %s to %s", key, was, is)
		}
		if is != owner(key, []string{members[2], members[0], members[3], members[1]}) {
			t.Fatal("the owner depends on the order of the members")
		}
		shares[is]++
	}
	for _, m := range members {
		if n := shares[m]; n < keys/4*9/10 || n > keys/4*11/10 {
			t.Errorf("%s owns %d of %d", m, n, keys)
		}
	}
	if owner("x", nil) != "" {
		t.Error("an empty cluster has an owner")
	}
}

// house is a host whose actors answer with their name.
type house struct {
	as     *actor.ActorSystem
	member *Member
	mu     sync.Mutex
	pids   map[string]*actor.PID
	spawns int
}

func (*house) Kinds() []string                      { return []string{"robot", "task"} }
func (*house) Dispatcher() actor.Dispatcher         { return actor.NewDefaultDispatcher(300) }
func (*house) Supervisor() actor.SupervisorStrategy { return actor.DefaultSupervisorStrategy() }

func (h *house) PID(ctx context.Context, kind string, shard fleet.Shard, id string) (*actor.PID, error) {
	key := kind + "/" + Identity(shard, id)
	h.mu.Lock()
	pid := h.pids[key]
	h.mu.Unlock()
	if pid != nil {
		return pid, nil
	}
	type result struct {
		pid *actor.PID
		err error
	}
	got := make(chan result, 1)
	props := actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(string); ok {
			c.Respond(key)
		}
	})
	h.member.Spawn(shard, kind, id, props, func(pid *actor.PID, err error) { got <- result{pid, err} })
	select {
	case r := <-got:
		h.mu.Lock()
		h.pids[key] = r.pid
		h.spawns++
		h.mu.Unlock()
		return r.pid, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func start(t *testing.T) *house {
	t.Helper()
	as := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}), actor.WithDeadLetterThrottleInterval(10*time.Millisecond))
	h := &house{as: as, pids: map[string]*actor.PID{}}
	m, err := Start(as, h)
	if err != nil {
		t.Fatal(err)
	}
	h.member = m
	t.Cleanup(func() {
		m.Shutdown()
		as.Shutdown()
	})
	return h
}

func TestClusterOfOneOwnsEverythingAndOpensNoPort(t *testing.T) {
	t.Parallel()
	h := start(t)
	if !h.member.Owns(testShard) {
		t.Fatal("the only member does not own the shard")
	}
	if addr := h.as.Address(); addr != "nonhost" {
		t.Fatalf("the member listens on %s", addr)
	}
	res, err := h.member.Cluster().Request(Identity(testShard, "r1"), "robot", "who")
	if err != nil || res != "robot/t/w/r1" {
		t.Fatalf("request by identity: %v, %v", res, err)
	}
	if pid := h.member.Cluster().Get("nonsense", "robot"); pid != nil {
		t.Fatalf("nonsense has the PID %v", pid)
	}
}

func TestStoppedActorIsForgottenFirstAndItsIdentityStartsAnew(t *testing.T) {
	t.Parallel()
	h := start(t)
	pid, err := h.PID(t.Context(), "task", testShard, "x")
	if err != nil {
		t.Fatal(err)
	}
	delete(h.pids, "task/t/w/x")
	h.member.Stop(testShard, "task", "x", pid)
	next, err := h.PID(t.Context(), "task", testShard, "x")
	if err != nil || next.Equal(pid) {
		t.Fatalf("next activation %v, %v", next, err)
	}
	if res, err := h.as.Root.RequestFuture(next, "who", 5*time.Second).Result(); err != nil || res != "task/t/w/x" {
		t.Fatalf("answer %v, %v", res, err)
	}
}

func TestStopShardEndsItsActorsAlone(t *testing.T) {
	t.Parallel()
	h := start(t)
	other := fleet.Shard{Tenant: "t", Warehouse: "other"}
	a, err := h.PID(t.Context(), "robot", testShard, "a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.PID(t.Context(), "robot", other, "b")
	if err != nil {
		t.Fatal(err)
	}
	h.member.StopShard(testShard)
	deadline := time.Now().Add(5 * time.Second)
	for {
		if _, there := h.as.ProcessRegistry.GetLocal(a.Id); !there {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the actor of the stopped shard lives")
		}
		time.Sleep(time.Millisecond)
	}
	if _, there := h.as.ProcessRegistry.GetLocal(b.Id); !there {
		t.Fatal("an actor of another shard has ended")
	}
	h.member.Shutdown()
	var failed error
	h.member.Spawn(testShard, "robot", "c", nil, func(_ *actor.PID, err error) { failed = err })
	if !errors.Is(failed, ErrClosed) {
		t.Fatalf("spawn after the end: %v", failed)
	}
}
