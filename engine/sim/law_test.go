package sim

import (
	"strings"
	"testing"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// peaceful is a small world after some time without any fault, tasks under way.
func peaceful(t *testing.T, lockstep bool, tenants int) (*World, *site) {
	t.Helper()
	w := New(Config{
		Seed: 7, Lockstep: lockstep, Tenants: tenants, Side: 8, Split: 2, Robots: 5, Window: 2, Tasks: 5,
		Chaos: time.Minute, Calm: 5 * time.Minute, Mail: Mail{Delay: time.Millisecond},
	})
	for w.clock.now < 30*time.Second {
		if r := w.Run(w.steps + 1); r.Broken != nil {
			t.Fatal(r.Broken)
		}
	}
	return w, w.sites[0]
}

// Each case breaks one law by hand: a checker that stays silent is broken itself.
func TestEachLawIsNoticedWhenItIsBroken(t *testing.T) {
	t.Parallel()
	free := func(s *site) fleet.Vertex {
		for v := range fleet.Vertex(len(s.graph.Vertices)) {
			taken := false
			for _, d := range s.devices {
				taken = taken || d.holds(v)
			}
			if !taken {
				return v
			}
		}
		return fleet.NoVertex
	}
	for name, c := range map[string]struct {
		law      int
		lockstep bool
		do       func(w *World, s *site)
	}{
		"a grant without a roster entry": {law: 1, do: func(w *World, s *site) {
			clear(s.journal.roster)
			w.laws.told.grant(s.zones[0], fleet.Grant{Robot: s.devices[0].id, Vertices: []fleet.Vertex{free(s)}})
		}},
		"an award that is not recorded": {law: 1, do: func(w *World, s *site) {
			w.laws.told.award(s, s.clients.acked[0], task.Award{Robot: "nobody"})
		}},
		"an answer about a task that is not recorded": {law: 1, do: func(w *World, s *site) { w.laws.told.answered(s, "no task") }},
		"a command that is not recorded":              {law: 1, do: func(w *World, s *site) { w.laws.told.command(s, robot.Command{ID: "x"}) }},
		"two robots on one vertex": {law: 2, do: func(w *World, s *site) {
			s.devices[1].at, s.devices[1].to = s.devices[0].at, fleet.NoVertex
			w.laws.floor.changed(s.devices[1])
			w.laws.stepped()
		}},
		"two robots that may enter one vertex": {law: 2, do: func(w *World, s *site) {
			v := free(s)
			for _, d := range s.devices[:2] {
				d.base, d.notAfter = []fleet.Vertex{v}, fleet.Far
				w.laws.floor.changed(d)
			}
			w.laws.stepped()
		}},
		"a robot that sets off to where another is": {law: 2, do: func(w *World, s *site) { w.laws.floor.departs(s.devices[0], s.devices[1].at) }},
		"a base over no lane": {law: 2, do: func(_ *World, s *site) {
			s.devices[0].base, s.devices[0].at = []fleet.Vertex{99_999}, 0
			s.devices[0].notAfter, s.devices[0].busy = fleet.Far, false
			s.devices[0].to, s.devices[0].paused, s.devices[0].stopped = fleet.NoVertex, false, false
			s.devices[0].drive() // no lane leads there
		}},
		"two robots that change places in one step": {law: 2, lockstep: true, do: func(w *World, s *site) {
			a, b := s.devices[0], s.devices[1]
			a.to, b.to = b.at, a.at
			w.laws.floor.together(s)
		}},
		"two robots that end on one vertex": {law: 2, lockstep: true, do: func(w *World, s *site) {
			s.devices[0].to, s.devices[1].to = s.devices[1].at, fleet.NoVertex
			w.laws.floor.together(s)
		}},
		"a grant of a vertex on which a silent robot stands": {law: 3, do: func(w *World, s *site) {
			w.laws.leases.granted(s.zones[0], fleet.Grant{Robot: s.devices[0].id, Vertices: []fleet.Vertex{s.devices[1].at}})
		}},
		"a grant after the lease": {law: 3, do: func(w *World, s *site) {
			w.Lease, s.leaseUntil = time.Second, w.now()
			w.laws.leases.granted(s.zones[0], fleet.Grant{Robot: s.devices[0].id, Vertices: []fleet.Vertex{free(s)}})
		}},
		"a task that knows more than its log": {law: 4, do: func(w *World, s *site) {
			a := s.task(s.clients.acked[0])
			a.state.Apply(w.now(), task.Failed{Reason: "not recorded"})
			w.laws.folds.task(a)
		}},
		"a robot that knows more than its log": {law: 4, do: func(w *World, s *site) {
			s.robotList[0].state.Apply(w.now(), robot.Removed{Version: 9})
			w.laws.folds.robot(s.robotList[0])
		}},
		"a dispatcher that knows more than its log": {law: 4, do: func(w *World, s *site) {
			s.dispatcher.state.Apply(w.now(), dispatch.LaneChanged{State: dispatch.LaneState{Lane: "x", Closed: true}})
			w.laws.folds.dispatch(s.dispatcher)
		}},
		"an acknowledged task that is gone": {law: 5, do: func(_ *World, s *site) {
			delete(s.journal.bySubj, string(s.clients.acked[0]))
			s.crash()
		}},
		"one task for two requests": {law: 5, do: func(w *World, s *site) {
			s.clients.acked = append(s.clients.acked, s.clients.acked[0])
			w.laws.lasting.ended()
		}},
		"a task that is created twice": {law: 6, do: func(w *World, s *site) {
			id := s.clients.acked[0]
			w.laws.once.recorded(s, fact.Fact{Subject: string(id), Event: task.Created{}})
		}},
		"a task that succeeds before its errands": {law: 6, do: func(w *World, s *site) {
			w.laws.once.recorded(s, fact.Fact{Subject: "t", Event: task.Created{Spec: task.Spec{Errands: []fleet.Vertex{0}}}})
			w.laws.once.recorded(s, fact.Fact{Subject: "t", At: w.now(), Event: task.Assigned{Robot: s.devices[0].id}})
			w.laws.once.recorded(s, fact.Fact{Subject: "t", Event: task.Started{}})
			w.laws.once.recorded(s, fact.Fact{Subject: "t", Event: task.Succeeded{}})
		}},
		"an errand where the robot has not been": {law: 6, do: func(w *World, s *site) {
			w.laws.once.recorded(s, fact.Fact{Subject: "t", Event: task.Created{Spec: task.Spec{Errands: []fleet.Vertex{free(s)}}}})
			w.laws.once.recorded(s, fact.Fact{Subject: "t", At: w.now(), Event: task.Assigned{Robot: s.devices[0].id}})
			w.laws.once.recorded(s, fact.Fact{Subject: "t", Event: task.Started{}})
			w.laws.once.recorded(s, fact.Fact{Subject: "t", Event: task.ErrandReached{}})
		}},
		"a queue beyond its bound":     {law: 7, do: func(w *World, _ *site) { w.laws.bounds.queue("stash", stashBound+1) }},
		"actors that talk without end": {law: 7, do: chatter},
		"a message to another's robot": {law: 8, do: func(w *World, s *site) { s.toRobot(fleet.RobotID(w.sites[1].id(idRobot, 0)), "mail", robot.Woke{}) }},
		"a message to another's zone":  {law: 8, do: func(w *World, s *site) { s.toZone(w.sites[1].zones[0].id, "mail", nil) }},
		"an order for another's task": {law: 8, do: func(w *World, s *site) {
			w.laws.isolated.order(s, robot.Order{Task: fleet.TaskID(w.sites[1].id(idTask, 1))})
		}},
		"robots that never move again": {law: 9, do: standstill},
		"robots that wait in a ring":   {law: 9, do: ring},
		"a robot with an empty battery": {law: 9, do: func(w *World, s *site) {
			s.devices[0].cell.level = 0
			w.clock.now += 2 * time.Second
			w.laws.supply.stepped()
		}},
		"a free robot beside an open task": {law: 9, do: besides},
		"a task that never comes to it":    {law: 9, do: func(w *World, _ *site) { w.laws.deadlocks.ended() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tenants := 1
			if c.law == 8 {
				tenants = 2
			}
			w, s := peaceful(t, c.lockstep, tenants)
			c.do(w, s)
			if w.broken == nil || w.broken.Law != c.law {
				t.Fatalf("noticed %v, want law %d", w.broken, c.law)
			}
		})
	}
}

// besides loses every offer, so that a free robot and an open task stay side by side.
func besides(w *World, s *site) {
	for !w.calm {
		w.Run(w.steps + 1)
	}
	for _, d := range s.devices {
		d.cell.level = 1
	}
	id := fleet.TaskID(s.id(idTask, 4711))
	spec := task.Spec{ID: id, Shard: s.shard, Errands: []fleet.Vertex{0}, Places: []string{s.graph.Vertices[0].ID}, CreatedAt: w.now(), Fleet: "none"}
	s.clients.known = append(s.clients.known, id)
	s.fresh(id).mail(task.CreateRequested{Spec: spec}, nil) // for a fleet that is not there; the checker does not know of fleets
	s.clients.acked = append(s.clients.acked, id)
	w.Run(0)
	if w.broken != nil && !strings.Contains(w.broken.Message, "has been free") {
		w.broken = nil // another checker noticed
	}
}

func chatter(w *World, _ *site) {
	var say func()
	say = func() { w.clock.after(time.Microsecond, "talk", say) }
	say()
	w.Run(0)
}

// standstill lets all robots fall silent when faults should have ended.
func standstill(w *World, s *site) {
	for !w.calm {
		w.Run(w.steps + 1)
	}
	for _, d := range s.devices {
		d.silentTill = time.Hour
	}
	w.Run(0)
}

// ring makes the zones say that two robots wait for each other, for ever.
func ring(w *World, s *site) {
	a, b := s.devices[0].id, s.devices[1].id
	for _, z := range s.zones {
		z.view.Waits = nil // what really waits at this moment
	}
	s.zones[0].view.Waits = []fleet.Wait{{Robot: a, Holder: b}, {Robot: b, Holder: a}}
	w.laws.deadlocks.rings(s)
	w.clock.now += longestCycle + time.Second
	w.laws.deadlocks.rings(s)
}
