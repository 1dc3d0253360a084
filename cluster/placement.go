package cluster

import (
	"strconv"

	"github.com/asynkron/protoactor-go/actor"

	"starling/engine/fleet"
)

// Mail of a shard's placement actor.
type (
	spawn struct {
		kind, id string
		props    *actor.Props
		done     func(*actor.PID, error)
	}
	stop struct {
		kind, id string
		pid      *actor.PID
	}
)

// name is what tells the actors of one shard apart.
type name struct{ kind, id string }

// placement is the parent of all actors of one shard. It knows them both ways round, so that the end of one costs
// the same whether there are ten or ten thousand.
type placement struct {
	member *Member
	shard  fleet.Shard
	byName map[name]*actor.PID
	byPID  map[string]name
	serial uint64
}

// Receive implements actor.Actor.
func (p *placement) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *spawn:
		p.spawn(c, m)
	case *stop:
		// The map forgets it first: who asks from now on gets a new activation, never the dying one.
		p.forget(m.pid)
		c.Stop(m.pid)
	case *actor.Terminated:
		p.forget(m.Who)
	}
}

// spawn starts a child. Names carry a serial number: an identity may be activated anew while its former
// activation is still on its way out.
func (p *placement) spawn(c actor.Context, m *spawn) {
	p.serial++
	n := name{m.kind, m.id}
	pid, err := c.SpawnNamed(m.props, m.kind+"/"+m.id+"~"+strconv.FormatUint(p.serial, 36))
	if err == nil {
		p.byName[n], p.byPID[pid.Id] = pid, n
	}
	m.done(pid, err)
}

func (p *placement) forget(pid *actor.PID) {
	n, ok := p.byPID[pid.Id]
	if !ok {
		return
	}
	delete(p.byPID, pid.Id)
	if p.byName[n] == pid {
		delete(p.byName, n)
	}
	p.member.cluster.PidCache.RemoveByValue(Identity(p.shard, n.id), n.kind, pid)
}
