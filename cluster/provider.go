package cluster

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
)

// provider is the membership of a cluster of one: the process itself, for as long as it runs.
type provider struct {
	cluster *cluster.Cluster
}

var _ cluster.ClusterProvider = (*provider)(nil)

// StartMember implements cluster.ClusterProvider: it publishes the topology of one.
func (p *provider) StartMember(c *cluster.Cluster) error {
	host, port, err := c.ActorSystem.GetHostPort()
	if err != nil {
		return fmt.Errorf("read the member's own address: %w", err)
	}
	p.cluster = c
	c.MemberList.UpdateClusterTopology(cluster.Members{self(c.ActorSystem, host, port, c.GetClusterKinds())})
	return nil
}

// StartClient implements cluster.ClusterProvider: a cluster of one has no clients.
func (p *provider) StartClient(*cluster.Cluster) error { return errNoClients }

// Shutdown implements cluster.ClusterProvider.
func (p *provider) Shutdown(bool) error { return nil }

func self(as *actor.ActorSystem, host string, port int, kinds []string) *cluster.Member {
	return &cluster.Member{Id: as.ID, Host: host, Port: int32(port), Kinds: kinds}
}
