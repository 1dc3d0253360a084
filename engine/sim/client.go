package sim

import (
	"errors"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// clients are everybody who asks for something: they create tasks with idempotency keys and repeat what was not
// answered well, cancel, command robots, close lanes.
type clients struct {
	s       *site
	known   []fleet.TaskID          // ever asked for
	acked   []fleet.TaskID          // answered with 2xx
	byKey   map[string]fleet.TaskID // answered with 2xx
	cancels map[fleet.TaskID]bool   // a cancel was answered with 2xx
	keys    int
	ids     int
}

func (c *clients) init(s *site) {
	c.s = s
	c.byKey, c.cancels = map[string]fleet.TaskID{}, map[fleet.TaskID]bool{}
}

func (c *clients) begin() {
	w := c.s.w
	w.clock.after(settling, "client", c.work)
	w.every(w.Faults.Cancel, "cancel", c.cancelSome)
	w.every(w.Faults.Command, "command", c.commandSome)
	w.every(w.Faults.Lane, "lane", c.closeSome)
	w.every(w.Faults.KeepOut, "keep out", c.keepSome)
	w.every(w.Faults.Take, "take", c.takeSome)
}

// work keeps some tasks open.
func (c *clients) work() {
	w := c.s.w
	if w.calm {
		return
	}
	open := 0
	for _, id := range c.acked {
		if t := c.s.journal.taskState(id); t != nil && !t.Status.Final() {
			open++
		}
	}
	for ; open < w.Tasks; open++ {
		c.keys++
		c.create("key-"+itoa(c.keys), c.spec())
	}
	w.clock.after(time.Second, "client", c.work)
}

func (c *clients) spec() task.Spec {
	w, s := c.s.w, c.s
	t := task.Spec{Shard: s.shard, Priority: uint8(w.rng.IntN(10)), Source: "api", CreatedAt: w.now()}
	for range 1 + w.rng.IntN(3) {
		v := fleet.Vertex(w.rng.IntN(len(s.graph.Vertices)))
		t.Errands = append(t.Errands, v)
		t.Places = append(t.Places, s.graph.Vertices[v].ID)
	}
	if w.rng.IntN(10) == 0 {
		t.Robot = s.devices[w.rng.IntN(len(s.devices))].id
		if d := s.byID[t.Robot]; d.stray || d.gone {
			t.Robot = ""
		} else {
			d.named = true
		}
	}
	return t
}

// create asks for a task until the answer is good; each try names a new task under the same key.
func (c *clients) create(key string, spec task.Spec) {
	s := c.s
	c.ids++
	spec.ID = fleet.TaskID(s.id(idTask, c.ids))
	s.request("create", func(a *ask) {
		c.known = append(c.known, spec.ID)
		a.idem = &fact.Idempotency{Key: key}
		s.fresh(spec.ID).mail(task.CreateRequested{Spec: spec, By: fleet.Actor{User: "client"}}, a)
	}, func(_ any, err error) {
		id := spec.ID
		var conflict *fact.ConflictError
		if errors.As(err, &conflict) && conflict.Key == "idempotency_key" {
			id, err = fleet.TaskID(conflict.Existing), nil
		}
		if err != nil {
			s.w.clock.after(200*time.Millisecond+s.w.upTo(2*time.Second), "create again", func() { c.create(key, spec) })
			return
		}
		c.byKey[key] = id
		c.acked = append(c.acked, id)
		s.w.laws.lasting.acknowledged(s, id)
	})
}

func (c *clients) cancelSome() {
	if len(c.acked) == 0 {
		return
	}
	c.cancel(c.acked[len(c.acked)-1-c.s.w.rng.IntN(min(len(c.acked), 2*c.s.w.Tasks))])
}

// cancel asks for a task's end.
func (c *clients) cancel(id fleet.TaskID) {
	s := c.s
	s.request("cancel", func(a *ask) {
		s.task(id).mail(task.CancelRequested{Reason: "changed my mind", By: fleet.Actor{User: "client"}}, a)
	}, func(_ any, err error) {
		if err == nil {
			c.cancels[id] = true
			s.w.laws.told.cancelled(s, id)
		}
	})
}

func (c *clients) commandSome() {
	w, s := c.s.w, c.s
	d := s.devices[w.rng.IntN(len(s.devices))]
	if d.stray {
		return
	}
	kind := []fleet.CommandKind{
		fleet.CommandPause, fleet.CommandPause, fleet.CommandResume, fleet.CommandStop, fleet.CommandGoTo, fleet.CommandCharge, fleet.CommandClearErrors,
	}[w.rng.IntN(7)]
	c.command(d, kind, nil)
	if kind == fleet.CommandPause || kind == fleet.CommandStop {
		w.clock.after(w.upTo(10*time.Second), "resume", func() { c.resume(d) })
	}
}

// resume lets a robot go on, until that is acknowledged.
func (c *clients) resume(d *device) {
	c.command(d, fleet.CommandResume, func(ok bool) {
		if !ok {
			c.s.w.clock.after(time.Second, "resume", func() { c.resume(d) })
		}
	})
}

func (c *clients) command(d *device, kind fleet.CommandKind, then func(ok bool)) {
	w, s := c.s.w, c.s
	c.ids++
	cmd := robot.Command{
		ID: fleet.CommandID(s.id(idCommand, c.ids)), Robot: d.id, Kind: kind, Vertex: fleet.NoVertex,
		At: w.now(), ExpiresAt: w.now().Add(30 * time.Second), By: "operator",
	}
	if kind == fleet.CommandGoTo || kind == fleet.CommandCharge {
		cmd.Vertex = fleet.Vertex(w.rng.IntN(len(s.graph.Vertices)))
	}
	s.request("command", func(a *ask) {
		s.robot(d.id).mail(robot.CommandRequested{Command: cmd, By: fleet.Actor{User: "operator"}}, a)
	}, func(result any, err error) {
		if then != nil {
			then(err == nil && result == robot.Done)
		}
	})
}

// closeSome closes a lane and, once that is answered, opens it again after a while.
func (c *clients) closeSome() {
	w, g := c.s.w, c.s.graph
	lane := g.Lanes[w.rng.IntN(len(g.Lanes))].ID
	c.setLane(lane, true, func(error) {
		w.clock.after(w.upTo(20*time.Second), "open lane", func() { c.open(lane) })
	})
}

// open opens a lane, until that is acknowledged.
func (c *clients) open(lane fleet.LaneID) {
	c.setLane(lane, false, func(err error) {
		if err != nil {
			c.s.w.clock.after(time.Second, "open lane", func() { c.open(lane) })
		}
	})
}

func (c *clients) setLane(lane fleet.LaneID, closed bool, then func(error)) {
	s := c.s
	s.request("lane", func(a *ask) {
		s.dispatcher.mail(dispatch.LaneRequested{Lane: lane, Closed: &closed, Reason: "works", By: fleet.Actor{User: "operator"}}, a)
	}, func(_ any, err error) { then(err) })
}

// becalm lets every robot go on.
func (c *clients) becalm() {
	for _, d := range c.s.devices {
		if !d.stray {
			c.resume(d)
		}
	}
}
