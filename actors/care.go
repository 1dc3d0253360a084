package actors

import (
	"context"
	"fmt"

	"starling/engine/fleet"
	"starling/engine/task"
)

// The methods of this file are what background jobs call. Errors as those of the gateway's.

// Open opens a shard where it is not open: its tasks that are under way live from then on, and those that wait are with
// its dispatcher.
func (s *System) Open(ctx context.Context, shard fleet.Shard) error {
	_, err := s.open(ctx, shard)
	return err
}

// Lives says whether the shard is open here, without opening it.
func (s *System) Lives(shard fleet.Shard) bool {
	s.mu.RLock()
	sh := s.shards[shard]
	s.mu.RUnlock()
	return sh != nil && sh.is() == phaseOpen
}

// LetTaskLive activates a task's actor where it is not active: it loads its log and says again what must be said again.
func (s *System) LetTaskLive(ctx context.Context, shard fleet.Shard, id fleet.TaskID) error {
	return s.letLive(ctx, shard, kindTask, string(id))
}

// LetRobotLive activates a robot's actor where it is not active: from then on it notices by itself that the robot is silent.
func (s *System) LetRobotLive(ctx context.Context, shard fleet.Shard, id fleet.RobotID) error {
	return s.letLive(ctx, shard, kindRobot, string(id))
}

func (s *System) letLive(ctx context.Context, shard fleet.Shard, k kind, id string) error {
	if _, err := s.PID(ctx, k.String(), shard, id); err != nil {
		return fmt.Errorf("let %s %s live: %w", k, id, err)
	}
	return nil
}

// TakeBack tells a task that its robot cannot do it any more: another may have it. A task that another robot has by then, or
// that has ended, does not care.
func (s *System) TakeBack(ctx context.Context, shard fleet.Shard, id fleet.TaskID, robot fleet.RobotID, reason string) error {
	sh, err := s.open(ctx, shard)
	if err != nil {
		return err
	}
	if err := sh.tell(kindTask, string(id), task.RobotRefused{Robot: robot, Reason: reason}); err != nil {
		return fmt.Errorf("take task %s back from robot %s: %w", id, robot, err)
	}
	return nil
}
