package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	linkv1 "starling/proto/gen/starling/link/v1"
)

type box struct {
	statuses atomic.Int64
	mu       sync.Mutex
	told     []robot.Msg
	full     atomic.Bool
	refused  atomic.Int64
	onStatus func()
	keep     bool
	last     []robot.StatusReported // if keep
}

func (b *box) Status(s *robot.StatusReported) {
	if b.keep {
		b.mu.Lock()
		b.last = append(b.last, *s)
		b.mu.Unlock()
	}
	if b.onStatus != nil {
		b.onStatus()
	}
	b.statuses.Add(1)
}

func (b *box) Tell(m robot.Msg) bool {
	if b.full.Load() {
		b.refused.Add(1)
		return false
	}
	b.mu.Lock()
	b.told = append(b.told, m)
	b.mu.Unlock()
	return true
}
func (b *box) count() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.told) }

type engine struct {
	mu     sync.Mutex
	boxes  map[fleet.RobotID]*box
	closed []uint64
	opened map[fleet.RobotID][]uint64
	onOpen func(fleet.RobotID, robot.LinkOpened) error

	progress uint64 // what it has of every robot
}

// ended are the sessions that were closed.
func (e *engine) ended() []uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.closed)
}

func (e *engine) OpenLink(_ context.Context, _ fleet.Shard, id fleet.RobotID, m robot.LinkOpened) (a struct{ ProgressNumber uint64 }, err error) {
	if e.onOpen != nil {
		err = e.onOpen(id, m)
	}
	e.mu.Lock()
	e.opened[id] = append(e.opened[id], m.Session)
	a.ProgressNumber = e.progress
	e.mu.Unlock()
	return a, err
}

func (e *engine) CloseLink(_ fleet.Shard, _ fleet.RobotID, s uint64) {
	e.mu.Lock()
	e.closed = append(e.closed, s)
	e.mu.Unlock()
}

func (e *engine) box(id fleet.RobotID) *box {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.boxes[id] == nil {
		e.boxes[id] = &box{}
	}
	return e.boxes[id]
}

func (e *engine) Mailbox(_ context.Context, _ fleet.Shard, id fleet.RobotID) (interface {
	Status(s *robot.StatusReported)
	Tell(m robot.Msg) bool
}, error,
) {
	return e.box(id), nil
}

func (e *engine) ActiveGraph(context.Context, fleet.Shard) (*roadmap.Graph, error) {
	return graph(), nil
}

// AuthenticateLink takes the token for what it says.
func (e *engine) AuthenticateLink(_ context.Context, c Credentials) (Identity, error) {
	if c.Certificate != nil {
		return Identity{Tenant: "t", Robot: fleet.RobotID(c.Certificate.Subject.CommonName), Expires: c.Certificate.NotAfter}, nil
	}
	bearer, ok := strings.CutPrefix(strings.Join(c.Authorization, ","), "Bearer ")
	if !ok {
		return Identity{}, ErrUnauthenticated
	}
	tenant := strings.Join(c.TenantIDs, ",")
	if left, ok := strings.CutPrefix(bearer, "for "); ok {
		d, err := time.ParseDuration(left)
		return Identity{Tenant: "t", Any: true, Expires: time.Now().Add(d)}, err
	}
	switch bearer {
	case "expired":
		return Identity{}, fmt.Errorf("check: %w", ErrUnauthenticated)
	case "viewer":
		return Identity{}, fmt.Errorf("check: %w", ErrForbidden)
	case "unknown issuer":
		return Identity{}, errors.New("the issuer does not answer")
	case "robot r1":
		return Identity{Tenant: "t", Robot: "r1"}, nil
	case "fleet f":
		return Identity{Tenant: "t", Fleet: "f"}, nil
	}
	return Identity{Tenant: fleet.TenantID(cmp.Or(tenant, "t")), Any: true}, nil
}

// FindRobot knows every robot of tenant t: those whose names begin with f are of fleet f.
func (e *engine) FindRobot(_ context.Context, tenant fleet.TenantID, id fleet.RobotID, code string) (Found, error) {
	switch {
	case id == "missing", tenant != "t":
		return Found{}, fmt.Errorf("find: %w", fact.ErrNotFound)
	case id == "away":
		return Found{}, fmt.Errorf("find: %w", fact.ErrUnavailable)
	case id == "":
		id = fleet.RobotID("id of " + code)
	}
	f := Found{Shard: fleet.Shard{Tenant: "t", Warehouse: "w"}, ID: id}
	if id[0] == 'f' {
		f.Fleet = "f"
	}
	return f, nil
}

func graph() *roadmap.Graph {
	return &roadmap.Graph{MapID: "m", Version: 1, Vertices: make([]roadmap.Vertex, 2000), Out: make([][]int32, 2000)}
}

func start(t testing.TB, o Options) (*Server, *engine, linkv1.LinkClient) {
	e := &engine{boxes: map[fleet.RobotID]*box{}, opened: map[fleet.RobotID][]uint64{}}
	o.Auth, o.Directory, o.Engine, o.Log = e, e, e, slog.New(slog.DiscardHandler)
	s := New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(Codec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		ctx, c := context.WithTimeout(context.Background(), time.Second)
		defer c()
		s.Stop(ctx)
	})
	return s, e, linkv1.NewLinkClient(conn)
}

type st = grpc.BidiStreamingClient[linkv1.Uplink, linkv1.Downlink]

func connect(t testing.TB, c linkv1.LinkClient) (st, context.CancelFunc) {
	t.Helper()
	return connectAs(t, c, "authorization", "Bearer x")
}

func connectAs(t testing.TB, c linkv1.LinkClient, md ...string) (st, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), md...))
	s, err := c.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return s, cancel
}

func hello(t testing.TB, s st, ids ...string) {
	h := &linkv1.Hello{ProtocolVersion: 1}
	for _, id := range ids {
		h.Robots = append(h.Robots, &linkv1.RobotHello{RobotId: id, BootId: "b"})
	}
	if err := s.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Hello{Hello: h}}); err != nil {
		t.Fatal(err)
	}
}

func recv(t testing.TB, s st) *linkv1.Downlink {
	t.Helper()
	m, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func batch(handles ...uint32) *linkv1.Uplink {
	b := &linkv1.StatusBatch{}
	now := time.Now().UnixMilli()
	for i, h := range handles {
		b.Handle, b.Seq, b.TsMs = append(b.Handle, h), append(b.Seq, uint64(i+1)), append(b.TsMs, now)
		b.X, b.Y, b.Theta = append(b.X, 1), append(b.Y, 2), append(b.Theta, 0)
		b.VelocityMps, b.BatterySoc, b.State = append(b.VelocityMps, 1), append(b.BatterySoc, .5), append(b.State, 2)
	}
	return &linkv1.Uplink{Frame: &linkv1.Uplink_Statuses{Statuses: b}}
}

func until(d time.Duration, f func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return true
		}
	}
	return f()
}

func TestOrderMadeWhileOpeningComesAfterTheWelcome(t *testing.T) {
	t.Parallel()
	s, e, c := start(t, Options{})
	e.onOpen = func(id fleet.RobotID, _ robot.LinkOpened) error {
		s.SendOrder(robot.Order{Robot: id, ID: 1}, graph())
		time.Sleep(50 * time.Millisecond)
		return nil
	}
	ss, _ := connect(t, c)
	hello(t, ss, "r1")
	if m := recv(t, ss); m.GetWelcome() == nil {
		t.Fatalf("first frame is %T, the handle is not known yet", m.Frame)
	}
}

func TestTakenOverRobotIsDroppedFromTheOlderStream(t *testing.T) {
	t.Parallel()
	_, e, c := start(t, Options{})
	a, _ := connect(t, c)
	hello(t, a, "r1")
	recv(t, a)
	b, _ := connect(t, c)
	hello(t, b, "r1")
	recv(t, b)
	_ = a.Send(batch(1))
	_ = a.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Progress{Progress: &linkv1.ProgressBatch{Entries: []*linkv1.Progress{{Handle: 1, Number: 9, Vertex: 3}}}}})
	if until(300*time.Millisecond, func() bool { return e.box("r1").statuses.Load() > 0 || e.box("r1").count() > 0 }) {
		t.Fatalf("the older stream still feeds the robot: %d statuses, %d progress", e.box("r1").statuses.Load(), e.box("r1").count())
	}
}

func TestRobotOpenedAfterTheStreamEndedIsClosed(t *testing.T) {
	t.Parallel()
	s, e, c := start(t, Options{})
	e.onOpen = func(fleet.RobotID, robot.LinkOpened) error { time.Sleep(300 * time.Millisecond); return nil }
	ss, cancel := connect(t, c)
	hello(t, ss, "r1")
	if !until(2*time.Second, func() bool { return s.route("r1") != nil }) {
		t.Fatal("not being opened")
	}
	cancel()
	if !until(3*time.Second, func() bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.closed) == 1 && s.route("r1") == nil }) {
		t.Fatal("a dead stream is still the way to the robot: SendOrder/SendCommand answer true for ever")
	}
}

func TestFailedTakeoverLeavesTheOlderStream(t *testing.T) {
	t.Parallel()
	s, e, c := start(t, Options{})
	a, _ := connect(t, c)
	hello(t, a, "r1")
	recv(t, a)
	e.onOpen = func(fleet.RobotID, robot.LinkOpened) error { return errors.New("no") }
	b, _ := connect(t, c)
	hello(t, b, "r1")
	if w := recv(t, b).GetWelcome().Robots[0]; w.Refused == "" {
		t.Fatal("want a refusal")
	}
	if s.route("r1") == nil {
		t.Fatal("a refused takeover cut the older stream off")
	}
}

func TestOlderSessionNeverReplacesANewer(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, Options{})
	s.carry(&carried{id: "r1", session: 6})
	s.carry(&carried{id: "r1", session: 5})
	if s.route("r1").session != 6 {
		t.Fatal("the older session won")
	}
}

func TestBackPressureSkipsNothing(t *testing.T) {
	t.Parallel()
	_, e, c := start(t, Options{})
	ss, _ := connect(t, c)
	hello(t, ss, "r1")
	recv(t, ss)
	e.box("r1").full.Store(true)
	for n := range 500 {
		_ = ss.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Progress{Progress: &linkv1.ProgressBatch{Entries: []*linkv1.Progress{{Handle: 1, Number: uint64(n + 1)}}}}})
	}
	if !until(2*time.Second, func() bool { return e.box("r1").refused.Load() > 3 }) {
		t.Fatal("the mailbox was never asked again")
	}
	e.box("r1").full.Store(false)
	if !until(2*time.Second, func() bool { return e.box("r1").count() == 500 }) {
		t.Fatal(e.box("r1").count())
	}
	for i, m := range e.box("r1").told {
		if m.(robot.Progressed).Number != uint64(i+1) {
			t.Fatal(i, m)
		}
	}
}

func TestSlowReaderIsClosed(t *testing.T) {
	t.Parallel()
	s, _, c := start(t, Options{SlowReader: 200 * time.Millisecond})
	ss, _ := connect(t, c)
	hello(t, ss, "r1")
	recv(t, ss)
	g := graph()
	base := make([]fleet.Vertex, 1500)
	gone := until(6*time.Second, func() bool {
		s.SendOrder(robot.Order{Robot: "r1", Horizon: base}, g)
		s.SendCommand(robot.Command{Robot: "r1"})
		return s.route("r1") == nil
	})
	if !gone {
		t.Fatal("not closed")
	}
	for {
		if _, err := ss.Recv(); err != nil {
			if status.Code(err) != codes.ResourceExhausted {
				t.Fatal(err)
			}
			return
		}
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	s, _, c := start(t, Options{})
	ss, _ := connect(t, c)
	hello(t, ss, "r1")
	recv(t, ss)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	go s.Stop(ctx)
	if recv(t, ss).GetClosing() == nil {
		t.Fatal("want closing")
	}
	if _, err := ss.Recv(); status.Code(err) != codes.Unavailable && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestPanicEndsOneStream(t *testing.T) {
	t.Parallel()
	_, e, c := start(t, Options{})
	e.boxes["r1"] = &box{onStatus: func() { panic("boom") }}
	ss, _ := connect(t, c)
	hello(t, ss, "r1")
	recv(t, ss)
	_ = ss.Send(batch(1))
	if _, err := ss.Recv(); status.Code(err) != codes.Internal {
		t.Fatal(err)
	}
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// Frame bytes -> box, without the network: decode from the pool, check, hand over.
func BenchmarkFrameToBox(b *testing.B) {
	for _, n := range []int{50, 500} {
		b.Run(map[int]string{50: "50", 500: "500"}[n], func(b *testing.B) {
			s, e, _ := start(b, Options{})
			t := newStream(s, nil, Identity{})
			var hs []uint32
			for i := range n {
				t.robots = append(t.robots, &carried{stream: t, handle: uint32(i + 1), box: e.box("r")})
				hs = append(hs, uint32(i+1))
			}
			raw, _ := batch(hs...).MarshalVT()
			b.ReportAllocs()
			for b.Loop() {
				m := linkv1.UplinkFromVTPool()
				if err := m.UnmarshalVT(raw); err != nil {
					b.Fatal(err)
				}
				if err := t.frame(context.Background(), m); err != nil {
					b.Fatal(err)
				}
				m.ReturnToVTPool()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/status")
		})
	}
}

func BenchmarkProgressToBox(b *testing.B) {
	s, e, _ := start(b, Options{})
	t := newStream(s, nil, Identity{})
	e.box("r").full.Store(false)
	t.robots = []*carried{{stream: t, handle: 1, boot: "b", box: sink{}}}
	p := &linkv1.ProgressBatch{}
	for i := range 500 {
		p.Entries = append(p.Entries, &linkv1.Progress{Handle: 1, Number: uint64(i + 1), Kind: 1, Vertex: 4, AtMs: 1e12})
	}
	raw, _ := (&linkv1.Uplink{Frame: &linkv1.Uplink_Progress{Progress: p}}).MarshalVT()
	b.ReportAllocs()
	for b.Loop() {
		m := linkv1.UplinkFromVTPool()
		_ = m.UnmarshalVT(raw)
		if err := t.frame(context.Background(), m); err != nil {
			b.Fatal(err)
		}
		m.ReturnToVTPool()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*500), "ns/progress")
}

type sink struct{}

func (sink) Status(*robot.StatusReported) {}
func (sink) Tell(robot.Msg) bool          { return true }

// Over a loopback socket: CPU of client and server together, so an upper bound.
func BenchmarkLoopback(b *testing.B) {
	for _, n := range []int{50, 500} {
		b.Run(map[int]string{50: "50", 500: "500"}[n], func(b *testing.B) {
			_, e, c := start(b, Options{MaxFrames: 1 << 30, MaxStatuses: 1 << 30})
			ss, _ := connect(b, c)
			var ids []string
			var hs []uint32
			for i := range n {
				ids, hs = append(ids, "r"), append(hs, uint32(i+1))
			}
			hello(b, ss, ids...)
			recv(b, ss)
			m := batch(hs...)
			var ms0, ms1 runtime.MemStats
			runtime.ReadMemStats(&ms0)
			c0, want := cpu(), e.box("r").statuses.Load()
			for b.Loop() {
				if err := ss.Send(m); err != nil {
					b.Fatal(err)
				}
				want += int64(n)
			}
			until(5*time.Second, func() bool { return e.box("r").statuses.Load() == want })
			runtime.ReadMemStats(&ms1)
			total := float64(b.N * n)
			b.ReportMetric(float64(cpu()-c0)/total, "cpu-ns/status")
			b.ReportMetric(float64(ms1.Mallocs-ms0.Mallocs)/total, "allocs/status")
		})
	}
}
