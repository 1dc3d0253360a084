package stream

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"

	"starling/engine/fleet"
	"starling/gateway/auth"
)

// Our own close codes.
const (
	closeExpired = 4001
	closeSlow    = 4008
	closeBad     = 4400
	closeFlood   = 4429
	closeRestart = websocket.CloseServiceRestart
)

// How many messages a client may send: so many at once, and then so many a second.
const (
	messageBurst = 200
	messageRate  = 40
)

// payload is bytes on their way to one client or to many: they are in memory once.
type payload struct {
	data  []byte
	users atomic.Int32
}

func (p *payload) take(queued *atomic.Int64) {
	if p.users.Add(1) == 1 {
		queued.Add(int64(len(p.data)))
	}
}

func (p *payload) drop(queued *atomic.Int64) {
	if p.users.Add(-1) == 0 {
		queued.Add(-int64(len(p.data)))
	}
}

// frame is what is written at once.
type frame struct {
	op string
	*payload
	binary  bool
	epoch   string // of SSE ids
	seq     uint64
	partial bool // the client cannot go on from here: it has not got its snapshot
	sub     *sub // whose next frame may be made when this one is written
}

// wire is how frames come to the client. Calls never block; the session sees to it that there is room.
type wire interface {
	write(f *frame)
	finish(code int, reason string)
}

// session is one connection.
type session struct {
	srv       *Server
	hub       *hub
	wire      wire
	conn      net.Conn // nil where the server was not told of it
	kind      string   // ws, sse
	binary    bool
	tenant    fleet.TenantID
	requestID string
	leave     func() // gives the place in the tenant's quota back

	mu      sync.Mutex
	who     *auth.Identity
	expiry  *time.Timer
	cut     *time.Timer // ends a connection that does not read its last word
	subs    map[uint32]*sub
	fifo    []*frame  // given to the wire and not yet written
	waits   time.Time // since when the first of them is the first
	bad     int
	tokens  float64
	counted time.Time

	queued atomic.Int64 // bytes in fifo
	ended  atomic.Bool
}

func (s *Server) newSession(who *auth.Identity, kind string, w http.ResponseWriter, r *http.Request) *session {
	c, _ := r.Context().Value(connKey{}).(net.Conn)
	return &session{
		srv: s, conn: c, kind: kind, tenant: who.Tenant, who: who, requestID: w.Header().Get("X-Request-ID"), subs: map[uint32]*sub{},
		tokens: messageBurst, counted: time.Now(),
	}
}

// begin starts what a connection has besides its goroutines.
func (x *session) begin() {
	x.srv.metrics.conns.WithLabelValues(x.kind).Inc()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.watchExpiry()
}

// watchExpiry closes the connection when its token ends.
func (x *session) watchExpiry() {
	if x.expiry != nil {
		x.expiry.Stop()
	}
	x.expiry = time.AfterFunc(time.Until(x.who.Expires), func() {
		x.mu.Lock()
		over := !time.Now().Before(x.who.Expires)
		x.mu.Unlock()
		if over {
			x.close(closeExpired, "token_expired", 0)
		}
	})
}

// send gives a frame to the wire; false where the client has too much unread already, or is gone, or has taken back the
// subscription: nothing of it follows the answer to that.
func (x *session) send(f *frame) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended.Load() || len(x.fifo) >= queuePlaces-4 || f.sub != nil && f.sub.left.Load() {
		return false
	}
	x.give(f)
	return true
}

func (x *session) give(f *frame) {
	if len(x.fifo) == 0 {
		x.waits = time.Now()
	}
	x.fifo = append(x.fifo, f)
	x.queued.Add(int64(len(f.data)))
	f.take(&x.srv.queued)
	x.wire.write(f)
}

// written says that the oldest frame has left.
func (x *session) written() {
	x.mu.Lock()
	if len(x.fifo) == 0 {
		x.mu.Unlock()
		return
	}
	f := x.fifo[0]
	x.fifo[0] = nil
	if x.fifo = x.fifo[1:]; len(x.fifo) == 0 {
		x.fifo = nil // else the array would walk on for ever
	}
	x.waits = time.Now()
	x.queued.Add(-int64(len(f.data)))
	x.mu.Unlock()
	f.drop(&x.srv.queued)
	x.srv.metrics.frames.WithLabelValues(f.op).Inc()
	x.srv.metrics.bytes.WithLabelValues(f.op).Add(float64(len(f.data)))
	if f.sub != nil {
		f.sub.busy.Store(false)
		if f.sub.more.Load() {
			x.hub.ready(f.sub)
		}
	}
}

// answer sends a reply to one of the client's messages. Who sends messages and does not read the answers is closed.
func (x *session) answer(op string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		return
	}
	if !x.send(&frame{op: op, payload: &payload{data: b}}) && !x.ended.Load() {
		x.srv.metrics.dropped.WithLabelValues("answers").Inc()
		x.close(closeSlow, "slow_consumer", 1000)
	}
}

// close ends the connection, with a last word. It may be called by anybody, any number of times.
func (x *session) close(code int, reason string, retryMS int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended.Swap(true) || x.wire == nil { // not open yet: it ends as soon as it is
		return
	}
	x.srv.metrics.closed.WithLabelValues(reason).Inc()
	b, _ := json.Marshal(map[string]any{"op": "closing", "reason": reason, "retry_after_ms": retryMS})
	x.give(&frame{op: "closing", payload: &payload{data: b}})
	x.wire.finish(code, reason)
	if x.conn != nil {
		x.cut = time.AfterFunc(x.srv.o.LastWord, func() { _ = x.conn.Close() })
	}
}

// unread says how much waits for the client, and since when it has taken nothing.
func (x *session) unread() (bytes int64, since time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.queued.Load(), x.waits
}

// gone forgets a connection that has ended.
func (x *session) gone() {
	x.mu.Lock()
	x.ended.Store(true)
	if x.expiry != nil {
		x.expiry.Stop()
	}
	if x.cut != nil {
		x.cut.Stop()
	}
	for _, f := range x.fifo {
		f.drop(&x.srv.queued)
	}
	x.fifo = nil
	subs := x.subs
	x.subs = map[uint32]*sub{}
	x.mu.Unlock()
	for _, s := range subs {
		x.hub.drop(s)
	}
	x.srv.metrics.conns.WithLabelValues(x.kind).Dec()
	x.srv.left(x)
}

// subscribe adds or replaces a subscription.
func (x *session) subscribe(s *sub) *refusal {
	x.mu.Lock()
	old := x.subs[s.id]
	if old == nil && len(x.subs) >= maxSubs {
		x.mu.Unlock()
		return &refusal{code: "RESOURCE_EXHAUSTED", message: "too many subscriptions on one connection"}
	}
	named := len(s.robots) + len(s.tasks)
	for id, other := range x.subs {
		if id != s.id {
			named += len(other.robots) + len(other.tasks)
		}
	}
	if named > maxNamed {
		x.mu.Unlock()
		return &refusal{code: "RESOURCE_EXHAUSTED", message: "the subscriptions of one connection name too many ids"}
	}
	x.subs[s.id] = s
	x.mu.Unlock()
	if old != nil {
		x.hub.drop(old)
	}
	x.hub.add(s)
	return nil
}

// forget drops a subscription that cannot be served.
func (x *session) forget(s *sub) {
	x.mu.Lock()
	if x.subs[s.id] == s {
		delete(x.subs, s.id)
	}
	x.mu.Unlock()
	x.hub.drop(s)
}

// allowed takes a token of the client's budget of messages.
func (x *session) allowed(now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tokens = min(messageBurst, x.tokens+now.Sub(x.counted).Seconds()*messageRate)
	x.counted = now
	x.tokens--
	return x.tokens >= 0
}

// socket is the wire of a WebSocket.
type socket struct{ m *melody.Session }

func (s socket) write(f *frame) {
	if f.binary {
		_ = s.m.WriteBinary(f.data)
	} else {
		_ = s.m.Write(f.data)
	}
}

func (s socket) finish(code int, reason string) {
	_ = s.m.CloseWithMsg(websocket.FormatCloseMessage(code, reason))
}

const sessionKey = "session"

func sessionOf(m *melody.Session) *session {
	x, _ := m.Keys[sessionKey].(*session) // set before the first call and never changed
	return x
}

// openMelody sets the bounds of connections and who is told of what.
func (s *Server) openMelody() {
	m := s.melody
	m.Config.WriteWait, m.Config.PingPeriod, m.Config.PongWait = s.o.WriteWait, s.o.PingEvery, 2*s.o.PingEvery+5*time.Second
	m.Config.MaxMessageSize, m.Config.MessageBufferSize = maxMessage, queuePlaces
	m.Upgrader.ReadBufferSize, m.Upgrader.WriteBufferSize = 1024, 1024
	m.Upgrader.WriteBufferPool = &sync.Pool{}
	m.Upgrader.CheckOrigin = func(*http.Request) bool { return true } // serveWS has asked
	m.Upgrader.Error = func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
		s.metrics.refused.WithLabelValues("handshake").Inc()
		(&refusal{status: status, code: "INVALID_ARGUMENT", message: reason.Error()}).write(w)
	}
	m.HandleError(func(m *melody.Session, err error) { sessionOf(m).failed(err) })
	m.Upgrader.Subprotocols = []string{protocolBin, protocolJSON}
	m.HandleConnect(func(m *melody.Session) {
		x := sessionOf(m)
		x.mu.Lock()
		x.wire = socket{m}
		if x.ended.Load() {
			x.wire.finish(closeRestart, "restart")
		}
		x.mu.Unlock()
		x.begin()
	})
	m.HandleDisconnect(func(m *melody.Session) { sessionOf(m).gone() })
	m.HandleSentMessage(func(m *melody.Session, _ []byte) { sessionOf(m).written() })
	m.HandleSentMessageBinary(func(m *melody.Session, _ []byte) { sessionOf(m).written() })
	handle := func(m *melody.Session, b []byte) { aside(func() { sessionOf(m).handle(b) }) }
	m.HandleMessage(handle)
	m.HandleMessageBinary(handle)
}

// failed takes note of why a connection breaks off.
func (x *session) failed(err error) {
	var late net.Error
	switch {
	case x.ended.Load():
	case errors.Is(err, websocket.ErrReadLimit):
		x.srv.metrics.closed.WithLabelValues("too_big").Inc()
	case errors.As(err, &late) && late.Timeout():
		x.srv.metrics.closed.WithLabelValues("silent").Inc()
	}
}

// aside runs f on a stack of its own, and waits: what it grows to is given back, where a connection's own would be kept as
// long as it lives.
func aside(f func()) {
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		f()
	}()
	if p := <-done; p != nil {
		panic(p)
	}
}

// serveWS opens a WebSocket and serves it to its end.
func (s *Server) serveWS(w http.ResponseWriter, r *http.Request) *refusal {
	if !websocket.IsWebSocketUpgrade(r) {
		return &refusal{
			status: http.StatusUpgradeRequired, code: "INVALID_ARGUMENT", message: "this path speaks WebSocket",
			fields: []field{{"header.Upgrade", "want websocket"}},
		}
	}
	var who *auth.Identity
	var bad *refusal
	aside(func() {
		if who, bad = s.identify(r); bad == nil && !s.mayConnect(r, who) {
			bad = notAllowed()
		}
	})
	if bad != nil {
		return bad
	}
	x := s.newSession(who, "ws", w, r)
	chosen := "" // the first of ours that the client names; the token is not said back
	for _, p := range offered(r) {
		if chosen == "" && (p == protocolBin || p == protocolJSON) {
			chosen = p
		}
	}
	x.binary = chosen == protocolBin
	if bad := s.admit(r.Context(), x); bad != nil {
		return bad
	}
	bound(x.conn, s.o.WriteWait)
	// What the request held is not needed while the connection lives.
	bare := (&http.Request{Method: r.Method, URL: r.URL, Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, Header: r.Header.Clone(), Host: r.Host, RemoteAddr: r.RemoteAddr}).WithContext(context.Background())
	bare.Header.Del("Sec-Websocket-Protocol")
	bare.Header.Del("Authorization")
	if chosen != "" {
		bare.Header.Set("Sec-Websocket-Protocol", chosen)
	}
	_ = s.melody.HandleRequestWithKeys(w, bare, map[string]any{sessionKey: x})
	if x.wire == nil { // the upgrade failed, and the answer is written
		s.left(x)
	}
	return nil
}
