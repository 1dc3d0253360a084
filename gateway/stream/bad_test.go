package stream_test

import (
	"bufio"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"starling/engine/fleet"
	"starling/engine/task"
	"starling/gateway/auth"
	"starling/gateway/stream"
)

// readSSE reads a stream until a text has come, or the answer ends.
func readSSE(g *rig, path, last, until string) string {
	g.Helper()
	r, err := http.NewRequest(http.MethodGet, g.http.URL+path, http.NoBody)
	if err != nil {
		g.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.token(tenantA, auth.Viewer, time.Hour))
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		g.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var b strings.Builder
	b.WriteString(res.Status + "\n")
	s := bufio.NewScanner(res.Body)
	s.Buffer(nil, 1<<24)
	for found := false; s.Scan(); {
		b.WriteString(s.Text() + "\n")
		if found = found || strings.Contains(s.Text(), until); found && s.Text() == "" {
			break
		}
	}
	return b.String()
}

func TestOneWhoTakesNoEventsIsClosedAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *stream.Options) { o.WriteWait, o.LastWord, o.PingEvery = time.Minute, time.Minute, time.Minute })
	slow, fast := g.narrow(), g.viewer()
	for _, c := range []*client{slow, fast} {
		c.send(`{"op":"subscribe","id":1,"channel":"tasks"}`)
		c.want("snapshot", 1)
	}
	const events = 10_000
	reason, made, got := strings.Repeat("x", 400), 0, 0
	for got < events {
		for ; made < min(events, got+1000); made++ {
			v := task.View{}
			v.Apply(time.Now(), task.Created{Spec: specOf(made + 1)})
			v.Reason = reason
			g.views.TaskChanged(shardA(), task.Created{}, &v)
		}
		got += len(fast.want("delta", 1).Events)
	}
	time.Sleep(1500 * time.Millisecond) // who takes something in a second is not too slow
	if reason, code := slow.ended(); reason != "slow_consumer" || code != 4008 {
		t.Errorf("%s %d", reason, code)
	}
}

func TestAHalfOpenConnectionEnds(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *stream.Options) { o.PingEvery = 300 * time.Millisecond })
	u, _ := url.Parse(g.http.URL)
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ask := "GET /api/v1/ws HTTP/1.1\r\nHost: " + u.Host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer " + g.token(tenantA, auth.Viewer, time.Hour) + "\r\n\r\n"
	if _, err := c.Write([]byte(ask)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(15 * time.Second))
	b := make([]byte, 4096)
	for began := time.Now(); ; { // it reads, and answers no ping
		if _, err := c.Read(b); err != nil {
			if took := time.Since(began); took > 12*time.Second {
				t.Errorf("closed after %v: %v", took, err)
			}
			return
		}
	}
}

func TestGarbageOversizeAndFloodsHaveTheirEnds(t *testing.T) {
	t.Parallel()
	g := newRig(t, nil)
	bystander := g.viewer()
	for name, x := range map[string]struct {
		message string
		times   int
		code    int
	}{
		"garbage":  {"\xff\xfe{{{{", 20, 4400},
		"oversize": {`{"op":"` + strings.Repeat("x", 70_000) + `"}`, 1, websocket.CloseMessageTooBig},
		"flood":    {`{"op":"pong"}`, 1000, 4429},
	} {
		c := g.viewer()
		for range x.times {
			if err := c.ws.WriteMessage(websocket.TextMessage, []byte(x.message)); err != nil {
				break // it has been closed already
			}
		}
		if _, code := c.ended(); code != x.code {
			t.Errorf("%s: code %d, want %d", name, code, x.code)
		}
	}
	bystander.send(`{"op":"ping","t":2}`)
	bystander.want("pong", 0)
}

func TestASubscriptionToEverythingIsOneAmongMany(t *testing.T) {
	t.Parallel()
	g := newRig(t, func(o *stream.Options) { o.MaxQueued = 1 << 20 })
	for n := range 1200 {
		g.show(n, 1, 1, fleet.Idle)
	}
	greedy := make([]*client, 4)
	for i := range greedy { // four clients that ask for all there is and read nothing
		greedy[i] = g.viewer()
		for id := range 16 {
			greedy[i].send(`{"op":"subscribe","id":%d,"channel":"robots","rate_hz":10}`, id+1)
		}
	}
	c := g.viewer()
	c.send(`{"op":"subscribe","id":1,"channel":"tasks"}`)
	c.want("snapshot", 1)
	began := time.Now()
	for n := range 20 {
		step(g, n, task.Created{})
		c.want("delta", 1)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("20 events took %v", took)
	}
	for _, x := range greedy { // what was held back comes as soon as they read
		go func() { // ends with its connection
			for {
				if _, err := x.next(); err != nil {
					return
				}
			}
		}()
	}
	c.send(`{"op":"subscribe","id":2,"channel":"robots"}`)
	c.timeout = 30 * time.Second
	n := 0
	for {
		m := c.want("snapshot", 2)
		if n += len(m.Items); !m.More {
			break
		}
	}
	if n != 1200 {
		t.Errorf("%d robots", n)
	}
}
