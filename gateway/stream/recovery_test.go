package stream_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/engine/task"
	"starling/gateway/auth"
	"starling/gateway/stream"
)

// history is what the test made happen, in order: event n is steps[n-1].
type history struct {
	mu    sync.Mutex
	steps []happened
}

type happened struct {
	id    fleet.TaskID
	final bool
}

// openAfter is which tasks are open after the first n events, each with the number of its last event.
func (h *history) openAfter(n int) map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	open := map[string]int{}
	for i, s := range h.steps[:n] {
		if open[string(s.id)] = i + 1; s.final {
			delete(open, string(s.id))
		}
	}
	return open
}

// happen makes the next event: one of 200 tasks goes a step further.
func (h *history) happen(g *rig, rng *rand.Rand, tasks []*task.View, next *int) {
	i := rng.IntN(len(tasks))
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.steps) + 1
	if tasks[i] == nil || tasks[i].Status.Final() {
		tasks[i] = &task.View{}
		*next++
		tasks[i].Apply(time.Now(), task.Created{Spec: specOf(*next)})
	} else {
		step := []task.Event{task.Started{}, task.Unassigned{}, task.ErrandReached{}, task.Succeeded{}, task.Failed{}}[rng.IntN(5)]
		tasks[i].Apply(time.Now(), step)
	}
	v := tasks[i]
	v.Reason = strconv.Itoa(n) // how a client knows which event it is
	h.steps = append(h.steps, happened{v.Spec.ID, v.Status.Final()})
	var e task.Event = task.Started{}
	if v.Version == 1 {
		e = task.Created{}
	}
	c := *v
	g.views.TaskChanged(shardA(), e, &c)
}

// follower follows the tasks over any number of connections and holds what it is told against the history.
type follower struct {
	g         *rig
	h         *history
	protocol  string // "" = SSE
	since     string // of the next subscribe
	last      int    // number of the last event; -1 = unknown after a snapshot
	snapshot  map[string]int
	recovered int
	restarted int
	seen      *atomic.Int64
	whole     bool // the snapshot is complete
}

// told reads a task and the number of its last event.
func told(raw json.RawMessage) (id string, n int) {
	text := func(name string) string {
		_, after, _ := bytes.Cut(raw, []byte(`"`+name+`":"`))
		value, _, _ := bytes.Cut(after, []byte(`"`))
		return string(value)
	}
	n, _ = strconv.Atoi(text("reason"))
	return text("task_id"), n
}

// listener is a connection, whatever the transport.
type listener interface {
	next() (*message, error)
	close()
}

func (f *follower) open(t *testing.T) listener {
	token := f.g.token(tenantA, auth.Viewer, time.Hour)
	if f.protocol == "" {
		l := f.g.listen("/api/v1/stream?channel=tasks&warehouse_id="+string(floor1), f.since, token)
		l.timeout = 2 * time.Second
		return l
	}
	c, _, err := f.g.open(f.protocol, token) //nolint:bodyclose // a handshake's answer needs no closing
	if err != nil {
		t.Error(err)
		return nil
	}
	c.timeout = 2 * time.Second
	since := ""
	if epoch, seq, ok := strings.Cut(f.since, ":"); ok {
		since = fmt.Sprintf(`,"since":{"epoch":%q,"seq":%s}`, epoch, seq)
	}
	c.send(`{"op":"subscribe","id":1,"channel":"tasks","filter":{"warehouse_id":%q}%s}`, floor1, since)
	return c
}

// connect follows until more says no or the connection is cut.
func (f *follower) connect(t *testing.T, more func() bool) {
	c := f.open(t)
	if c == nil {
		return
	}
	defer c.close()
	epoch, seq := "", uint64(0)
	for more() {
		m, err := c.next()
		if err != nil {
			return // cut, or nothing happens any more
		}
		switch m.Op {
		case "subscribed":
			epoch, seq = m.Epoch, m.Seq
			if m.Recovered {
				f.recovered++
				f.whole = true
			} else {
				f.restarted++
				f.snapshot, f.last, f.since, f.whole = map[string]int{}, -1, "", false
			}
		case "snapshot":
			for _, raw := range m.Items {
				id, n := told(raw)
				f.snapshot[id] = n
			}
			f.whole = !m.More
		case "delta":
			if seq++; m.Seq != seq {
				t.Errorf("delta %d, want %d", m.Seq, seq)
				return
			}
			for _, e := range m.Events {
				f.take(t, e.Data)
			}
		case "closing":
			if m.Reason != "slow_consumer" { // on a busy machine it may be
				t.Errorf("closed: %s", m.Reason)
			}
			return
		}
		switch {
		case f.protocol == "": // like a browser: the last id that came, whatever it stands for
			f.since = m.EventID
		case f.whole: // before the snapshot's end there is nothing to go on from
			f.since = fmt.Sprint(epoch, ":", seq)
		}
	}
}

// knows says that the follower knows of all events.
func (f *follower) knows(events int) bool {
	return f.last >= events || f.last < 0 && f.whole && maps.Equal(f.snapshot, f.h.openAfter(events))
}

func (f *follower) take(t *testing.T, raw json.RawMessage) {
	_, n := told(raw)
	if f.last < 0 { // the first after a snapshot: what it has must be all that was before
		if want := f.h.openAfter(n - 1); !maps.Equal(want, f.snapshot) {
			t.Errorf("the snapshot before event %d has %d open tasks, %d were", n, len(f.snapshot), len(want))
		}
	} else if n != f.last+1 {
		t.Errorf("event %d after %d", n, f.last)
	}
	f.last = n
	f.seen.Add(1)
}

// TestNoEventIsLostOrDoubledOverDisconnects lets 100,000 events happen while clients are cut off at random: each event
// comes once and in order, or the client is told to start from a snapshot, which then is exact.
func TestNoEventIsLostOrDoubledOverDisconnects(t *testing.T) {
	t.Parallel()
	const events = 100_000
	g, h := newRig(t, nil), &history{}
	var done atomic.Bool
	var seen atomic.Int64 // by all followers
	var all sync.WaitGroup
	followers := make([]*follower, 4)
	for i := range followers {
		f := &follower{g: g, h: h, seen: &seen, protocol: []string{"starling.v1.json", "starling.v1.bin", ""}[i%3]}
		followers[i] = f
		all.Go(func() { // ends when all has happened and been told
			rng := rand.New(rand.NewPCG(uint64(i), 7))
			for {
				over := done.Load()
				end := time.Now().Add(time.Duration(rng.IntN(400)) * time.Millisecond)
				f.connect(t, func() bool { return over && !f.knows(events) || !over && time.Now().Before(end) })
				if t.Failed() || over && f.knows(events) {
					return
				}
				pause := 20 * time.Millisecond
				if i == 3 && !over && rng.IntN(4) == 0 {
					pause = 2500 * time.Millisecond // longer than the log is
				}
				time.Sleep(pause)
			}
		})
	}
	rng, next := rand.New(rand.NewPCG(3, 4)), 0
	tasks := make([]*task.View, 200)
	for n := range events {
		h.happen(g, rng, tasks, &next)
		if n%80 == 79 {
			time.Sleep(6 * time.Millisecond)
			for i := 0; i < 5 && seen.Load() < int64(n); i++ { // on a busy machine things happen more slowly
				time.Sleep(4 * time.Millisecond)
			}
		}
	}
	done.Store(true)
	all.Wait()
	recovered, restarted := 0, 0
	for _, f := range followers {
		recovered, restarted = recovered+f.recovered, restarted+f.restarted
	}
	t.Logf("%d recoveries, %d snapshots, %d events seen", recovered, restarted, seen.Load())
	if recovered < 40 || restarted <= len(followers) || seen.Load() < events/2 {
		t.Errorf("%d recoveries, %d snapshots, %d events: the test has not tried both", recovered, restarted, seen.Load())
	}
}

// TestStateConvergesOverDisconnects lets robots drive, come and go while clients are cut off: in the end each knows
// what is.
func TestStateConvergesOverDisconnects(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	var done atomic.Bool
	var all sync.WaitGroup
	watchers := []struct {
		protocol string // "" = SSE
		side     int    // of a rectangle that begins at 100, 100; 0 = none
		ids      int    // how many robots are asked for; 0 = all
		hz       int    // rates share rounds, and must not share their frames
	}{
		{"starling.v1.json", 0, 0, 10},
		{"starling.v1.json", 0, 0, 5},
		{"starling.v1.json", 100, 0, 10},
		{"starling.v1.json", 50, 0, 2},
		{"starling.v1.json", 0, 5, 5},
		{"starling.v1.bin", 0, 0, 10},
		{"starling.v1.bin", 0, 0, 2},
		{"starling.v1.bin", 50, 0, 10},
		{"starling.v1.bin", 0, 5, 1},
		{"", 0, 0, 10},
		{"", 100, 0, 5},
	}
	floors := make([]*floorOf, len(watchers))
	for i, w := range watchers {
		all.Go(func() { // ends when nothing changes any more
			rng := rand.New(rand.NewPCG(uint64(i), 9))
			for quiet := false; !(quiet && done.Load()) && !t.Failed(); { // the last connection has seen things change, and stays to the end
				end := time.Now().Add(time.Duration(200+rng.IntN(1500)) * time.Millisecond)
				floors[i], quiet = g.watch(t, w.protocol, w.side, w.ids, w.hz, func() bool { return done.Load() || time.Now().Before(end) })
			}
		})
	}
	truth, rng := map[string]bot{}, rand.New(rand.NewPCG(5, 6))
	for n := range 24_000 {
		k := rng.IntN(250)
		if id := string(robotID(k)); rng.IntN(50) == 0 {
			g.views.RobotGone(shardA(), robotID(k))
			delete(truth, id)
		} else {
			b := truth[id]
			if b == (bot{}) || rng.IntN(20) == 0 {
				b.x, b.y = rng.Float64()*300, rng.Float64()*300
			}
			b.x, b.y = min(300, b.x+rng.Float64()), min(300, b.y+rng.Float64())
			b.battery, b.state = 0.5, "MOVING"
			g.show(k, b.x, b.y, fleet.Moving)
			truth[id] = b
		}
		if n%60 == 59 {
			time.Sleep(9 * time.Millisecond)
		}
	}
	done.Store(true)
	all.Wait()
	for i, f := range floors {
		want := maps.Clone(truth)
		if side := float64(watchers[i].side); side > 0 {
			maps.DeleteFunc(want, func(_ string, b bot) bool {
				return b.x < 100 || b.x > 100+side || b.y < 100 || b.y > 100+side
			})
		}
		if n := watchers[i].ids; n > 0 {
			maps.DeleteFunc(want, func(id string, _ bot) bool { return id >= string(robotID(n)) })
		}
		if err := f.same(want, 0.02); err != nil {
			t.Errorf("client %d: %v", i, err)
		}
	}
}

// watch follows the robots until more says no or it is quiet for three seconds.
func (g *rig) watch(t *testing.T, protocol string, side, ids, hz int, more func() bool) (f *floorOf, quiet bool) {
	token := g.token(tenantA, auth.Viewer, time.Hour)
	var robots []string
	for n := range ids {
		robots = append(robots, string(robotID(n)))
	}
	var c listener
	if protocol == "" {
		path := fmt.Sprintf("/api/v1/stream?channel=robots&warehouse_id=%s&rate_hz=%d", floor1, hz)
		if side > 0 {
			path += fmt.Sprintf("&rect=100,100,%d,%d", 100+side, 100+side)
		}
		l := g.listen(path, "", token)
		l.timeout = 3 * time.Second
		c = l
	} else {
		d := g.dial(protocol, token)
		d.timeout = 3 * time.Second
		filter := fmt.Sprintf(`"warehouse_id":%q`, floor1)
		if side > 0 {
			filter += fmt.Sprintf(`,"rect":[100,100,%d,%d]`, 100+side, 100+side)
		}
		if ids > 0 {
			filter += `,"robot_ids":["` + strings.Join(robots, `","`) + `"]`
		}
		d.send(`{"op":"subscribe","id":1,"channel":"robots","filter":{%s},"rate_hz":%d}`, filter, hz)
		c = d
	}
	defer c.close()
	f = newFloor()
	for first := true; more(); {
		m, err := c.next()
		if err != nil {
			return f, true
		}
		if m.Op == "snapshot" || m.Op == "delta" {
			f.take(t, m, first && m.Op == "snapshot")
			first = m.Op == "snapshot" && !m.More
		}
	}
	return f, false
}

func TestAnotherProcessRecoversNothingAndSaysSo(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	step(g, 1, task.Created{})
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks"}`)
	s := c.want("subscribed", 1)
	c.want("snapshot", 1)
	step(g, 1, task.Started{})
	d := c.want("delta", 1)
	g.stop()
	g.start(nil)
	c = g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks","since":{"epoch":%q,"seq":%d}}`, s.Epoch, d.Seq)
	if again := c.want("subscribed", 1); again.Recovered || again.Epoch == s.Epoch {
		t.Errorf("%+v", again)
	}
	if m := c.want("snapshot", 1); len(m.Items) != 1 {
		t.Errorf("%+v", m)
	}
}

func TestATaskThatComesBackUnseenStartsTheSubscriptionAnew(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	step(g, 1, task.Created{})
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks"}`)
	c.want("snapshot", 1)
	time.Sleep(1100 * time.Millisecond) // a subscription begins anew at most once a second
	v := task.View{Spec: specOf(5), Version: 3, Status: fleet.TaskExecuting}
	g.views.ShowTask(shardA(), &v) // its steps happened while nobody was told
	if s := c.want("subscribed", 1); s.Recovered {
		t.Errorf("%+v", s)
	}
	if m := c.want("snapshot", 1); len(m.Items) != 2 {
		t.Errorf("%+v", m)
	}
	step(g, 1, task.Started{})
	if m := c.want("delta", 1); len(m.Events) != 1 {
		t.Errorf("%+v", m)
	}
}

func TestSSERecoversByItsLastEventID(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	step(g, 1, task.Created{})
	read := func(query, last string, until string) string {
		t.Helper()
		return readSSE(g, "/api/v1/stream?channel=tasks&warehouse_id="+string(floor1)+query, last, until)
	}
	first := read("", "", "event: snapshot")
	id := first[strings.LastIndex(first, "id: ")+4:]
	id = id[:strings.IndexByte(id, '\n')]
	step(g, 1, task.Started{})
	step(g, 1, task.Succeeded{})
	again := read("", id, "succeeded")
	if !strings.Contains(again, `"recovered":true`) || strings.Contains(again, "event: snapshot") || strings.Count(again, `"event":"started"`) != 1 {
		t.Errorf("%s", again)
	}
	if since := read("&since="+id, "", "succeeded"); !strings.Contains(since, `"recovered":true`) {
		t.Errorf("%s", since)
	}
	if bad := read("&rate_hz=x&nonsense=1&warehouse_id=2&rect=1,2", "no", "}}"); !strings.Contains(bad, "422") ||
		!strings.Contains(bad, "query.rate_hz") || !strings.Contains(bad, "query.nonsense") || !strings.Contains(bad, "query.rect") || !strings.Contains(bad, "header.Last-Event-ID") {
		t.Errorf("%s", bad)
	}
}

func TestASlowReaderOfStateGetsFewerAndLargerDeltas(t *testing.T) {
	t.Parallel()
	const robots, rounds = 500, 25
	g := newRig(t, func(o *stream.Options) { o.WriteWait, o.PingEvery = time.Minute, time.Minute })
	for n := range robots {
		g.show(n, 0, 0, fleet.Idle)
	}
	slow, fast := g.narrow(), g.viewer()
	for _, c := range []*client{slow, fast} {
		c.send(`{"op":"subscribe","id":1,"channel":"robots","rate_hz":10}`)
	}
	f := newFloor()
	for first := true; ; first = false {
		m := fast.want("snapshot", 1)
		if f.take(t, m, first); !m.More {
			break
		}
	}
	want := map[string]bot{}
	for x := 1.0; x <= rounds; x++ {
		for n := range robots {
			g.show(n, x, 0, fleet.Moving)
			want[string(robotID(n))] = bot{x, 0, "MOVING", 0.5}
		}
		f.take(t, fast.want("delta", 1), false)
	}
	for f.same(want, 0.001) != nil {
		f.take(t, fast.want("delta", 1), false)
	}
	last, n := newFloor(), 0
	for first := true; last.same(want, 0.001) != nil; {
		m, err := slow.next()
		if err != nil {
			t.Fatal(err)
		}
		if m.Op == "snapshot" || m.Op == "delta" {
			last.take(t, m, first && m.Op == "snapshot")
			first, n = false, n+1
		}
	}
	if n > rounds/2 {
		t.Errorf("the slow one was told %d times, though it took nothing", n)
	}
}
