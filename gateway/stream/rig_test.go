package stream_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/auth"
	"starling/gateway/rest"
	"starling/gateway/stream"
	"starling/gateway/view"
)

const (
	tenantA = fleet.TenantID("a0000000-0000-4000-8000-000000000001")
	tenantB = fleet.TenantID("b0000000-0000-4000-8000-000000000001")
	floor1  = fleet.WarehouseID("10000000-0000-4000-8000-000000000001")
	zone1   = "d0000000-0000-4000-8000-000000000001"
)

func shardA() fleet.Shard { return fleet.Shard{Tenant: tenantA, Warehouse: floor1} }

// rig is the live channel over views that the test writes.
type rig struct {
	*testing.T
	views  *view.Store
	srv    *stream.Server
	http   *httptest.Server
	issuer *auth.DevIssuer

	checker checker

	mu     sync.Mutex
	stored map[fleet.TaskID]task.View
	alerts []fact.Alert // unresolved, as the store has them
}

// guard is who lets clients in; bySlug nil = there are no slugs.
func (g *rig) guard(skew time.Duration, bySlug func(context.Context, string) (fleet.TenantID, error)) *auth.Guard {
	return auth.NewGuard(auth.New(auth.Options{Issuer: "http://issuer", Audience: "starling", Keys: g.issuer, Skew: skew}), bySlug)
}

func newRig(t *testing.T, change func(*stream.Options)) *rig {
	t.Helper()
	key, err := auth.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	d, err := auth.NewDevIssuer(key, "http://issuer", "starling")
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{T: t, views: view.New(), issuer: d, stored: map[fleet.TaskID]task.View{}}
	g.start(change)
	t.Cleanup(g.stop)
	return g
}

func (g *rig) start(change func(*stream.Options)) {
	o := stream.Options{
		Views: g.views, Auth: g.guard(0, nil), Log: slog.New(slog.DiscardHandler),
		Task: rest.TaskBody, Heat: rest.HeatBody, Alert: rest.AlertBody, OpenAlerts: g.openAlerts, Graph: func(fleet.Shard) *roadmap.Graph { return nil },
		FindTasks: func(_ context.Context, tenant fleet.TenantID, ids []fleet.TaskID) (found []task.View, _ error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, id := range ids {
				if v, ok := g.stored[id]; ok && v.Spec.Shard.Tenant == tenant {
					found = append(found, v)
				}
			}
			return found, nil
		},
	}
	if change != nil {
		change(&o)
	}
	g.srv = stream.New(o)
	g.http = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-ID", "the-request")
		g.srv.ServeHTTP(w, r)
	}))
	g.http.Config.ConnContext = stream.WithConn
	g.http.Start()
}

func (g *rig) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	g.srv.Stop(ctx)
	g.http.CloseClientConnections()
	g.http.Close()
}

func (g *rig) token(tenant fleet.TenantID, role string, ttl time.Duration) string {
	tok, _, err := g.issuer.Issue(auth.Grant{Tenant: tenant, Role: role, TTL: ttl, Subject: "somebody"}, time.Now())
	if err != nil {
		g.Fatal(err)
	}
	return tok
}

// client is a WebSocket client that keeps what it is told.
type client struct {
	*rig
	ws      *websocket.Conn
	binary  bool
	timeout time.Duration
}

func (g *rig) dial(protocol, token string) *client {
	g.Helper()
	c, _, err := g.open(protocol, token) //nolint:bodyclose // a handshake's answer needs no closing
	if err != nil {
		g.Fatal(err)
	}
	return c
}

func (g *rig) open(protocol, token string) (*client, *http.Response, error) {
	d := websocket.Dialer{Subprotocols: []string{"bearer." + token, protocol}, ReadBufferSize: 4096}
	ws, r, err := d.Dial("ws"+strings.TrimPrefix(g.http.URL, "http")+"/api/v1/ws", nil)
	if err != nil {
		return nil, r, err
	}
	g.Cleanup(func() { _ = ws.Close() })
	return &client{rig: g, ws: ws, binary: protocol == "starling.v1.bin", timeout: 10 * time.Second}, r, nil
}

// narrow is a viewer whose system buffers little for it: what it does not read waits with the server.
func (g *rig) narrow() *client {
	g.Helper()
	d := websocket.Dialer{
		Subprotocols: []string{"bearer." + g.token(tenantA, auth.Viewer, time.Hour)}, ReadBufferSize: 4096,
		NetDial: func(network, address string) (net.Conn, error) {
			c, err := net.Dial(network, address)
			if err == nil {
				err = c.(*net.TCPConn).SetReadBuffer(32 << 10)
			}
			return c, err
		},
	}
	ws, _, err := d.Dial("ws"+strings.TrimPrefix(g.http.URL, "http")+"/api/v1/ws", nil) //nolint:bodyclose // a handshake's answer needs no closing
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { _ = ws.Close() })
	return &client{rig: g, ws: ws, timeout: 10 * time.Second}
}

func (g *rig) viewer() *client {
	return g.dial("starling.v1.json", g.token(tenantA, auth.Viewer, time.Hour))
}

func (c *client) send(format string, args ...any) {
	c.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		c.Fatal(err)
	}
}

// message is whatever the server says.
type message struct {
	Op        string `json:"op"`
	ID        int    `json:"id"`
	Epoch     string `json:"epoch"`
	Seq       uint64 `json:"seq"`
	Recovered bool   `json:"recovered"`
	More      bool   `json:"more"`
	Items     []json.RawMessage
	Events    []struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	} `json:"events"`
	Coalesced int             `json:"coalesced"`
	T         json.RawMessage `json:"t"`
	Reason    string          `json:"reason"`
	Error     struct {
		Code, Message string
		RequestID     string `json:"request_id"`
		Details       struct {
			Fields []struct{ Field, Problem string }
		}
	}
	raw     []byte // of a binary frame
	EventID string `json:"-"` // of SSE
}

func (c *client) next() (*message, error) {
	_ = c.ws.SetReadDeadline(time.Now().Add(c.timeout))
	kind, b, err := c.ws.ReadMessage()
	if err != nil {
		return nil, err
	}
	m := &message{}
	if kind == websocket.BinaryMessage {
		m.raw, m.Op, m.ID = b, "snapshot", int(binary.LittleEndian.Uint32(b[4:]))
		m.Seq = uint64(math.Float64frombits(binary.LittleEndian.Uint64(b[8:])))
		m.More = b[1]&1 != 0
		if b[0] == 2 {
			m.Op = "delta"
		}
		return m, nil
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, err
	}
	c.checker.check(c.rig, m.Op, b)
	return m, nil
}

func (c *client) close() { _ = c.ws.Close() }

// listening is an SSE client.
type listening struct {
	*rig
	cancel  context.CancelFunc
	body    io.ReadCloser
	scanner *bufio.Scanner
	timeout time.Duration
}

// listen opens a stream. It ends with close, or after a minute.
func (g *rig) listen(path, last, token string) *listening {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.http.URL+path, http.NoBody)
	if err != nil {
		panic(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	l := &listening{rig: g, cancel: cancel, scanner: bufio.NewScanner(strings.NewReader("")), body: http.NoBody, timeout: 10 * time.Second}
	if res, err := g.http.Client().Do(r); err == nil { //nolint:bodyclose // by close
		l.body, l.scanner = res.Body, bufio.NewScanner(res.Body)
		l.scanner.Buffer(nil, 1<<24)
	}
	return l
}

func (l *listening) close() {
	l.cancel()
	_ = l.body.Close()
}

// next reads an event. One that does not come in time does not come any more.
func (l *listening) next() (*message, error) {
	late := time.AfterFunc(l.timeout, l.cancel)
	defer late.Stop()
	m, event := &message{}, ""
	for l.scanner.Scan() {
		name, value, _ := strings.Cut(l.scanner.Text(), ": ")
		switch name {
		case "event":
			event = value
		case "id":
			m.EventID = value
		case "data":
			if err := json.Unmarshal([]byte(value), m); err != nil {
				return nil, err
			}
			l.checker.check(l.rig, m.Op, []byte(value))
			if m.Op != event {
				return nil, fmt.Errorf("event %q says %q", event, m.Op)
			}
		case "":
			if event != "" { // else it was a comment
				return m, nil
			}
		}
	}
	return nil, io.EOF
}

// want reads until a message of that op comes for that id (0 = any).
func (c *client) want(op string, id int) *message {
	c.Helper()
	for {
		m, err := c.next()
		if err != nil {
			c.Fatalf("waiting for %s: %v", op, err)
		}
		if m.Op == op && (id == 0 || m.ID == id) {
			return m
		}
		if m.Op == "error" || m.Op == "closing" {
			c.Fatalf("waiting for %s: %+v", op, m)
		}
	}
}

// ended reads to the end of the connection and returns the last word and the close code.
func (c *client) ended() (reason string, code int) {
	c.Helper()
	for {
		m, err := c.next()
		if err == nil {
			if m.Op == "closing" {
				reason = m.Reason
			}
			continue
		}
		var e *websocket.CloseError
		if ok := asClose(err, &e); ok {
			return reason, e.Code
		}
		c.Fatalf("the connection ended with %v", err)
	}
}

func asClose(err error, e **websocket.CloseError) bool {
	x, ok := err.(*websocket.CloseError) //nolint:errorlint // ReadMessage returns it as it is
	*e = x
	return ok
}

// bot is a robot as clients see it, from JSON or from a binary frame.
type bot struct {
	x, y    float64
	state   string
	battery float64
}

// floorOf is what a client knows of the robots.
type floorOf struct {
	bots    map[string]bot
	handles map[uint32]string
	seq     uint64
}

func newFloor() *floorOf { return &floorOf{bots: map[string]bot{}, handles: map[uint32]string{}} }

// take applies a snapshot's part or a delta. first = this is the first part of a snapshot.
func (f *floorOf) take(t *testing.T, m *message, first bool) {
	t.Helper()
	if first {
		*f = *newFloor()
	}
	if m.Op == "delta" && m.Seq != f.seq+1 {
		t.Fatalf("delta %d after %d", m.Seq, f.seq)
	}
	f.seq = m.Seq
	if m.raw != nil {
		f.decode(t, m.raw)
		return
	}
	put := func(raw json.RawMessage) {
		var r struct {
			ID      string  `json:"robot_id"`
			State   string  `json:"state"`
			Battery float64 `json:"battery_soc"`
			Pose    struct{ X, Y float64 }
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		f.bots[r.ID] = bot{r.Pose.X, r.Pose.Y, r.State, r.Battery}
	}
	for _, raw := range m.Items {
		put(raw)
	}
	for _, e := range m.Events {
		if e.Type == "robot_removed" {
			var r struct {
				ID string `json:"robot_id"`
			}
			if err := json.Unmarshal(e.Data, &r); err != nil || f.bots[r.ID] == (bot{}) {
				t.Errorf("removed %q, which the client does not have (%v)", r.ID, err)
			}
			delete(f.bots, r.ID)
			continue
		}
		put(e.Data)
	}
}

// decode reads a binary frame by the document, docs/live.md.
func (f *floorOf) decode(t *testing.T, b []byte) {
	t.Helper()
	le := binary.LittleEndian
	step, x0, y0 := float64(math.Float32frombits(le.Uint32(b[28:]))), float64(math.Float32frombits(le.Uint32(b[32:]))), float64(math.Float32frombits(le.Uint32(b[36:])))
	fresh, full, moved, gone := int(le.Uint32(b[40:])), int(le.Uint32(b[44:])), int(le.Uint32(b[48:])), int(le.Uint32(b[52:]))
	at := 56
	handles := make([]uint32, full)
	for i := range handles {
		handles[i] = le.Uint32(b[at+4*i:])
	}
	at += 4 * full
	for i := range gone {
		h := le.Uint32(b[at+4*i:])
		if f.handles[h] == "" {
			t.Errorf("handle %d is gone, which the client does not have", h)
		}
		delete(f.bots, f.handles[h])
		delete(f.handles, h)
	}
	at += 4 * gone
	states := [...]string{"", "IDLE", "MOVING", "WAITING", "CHARGING", "PAUSED", "ERROR", "MANUAL"}
	bots := make([]bot, full)
	for i := range bots {
		bots[i] = bot{
			x0 + float64(le.Uint16(b[at+2*i:]))*step, y0 + float64(le.Uint16(b[at+2*full+2*i:]))*step,
			states[b[at+6*full+3*full+i]&15], float64(b[at+6*full+2*full+i]) / 200,
		}
	}
	at += 12 * full
	before := uint32(0xffffffff)
	for i := range moved {
		before += uint32(b[at+i])
		id := f.handles[before]
		x, ok := f.bots[id]
		if !ok {
			t.Fatalf("handle %d moved, which the client does not have", before)
		}
		x.x += float64(int8(b[at+moved+i])) * step
		x.y += float64(int8(b[at+2*moved+i])) * step
		f.bots[id] = x
	}
	at += 5 * moved
	for i := range fresh {
		h := hex.EncodeToString(b[at : at+16])
		id := h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
		f.handles[handles[i]] = id
		at += 17 + int(b[at+16])
	}
	if at != len(b) {
		t.Fatalf("the frame has %d bytes, its columns %d", len(b), at)
	}
	for i, h := range handles {
		id := f.handles[h]
		if id == "" {
			t.Fatalf("handle %d is told of, and is nobody", h)
		}
		f.bots[id] = bots[i]
	}
}

// same says what differs between what a client knows and what is.
func (f *floorOf) same(want map[string]bot, within float64) error {
	if len(f.bots) != len(want) {
		return fmt.Errorf("%d robots, want %d", len(f.bots), len(want))
	}
	for id, w := range want {
		x, ok := f.bots[id]
		if !ok || x.state != w.state || math.Hypot(x.x-w.x, x.y-w.y) > within || math.Abs(x.battery-w.battery) > 0.003 {
			return fmt.Errorf("%s is %+v, want %+v", id, x, w)
		}
	}
	return nil
}

func robotID(n int) fleet.RobotID {
	return fleet.RobotID(fmt.Sprintf("c0000000-0000-4000-8000-%012d", n))
}

func taskID(n int) fleet.TaskID {
	return fleet.TaskID(fmt.Sprintf("e0000000-0000-4000-8000-%012d", n))
}

func specOf(n int) task.Spec {
	return task.Spec{ID: taskID(n), Shard: shardA(), Source: "api", Payload: []byte(`{"pickup":"A"}`), CreatedAt: time.Unix(int64(n), 0)}
}

// show shows a robot somewhere.
func (g *rig) show(n int, x, y float64, state fleet.RobotState) {
	g.views.ShowRobot(shardA(), &robot.View{
		ID: robotID(n), Spec: &robot.Spec{ID: robotID(n), Code: fmt.Sprint("r", n), Warehouse: floor1, Protocol: "link"}, Located: true, Connection: fleet.Online,
		State: state, Pose: fleet.Pose{X: x, Y: y}, Battery: 0.5, Vertex: fleet.NoVertex, ReceivedAt: time.Now(),
	})
}
