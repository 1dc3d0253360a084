//go:build integration

package redis_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"starling/deploy/stack/stacktest"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/persistence/redis"
)

// lateNow loses the answer to one script in so many: the server has done it, and the caller has stopped waiting.
type lateNow struct {
	every int64
	calls atomic.Int64
}

func (l *lateNow) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (l *lateNow) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, c goredis.Cmder) error {
		err := next(ctx, c)
		if name := c.Name(); (name == "evalsha" || name == "eval") && err == nil && l.calls.Add(1)%l.every == 0 {
			err = &net.OpError{Op: "read", Net: "tcp", Err: context.DeadlineExceeded}
			c.SetErr(err)
		}
		return err
	}
}

func (l *lateNow) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return next
}

// A Redis that is late for one call in five (a busy machine, a slow disk under its journal) gets the views of a large
// floor all the same: a call that fails does not undo the others of its round.
func TestALateServerGetsALongRoundInTheEnd(t *testing.T) {
	t.Parallel()
	s, here := shard(), newFloor()
	m := mirror(t, stacktest.Redis(t).URL(), here, nil, func(o *redis.MirrorOptions) { o.Every = 200 * time.Millisecond })
	late := &lateNow{every: 5}
	m.Hook(late)
	const robots = 4000 // 16 calls: with all of them again after a failure it would never end
	for i := range robots {
		here.put(m, s, robot.View{ID: fleet.RobotID(fmt.Sprint("r", i)), Battery: 0.5})
	}
	m.Own(s, 1)
	c := client(t, stacktest.Redis(t).URL())
	within(t, "all views", func() error {
		n, err := c.HLen(context.Background(), "starling:{"+string(s.Tenant)+"}:robots:"+string(s.Warehouse)).Result()
		if err == nil && (n < robots || m.Pending() > 0) {
			err = fmt.Errorf("%d of %d are there, %d wait, after %d calls", n, robots, m.Pending(), late.calls.Load())
		}
		return err
	})
}

// The answer to whoever takes the filling's lock, or gives it back, may be lost: the lock stands, and is its own. It waits
// for no end of it.
func TestALostAnswerShutsNobodyOutOfFilling(t *testing.T) {
	t.Parallel()
	s, here := shard(), newFloor()
	here.put(nil, s, robot.View{ID: "r", Battery: 0.5})
	here.do(nil, s, taskView("t", 5, fleet.TaskExecuting))
	m := mirror(t, stacktest.Redis(t).URL(), nil, here)
	at, name := m.FillLock(s)
	if err := client(t, stacktest.Redis(t).URL()).Set(t.Context(), at, name, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	within(t, "filled in", func() error { // a reader asks for it
		if err := battery(m, s, map[fleet.RobotID]float64{"r": 0.5})(); err != nil {
			return err
		}
		return openTasks(m, s, map[fleet.TaskID]int64{"t": 5})()
	})
}
