package actors

import (
	"context"
	"fmt"
	"sync/atomic"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// LinkAnswer says how far the engine knows the robot's progress: the reliable lane goes on after ProgressNumber.
type LinkAnswer = struct{ ProgressNumber uint64 }

// RobotBox is a handle to one robot's mailbox. Its methods never block and may be called by many goroutines.
type RobotBox = interface {
	// Status gives the newest status; one that was not read yet is overwritten. s may be reused at once.
	Status(s *robot.StatusReported)
	// Tell posts a control message; false = not taken now, try again later.
	Tell(m robot.Msg) bool
}

// OpenLink tells a robot that somebody carries its orders from now on. fact.ErrNotFound if it is not registered.
func (s *System) OpenLink(
	ctx context.Context, shard fleet.Shard, id fleet.RobotID, m robot.LinkOpened,
) (LinkAnswer, error) {
	a, err := call[LinkAnswer](ctx, s, shard, kindRobot, string(id), openLink{m}, nil)
	if err != nil {
		return a, fmt.Errorf("open the link of robot %s: %w", id, err)
	}
	return a, nil
}

// CloseLink tells a robot that the link of that session has ended. It never blocks.
func (s *System) CloseLink(shard fleet.Shard, id fleet.RobotID, session uint64) {
	s.mu.RLock()
	sh := s.shards[shard]
	s.mu.RUnlock()
	if sh != nil {
		_ = sh.tell(kindRobot, string(id), robot.LinkClosed{Session: session}) // counted; the robot falls silent anyway
	}
}

// Mailbox returns a handle to a registered robot, to be kept and used for every message. fact.ErrNotFound if it is
// not registered.
func (s *System) Mailbox(ctx context.Context, shard fleet.Shard, id fleet.RobotID) (RobotBox, error) {
	if _, err := call[done](ctx, s, shard, kindRobot, string(id), exists{}, nil); err != nil {
		return nil, fmt.Errorf("find robot %s: %w", id, err)
	}
	return &robotBox{sys: s, shard: shard, id: string(id)}, nil
}

// robotBox finds the robot's present activation again when the one it knew has ended.
type robotBox struct {
	sys   *System
	shard fleet.Shard
	id    string
	now   atomic.Pointer[box]
}

// Status implements RobotBox.
func (h *robotBox) Status(s *robot.StatusReported) {
	if b := h.now.Load(); b != nil && b.postStatus(s) {
		return
	}
	if b := h.find(); b == nil || !b.postStatus(s) {
		h.sys.metrics.dropped("status").Inc()
	}
}

// Tell implements RobotBox.
func (h *robotBox) Tell(m robot.Msg) bool {
	if b := h.now.Load(); b != nil && b.post(m) {
		return true
	}
	b := h.find()
	if b == nil || !b.post(m) {
		h.sys.metrics.dropped("mailbox_robot").Inc()
		return false
	}
	return true
}

// find looks the activation up, starting it where needed; nil = the shard is not open.
func (h *robotBox) find() *box {
	h.sys.mu.RLock()
	sh := h.sys.shards[h.shard]
	h.sys.mu.RUnlock()
	if sh == nil {
		return nil
	}
	b := sh.find(kindRobot, h.id)
	if b != nil && b.isSealed() {
		sh.forget(b)
		b = sh.find(kindRobot, h.id)
	}
	if b != nil {
		h.now.Store(b)
	}
	return b
}
