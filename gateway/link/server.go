package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	linkv1 "starling/proto/gen/starling/link/v1"
)

// maxMetadata bounds the metadata of a call in bytes: a token has at most 16 KiB.
const maxMetadata = 32 << 10

// Options are the link's ports and settings. The zero value of a setting is its stated default.
type Options struct {
	Auth       Authenticator
	Directory  Directory
	Engine     Engine
	Quotas     Quotas // nil = tenants are not bounded
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil = metrics are kept and not registered
	TLS        *tls.Config           // nil = plain
	MaxRobots  int                   // per stream; 0 = 10,000
	SlowReader time.Duration         // a frame that cannot be sent for so long ends the stream; 0 = 10 s
	// A stream that sends more in a second is read no further until the next.
	MaxFrames   int // 0 = 5,000
	MaxStatuses int // 0 = 200,000
}

// Server is the link's server side, and the actors' way to the robots.
type Server struct {
	linkv1.UnimplementedLinkServer
	Options
	grpc     *grpc.Server
	metrics  *metrics
	sessions atomic.Uint64
	enders   sync.WaitGroup
	routes   [64]routes

	mu       sync.Mutex
	streams  map[*stream]struct{}
	draining bool
}

// routes is one part of the table robot -> stream.
type routes struct {
	mu sync.RWMutex
	m  map[fleet.RobotID]*carried
}

// New returns a server; Serve starts it.
func New(o Options) *Server {
	if o.MaxRobots <= 0 {
		o.MaxRobots = 10_000
	}
	if o.MaxFrames <= 0 {
		o.MaxFrames = 5000
	}
	if o.MaxStatuses <= 0 {
		o.MaxStatuses = 200_000
	}
	if o.SlowReader <= 0 {
		o.SlowReader = 10 * time.Second
	}
	s := &Server{Options: o, metrics: newMetrics(o.Registerer), streams: map[*stream]struct{}{}}
	s.sessions.Store(uint64(time.Now().UnixMilli()) << 20) // rises over restarts
	for i := range s.routes {
		s.routes[i].m = map[fleet.RobotID]*carried{}
	}
	transport := insecure.NewCredentials()
	if o.TLS != nil {
		transport = credentials.NewTLS(o.TLS)
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(transport),
		grpc.ForceServerCodecV2(Codec{}),
		grpc.MaxRecvMsgSize(2*maxFrame), // what is a little too large is told so by the codec
		grpc.MaxHeaderListSize(maxMetadata),
		grpc.MaxConcurrentStreams(1000),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.StreamInterceptor(s.recoverPanic),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.WaitForHandlers(true), // Stop waits for them; what they leave behind, enders waits for
	)
	linkv1.RegisterLinkServer(s.grpc, s)
	return s
}

// Serve takes streams until Stop.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Stop tells every stream that it will end, and ends them: gracefully until ctx is done.
func (s *Server) Stop(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	for st := range s.streams {
		st.close(&linkv1.Closing{Reason: "the engine is stopping", RetryAfterMs: 1000})
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
	}
	s.enders.Wait()
}

// recoverPanic turns a panic in one stream into that stream's end.
func (s *Server) recoverPanic(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.Log.LogAttrs(ss.Context(), slog.LevelError, "link stream panicked", slog.String("event", "link.panic"),
				slog.Any("error", p), slog.String("stack", string(debug.Stack())))
			err = status.Error(codes.Internal, "internal error")
		}
	}()
	return h(srv, ss)
}

// Connect serves one stream.
func (s *Server) Connect(ss grpc.BidiStreamingServer[linkv1.Uplink, linkv1.Downlink]) error {
	id, err := s.authenticate(ss.Context())
	if err != nil {
		return err
	}
	st := newStream(s, ss, id)
	s.mu.Lock()
	draining := s.draining
	if !draining { // else Stop has told all streams already, and would not tell this one
		s.streams[st] = struct{}{}
	}
	s.mu.Unlock()
	if draining {
		return status.Error(codes.Unavailable, "the engine is stopping")
	}
	s.metrics.streams.Inc()
	err = st.run()
	s.mu.Lock()
	delete(s.streams, st)
	s.mu.Unlock()
	s.metrics.streams.Dec()
	// A reader that is in the midst of opening robots would add them after dropAll: first it ends. It can do so only
	// when this handler has returned.
	s.enders.Go(func() {
		st.both.Wait()
		st.dropAll()
	})
	if err != nil && status.Code(err) != codes.Canceled {
		s.metrics.closed.WithLabelValues(status.Code(err).String()).Inc()
		s.Log.LogAttrs(ss.Context(), slog.LevelInfo, "link stream ended", slog.String("event", "link.closed"),
			slog.String("tenant_id", string(id.Tenant)), slog.String("error", err.Error()))
	}
	return err
}

// authenticate says who opens a stream: by the token of its metadata, by the certificate of its connection, or by both.
func (s *Server) authenticate(ctx context.Context) (Identity, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c := Credentials{Authorization: md.Get("authorization"), TenantIDs: md.Get("x-tenant-id"), Certificate: certificateOf(ctx)}
	if len(c.Authorization) == 0 && c.Certificate == nil {
		return Identity{}, status.Error(codes.Unauthenticated, "want metadata authorization: Bearer <token>, or a client certificate")
	}
	id, err := s.Auth.AuthenticateLink(ctx, c)
	switch {
	case errors.Is(err, ErrForbidden):
		return id, status.Error(codes.PermissionDenied, ErrForbidden.Error())
	case errors.Is(err, ErrUnauthenticated), err == nil && id.expired(time.Now()):
		return id, status.Error(codes.Unauthenticated, ErrUnauthenticated.Error())
	case err != nil:
		return id, status.Error(codes.Unavailable, "who opens the link cannot be checked now")
	}
	return id, nil
}

// certificateOf is the caller's certificate, nil where it showed none that the handshake could verify.
func certificateOf(ctx context.Context) *x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return nil
	}
	return info.State.VerifiedChains[0][0]
}

func (s *Server) part(id fleet.RobotID) *routes {
	h := uint32(2166136261)
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return &s.routes[h%64]
}

func (s *Server) route(id fleet.RobotID) *carried {
	p := s.part(id)
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.m[id]
}

// carry makes c the way to its robot and returns the way there was before; ok is false where that one is newer.
func (s *Server) carry(c *carried) (old *carried, ok bool) {
	p := s.part(c.id)
	p.mu.Lock()
	defer p.mu.Unlock()
	old = p.m[c.id]
	if old != nil && old.session > c.session {
		return nil, false
	}
	p.m[c.id] = c
	if old == nil {
		s.metrics.robots.Inc()
	} else {
		old.moveTo(c)
	}
	return old, true
}

// giveBack undoes carry: old is the way again, unless its stream has ended since.
func (s *Server) giveBack(c, old *carried) {
	p := s.part(c.id)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.m[c.id] != c:
	case old != nil && !old.gone.Load():
		p.m[c.id] = old
		c.moveTo(old)
	default:
		delete(p.m, c.id)
		c.vacate()
		s.metrics.robots.Dec()
	}
}

// drop ends c where it still is the way to its robot, and tells the robot.
func (s *Server) drop(c *carried) {
	p := s.part(c.id)
	p.mu.Lock()
	c.gone.Store(true)
	if p.m[c.id] == c {
		delete(p.m, c.id)
		c.vacate()
		s.metrics.robots.Dec()
	}
	p.mu.Unlock()
	s.Engine.CloseLink(c.shard, c.id, c.session)
}

// SendOrder implements the actors' port: the newest order of a robot replaces one that was not sent yet.
func (s *Server) SendOrder(o robot.Order, g *roadmap.Graph) bool {
	c := s.route(o.Robot)
	if c == nil || g == nil {
		return false
	}
	return c.stream.putOrder(c.handle, orderOf(c.handle, &o, g))
}

// SendCommand implements the actors' port.
func (s *Server) SendCommand(cmd robot.Command) bool {
	c := s.route(cmd.Robot)
	if c == nil {
		return false
	}
	return c.stream.putCommand(commandOf(c.handle, &cmd))
}

// HangUp implements the actors' port: whoever carries the robot says hello anew.
func (s *Server) HangUp(id fleet.RobotID) {
	if c := s.route(id); c != nil && c.open.Load() && !c.gone.Load() {
		c.stream.close(&linkv1.Closing{Reason: "say hello again: the engine has to learn anew where a robot stands"})
	}
}

// ProgressDone implements the actors' port: the robot's core has taken its progress up to number.
func (s *Server) ProgressDone(id fleet.RobotID, number uint64) {
	if c := s.route(id); c != nil {
		c.stream.putHighWater(c.handle, number)
	}
}

func orderOf(handle uint32, o *robot.Order, g *roadmap.Graph) *linkv1.Order {
	m := &linkv1.Order{
		Handle: handle, OrderId: o.ID, UpdateId: o.Update, Incarnation: int64(o.Incarnation), TaskId: string(o.Task),
		Paused: o.Paused, MapId: string(g.MapID), MapVersion: uint32(g.Version), Traceparent: string(o.Trace),
		Base: waypoints(g, o.From, o.Base, o.Limits), Horizon: waypoints(g, fleet.NoVertex, o.Horizon, nil),
	}
	if !o.NotAfter.IsZero() {
		m.NotAfterMs = o.NotAfter.UnixMilli()
	}
	return m
}

func waypoints(g *roadmap.Graph, from fleet.Vertex, vs []fleet.Vertex, limits []float64) []*linkv1.Waypoint {
	if len(vs) == 0 {
		return nil
	}
	all, out := make([]linkv1.Waypoint, len(vs)), make([]*linkv1.Waypoint, len(vs))
	for i, v := range vs {
		w := &all[i]
		w.Vertex, w.X, w.Y = uint32(v), float32(g.Vertices[v].X), float32(g.Vertices[v].Y)
		if limits != nil {
			w.MaxSpeedMps = float32(limits[i])
		} else if from != fleet.NoVertex {
			if l, ok := g.Lane(from, v); ok {
				w.MaxSpeedMps = float32(g.Lanes[l].SpeedMPS)
			}
		}
		out[i], from = w, v
	}
	return out
}

func commandOf(handle uint32, c *robot.Command) *linkv1.Command {
	m := &linkv1.Command{
		Handle: handle, CommandId: string(c.ID), Kind: linkv1.CommandKind(c.Kind) + linkv1.CommandKind_COMMAND_KIND_PAUSE,
		ExpiresAtMs: c.ExpiresAt.UnixMilli(),
	}
	if c.Vertex != fleet.NoVertex {
		v := uint32(c.Vertex)
		m.Vertex = &v
	}
	return m
}
