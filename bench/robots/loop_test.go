package robots

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/gateway/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house stands for the engine: it grants one way to a robot and writes down what it hears. It says what it has of the
// robot's progress when it is told to.
type house struct {
	mu       sync.Mutex
	known    uint64
	heard    []uint64 // numbers of progress, as they come
	at       fleet.Vertex
	opened   []robot.LinkOpened
	acks     []robot.CommandAcknowledged
	statuses int
	opens    func(id fleet.RobotID)
}

func (h *house) AuthenticateLink(_ context.Context, c link.Credentials) (link.Identity, error) {
	if !slices.Equal(c.Authorization, []string{"Bearer secret"}) || len(c.TenantIDs) != 1 {
		return link.Identity{}, link.ErrUnauthenticated
	}
	return link.Identity{Tenant: fleet.TenantID(c.TenantIDs[0]), Any: true}, nil
}

func (h *house) FindRobot(_ context.Context, t fleet.TenantID, id fleet.RobotID, _ string) (link.Found, error) {
	return link.Found{Shard: fleet.Shard{Tenant: t, Warehouse: "w"}, ID: id}, nil
}

func (h *house) OpenLink(_ context.Context, _ fleet.Shard, id fleet.RobotID, m robot.LinkOpened) (a struct{ ProgressNumber uint64 }, err error) {
	h.mu.Lock()
	h.opened = append(h.opened, m)
	a.ProgressNumber = h.known
	opens := h.opens
	h.mu.Unlock()
	opens(id)
	return a, nil
}

func (h *house) CloseLink(fleet.Shard, fleet.RobotID, uint64) {}

func (h *house) Mailbox(context.Context, fleet.Shard, fleet.RobotID) (interface {
	Status(s *robot.StatusReported)
	Tell(m robot.Msg) bool
}, error,
) {
	return h, nil
}

func (h *house) ActiveGraph(context.Context, fleet.Shard) (*roadmap.Graph, error) { return line(), nil }

func (h *house) Status(*robot.StatusReported) {
	h.mu.Lock()
	h.statuses++
	h.mu.Unlock()
}

func (h *house) Tell(m robot.Msg) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch m := m.(type) {
	case robot.Progressed:
		h.heard, h.at = append(h.heard, m.Number), m.Vertex
	case robot.CommandAcknowledged:
		h.acks = append(h.acks, m)
	}
	return true
}

// line is a way of ten vertices, a metre apart.
func line() *roadmap.Graph {
	g := &roadmap.Graph{MapID: "m", Version: 1, Vertices: make([]roadmap.Vertex, 10), Out: make([][]int32, 10)}
	for i := range g.Vertices {
		g.Vertices[i].X = float64(i)
	}
	return g
}

func (h *house) listen(t *testing.T, addr string) (*link.Server, string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := link.New(link.Options{Auth: h, Directory: h, Engine: h, Log: slog.New(slog.DiscardHandler)})
	h.mu.Lock()
	h.opens = func(id fleet.RobotID) { // the whole way, at every welcome
		h.mu.Lock()
		n := len(h.opened)
		at := max(0, h.opened[n-1].At)
		h.mu.Unlock()
		o := robot.Order{Robot: id, ID: 1, Update: uint32(n), From: at}
		for v := at + 1; v <= 3*fleet.Vertex(n); v++ { // three vertices more on each stream
			o.Base = append(o.Base, v)
		}
		s.SendOrder(o, line())
	}
	h.mu.Unlock()
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l) }) // ends with Stop
	t.Cleanup(func() { hardStop(s); done.Wait() })
	return s, l.Addr().String()
}

func hardStop(s *link.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Stop(ctx)
}

func (h *house) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		h.mu.Lock()
		ok := f()
		h.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			h.mu.Lock()
			defer h.mu.Unlock()
			t.Fatalf("%s: heard %v, on %d, opened %+v, acks %v", what, h.heard, h.at, h.opened, h.acks)
		}
	}
}

func TestARobotGoesOnOverLostLinks(t *testing.T) {
	t.Parallel()
	h := &house{}
	s, addr := h.listen(t, "127.0.0.1:0")
	f, err := New(Options{
		LinkAddr: addr, Token: "secret", TenantID: "t", StatusEvery: 20 * time.Millisecond,
		Robots: []Robot{{ID: "r"}}, Motion: Motion{SpeedMPS: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { f.Run(ctx) })
	defer done.Wait()
	defer cancel()

	h.until(t, "the first way", func() bool { return slices.Equal(h.heard, []uint64{1, 2, 3}) && h.at == 3 && h.statuses > 0 })
	s.SendCommand(robot.Command{Robot: "r", ID: "00000000-0000-0000-0000-000000000001", Kind: fleet.CommandPause, Vertex: fleet.NoVertex})
	h.until(t, "pause", func() bool { return len(h.acks) == 2 && h.acks[1].Stage == fleet.StageDone })
	s.SendCommand(robot.Command{Robot: "r", ID: "00000000-0000-0000-0000-000000000002", Kind: fleet.CommandResume, Vertex: fleet.NoVertex})
	h.until(t, "resume", func() bool { return len(h.acks) == 4 })

	hardStop(s) // the engine had not said that it has the progress: all comes again, before what is new
	h.mu.Lock()
	h.heard = nil
	h.mu.Unlock()
	s, _ = h.listen(t, addr)
	h.until(t, "the second way", func() bool { return slices.Equal(h.heard, []uint64{1, 2, 3, 4, 5, 6}) && h.at == 6 })
	s.ProgressDone("r", 5)
	for n := range 2 { // answered commands: the second left after the high water
		s.SendCommand(robot.Command{Robot: "r", ID: "00000000-0000-0000-0000-000000000003", Kind: fleet.CommandResume, Vertex: fleet.NoVertex})
		h.until(t, "an answer after the high water", func() bool { return len(h.acks) == 6+2*n })
	}
	h.mu.Lock()
	m := h.opened[1]
	h.mu.Unlock()
	if m.At != 3 || m.ProgressNo != 3 || m.BootID != h.opened[0].BootID || m.Session <= h.opened[0].Session {
		t.Errorf("resumed with %+v", m)
	}

	hardStop(s)
	h.mu.Lock()
	h.heard = nil
	h.mu.Unlock()
	_, _ = h.listen(t, addr)
	h.until(t, "the third way", func() bool { return h.at == 9 })
	h.mu.Lock()
	if !slices.Equal(h.heard, []uint64{6, 7, 8, 9}) {
		t.Errorf("want what high water did not cover, then what is new; got %v", h.heard)
	}
	h.mu.Unlock()
}

func TestARobotWithABadTokenTriesAgainInPeace(t *testing.T) {
	t.Parallel()
	h := &house{}
	_, addr := h.listen(t, "127.0.0.1:0")
	f, err := New(Options{LinkAddr: addr, Token: "wrong", Robots: []Robot{{ID: "r"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
	defer cancel()
	f.Run(ctx)
	if n := f.Stats.Reconnects.Load(); n < 1 || n > 9 || f.Stats.Connected.Load() != 0 {
		t.Errorf("%d tries in 0.9 s, %d connected: want growing pauses", n, f.Stats.Connected.Load())
	}
}
