package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
)

type taskView = task.View

// fillOf asks for a shard's views to be read from the store of facts.
type fillOf struct {
	shard   fleet.Shard
	inc     fleet.Incarnation
	compare bool // also where another process has just done so, and take out what is not there any more
}

//go:embed once.lua
var onceScript string

//go:embed leave.lua
var leaveScript string

// ask queues a filling unless the shard is being filled; false = the queue is full, or what is under way does less than is
// asked for. The caller holds m.mu.
func (m *Mirror) ask(f fillOf) bool {
	if compare, is := m.busy[f.shard]; is {
		return compare || !f.compare
	}
	select {
	case m.fills <- f:
		m.busy[f.shard] = f.compare
		return true
	default:
		m.m.dropped.WithLabelValues("fills").Inc()
		return false
	}
}

// refill reads from the store of facts what Redis has lost, one shard after the other, and holds it against that from
// time to time.
func (m *Mirror) refill(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-m.fills:
			began := time.Now()
			err := m.fillShard(ctx, f)
			if err != nil && ctx.Err() == nil {
				m.log.LogAttrs(ctx, slog.LevelWarn, "views are not filled in", slog.String("event", "redis.fill"),
					slog.String("shard", f.shard.Key()), slog.Any("error", err))
				select { // not at once again
				case <-ctx.Done():
				case <-time.After(firstPause):
				}
			}
			m.mu.Lock()
			delete(m.busy, f.shard)
			if s := m.shards[f.shard]; err != nil && s != nil {
				s.compared = time.Time{}
			}
			m.mu.Unlock()
			m.m.filled(err, time.Since(began))
		}
	}
}

// fillShard fills a shard's hashes from the store of facts: what is live has a higher rank and stays. One process does
// it at a time. Then this process tells again all that it shows of the shard. The lock bears the process's name, so that
// an answer that was late, or a giving back that was lost, shuts nobody out but for the process that died with it.
func (m *Mirror) fillShard(ctx context.Context, f fillOf) error {
	ctx, cancel := context.WithTimeout(ctx, fillFor)
	defer cancel()
	token := m.name
	lock := key(f.shard.Tenant, "fill", string(f.shard.Warehouse))
	got, err := m.run(ctx, m.lock, []string{lock}, []any{token, fillLock.Milliseconds()}).Int()
	if err != nil {
		return fmt.Errorf("lock the filling of shard %s: %w", f.shard.Key(), err)
	}
	if got == 0 && !f.compare {
		return nil // another process is at it
	}
	defer func() {
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.o.Timeout)
		defer cancel()
		_ = m.unlock.Run(leave, m.client, []string{lock}, token).Err() // it lapses
	}()
	if err := m.fillTasks(ctx, f); err != nil {
		return err
	}
	if err := m.fillRobots(ctx, f); err != nil {
		return err
	}
	m.retell(f.shard)
	return nil
}

// retell marks all that this process shows of a shard.
func (m *Mirror) retell(shard fleet.Shard) {
	if m.o.Newest == nil {
		return
	}
	m.mu.Lock()
	own := m.shards[shard] != nil
	m.mu.Unlock()
	if !own {
		return
	}
	m.o.Newest.Robots(shard, func(v *robot.View) bool { m.RobotChanged(shard, v.ID); return true })
	m.o.Newest.Tasks(shard, func(v *task.View) bool { m.TaskChanged(shard, v.Spec.ID, v.Version); return true })
}

func (m *Mirror) fillTasks(ctx context.Context, f fillOf) error {
	h := m.filler(f, tasksKey(f.shard))
	if err := h.look(ctx); err != nil {
		return err
	}
	err := m.o.Rows.StoredTasks(ctx, f.shard, func(v *task.View) error {
		b, err := encodeTask(nil, v)
		if err != nil {
			return err
		}
		return h.add(ctx, string(v.Spec.ID), string(appendRank(nil, 0, v.Version)), string(b))
	})
	if err != nil {
		return fmt.Errorf("read the tasks of shard %s: %w", f.shard.Key(), err)
	}
	return h.end(ctx)
}

func (m *Mirror) fillRobots(ctx context.Context, f fillOf) error {
	h := m.filler(f, robotsKey(f.shard))
	if err := h.look(ctx); err != nil {
		return err
	}
	// Ranks of stored rows lie below all live ones, whatever the clocks: among themselves the later reading wins.
	read := time.Now().UnixMicro() / 1000 // ms: a thousandth of a live number
	err := m.o.Rows.StoredRobots(ctx, f.shard, func(v *robot.View) error {
		spec, err := encodeSpec(v.Spec)
		if err != nil {
			return err
		}
		b, err := encodeRobot(nil, v, spec)
		if err != nil {
			return err
		}
		return h.add(ctx, string(v.ID), string(appendRank(nil, 0, read)), string(b))
	})
	if err != nil {
		return fmt.Errorf("read the robots of shard %s: %w", f.shard.Key(), err)
	}
	return h.end(ctx)
}

// filling writes stored entries into one hash.
type filling struct {
	m    *Mirror
	f    fillOf
	hash string
	had  map[string]string // id -> rank before the store was read
	args []any
	life string // of the hash, if it is not whole
}

func (m *Mirror) filler(f fillOf, hash string) *filling {
	return &filling{m: m, f: f, hash: hash, life: uuid.NewString()}
}

// look remembers what is there before the store is read: what is there now and in no row is gone, unless it has changed
// when it is taken out.
func (h *filling) look(ctx context.Context) error {
	h.had = map[string]string{}
	for cursor := uint64(0); ; {
		call, cancel := context.WithTimeout(ctx, h.m.o.Timeout)
		fields, next, err := h.m.client.HScan(call, h.hash, cursor, "", 1000).Result()
		cancel()
		if err != nil {
			return fmt.Errorf("look through %s: %w", h.hash, err)
		}
		for i := 0; i+1 < len(fields); i += 2 {
			if rank, _, err := split(fields[i+1]); err == nil && fields[i] != wholeField {
				h.had[fields[i]] = rank
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func (h *filling) add(ctx context.Context, id, rank, body string) error {
	delete(h.had, id)
	h.args = append(h.args, id, rank, body)
	if len(h.args) < 3*chunk {
		return nil
	}
	return h.flush(ctx, "0")
}

func (h *filling) flush(ctx context.Context, last string) error {
	args := append([]any{h.m.o.TTL.Milliseconds(), string(h.f.shard.Warehouse), last, int64(h.f.inc), h.life}, h.args...)
	h.args = h.args[:0]
	n, err := h.m.run(ctx, h.m.fill, []string{h.hash, floorsKey(h.f.shard.Tenant)}, args).Int()
	if err != nil {
		return fmt.Errorf("fill in %s: %w", h.hash, err)
	}
	h.m.m.stored.Add(float64(n))
	return nil
}

// end takes out what no row has, and says that the hash is whole.
func (h *filling) end(ctx context.Context) error {
	args := make([]any, 0, 2*chunk)
	out := func() error {
		if len(args) == 0 {
			return nil
		}
		n, err := h.m.run(ctx, h.m.drop, []string{h.hash}, args).Int()
		args = args[:0]
		if err != nil {
			return fmt.Errorf("take out what is gone of %s: %w", h.hash, err)
		}
		h.m.m.removed.Add(float64(n))
		return nil
	}
	for id, rank := range h.had {
		if args = append(args, id, rank); len(args) >= 2*chunk {
			if err := out(); err != nil {
				return err
			}
		}
	}
	return errors.Join(out(), h.flush(ctx, "1"))
}
