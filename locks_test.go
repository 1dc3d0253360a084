//go:build integration

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"starling/deploy/stack/stacktest"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/persistence/postgres"
	"starling/persistence/redis"
)

// lockTTL is short: a holder is paused for longer.
const lockTTL = 400 * time.Millisecond

// holder is a process that holds the dispatch lock of a warehouse and writes under it, through the journal that actors have.
type holder struct {
	store   *postgres.Store
	locks   *redis.Locks
	journal lockedJournal
	shard   fleet.Shard
	robot   fleet.RobotID
}

func newHolder(ctx context.Context, database, url string, shard fleet.Shard) (*holder, error) {
	s, err := postgres.Open(ctx, postgres.Options{URL: database, MaxConns: 4})
	if err != nil {
		return nil, err
	}
	h := &holder{store: s, shard: shard}
	h.locks, err = redis.OpenLocks(redis.LockOptions{
		Options: redis.Options{URL: url, Timeout: 5 * time.Second}, TTL: lockTTL, Renew: lockTTL / 8,
		Raise: func(ctx context.Context, l redis.Lock, token int64, owner string) (int64, error) {
			return s.RaiseFence(ctx, l.Shard, fact.Fence{Lock: l.Name, Token: token}, owner)
		},
	})
	if err != nil {
		return nil, err
	}
	h.journal = lockedJournal{s, h.locks.Under}
	robots, err := s.Robots.ListRobots(ctx, shard.Tenant, fact.RobotFilter{Warehouse: shard.Warehouse}, fact.Page{Limit: 1})
	if err != nil || len(robots.Items) != 1 {
		return nil, fmt.Errorf("the warehouse has %d robots: %w", len(robots.Items), err)
	}
	h.robot = robots.Items[0].ID
	h.locks.Keep(h.lock(), 1)
	return h, nil
}

func (h *holder) close() {
	_ = h.locks.Close()
	h.store.Close()
}

func (h *holder) lock() redis.Lock { return redis.Lock{Shard: h.shard, Name: redis.LockDispatch} }

// award makes a task with its award, which was decided under a token; its place says under which.
func (h *holder) award(token int64) fact.Unit {
	now := time.Now().UTC()
	spec := task.Spec{
		ID: fleet.TaskID(uuid.NewString()), Shard: h.shard, Type: fleet.GoTo, Payload: []byte(`{}`), Errands: []fleet.Vertex{1},
		Places: []string{strconv.FormatInt(token, 10)}, Source: "api", CreatedAt: now,
	}
	u := fact.Unit{Shard: h.shard, Fences: []fact.Fence{{Lock: fact.LockDispatch, Token: token}}}
	for i, e := range []task.Event{task.Created{Spec: spec}, task.Assigned{Robot: h.robot, Decision: task.Decision{
		ID: fleet.DecisionID(uuid.NewString()), At: now, Task: spec.ID, Robot: h.robot, Reason: "nearest",
	}}} {
		u.Facts = append(u.Facts, fact.Fact{ID: fleet.EventID(uuid.NewString()), At: now, Subject: string(spec.ID), Version: int64(i + 1), Event: e})
	}
	return u
}

func (h *holder) write(ctx context.Context, token int64) error {
	return h.journal.Append(ctx, []fact.Unit{h.award(token)})[0]
}

// TestLockHolderProcess is the process that TestAPausedHolderWakesLate pauses: it writes as fast as it can under the token
// that it has read before, and says what became of it.
func TestLockHolderProcess(t *testing.T) {
	shard := os.Getenv("STARLING_TEST_LOCK_SHARD")
	if shard == "" {
		return // not started by that test
	}
	tenant, warehouse, _ := strings.Cut(shard, "/")
	h, err := newHolder(t.Context(), os.Getenv("DATABASE_URL"), os.Getenv("REDIS_URL"), fleet.Shard{Tenant: fleet.TenantID(tenant), Warehouse: fleet.WarehouseID(warehouse)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // nobody listens any more
	}()
	for last := ""; ; {
		token := h.locks.Under(h.lock())
		if token == 0 || token == fact.Refused && last == "" {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		time.Sleep(2 * time.Millisecond) // it decides
		say := fmt.Sprint("wrote ", token)
		if err := h.write(t.Context(), token); errors.Is(err, fact.ErrFenced) {
			say = fmt.Sprint("fenced ", token)
		} else if err != nil {
			say = fmt.Sprint("failed ", token)
		}
		if say != last {
			fmt.Println(say)
			last = say
		}
	}
}

// lockedWarehouse is a warehouse with a robot in a database of its own.
func lockedWarehouse(t *testing.T) (database string, store *postgres.Store, shard fleet.Shard) {
	t.Helper()
	database = stacktest.Database(t)
	if _, err := postgres.Migrate(t.Context(), database, "up"); err != nil {
		t.Fatal(err)
	}
	store, err := postgres.Open(t.Context(), postgres.Options{URL: database, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	shard = fleet.Shard{Tenant: fleet.TenantID(uuid.NewString()), Warehouse: fleet.WarehouseID(uuid.NewString())}
	if err := store.Tenants.CreateTenant(t.Context(), fact.Tenant{ID: shard.Tenant, Slug: "locks", Name: "Locks"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := store.Warehouses.CreateWarehouse(t.Context(), fact.Warehouse{ID: shard.Warehouse, Tenant: shard.Tenant, Code: "w", Name: "W", Timezone: "UTC"}, nil); err != nil {
		t.Fatal(err)
	}
	spec := robot.Spec{
		ID: fleet.RobotID(uuid.NewString()), Tenant: shard.Tenant, Warehouse: shard.Warehouse, Code: "amr-1", Protocol: "link",
		Control: fleet.ControlEngine, RadiusM: 0.3, MaxSpeedMPS: 1, CreatedAt: time.Now().UTC(),
	}
	if err := store.Append(t.Context(), []fact.Unit{{Shard: shard, Facts: []fact.Fact{{
		ID: fleet.EventID(uuid.NewString()), At: spec.CreatedAt, Subject: string(spec.ID), Version: 1, Event: robot.Registered{Spec: spec},
	}}}})[0]; err != nil {
		t.Fatal(err)
	}
	return database, store, shard
}

// What was decided is refused by the tokens of that time: where another holds the lock, where another has held it since
// and is gone, and where whoever decided did not have it. Where Redis says nothing, the incarnation alone is checked.
func TestADecisionIsRefusedByTheTokenOfItsTime(t *testing.T) {
	r := stacktest.Redis(t)
	database, _, shard := lockedWarehouse(t)
	holderOf := func() *holder {
		h, err := newHolder(t.Context(), database, r.URL(), shard)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.close)
		return h
	}
	has := func(h *holder, than int64) (token int64) {
		t.Helper()
		soon(t, "the lock is taken", func() error {
			if token = h.locks.Under(h.lock()); token <= than {
				return fmt.Errorf("its token is %d", token)
			}
			return nil
		})
		return token
	}
	refused := func(h *holder, what string, u fact.Unit) {
		t.Helper()
		if err := h.journal.Append(t.Context(), []fact.Unit{u})[0]; !errors.Is(err, fact.ErrFenced) {
			t.Errorf("%s: %v, want %v", what, err, fact.ErrFenced)
		}
	}
	a := holderOf()
	first := has(a, 0)
	if err := a.write(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	late := []fact.Unit{a.award(first), a.award(first)} // decided, and then it takes long
	b := holderOf()
	soon(t, "another is refused", func() error {
		if token := b.locks.Under(b.lock()); token != fact.Refused {
			return fmt.Errorf("its token is %d", token)
		}
		return nil
	})
	refused(b, "decided without the lock", b.award(0))
	early := b.award(fact.Refused)
	b.locks.Keep(b.lock(), 2) // a newer owner
	second := has(b, first)
	soon(t, "the former one learns of it", func() error {
		if token := a.locks.Under(a.lock()); token != fact.Refused {
			return fmt.Errorf("its token is %d", token)
		}
		return nil
	})
	refused(a, "while another holds it", late[0])
	if err := b.write(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	refused(b, "decided while another held it", early)
	b.locks.Drop(b.lock())
	third := has(a, second)
	refused(a, "another has held it since", late[1])
	group := []fact.Unit{a.award(fact.Refused), a.award(third), a.award(0)}
	got := a.journal.Append(t.Context(), group)
	if len(got) != 3 || !errors.Is(got[0], fact.ErrFenced) || got[1] != nil || got[2] != nil {
		t.Errorf("a refused one, one under the newest token, one that nobody could say anything of: %v", got)
	}
	if group[1].Fences[0].Token != third || group[2].Fences[0].Token != 0 {
		t.Error("the journal has changed the units")
	}
}

// A holder is paused, its lease ends, somebody else takes the lock and writes; then the holder wakes, in the middle of what
// it was doing and in good faith: the store takes nothing more under its token. Many rounds, paused wherever it is.
func TestAPausedHolderWakesLate(t *testing.T) {
	const rounds = 6
	r := stacktest.Redis(t)
	database, store, shard := lockedWarehouse(t)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestLockHolderProcess$", "-test.v")
	cmd.Env = append(os.Environ(), "STARLING_TEST_LOCK_SHARD="+string(shard.Tenant)+"/"+string(shard.Warehouse), "DATABASE_URL="+database, "REDIS_URL="+r.URL())
	cmd.Stderr = os.Stderr
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
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	lines := make(chan string, 1024)
	go func() { // ends with the process
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	heard := func(prefix string, than int64) int64 {
		t.Helper()
		for late := time.After(time.Minute); ; {
			select {
			case line, ok := <-lines:
				if !ok {
					t.Fatal("the holder has ended")
				}
				if text, is := strings.CutPrefix(line, prefix+" "); is {
					if token, err := strconv.ParseInt(text, 10, 64); err == nil && token > than {
						return token
					}
				}
			case <-late:
				t.Fatalf("the holder never says %s", prefix)
			}
		}
	}
	var last int64
	for range rounds {
		mine := heard("wrote", last) // the holder has the lock
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		other, err := newHolder(t.Context(), database, r.URL(), shard)
		if err != nil {
			t.Fatal(err)
		}
		var token int64
		soon(t, "somebody else takes the lock", func() error {
			got, held := other.locks.Token(other.lock())
			if token = got; !held {
				return errors.New("not yet")
			}
			return nil
		})
		if token <= mine {
			t.Fatalf("token %d after %d", token, mine)
		}
		if err := other.write(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		before := under(t, store, shard, mine)
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if fenced := heard("fenced", fact.Refused-1); fenced != mine && fenced != fact.Refused {
			t.Fatalf("token %d was refused, want %d", fenced, mine)
		}
		if after := under(t, store, shard, mine); after != before {
			t.Errorf("%d writes under a token that is over", after-before)
		}
		if n := under(t, store, shard, fact.Refused); n != 0 {
			t.Errorf("%d writes of who was refused the lock", n)
		}
		last = token
		other.close() // gives the lock back
	}
}

// under counts the writes under a token.
func under(t *testing.T, s *postgres.Store, shard fleet.Shard, token int64) (n int) {
	t.Helper()
	err := storedViews{s}.StoredTasks(t.Context(), shard, func(v *task.View) error {
		if v.Spec.Places[0] == strconv.FormatInt(token, 10) {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatIsDecidedUnderALockBearsItsToken(t *testing.T) {
	unit := func(events ...any) fact.Unit {
		var u fact.Unit
		for _, e := range events {
			u.Facts = append(u.Facts, fact.Fact{Event: e})
		}
		return u
	}
	for name, c := range map[string]struct {
		unit fact.Unit
		want string
	}{
		"an award":         {unit(task.Assigned{}), "[dispatch]"},
		"a task taken":     {unit(task.Unassigned{}), "[replan]"},
		"both":             {unit(task.Unassigned{}, task.Assigned{}), "[dispatch replan]"},
		"neither is meant": {unit(task.Created{}, task.Succeeded{}), "[]"},
	} {
		if got := fmt.Sprint(locksOf(&c.unit)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
