//go:build integration

package redis_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/persistence/redis"
)

// floor is a warehouse as a process shows it, or as the store of facts has it.
type floor struct {
	mu     sync.Mutex
	robots map[fleet.RobotID]robot.View
	tasks  map[fleet.TaskID]task.View
}

func newFloor() *floor {
	return &floor{robots: map[fleet.RobotID]robot.View{}, tasks: map[fleet.TaskID]task.View{}}
}

func (f *floor) Robot(_ fleet.Shard, id fleet.RobotID) (robot.View, uint64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.robots[id]
	return v, 0, ok
}

func (f *floor) Task(_ fleet.Shard, id fleet.TaskID) (task.View, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.tasks[id]
	return v, ok
}

func (f *floor) Robots(_ fleet.Shard, see func(*robot.View) bool) {
	for _, v := range f.copy() {
		see(&v)
	}
}

func (f *floor) copy() []robot.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.robots))
}

func (f *floor) Tasks(_ fleet.Shard, see func(*task.View) bool) {
	f.mu.Lock()
	all := slices.Collect(maps.Values(f.tasks))
	f.mu.Unlock()
	for _, v := range all {
		see(&v)
	}
}

func (f *floor) StoredRobots(_ context.Context, s fleet.Shard, take func(*robot.View) error) (err error) {
	f.Robots(s, func(v *robot.View) bool { err = errors.Join(err, take(v)); return true })
	return err
}

func (f *floor) StoredTasks(_ context.Context, s fleet.Shard, take func(*task.View) error) (err error) {
	f.Tasks(s, func(v *task.View) bool { err = errors.Join(err, take(v)); return true })
	return err
}

func (f *floor) put(m *redis.Mirror, s fleet.Shard, v robot.View) {
	f.mu.Lock()
	f.robots[v.ID] = v
	f.mu.Unlock()
	if m != nil {
		m.RobotChanged(s, v.ID)
	}
}

func (f *floor) do(m *redis.Mirror, s fleet.Shard, v task.View) {
	f.mu.Lock()
	if f.tasks[v.Spec.ID] = v; v.Status.Final() {
		delete(f.tasks, v.Spec.ID)
	}
	f.mu.Unlock()
	if m != nil {
		m.TaskChanged(s, v.Spec.ID, v.Version)
	}
}

func taskView(id string, version int64, st fleet.TaskStatus) task.View {
	return task.View{Spec: task.Spec{ID: fleet.TaskID(id)}, Version: version, Status: st}
}

func shard() fleet.Shard {
	return fleet.Shard{Tenant: fleet.TenantID(uuid.NewString()), Warehouse: fleet.WarehouseID(uuid.NewString())}
}

func mirror(t *testing.T, url string, newest redis.Newest, rows redis.Rows, change ...func(*redis.MirrorOptions)) *redis.Mirror {
	t.Helper()
	o := redis.MirrorOptions{
		Options: redis.Options{URL: url, Timeout: 5 * time.Second}, Newest: newest, Rows: rows, Every: 10 * time.Millisecond,
	}
	for _, c := range change {
		c(&o)
	}
	m, err := redis.OpenMirror(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// within demands that something becomes true: the bound is the test's patience, not the code's.
func within(t *testing.T, what string, is func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = is(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func battery(m *redis.Mirror, s fleet.Shard, want map[fleet.RobotID]float64) func() error {
	return func() error {
		got, err := m.Robots(context.Background(), s, slices.Collect(maps.Keys(want)))
		if err != nil {
			return err
		}
		for id, b := range want {
			if got[id] == nil || got[id].Battery != b {
				return fmt.Errorf("robot %s is %+v, want a battery of %v", id, got[id], b)
			}
		}
		return nil
	}
}

func openTasks(m *redis.Mirror, s fleet.Shard, want map[fleet.TaskID]int64) func() error {
	return func() error {
		all, _, err := m.OpenTasks(context.Background(), s)
		if err != nil {
			return err
		}
		got := map[fleet.TaskID]int64{}
		for _, v := range all {
			got[v.Spec.ID] = v.Version
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("tasks %v, want %v", got, want)
		}
		return nil
	}
}

func client(t *testing.T, url string) *goredis.Client {
	t.Helper()
	o, err := goredis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestANewerViewIsReadByAnotherProcess(t *testing.T) {
	t.Parallel()
	url, s, here := stacktest.Redis(t).URL(), shard(), newFloor()
	w, r := mirror(t, url, here, here), mirror(t, url, nil, here)
	w.Own(s, 7)
	here.put(w, s, robot.View{ID: "a", Battery: 0.5})
	here.put(w, s, robot.View{ID: "b", Battery: 0.7, Spec: &robot.Spec{Code: "amr-b"}})
	here.do(w, s, taskView("t1", 1, fleet.TaskCreated))
	within(t, "the first views", battery(r, s, map[fleet.RobotID]float64{"a": 0.5, "b": 0.7}))
	for i := range 50 {
		here.put(w, s, robot.View{ID: "a", Battery: float64(i)})
	}
	here.do(w, s, taskView("t1", 2, fleet.TaskAssigned))
	here.do(w, s, taskView("t2", 1, fleet.TaskCreated))
	within(t, "the next ones", battery(r, s, map[fleet.RobotID]float64{"a": 49, "b": 0.7}))
	within(t, "the tasks", openTasks(r, s, map[fleet.TaskID]int64{"t1": 2, "t2": 1}))
	here.do(w, s, taskView("t1", 3, fleet.TaskSucceeded))
	within(t, "a task that has ended goes", openTasks(r, s, map[fleet.TaskID]int64{"t2": 1}))
	all, age, err := r.AllRobots(t.Context(), s)
	if err != nil || len(all) != 2 || age < 0 || age > time.Minute {
		t.Fatalf("%d robots, %v old: %v", len(all), age, err)
	}
	if floors, err := r.Warehouses(t.Context(), s.Tenant); err != nil || !slices.Equal(floors, []fleet.WarehouseID{s.Warehouse}) {
		t.Fatalf("warehouses %v: %v", floors, err)
	}
}

// Writers race with each other's versions in any order; whoever had the newest has it in the end.
func TestAnOlderViewNeverWins(t *testing.T) {
	t.Parallel()
	url, s := stacktest.Redis(t).URL(), shard()
	const writers, tasks, versions = 4, 8, 200
	var all sync.WaitGroup
	for i := range writers {
		own := newFloor()
		m := mirror(t, url, own, nil, func(o *redis.MirrorOptions) { o.Every = time.Millisecond })
		m.Own(s, 1)
		all.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for range versions {
				v := int64(1 + rng.IntN(versions-1))
				own.do(m, s, taskView(fmt.Sprint("t", rng.IntN(tasks)), v, fleet.TaskExecuting))
				time.Sleep(time.Duration(rng.IntN(300)) * time.Microsecond)
			}
			for n := range tasks { // one of the writers has the newest of each, and shows an older one afterwards
				if id := fmt.Sprint("t", n); n%writers == i {
					own.do(m, s, taskView(id, versions, fleet.TaskExecuting))
					within(t, "the newest is there", func() error { return versionOf(m, s, id, versions) })
				}
				own.do(m, s, taskView(fmt.Sprint("t", n), 3, fleet.TaskExecuting))
			}
		})
	}
	all.Wait()
	c := client(t, url)
	time.Sleep(100 * time.Millisecond) // the late ones are written
	for id, entry := range c.HGetAll(t.Context(), tasksKey(s)).Val() {
		if !strings.HasPrefix(entry, fmt.Sprintf("%016d%016d", 0, versions)) {
			t.Errorf("task %s ended as %s", id, entry[:32])
		}
	}
	if n := c.HLen(t.Context(), tasksKey(s)).Val(); n != tasks {
		t.Errorf("%d entries", n)
	}
}

func tasksKey(s fleet.Shard) string {
	return fmt.Sprintf("starling:{%s}:tasks:%s", s.Tenant, s.Warehouse)
}

func robotsKey(s fleet.Shard) string {
	return fmt.Sprintf("starling:{%s}:robots:%s", s.Tenant, s.Warehouse)
}

func versionOf(m *redis.Mirror, s fleet.Shard, id string, want int64) error {
	c, err := m.Entry(context.Background(), tasksKey(s), id)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(c, fmt.Sprintf("%016d%016d", 0, want)) {
		return fmt.Errorf("%.40s", c)
	}
	return nil
}

// A process that has lost its shard, and wakes late, changes nothing of what the newer owner shows: not its robots, whose
// clock may be behind, and not the tasks that are gone.
func TestAFormerOwnerWakesLateAndChangesNothing(t *testing.T) {
	t.Parallel()
	url, s, old, now := stacktest.Redis(t).URL(), shard(), newFloor(), newFloor()
	a := mirror(t, url, old, old)
	a.Own(s, 1)
	old.put(a, s, robot.View{ID: "r", Battery: 0.1})
	old.do(a, s, taskView("t", 3, fleet.TaskExecuting))
	within(t, "the first owner's", battery(a, s, map[fleet.RobotID]float64{"r": 0.1}))
	within(t, "the first owner's", openTasks(a, s, map[fleet.TaskID]int64{"t": 3}))
	b := mirror(t, url, now, now)
	b.Own(s, 2)
	now.put(b, s, robot.View{ID: "r", Battery: 0.2})
	within(t, "the second owner's", battery(b, s, map[fleet.RobotID]float64{"r": 0.2}))
	within(t, "the task is gone", openTasks(b, s, map[fleet.TaskID]int64{}))
	old.put(a, s, robot.View{ID: "r", Battery: 0.9})
	old.do(a, s, taskView("t", 4, fleet.TaskExecuting))
	within(t, "the first owner leaves", func() error {
		if a.Holds(s) {
			return errors.New("it holds the shard")
		}
		return nil
	})
	for _, is := range []func() error{battery(b, s, map[fleet.RobotID]float64{"r": 0.2}), openTasks(b, s, map[fleet.TaskID]int64{})} {
		if err := is(); err != nil {
			t.Error(err)
		}
	}
}

// While requests are served, all is lost, again and again: reads fall short for a moment and are whole again, with what
// only the store of facts has, and what only this process shows.
func TestWhatFlushallTakesComesBackWhileServing(t *testing.T) {
	t.Parallel()
	r, err := stack.StartRedis(t.Context(), stack.RedisOptions{Dir: t.TempDir(), Guarded: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Remove() })
	s, live, stored := shard(), newFloor(), newFloor()
	for i := range 700 { // more than a chunk
		stored.put(nil, s, robot.View{ID: fleet.RobotID(fmt.Sprint("r", i)), Battery: 0.25})
	}
	stored.do(nil, s, taskView("stored", 5, fleet.TaskExecuting))
	w, reader := mirror(t, r.URL(), live, stored), mirror(t, r.URL(), nil, stored)
	w.Own(s, 3)
	live.put(w, s, robot.View{ID: "r1", Battery: 0.5})
	live.do(w, s, taskView("stored", 6, fleet.TaskExecuting))
	c := client(t, r.URL())
	whole := func() error {
		return errors.Join(battery(reader, s, map[fleet.RobotID]float64{"r0": 0.25, "r1": 0.5, "r699": 0.25})(),
			openTasks(reader, s, map[fleet.TaskID]int64{"stored": 6})())
	}
	within(t, "whole at first", whole)
	for i := range 3 {
		if err := c.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		within(t, "whole again", whole)
		t.Logf("flush %d: whole again after %v", i, time.Since(began).Round(time.Millisecond))
	}
	// Nobody holds the shard any more: whoever reads has it filled in.
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	within(t, "filled in by a reader", func() error {
		return errors.Join(battery(reader, s, map[fleet.RobotID]float64{"r0": 0.25, "r1": 0.25})(), openTasks(reader, s, map[fleet.TaskID]int64{"stored": 5})())
	})
}

func TestACrashOfRedisCostsNoView(t *testing.T) {
	t.Parallel()
	r, err := stack.StartRedis(t.Context(), stack.RedisOptions{Dir: t.TempDir(), Guarded: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Remove() })
	s, here := shard(), newFloor()
	m := mirror(t, r.URL(), here, here, func(o *redis.MirrorOptions) { o.Timeout = 200 * time.Millisecond })
	m.Own(s, 1)
	here.put(m, s, robot.View{ID: "r", Battery: 0.5})
	within(t, "the first", battery(m, s, map[fleet.RobotID]float64{"r": 0.5}))
	for i, hurt := range []struct{ begin, end func() error }{
		{r.Kill, func() error { return r.StartAgain(t.Context()) }},
		{func() error { return syscall.Kill(r.PID(), syscall.SIGSTOP) }, func() error { return syscall.Kill(r.PID(), syscall.SIGCONT) }},
	} {
		if err := hurt.begin(); err != nil {
			t.Fatal(err)
		}
		want := float64(i + 1)
		here.put(m, s, robot.View{ID: "r", Battery: want})
		for range 3 {
			began := time.Now()
			if _, err := m.Robots(t.Context(), s, []fleet.RobotID{"r"}); err == nil {
				t.Fatal("a Redis that is away has an answer")
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("a reader waited %v", took)
			}
		}
		if _, err := m.Robots(t.Context(), s, []fleet.RobotID{"r"}); !errors.Is(err, redis.ErrAway) {
			t.Errorf("a reader asks a Redis that is away: %v", err)
		}
		if err := hurt.end(); err != nil {
			t.Fatal(err)
		}
		within(t, "what changed meanwhile", battery(m, s, map[fleet.RobotID]float64{"r": want}))
	}
}

// What no row has and nobody shows is taken out by the next comparison; keys lapse.
func TestGhostsGoAndKeysLapse(t *testing.T) {
	t.Parallel()
	url, s, here := stacktest.Redis(t).URL(), shard(), newFloor()
	c := client(t, url)
	ghost := fmt.Sprintf("%016d%016d", 0, 4)
	for _, hash := range []string{robotsKey(s), tasksKey(s)} {
		if err := c.HSet(t.Context(), hash, "ghost", ghost+`{"id":"ghost"}`, "=", fmt.Sprintf("%016d%016dlife", 0, 0)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	here.put(nil, s, robot.View{ID: "r"})
	m := mirror(t, url, here, here, func(o *redis.MirrorOptions) { o.TTL = 20 * time.Second })
	m.Own(s, 1)
	within(t, "ghosts go", func() error {
		for _, hash := range []string{robotsKey(s), tasksKey(s)} {
			if c.HExists(t.Context(), hash, "ghost").Val() {
				return errors.New(hash)
			}
		}
		return battery(m, s, map[fleet.RobotID]float64{"r": 0})()
	})
	keys, err := c.Keys(t.Context(), "*"+string(s.Tenant)+"*").Result()
	if err != nil || len(keys) < 3 {
		t.Fatalf("%v: %v", keys, err)
	}
	for _, k := range keys {
		if ttl := c.PTTL(t.Context(), k).Val(); ttl <= 0 || ttl > 31*time.Second {
			t.Errorf("key %s lives for %v", k, ttl)
		}
	}
}

func TestWhatWaitsIsBoundedAndComesLater(t *testing.T) {
	t.Parallel()
	url, s, here := stacktest.Redis(t).URL(), shard(), newFloor()
	const robots = 2000
	m := mirror(t, url, here, here, func(o *redis.MirrorOptions) { o.MaxPending = 100; o.Every = 50 * time.Millisecond })
	m.Own(s, 1)
	want := map[fleet.RobotID]float64{}
	for i := range robots {
		v := robot.View{ID: fleet.RobotID(fmt.Sprint("r", i)), Battery: float64(i)}
		want[v.ID] = v.Battery
		here.put(m, s, v)
		if n := m.Pending(); n > 100 {
			t.Fatalf("%d wait", n)
		}
	}
	within(t, "all of them", battery(m, s, want))
}

// A Redis that is full answers and takes nothing: that is no health.
func TestAFullRedisIsNotWell(t *testing.T) {
	t.Parallel()
	r, err := stack.StartRedis(t.Context(), stack.RedisOptions{Dir: t.TempDir(), Guarded: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Remove() })
	s, here, c := shard(), newFloor(), client(t, r.URL())
	m := mirror(t, r.URL(), here, here)
	m.Own(s, 1)
	here.put(m, s, robot.View{ID: "r", Battery: 0.5})
	within(t, "the first", battery(m, s, map[fleet.RobotID]float64{"r": 0.5}))
	if err := m.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	here.put(m, s, robot.View{ID: "r", Battery: 0.6})
	within(t, "it is told", func() error {
		if m.Ping(t.Context()) == nil {
			return errors.New("it is well")
		}
		return nil
	})
	if err := c.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	within(t, "what changed meanwhile", battery(m, s, map[fleet.RobotID]float64{"r": 0.6}))
	if err := m.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
