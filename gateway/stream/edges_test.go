package stream_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fleet"
	"starling/engine/task"
	"starling/gateway/auth"
	"starling/gateway/stream"
)

func TestASecondSubscribeWithAnIDReplacesTheFirst(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	for n := range 10 {
		g.show(n, 1, 1, fleet.Idle)
	}
	c := g.viewer()
	c.send(`{"op":"subscribe","id":4,"channel":"robots","rate_hz":10}`)
	c.want("snapshot", 4)
	for n := range 40 { // meanwhile deltas of the first are on their way
		g.show(n%10, float64(n), 1, fleet.Moving)
		c.send(`{"op":"subscribe","id":4,"channel":"robots","filter":{"robot_ids":[%q]},"rate_hz":10}`, robotID(n%10))
		var s *message
		for s = c.want("subscribed", 4); ; {
			m, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if m.Op != "snapshot" || m.Seq != s.Seq || len(m.Items) != 1 || !strings.Contains(string(m.Items[0]), string(robotID(n%10))) {
				t.Fatalf("after the second subscribed: %+v", m)
			}
			break
		}
	}
	c.send(`{"op":"unsubscribe","id":4}`)
	c.want("unsubscribed", 4)
	for n := range 10 {
		g.show(n, 5, 5, fleet.Idle)
	}
	time.Sleep(250 * time.Millisecond)
	c.send(`{"op":"ping","t":9}`)
	if m, err := c.next(); err != nil || m.Op != "pong" {
		t.Errorf("after unsubscribed: %+v %v", m, err)
	}
	c.send(`{"op":"unsubscribe","id":4}`)
	if m, err := c.next(); err != nil || m.Op != "error" || m.Error.Code != "NOT_FOUND" {
		t.Errorf("%+v %v", m, err)
	}
}

func TestWhoWasFarBehindCatchesUp(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks"}`)
	s := c.want("subscribed", 1)
	c.close()
	const missed = 7_000 // within the log, and more than a client may fall behind
	for n := range missed {
		v := task.View{}
		v.Apply(time.Now(), task.Created{Spec: specOf(n + 1)})
		g.views.TaskChanged(shardA(), task.Created{}, &v)
	}
	c = g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks","since":{"epoch":%q,"seq":%d}}`, s.Epoch, s.Seq)
	if again := c.want("subscribed", 1); !again.Recovered || again.Seq != s.Seq || again.Epoch != s.Epoch {
		t.Fatalf("%+v", again)
	}
	seq, next := s.Seq, 1
	for next <= missed {
		m := c.want("delta", 1)
		if seq++; m.Seq != seq {
			t.Fatalf("delta %d, want %d", m.Seq, seq)
		}
		for _, e := range m.Events {
			if id, _ := told(e.Data); id != string(taskID(next)) {
				t.Fatalf("task %s, want %d", id, next)
			}
			next++
		}
	}
}

// TestATaskThatEndsWhileTheStoreIsAskedIsToldOnce lets a task live its life between the moment that a subscription joins
// the log and the store's answer.
func TestATaskThatEndsWhileTheStoreIsAskedIsToldOnce(t *testing.T) {
	t.Parallel()
	var g *rig
	asked := make(chan fleet.TaskID, 1)
	g = newRig(t, func(o *stream.Options) {
		find := o.FindTasks
		o.FindTasks = func(ctx context.Context, tenant fleet.TenantID, ids []fleet.TaskID) ([]task.View, error) {
			step(g, 1, task.Created{})
			step(g, 1, task.Started{})
			v, err := find(ctx, tenant, ids) // the answer has both steps
			step(g, 1, task.Succeeded{})
			time.Sleep(150 * time.Millisecond)
			asked <- ids[0]
			return v, err
		}
	})
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks","filter":{"task_ids":[%q]}}`, taskID(1))
	m := c.want("snapshot", 1)
	if id := <-asked; id != taskID(1) || len(m.Items) != 1 || !strings.Contains(string(m.Items[0]), `"EXECUTING"`) {
		t.Fatalf("%s %s", id, m.Items)
	}
	d := c.want("delta", 1)
	if len(d.Events) != 1 || !strings.Contains(string(d.Events[0].Data), `"event":"succeeded"`) || d.Seq != m.Seq+1 {
		t.Errorf("%+v", d)
	}
}

// TestAStreamCutWithinItsSnapshotStartsAnew comes back with the id of a part that was not the last.
func TestAStreamCutWithinItsSnapshotStartsAnew(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	for n := range 2500 {
		step(g, n+1, task.Created{})
	}
	token := g.token(tenantA, auth.Viewer, time.Hour)
	path := "/api/v1/stream?channel=tasks&warehouse_id=" + string(floor1)
	last := ""
	for _, part := range []string{"subscribed", "snapshot"} {
		l := g.listen(path, last, token)
		for {
			m, err := l.next()
			if err != nil {
				t.Fatal(err)
			}
			if m.Op == "subscribed" && m.Recovered {
				t.Fatalf("%q is taken for a place to go on from", last)
			}
			if last = m.EventID; m.Op == part {
				break
			}
		}
		l.close()
	}
	l := g.listen(path, last, token)
	defer l.close()
	items := 0
	for {
		m, err := l.next()
		if err != nil {
			t.Fatal(err)
		}
		items += len(m.Items)
		if m.Op == "snapshot" && !m.More {
			if last = m.EventID; strings.Contains(last, "-part") {
				t.Errorf("the whole snapshot's id is %s", last)
			}
			break
		}
	}
	if items != 2500 {
		t.Errorf("%d tasks", items)
	}
	again := g.listen(path, last, token)
	defer again.close()
	if m, err := again.next(); err != nil || !m.Recovered {
		t.Errorf("%+v %v", m, err)
	}
}

func TestAStreamEndsWithItsTokenAndWithTheProcess(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	ends := func(ttl time.Duration, want string, and func()) {
		l := g.listen("/api/v1/stream?channel=zones", "", g.token(tenantA, auth.Viewer, ttl))
		defer l.close()
		for {
			m, err := l.next()
			if err != nil {
				t.Fatalf("%s: %v", want, err)
			}
			if m.Op == "snapshot" {
				and()
			}
			if m.Op == "closing" {
				if m.Reason != want {
					t.Errorf("%s, want %s", m.Reason, want)
				}
				break
			}
		}
		if _, err := l.next(); err == nil {
			t.Errorf("%s: the stream goes on", want)
		}
	}
	ends(1500*time.Millisecond, "token_expired", func() {})
	ends(time.Hour, "restart", func() { go g.stop() }) // stopped again by the clean-up
}

// TestATabThatSlept takes nothing and answers nothing, for longer than the server waits: it is cut off, and told what it
// missed when it comes back.
func TestATabThatSlept(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *stream.Options) { o.PingEvery = 300 * time.Millisecond })
	step(g, 1, task.Created{})
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks","filter":{"warehouse_id":%q}}`, floor1)
	s := c.want("subscribed", 1)
	c.want("snapshot", 1)
	for n := range 20 { // nobody reads
		step(g, n+2, task.Created{})
	}
	time.Sleep(7 * time.Second)
	c.timeout = time.Second
	for {
		_, err := c.next()
		if err == nil {
			continue // what was on its way
		}
		if late, ok := err.(net.Error); ok && late.Timeout() { //nolint:errorlint // ReadMessage returns it as it is
			t.Fatal("it is not cut off")
		}
		break
	}
	c = g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks","filter":{"warehouse_id":%q},"since":{"epoch":%q,"seq":%d}}`, floor1, s.Epoch, s.Seq)
	if again := c.want("subscribed", 1); !again.Recovered {
		t.Fatalf("%+v", again)
	}
	for n := 0; n < 20; {
		for _, e := range c.want("delta", 1).Events {
			if id, _ := told(e.Data); id != string(taskID(n+2)) {
				t.Fatalf("task %s", id)
			}
			n++
		}
	}
	for n := range 17_000 { // an hour is more than the log holds
		step(g, 1, []task.Event{task.Started{}, task.Unassigned{}}[n%2])
	}
	c = g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks","filter":{"warehouse_id":%q},"since":{"epoch":%q,"seq":%d}}`, floor1, s.Epoch, s.Seq)
	if again := c.want("subscribed", 1); again.Recovered {
		t.Fatalf("%+v", again)
	}
	n := 0
	for m := c.want("snapshot", 1); ; m = c.want("snapshot", 1) {
		if n += len(m.Items); !m.More {
			break
		}
	}
	if n != 21 {
		t.Errorf("%d tasks", n)
	}
}

// TestTheSlowestAreClosedBeforeTheOthersWait lets clients that read nothing fill what may wait for all.
func TestTheSlowestAreClosedBeforeTheOthersWait(t *testing.T) {
	t.Parallel()
	const robots = 500
	r := prometheus.NewRegistry()
	g := newRig(t, func(o *stream.Options) { o.MaxQueued, o.Registerer, o.PingEvery = 1<<20, r, time.Minute })
	move := func(x float64) {
		for n := range robots {
			g.show(n, x, 0, fleet.Moving)
		}
	}
	move(0)
	for i := range 12 { // each with frames of its own: a rectangle is shared with nobody
		c := g.narrow()
		for id := range 4 {
			c.send(`{"op":"subscribe","id":%d,"channel":"robots","filter":{"warehouse_id":%q,"rect":[-1,-1,%d,1]},"rate_hz":10}`, id+1, floor1, 1000+i)
		}
	}
	good := g.viewer()
	good.timeout = 30 * time.Second
	good.send(`{"op":"subscribe","id":1,"channel":"robots","rate_hz":10}`)
	f := newFloor()
	for first := true; ; first = false {
		m := good.want("snapshot", 1)
		if f.take(t, m, first); !m.More {
			break
		}
	}
	most := int64(0)
	for x := 1.0; x <= 10 || count(t, r, "starling_stream_closed_total", "slow_consumer") == 0; x++ {
		move(x)
		f.take(t, good.want("delta", 1), false)
		most = max(most, g.srv.Queued())
		if x > 200 {
			t.Fatal("nobody is closed")
		}
	}
	if most > 3<<20 {
		t.Errorf("%d bytes were on their way, of 1 MiB and a frame or two", most)
	}
}

// count reads a counter or gauge.
func count(t *testing.T, r *prometheus.Registry, name, label string) float64 {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func TestNothingIsLeftOfConnectionsThatHaveEnded(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	g := newRig(t, func(o *stream.Options) { o.Registerer, o.MaxConns = r, 45 })
	g.show(1, 1, 1, fleet.Idle)
	refused := 0
	all := make([]*client, 0, 60)
	for range 60 {
		c, res, err := g.open("starling.v1.json", g.token(tenantA, auth.Viewer, time.Hour)) //nolint:bodyclose // a handshake's answer needs no closing
		if err != nil {
			if res == nil || res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
				t.Fatalf("%v %v", res, err)
			}
			refused++
			continue
		}
		c.send(`{"op":"subscribe","id":1,"channel":"robots"}`)
		c.send(`{"op":"subscribe","id":2,"channel":"tasks"}`)
		all = append(all, c)
	}
	if refused != 15 || count(t, r, "starling_stream_refused_total", "RESOURCE_EXHAUSTED") != 15 {
		t.Errorf("%d refused", refused)
	}
	for _, c := range all {
		c.want("snapshot", 1)
	}
	if n := count(t, r, "starling_stream_connections", "ws"); n != 45 {
		t.Errorf("%v connections", n)
	}
	for _, c := range all {
		c.close()
	}
	end := time.Now().Add(10 * time.Second)
	for {
		conns, robots, tasks := count(t, r, "starling_stream_connections", "ws"), count(t, r, "starling_stream_subscriptions", "robots"), count(t, r, "starling_stream_subscriptions", "tasks")
		if conns+robots+tasks == 0 && g.srv.Queued() == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%v connections, %v and %v subscriptions, %d bytes are left", conns, robots, tasks, g.srv.Queued())
		}
		time.Sleep(20 * time.Millisecond)
	}
	if count(t, r, "starling_stream_frames_total", "snapshot") < 45 || count(t, r, "starling_stream_bytes_total", "snapshot") < 45*100 || count(t, r, "starling_stream_snapshots_total", "asked") < 90 {
		t.Error("what was sent is not counted")
	}
}

func TestAHandshakeThatIsNoneGetsTheErrorBody(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	u, _ := url.Parse(g.http.URL)
	token := g.token(tenantA, auth.Viewer, time.Hour)
	for name, x := range map[string]struct {
		ask    string
		status string
	}{
		"no upgrade":  {"GET /api/v1/ws HTTP/1.1\r\n", "426"},
		"no key":      {"GET /api/v1/ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", "400"},
		"old version": {"GET /api/v1/ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "400"},
		"a post":      {"POST /api/v1/stream?channel=zones HTTP/1.1\r\nContent-Length: 0\r\n", "405"},
	} {
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "%sHost: x\r\nAuthorization: Bearer %s\r\n\r\n", x.ask, token)
		b := make([]byte, 4096)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _ := c.Read(b)
		if answer := string(b[:n]); !strings.HasPrefix(answer, "HTTP/1.1 "+x.status) || !strings.Contains(answer, `"request_id":"the-request"`) {
			t.Errorf("%s: %s", name, answer)
		}
		_ = c.Close()
	}
	g.viewer() // and places are not lost by it
}

func TestAStopDoesNotWaitForThoseWhoReadNothing(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	for n := range 2000 {
		g.show(n, 1, 1, fleet.Idle)
	}
	c := g.narrow()
	for id := range 8 {
		c.send(`{"op":"subscribe","id":%d,"channel":"robots"}`, id+1)
	}
	time.Sleep(300 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	began := time.Now()
	if g.srv.Stop(ctx); time.Since(began) > 5*time.Second {
		t.Errorf("a stop took %v", time.Since(began))
	}
	for {
		if _, err := c.next(); err != nil {
			return // cut off, or told
		}
	}
}

// TestWideGapsBetweenTheMovedAreBridged moves robots far apart in the table: those in between are heard and stay.
func TestWideGapsBetweenTheMovedAreBridged(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	want := map[string]bot{}
	at := func(n int, x float64) {
		g.show(n, x, 1, fleet.Moving)
		want[string(robotID(n))] = bot{x, 1, "MOVING", 0.5}
	}
	for n := range 900 {
		at(n, float64(n))
	}
	c := g.dial("starling.v1.bin", g.token(tenantA, auth.Viewer, time.Hour))
	c.send(`{"op":"subscribe","id":1,"channel":"robots","rate_hz":10}`)
	f := newFloor()
	f.take(t, c.want("snapshot", 1), true)
	moved := 0
	for try := 0; try < 20 && moved != 6; try++ { // three, and one to bridge each gap; on a busy machine those in between get old
		for n := range 900 {
			at(n, float64(n))
		}
		for round := 1; round <= 4; round++ {
			for n := 299; n < 900; n += 300 { // gaps of more than a byte, the first before the first
				at(n, float64(n)+float64(round)/10)
			}
			m := c.want("delta", 1)
			f.take(t, m, false)
			if m.raw[0] == 2 && binary.LittleEndian.Uint32(m.raw[44:]) == 0 {
				moved = int(binary.LittleEndian.Uint32(m.raw[48:]))
				if moved == 6 {
					break
				}
			}
		}
	}
	for f.same(want, 0.02) != nil {
		f.take(t, c.want("delta", 1), false)
	}
	if moved != 6 {
		t.Errorf("%d in the list of the moved", moved)
	}
}
