package cluster

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/eventstream"
)

// lookupTimeout bounds one look-up: the caller of Get retries.
const lookupTimeout = 300 * time.Millisecond

// lookup resolves identities by shard: all actors of tenant/warehouse live on one member. The members are held in
// an atomic pointer, since protoactor publishes topologies from any goroutine.
type lookup struct {
	host    Host
	self    string
	members atomic.Pointer[[]string]
	cluster *cluster.Cluster
	sub     *eventstream.Subscription
}

var _ cluster.IdentityLookup = (*lookup)(nil)

// Get implements cluster.IdentityLookup: the PID of the identity, activated where needed; nil where it is not
// ours, not known, or did not activate in time. It blocks: never call it from an actor.
func (l *lookup) Get(ci *cluster.ClusterIdentity) *actor.PID {
	shard, id, ok := ParseIdentity(ci.Identity)
	if !ok || owner(shard.Key(), l.list()) != l.self {
		return nil
	}
	if pid, ok := l.cluster.PidCache.Get(ci.Identity, ci.Kind); ok {
		return pid
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	pid, err := l.host.PID(ctx, ci.Kind, shard, id)
	if err != nil {
		l.cluster.Logger().Debug("identity not activated", slog.String("kind", ci.Kind), slog.Any("error", err))
		return nil
	}
	return pid
}

// RemovePid implements cluster.IdentityLookup.
func (l *lookup) RemovePid(ci *cluster.ClusterIdentity, pid *actor.PID) {
	l.cluster.PidCache.RemoveByValue(ci.Identity, ci.Kind, pid)
}

// Setup implements cluster.IdentityLookup.
func (l *lookup) Setup(c *cluster.Cluster, _ []string, _ bool) {
	l.cluster = c
	l.sub = c.ActorSystem.EventStream.Subscribe(func(ev any) {
		topology, ok := ev.(*cluster.ClusterTopology)
		if !ok {
			return
		}
		ids := make([]string, 0, len(topology.Members))
		for _, m := range topology.Members {
			ids = append(ids, m.Id)
		}
		slices.Sort(ids)
		l.members.Store(&ids)
	})
}

// Shutdown implements cluster.IdentityLookup; protoactor calls it twice.
func (l *lookup) Shutdown() {
	if l.sub != nil {
		l.cluster.ActorSystem.EventStream.Unsubscribe(l.sub)
		l.sub = nil
	}
	l.members.Store(nil)
}

func (l *lookup) list() []string {
	if p := l.members.Load(); p != nil {
		return *p
	}
	return nil
}
