package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

// Why there is no answer from here, other than a Redis that is away.
var (
	// ErrAway: Redis did not answer lately; it is asked again soon.
	ErrAway = errors.New("redis is away")
	// ErrNotWhole: Redis does not have all views of the warehouse; they are being filled in.
	ErrNotWhole = errors.New("the views are not whole")
	// ErrTooMany: the warehouse has more entries than are listed from here.
	ErrTooMany = errors.New("too many entries for a list")
)

// readFor is how long a reader waits.
const readFor = 100 * time.Millisecond

// Robots returns the newest views of those robots of a shard that somebody shows: one round trip. A robot that nobody
// shows is missing; their registrations are not read. Errors: ErrAway, or what Redis said.
func (m *Mirror) Robots(ctx context.Context, shard fleet.Shard, ids []fleet.RobotID) (map[fleet.RobotID]*robot.View, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	fields := make([]string, 0, len(ids)+1)
	fields = append(fields, wholeField)
	for _, id := range ids {
		fields = append(fields, string(id))
	}
	var answer []any
	err := m.read(ctx, func(ctx context.Context) (err error) {
		answer, err = m.client.HMGet(ctx, robotsKey(shard), fields...).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read views of shard %s: %w", shard.Key(), err)
	}
	if len(answer) > 0 && answer[0] == nil {
		m.forgotten(shard)
	}
	out := make(map[fleet.RobotID]*robot.View, len(ids))
	for i, a := range answer[min(1, len(answer)):] {
		entry, ok := a.(string)
		if !ok || i >= len(ids) {
			continue
		}
		if _, body, err := split(entry); err == nil && body != "" {
			if v, err := decodeRobot([]byte(body), false); err == nil {
				out[ids[i]] = v
			} else {
				m.m.dropped.WithLabelValues("decode").Inc()
			}
		}
	}
	return out, nil
}

// AllRobots returns the views of all robots of a shard, in no order, and how long ago somebody last wrote there. Errors:
// ErrAway, ErrNotWhole, ErrTooMany, or what Redis said.
func (m *Mirror) AllRobots(ctx context.Context, shard fleet.Shard) (all []*robot.View, age time.Duration, err error) {
	age, err = m.all(ctx, shard, robotsKey(shard), func(b []byte) error {
		v, err := decodeRobot(b, true)
		if err == nil {
			all = append(all, v)
		}
		return err
	})
	return all, age, err
}

// OpenTasks returns all tasks of a shard that are not final, in no order, and how long ago somebody last wrote there.
// Errors as AllRobots.
func (m *Mirror) OpenTasks(ctx context.Context, shard fleet.Shard) (all []*task.View, age time.Duration, err error) {
	age, err = m.all(ctx, shard, tasksKey(shard), func(b []byte) error {
		v, err := decodeTask(b)
		if err == nil && !v.Status.Final() {
			all = append(all, v)
		}
		return err
	})
	return all, age, err
}

// Warehouses lists those of a tenant of which there are views.
func (m *Mirror) Warehouses(ctx context.Context, tenant fleet.TenantID) (ids []fleet.WarehouseID, err error) {
	var answer []string
	err = m.read(ctx, func(ctx context.Context) (err error) {
		answer, err = m.client.SMembers(ctx, floorsKey(tenant)).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the mirrored warehouses of tenant %s: %w", tenant, err)
	}
	for _, id := range answer {
		ids = append(ids, fleet.WarehouseID(id))
	}
	return ids, nil
}

func (m *Mirror) all(ctx context.Context, shard fleet.Shard, hash string, take func([]byte) error) (age time.Duration, err error) {
	var answer []any
	err = m.read(ctx, func(ctx context.Context) (err error) {
		answer, err = m.list.Run(ctx, m.client, []string{hash}, m.o.MaxList).Slice()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("list %s: %w", hash, err)
	}
	if len(answer) != 3 {
		return 0, fmt.Errorf("list %s: %w", hash, errAnswer)
	}
	ms, isAge := answer[0].(int64)
	n, isCount := answer[1].(int64)
	entries, areEntries := answer[2].([]any)
	switch {
	case !isAge || !isCount || !areEntries:
		return 0, fmt.Errorf("list %s: %w", hash, errAnswer)
	case ms < 0:
		m.forgotten(shard)
		return 0, fmt.Errorf("list %s: %w", hash, ErrNotWhole)
	case n > int64(m.o.MaxList):
		return 0, fmt.Errorf("list the %d of %s: %w", n, hash, ErrTooMany)
	}
	for i := 0; i+1 < len(entries); i += 2 {
		id, _ := entries[i].(string)
		entry, _ := entries[i+1].(string)
		if id == wholeField {
			continue
		}
		_, body, err := split(entry)
		if err == nil && body != "" {
			err = take([]byte(body))
		}
		if err != nil {
			m.m.dropped.WithLabelValues("decode").Inc()
			return 0, fmt.Errorf("list %s: %w", hash, err)
		}
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// forgotten has a shard filled in that Redis has forgotten, also where nobody holds it.
func (m *Mirror) forgotten(shard fleet.Shard) {
	m.m.missing.Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.o.Rows != nil {
		m.ask(fillOf{shard: shard})
	}
}

// read asks Redis unless it was away a moment ago.
func (m *Mirror) read(ctx context.Context, ask func(context.Context) error) error {
	if !m.breaker.closed(time.Now()) {
		m.m.reads.WithLabelValues("away").Inc()
		return ErrAway
	}
	call, cancel := context.WithTimeout(ctx, min(readFor, m.o.Timeout))
	defer cancel()
	err := ask(call)
	if errors.Is(err, goredis.Nil) {
		err = nil
	}
	if ctx.Err() == nil { // a client that has gone says nothing about Redis
		m.breaker.tell(time.Now(), err)
	}
	if err != nil {
		m.m.reads.WithLabelValues("failed").Inc()
		return err
	}
	m.m.reads.WithLabelValues("ok").Inc()
	return nil
}
