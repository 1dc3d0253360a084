package stream

import (
	"context"
	"encoding/json"
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

// frame is what is written at once.
type frame struct {
	op     string
	data   []byte
	binary bool
	epoch  string // of SSE ids
	seq    uint64
	sub    *sub // whose next frame may be made when this one is written
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
	kind      string // ws, sse
	binary    bool
	tenant    fleet.TenantID
	requestID string

	mu      sync.Mutex
	who     *auth.Identity
	expiry  *time.Timer
	subs    map[uint32]*sub
	fifo    []*frame // given to the wire and not yet written
	bad     int
	tokens  float64
	counted time.Time

	ended atomic.Bool
}

func (s *Server) newSession(who *auth.Identity, kind string, w http.ResponseWriter) *session {
	return &session{
		srv: s, kind: kind, tenant: who.Tenant, who: who, requestID: w.Header().Get("X-Request-ID"), subs: map[uint32]*sub{},
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

// send gives a frame to the wire; false where the client has too much unread already, or is gone.
func (x *session) send(f *frame) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended.Load() || len(x.fifo) >= queuePlaces-4 {
		return false
	}
	x.give(f)
	return true
}

func (x *session) give(f *frame) {
	x.fifo = append(x.fifo, f)
	x.srv.queued.Add(int64(len(f.data)))
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
	x.mu.Unlock()
	x.srv.queued.Add(-int64(len(f.data)))
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
	if !x.send(&frame{op: op, data: b}) && !x.ended.Load() {
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
	x.give(&frame{op: "closing", data: b})
	x.wire.finish(code, reason)
}

// gone forgets a connection that has ended.
func (x *session) gone() {
	x.mu.Lock()
	x.ended.Store(true)
	if x.expiry != nil {
		x.expiry.Stop()
	}
	for _, f := range x.fifo {
		x.srv.queued.Add(-int64(len(f.data)))
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
	m.Upgrader.CheckOrigin = s.sameOrigin
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
	m.HandleMessage(func(m *melody.Session, b []byte) { sessionOf(m).handle(b) })
	m.HandleMessageBinary(func(m *melody.Session, b []byte) { sessionOf(m).handle(b) })
}

// serveWS opens a WebSocket and serves it to its end.
func (s *Server) serveWS(w http.ResponseWriter, r *http.Request) *refusal {
	if !websocket.IsWebSocketUpgrade(r) {
		return &refusal{
			status: http.StatusUpgradeRequired, code: "INVALID_ARGUMENT", message: "this path speaks WebSocket",
			fields: []field{{"header.Upgrade", "want websocket"}},
		}
	}
	if !s.sameOrigin(r) {
		return notAllowed()
	}
	who, bad := s.identify(r)
	if bad != nil {
		return bad
	}
	x := s.newSession(who, "ws", w)
	chosen := "" // the first of ours that the client names; the token is not said back
	for _, p := range offered(r) {
		if chosen == "" && (p == protocolBin || p == protocolJSON) {
			chosen = p
		}
	}
	x.binary = chosen == protocolBin
	if bad := s.admit(x); bad != nil {
		return bad
	}
	boundBuffer(r.Context())
	// What the request held is not needed while the connection lives.
	bare := (&http.Request{Method: r.Method, URL: r.URL, Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, Header: r.Header.Clone(), Host: r.Host, RemoteAddr: r.RemoteAddr}).WithContext(context.Background())
	bare.Header.Del("Sec-Websocket-Protocol")
	bare.Header.Del("Authorization")
	if chosen != "" {
		bare.Header.Set("Sec-Websocket-Protocol", chosen)
	}
	err := s.melody.HandleRequestWithKeys(w, bare, map[string]any{sessionKey: x})
	if x.wire == nil { // the upgrade failed, and the answer is written
		s.left(x)
		if err != nil {
			s.metrics.refused.WithLabelValues("handshake").Inc()
		}
	}
	return nil
}
