// Package cluster says who is a member and who owns which shard, and places actors there: protoactor's cluster
// layer with a look-up of our own, keyed by shard (tenant/warehouse), and one parent actor per shard.
//
// It knows no robots and no tasks: what an identity means, the Host knows. It proves no ownership: that is the
// shard's incarnation in the store (design.md §2). Today a cluster has one member, which therefore opens no port.
//
// Size: about 200 bytes per placed actor; a spawn costs about 10 us, an end about 2 us, whatever the number.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"

	"starling/engine/fleet"
)

var (
	errNoClients = errors.New("a cluster of one member has no clients")
	// ErrClosed says that the member has been shut down.
	ErrClosed = errors.New("cluster member is shut down")
)

// Host is the actor system's side: what lives behind the identities.
type Host interface {
	// Kinds lists the names of the kinds of actors that have identities here.
	Kinds() []string
	// PID returns the running actor of an identity, activated where needed; id is "" for a shard's own actor.
	PID(ctx context.Context, kind string, shard fleet.Shard, id string) (*actor.PID, error)
	// Dispatcher runs the placement actors.
	Dispatcher() actor.Dispatcher
	// Supervisor decides what becomes of a placed actor that panicked.
	Supervisor() actor.SupervisorStrategy
}

// Member is this process in the cluster. Safe for use by many goroutines and by actors: nothing here blocks
// but Shutdown.
type Member struct {
	as      *actor.ActorSystem
	host    Host
	cluster *cluster.Cluster
	lookup  *lookup

	mu     sync.Mutex
	shards map[fleet.Shard]*actor.PID
	serial int
	closed bool
}

// Start joins as a cluster of one. No listener is opened: with one member nothing comes from elsewhere, and
// protoactor's remote crashes on garbage.
func Start(as *actor.ActorSystem, host Host) (*Member, error) {
	m := &Member{as: as, host: host, shards: map[fleet.Shard]*actor.PID{}}
	m.lookup = &lookup{host: host, self: as.ID}
	idle := actor.PropsFromFunc(func(actor.Context) {})
	kinds := make([]*cluster.Kind, 0, 4)
	for _, k := range host.Kinds() {
		kinds = append(kinds, cluster.NewKind(k, idle))
	}
	p := &provider{}
	config := cluster.Configure("starling", p, m.lookup, remote.Configure("127.0.0.1", 0), cluster.WithKinds(kinds...))
	m.cluster = cluster.New(as, config)
	m.cluster.Remote = remote.NewRemote(as, config.RemoteConfig)
	m.cluster.IdentityLookup = m.lookup
	m.lookup.Setup(m.cluster, host.Kinds(), false)
	if err := p.StartMember(m.cluster); err != nil {
		return nil, fmt.Errorf("start the cluster of one: %w", err)
	}
	return m, nil
}

// Cluster is protoactor's own view of it, for look-ups and requests by identity from outside the hot path.
func (m *Member) Cluster() *cluster.Cluster { return m.cluster }

// Owns says whether this member owns the shard by the rules of placement.
func (m *Member) Owns(shard fleet.Shard) bool {
	return owner(shard.Key(), m.lookup.list()) == m.as.ID
}

// Spawn starts an actor under its shard's placement actor. It returns at once; done is called once, from that
// actor, with the PID or the error.
func (m *Member) Spawn(shard fleet.Shard, kind, id string, props *actor.Props, done func(*actor.PID, error)) {
	parent, err := m.parent(shard)
	if err != nil {
		done(nil, err)
		return
	}
	m.as.Root.Send(parent, &spawn{kind: kind, id: id, props: props, done: done})
}

// Stop ends an actor that Spawn started. It returns at once.
func (m *Member) Stop(shard fleet.Shard, kind, id string, pid *actor.PID) {
	m.mu.Lock()
	parent, ok := m.shards[shard]
	m.mu.Unlock()
	if ok {
		m.as.Root.Send(parent, &stop{kind: kind, id: id, pid: pid})
	}
}

// StopShard ends all actors of a shard and their parent; a later Spawn starts afresh. It returns at once.
func (m *Member) StopShard(shard fleet.Shard) {
	m.mu.Lock()
	parent, ok := m.shards[shard]
	delete(m.shards, shard)
	m.mu.Unlock()
	if ok {
		m.as.Root.Stop(parent)
	}
}

// Shutdown leaves the cluster and ends all shards; actors end behind its back, their host waits for them.
func (m *Member) Shutdown() {
	m.mu.Lock()
	m.closed = true
	shards := m.shards
	m.shards = map[fleet.Shard]*actor.PID{}
	m.mu.Unlock()
	for _, pid := range shards {
		m.as.Root.Stop(pid)
	}
	m.lookup.Shutdown()
}

func (m *Member) parent(shard fleet.Shard) (*actor.PID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if pid, ok := m.shards[shard]; ok {
		return pid, nil
	}
	m.serial++
	props := actor.PropsFromProducer(func() actor.Actor {
		return &placement{member: m, shard: shard, byName: map[name]*actor.PID{}, byPID: map[string]name{}}
	}, actor.WithDispatcher(m.host.Dispatcher()), actor.WithSupervisor(m.host.Supervisor()))
	pid, err := m.as.Root.SpawnNamed(props, fmt.Sprintf("shard/%s~%d", shard.Key(), m.serial))
	if err != nil {
		return nil, fmt.Errorf("start the placement of shard %s: %w", shard.Key(), err)
	}
	m.shards[shard] = pid
	return pid, nil
}
