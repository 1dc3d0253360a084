// Package link is the robots' door: one gRPC stream carries one robot or many. It checks, bounds and decodes frames
// once, and hands typed messages to the robots' mailboxes; orders and commands go out by priority. It decides nothing.
//
// Size: a robot costs about 500 B here; a status 0.05 us from bytes to mailbox and no allocation of its own (0.15 us
// with client and sockets; BenchmarkFrameToBox and BenchmarkLoopback, 500 a frame).
package link

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
)

// Identity is who opens a stream, as far as the link cares.
type Identity struct {
	Tenant fleet.TenantID
	// Any: may carry every robot of the tenant (admin, service); else only Robot, or the robots of Fleet.
	Any   bool
	Robot fleet.RobotID
	Fleet string
	// Expires: when the token or the certificate ends, and the stream with it. Zero = never.
	Expires time.Time
	// Refused is told of a robot that this caller may not speak for, nil = nobody is.
	Refused func(fleet.RobotID)
}

// Credentials are what a caller shows when it opens a stream.
type Credentials struct {
	Authorization []string // the values of the metadata authorization
	TenantIDs     []string // of x-tenant-id
	// Certificate of the caller, verified in the handshake; nil = it has none.
	Certificate *x509.Certificate
}

// ErrUnauthenticated and ErrForbidden are what AuthenticateLink wraps.
var (
	ErrUnauthenticated = errors.New("no valid token or certificate")
	ErrForbidden       = errors.New("token or certificate do not allow to open the link")
)

// Authenticator says who opens a stream.
type Authenticator interface {
	AuthenticateLink(ctx context.Context, c Credentials) (Identity, error)
}

// Found is a registered robot.
type Found struct {
	Shard fleet.Shard
	ID    fleet.RobotID
	Fleet string
}

// Directory finds registered robots by id or, where id is "", by code. Errors wrap fact.ErrNotFound or
// fact.ErrUnavailable.
type Directory interface {
	FindRobot(ctx context.Context, tenant fleet.TenantID, id fleet.RobotID, code string) (Found, error)
}

// Engine is what the link needs of the actors.
type Engine interface {
	OpenLink(ctx context.Context, shard fleet.Shard, id fleet.RobotID, m robot.LinkOpened) (struct{ ProgressNumber uint64 }, error)
	CloseLink(shard fleet.Shard, id fleet.RobotID, session uint64)
	Mailbox(ctx context.Context, shard fleet.Shard, id fleet.RobotID) (interface {
		Status(s *robot.StatusReported)
		Tell(m robot.Msg) bool
	}, error)
	ActiveGraph(ctx context.Context, shard fleet.Shard) (*roadmap.Graph, error)
}
