package link

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"starling/bench/robots"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
)

// ring leads each robot round a circle of its own, one vertex at a time: it grants the next when the last is reached.
type ring struct {
	*engine
	server *Server
	graph  *roadmap.Graph
	mu     sync.Mutex
	at     map[fleet.RobotID]fleet.Vertex
	number map[fleet.RobotID]uint64
	update map[fleet.RobotID]uint32
	bad    []string
}

const round = 4

type ringBox struct {
	e  *ring
	id fleet.RobotID
}

func (ringBox) Status(*robot.StatusReported) {}
func (b ringBox) Tell(m robot.Msg) bool {
	if p, ok := m.(robot.Progressed); ok {
		b.e.progressed(b.id, p)
	}
	return true
}

func (e *ring) progressed(id fleet.RobotID, p robot.Progressed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.Number > e.number[id] {
		if p.Number != e.number[id]+1 {
			e.bad = append(e.bad, "gap in the progress of "+string(id))
		}
		if base := e.at[id] / round * round; p.Vertex != e.at[id] && p.Vertex != base+(e.at[id]+1)%round {
			e.bad = append(e.bad, string(id)+" stands where nothing was granted")
		}
		e.number[id], e.at[id] = p.Number, p.Vertex
	}
	e.server.ProgressDone(id, e.number[id])
	e.grant(id)
}

func (e *ring) grant(id fleet.RobotID) {
	at := e.at[id]
	next := at/round*round + (at+1)%round
	e.update[id]++
	e.server.SendOrder(robot.Order{Robot: id, ID: 1, Update: e.update[id], From: at, Base: []fleet.Vertex{next}}, e.graph)
}

func ringGraph() *roadmap.Graph {
	g := graph()
	for i := range g.Vertices {
		corner := [round][2]float64{{0, 0}, {1, 0}, {1, 1}, {0, 1}}[i%round]
		g.Vertices[i].X, g.Vertices[i].Y = float64(10*(i/round))+corner[0], corner[1]
	}
	for i := range g.Vertices {
		next := int32(i/round*round + (i+1)%round)
		g.Out[i] = []int32{int32(len(g.Lanes))}
		g.Lanes = append(g.Lanes, roadmap.Lane{From: fleet.Vertex(i), To: fleet.Vertex(next), SpeedMPS: 30})
	}
	return g
}

type ringEngine struct{ *ring }

func (e ringEngine) Mailbox(_ context.Context, _ fleet.Shard, id fleet.RobotID) (interface {
	Status(s *robot.StatusReported)
	Tell(m robot.Msg) bool
}, error,
) {
	return ringBox{e.ring, id}, nil
}

func (e ringEngine) OpenLink(_ context.Context, _ fleet.Shard, id fleet.RobotID, m robot.LinkOpened) (a struct{ ProgressNumber uint64 }, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.at[id]; !ok {
		e.at[id] = m.At
	}
	a.ProgressNumber = e.number[id]
	e.grant(id)
	return a, nil
}

func TestRobotsGoRoundAndGoOnAfterALostLink(t *testing.T) {
	t.Parallel()
	e := &ring{
		graph:  ringGraph(),
		engine: &engine{boxes: map[fleet.RobotID]*box{}, opened: map[fleet.RobotID][]uint64{}},
		at:     map[fleet.RobotID]fleet.Vertex{}, number: map[fleet.RobotID]uint64{}, update: map[fleet.RobotID]uint32{},
	}
	listen := func(addr string) (*Server, string) {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		s := New(Options{Auth: e, Directory: e, Engine: ringEngine{e}, Log: slog.New(slog.DiscardHandler)})
		e.mu.Lock()
		e.server = s
		e.mu.Unlock()
		go func() { _ = s.Serve(l) }()
		return s, l.Addr().String()
	}
	s, addr := listen("127.0.0.1:0")
	o := robots.Options{
		LinkAddr: addr, Token: "x", PerStream: 50, Motion: robots.Motion{SpeedMPS: 20, AccelMPS2: 100, QuarterTurn: 10 * time.Millisecond},
		Delays: robots.Delays{P: .1, Max: 50 * time.Millisecond, Mean: .5, Std: .2}, StatusEvery: 100 * time.Millisecond,
	}
	for i := range 200 {
		o.Robots = append(o.Robots, robots.Robot{ID: "r" + strconv.Itoa(i), Vertex: uint32(i * round), X: float64(10 * i)})
	}
	f, err := robots.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { f.Run(ctx) })
	defer func() { cancel(); done.Wait() }()
	if !until(10*time.Second, func() bool { return f.Stats.Moves.Load() > 2000 }) {
		t.Fatal("too few moves", f.Stats.Moves.Load())
	}
	gone, stop := context.WithCancel(context.Background())
	stop()
	s.Stop(gone)
	before := f.Stats.Moves.Load()
	s, _ = listen(addr)
	if !until(10*time.Second, func() bool { return f.Stats.Moves.Load() > before+3000 && f.Stats.Connected.Load() == 200 }) {
		t.Fatal("they do not go on", f.Stats.Moves.Load()-before, f.Stats.Connected.Load())
	}
	e.mu.Lock()
	still := 0
	for _, n := range e.number {
		if n < 10 {
			still++
		}
	}
	if len(e.bad) > 0 || still > 0 {
		t.Errorf("%d robots hardly moved; %v", still, e.bad)
	}
	e.mu.Unlock()
	cancel()
	done.Wait()
	s.Stop(gone)
}
