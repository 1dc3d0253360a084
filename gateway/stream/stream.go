// Package stream is the live channel: WebSocket and SSE subscriptions to robots, zones, tasks and alerts. State conflates,
// events do not; who is too slow never costs the others anything. It reads the views and decides nothing.
//
// Size: a subscription is about 500 bytes, 16 for each robot (100 for each task) that it names and, where it has a
// viewport, one bit a robot; a WebSocket connection about 36 kB (26 of them net/http's and melody's: three goroutines,
// 10 kB of buffers). What is on its way to clients is bounded by Options.MaxQueued over all connections. A robot is
// encoded once a change, whoever looks at it. bench/live measures it.
package stream

import (
	"context"
	_ "embed" // the document
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/olahol/melody"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/alert"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/task"
	"starling/gateway/auth"
	"starling/gateway/view"
)

// Options are the channel's ports and settings.
type Options struct {
	Views *view.Store
	Auth  *auth.Guard
	// Renewed is told of who renews a token in band, with the request id of the connection, and with an error of who is
	// refused; nil = nobody.
	Renewed func(who *auth.Identity, requestID string, err error)
	// Graph is the map that a warehouse's robots drive on, nil = none.
	Graph func(fleet.Shard) *roadmap.Graph
	// Task renders a task as REST does.
	Task func(*task.View) any
	// Heat renders a score of congestion as REST does.
	Heat func(*fact.Congestion) any
	// FindTasks reads those of the tasks that the store of facts has, in any order.
	FindTasks func(context.Context, fleet.TenantID, []fleet.TaskID) ([]task.View, error)
	// Alert renders an alert as REST does.
	Alert func(fleet.WarehouseID, *alert.View) any
	// OpenAlerts reads the unresolved alerts of a warehouse, "" = of all, from the store of facts, in any order.
	OpenAlerts func(context.Context, fleet.TenantID, fleet.WarehouseID) ([]fact.Alert, error)

	Origins []string // other origins whose pages may connect
	// OriginAllowed says whether a tenant lets pages of an origin connect; nil = none does.
	OriginAllowed func(ctx context.Context, tenant fleet.TenantID, origin string) bool
	// Enter counts a connection against its tenant's quota; leave gives the place back. nil = there is no quota.
	Enter func(ctx context.Context, tenant fleet.TenantID) (leave func(), ok bool)

	Log        *slog.Logger
	Registerer prometheus.Registerer

	MaxConns     int           // of the process; 0 = 20,000
	MaxPerTenant int           // connections of one tenant; 0 = 10,000
	MaxQueued    int64         // bytes on their way to all clients, beyond which state waits; 0 = 256 MiB
	WriteWait    time.Duration // how long a client may take for one message; 0 = 30 s
	LastWord     time.Duration // how long a client may take to read why it is closed, with all that is before it; 0 = 5 s
	PingEvery    time.Duration // 0 = 20 s; a connection that is silent for a little more than twice as long is closed
}

// Server serves the live channel.
type Server struct {
	o       Options
	boot    string // names this process's numbers: they mean nothing after a restart
	melody  *melody.Melody
	rules   map[channel]*auth.Rule
	metrics metrics
	queued  atomic.Int64

	mu       sync.Mutex
	hubs     map[fleet.TenantID]*hub
	sessions map[*session]struct{}
	stopping bool
	relieved time.Time
	running  sync.WaitGroup
	melodied sync.Once
}

type metrics struct {
	conns     *prometheus.GaugeVec
	subs      *prometheus.GaugeVec
	frames    *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	dropped   *prometheus.CounterVec
	closed    *prometheus.CounterVec
	refused   *prometheus.CounterVec
	snapshots *prometheus.CounterVec
	rounds    prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_stream_" + name, Help: help}, []string{label})
	}
	gauge := func(name, help, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "starling_stream_" + name, Help: help}, []string{label})
	}
	m := metrics{
		conns:     gauge("connections", "Open connections.", "transport"),
		subs:      gauge("subscriptions", "Subscriptions by channel.", "channel"),
		frames:    counter("frames_total", "Frames written.", "op"),
		bytes:     counter("bytes_total", "Bytes written.", "op"),
		dropped:   counter("dropped_total", "Deltas of state that waited for a slow client, and answers that a client did not take.", "queue"),
		closed:    counter("closed_total", "Connections closed by us.", "reason"),
		refused:   counter("refused_total", "Handshakes refused.", "code"),
		snapshots: counter("snapshots_total", "Snapshots begun, by whether the client asked for recovery.", "why"),
		rounds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_stream_round_seconds", Help: "Time to tell a tenant's subscribers what is new.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14),
		}),
	}
	if r != nil {
		r.MustRegister(m.conns, m.subs, m.frames, m.bytes, m.dropped, m.closed, m.refused, m.snapshots, m.rounds)
	}
	return m
}

// Bounds of one connection.
const (
	maxMessage  = 64 << 10 // bytes of a client's message
	maxSubs     = 16
	maxIDs      = 1000
	maxNamed    = 4000 // ids, in all filters
	maxDetailed = 20
	maxBad      = 20 // unreadable messages
	queuePlaces = 64 // frames given to a connection and not yet written
	sendBuffer  = 128 << 10
	maxUnread   = 256 << 10 // bytes given to a connection and not yet written, beyond which its state waits
)

// New returns a server. Stop ends it.
func New(o Options) *Server {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&o.MaxConns, 20_000)
	def(&o.MaxPerTenant, 10_000)
	if o.MaxQueued <= 0 {
		o.MaxQueued = 256 << 20
	}
	if o.WriteWait <= 0 {
		o.WriteWait = 30 * time.Second
	}
	if o.LastWord <= 0 {
		o.LastWord = 5 * time.Second
	}
	if o.PingEvery <= 0 {
		o.PingEvery = 20 * time.Second
	}
	s := &Server{
		o: o, boot: bootName(), melody: melody.New(), metrics: newMetrics(o.Registerer),
		hubs: map[fleet.TenantID]*hub{}, sessions: map[*session]struct{}{},
	}
	policy := auth.NewPolicy()
	s.rules = map[channel]*auth.Rule{}
	for _, c := range channels {
		if s.rules[c] = policy.Rule("CHANNEL " + string(c)); s.rules[c] == nil {
			panic("the policy has no rule for channel " + string(c))
		}
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "starling_stream_queued_bytes", Help: "Bytes on their way to clients.",
		}, func() float64 { return float64(s.queued.Load()) }))
	}
	s.openMelody()
	return s
}

func bootName() string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, 10)
	for i := range b {
		b[i] = digits[rand.IntN(len(digits))]
	}
	return string(b)
}

type connKey struct{}

// WithConn lets the channel bound what the system buffers for a connection. For http.Server.ConnContext.
func WithConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// bound keeps the system from buffering megabytes for a client that does not read, and from waiting a quarter of an hour
// for one whose network is gone.
func bound(c net.Conn, wait time.Duration) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = t.NetConn()
	}
	if b, ok := c.(interface{ SetWriteBuffer(int) error }); ok {
		_ = b.SetWriteBuffer(sendBuffer)
	}
	if raw, ok := c.(syscall.Conn); ok {
		if control, err := raw.SyscallConn(); err == nil {
			_ = control.Control(func(fd uintptr) { boundUnacknowledged(fd, wait+wait/2) })
		}
	}
}

// admit counts a connection in, or says why not.
func (s *Server) admit(ctx context.Context, x *session) *refusal {
	x.leave = func() {}
	if s.o.Enter != nil {
		leave, ok := s.o.Enter(ctx, x.tenant)
		if !ok {
			return &refusal{status: http.StatusTooManyRequests, code: "RESOURCE_EXHAUSTED", message: "the tenant's quota ws_clients is used up", retry: "5"}
		}
		x.leave = leave
	}
	bad := s.count(x)
	if bad != nil {
		x.leave()
	}
	return bad
}

func (s *Server) count(x *session) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hubs[x.tenant]
	switch {
	case s.stopping:
		return &refusal{status: http.StatusServiceUnavailable, code: "UNAVAILABLE", message: "the process is stopping", retry: "1"}
	case len(s.sessions) >= s.o.MaxConns, h != nil && h.conns >= s.o.MaxPerTenant:
		return &refusal{status: http.StatusTooManyRequests, code: "RESOURCE_EXHAUSTED", message: "too many live connections", retry: "5"}
	}
	if h == nil {
		h = newHub(s, x.tenant)
		s.hubs[x.tenant] = h
		s.running.Go(h.run) // ends with its last connection
	}
	h.conns++
	x.hub = h
	s.sessions[x] = struct{}{}
	return nil
}

// left counts a connection out.
func (s *Server) left(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.sessions[x]; !ok {
		return
	}
	defer x.leave()
	delete(s.sessions, x)
	if x.hub.conns--; x.hub.conns == 0 {
		delete(s.hubs, x.tenant)
		close(x.hub.done)
	}
}

// Stop tells every client that the process stops and when to come back, and waits until they are gone or ctx is done.
func (s *Server) Stop(ctx context.Context) {
	s.mu.Lock()
	s.stopping = true
	all := make([]*session, 0, len(s.sessions))
	for x := range s.sessions {
		all = append(all, x)
	}
	s.mu.Unlock()
	for _, x := range all {
		x.close(closeRestart, "restart", 500+rand.IntN(2500))
	}
	done := make(chan struct{})
	go func() { // ends with the last connection
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	s.mu.Lock()
	for x := range s.sessions { // what has not read its last word by now
		if x.conn != nil {
			_ = x.conn.Close()
		}
	}
	s.mu.Unlock()
	s.melodied.Do(func() { _ = s.melody.Close() })
}

// Of the bytes that may wait for all clients a quarter is kept free for those who read: who has taken nothing for this
// long is closed where they come near.
const (
	slowAfter    = time.Second
	relieveEvery = 250 * time.Millisecond
)

// relieve closes the slowest connections where what waits for all comes near its bound, so that the others need not wait.
func (s *Server) relieve(now time.Time) {
	excess := s.queued.Load() - s.o.MaxQueued/4*3
	if excess <= 0 {
		return
	}
	s.mu.Lock()
	if now.Sub(s.relieved) < relieveEvery {
		s.mu.Unlock()
		return
	}
	s.relieved = now
	type laggard struct {
		x     *session
		bytes int64
		since time.Time
	}
	var slow []laggard
	for x := range s.sessions {
		if bytes, since := x.unread(); bytes > 0 && now.Sub(since) > slowAfter {
			slow = append(slow, laggard{x, bytes, since})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(slow, func(a, b laggard) int { return a.since.Compare(b.since) })
	for _, l := range slow {
		if excess <= 0 {
			return
		}
		excess -= l.bytes
		l.x.close(closeSlow, "slow_consumer", 5000)
		if l.x.conn != nil {
			_ = l.x.conn.Close() // it does not read: there is no use in waiting for it
		}
	}
}

//go:embed asyncapi.yaml
var document []byte

// ServeHTTP implements http.Handler for /api/v1/ws, /api/v1/stream and the document that describes them, /asyncapi.yaml.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err *refusal
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		err = &refusal{status: http.StatusMethodNotAllowed, code: "NOT_FOUND", message: "the path does not take this method"}
	case r.URL.Path == "/asyncapi.yaml":
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(document)
	case r.URL.Path == "/api/v1/ws":
		err = s.serveWS(w, r)
	default:
		err = s.serveSSE(w, r)
	}
	if err != nil {
		s.metrics.refused.WithLabelValues(err.code).Inc()
		err.write(w)
	}
}

// refusal is the uniform error body.
type refusal struct {
	status        int
	code, message string
	retry         string
	fields        []field
}

type field struct {
	Field   string `json:"field"`
	Problem string `json:"problem"`
}

type errorBody struct {
	Code      string         `json:"code"`
	Message   string         `json:"message"`
	RequestID string         `json:"request_id"`
	Details   map[string]any `json:"details"`
}

func (e *refusal) body(requestID string) errorBody {
	b := errorBody{e.code, e.message, requestID, map[string]any{}}
	if len(e.fields) > 0 {
		b.Details["fields"] = e.fields
	}
	return b
}

func (e *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if e.retry != "" {
		h.Set("Retry-After", e.retry)
	}
	if e.status == http.StatusUpgradeRequired {
		h.Set("Upgrade", "websocket")
	}
	if e.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="starling"`)
	}
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]errorBody{"error": e.body(h.Get("X-Request-ID"))})
}
