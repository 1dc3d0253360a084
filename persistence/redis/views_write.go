package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"starling/engine/fleet"
	"starling/engine/robot"
)

// write writes what is marked, round after round.
func (m *Mirror) write(ctx context.Context) {
	tick := time.NewTicker(m.o.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.o.Timeout)
			m.round(last)
			cancel()
			return
		case <-tick.C:
			if time.Now().Before(m.wait) {
				continue
			}
			m.round(ctx)
		}
	}
}

// round writes one round: of every shard what is marked, as far as the budget goes.
func (m *Mirror) round(ctx context.Context) {
	m.mu.Lock()
	shards := make([]fleet.Shard, 0, len(m.shards))
	for s := range m.shards {
		shards = append(shards, s)
	}
	m.mu.Unlock()
	budget := max(chunk, int(float64(m.o.PerSecond)*m.o.Every.Seconds()))
	for _, shard := range shards {
		n, err := m.roundOf(ctx, shard, budget)
		if err != nil {
			if n > 0 { // it is late, not away
				m.away = min(m.away, 1)
			}
			m.away++
			m.m.failures.Inc()
			pause := min(maxPause, firstPause<<min(m.away-1, 5))
			m.wait = time.Now().Add(pause)
			if m.away == 1 {
				m.log.LogAttrs(ctx, slog.LevelWarn, "views are not mirrored", slog.String("event", "redis.views"), slog.Any("error", err))
			}
			return
		}
		if m.away > 0 {
			m.log.LogAttrs(ctx, slog.LevelInfo, "views are mirrored again", slog.String("event", "redis.views"), slog.Int("tries", m.away))
			m.away = 0
		}
		if budget -= n; budget <= 0 {
			return
		}
	}
}

// work is what one round takes of a shard.
type work struct {
	inc    fleet.Incarnation
	robots []fleet.RobotID
	tasks  map[fleet.TaskID]int64
	graves []tombstone
	alive  struct{ robots, tasks bool } // the hashes that are written: they changed, or are told to be alive
}

// take removes up to n marks from a shard; nil = there is nothing to do.
func (m *Mirror) take(shard fleet.Shard, n int, now time.Time) *work {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shards[shard]
	if s == nil {
		return nil
	}
	if m.o.Rows != nil && now.Sub(s.compared) >= m.o.Compare && m.ask(fillOf{shard: shard, inc: s.inc, compare: true}) {
		s.compared = now
	}
	w := &work{inc: s.inc, tasks: map[fleet.TaskID]int64{}}
	for id, version := range s.tasks { // few, and promised things
		if len(w.tasks) >= n {
			break
		}
		w.tasks[id] = version
		delete(s.tasks, id)
	}
	for id := range s.robots {
		if len(w.tasks)+len(w.robots) >= n {
			break
		}
		w.robots = append(w.robots, id)
		delete(s.robots, id)
	}
	m.pending -= len(w.tasks) + len(w.robots)
	for len(s.gone) > 0 && now.Sub(s.gone[0].at) > graveFor && len(w.graves) < chunk {
		w.graves, s.gone = append(w.graves, s.gone[0]), s.gone[1:]
	}
	w.alive.tasks = m.due(&s.alive.tasks, len(w.tasks), now)
	w.alive.robots = m.due(&s.alive.robots, len(w.robots), now)
	if len(w.graves) == 0 && !w.alive.tasks && !w.alive.robots {
		return nil
	}
	return w
}

// due says whether a hash is written in this round: it has changed, or has not been written for a while. Robots that drive
// change in every round; the tasks' hash has to be told for itself.
func (m *Mirror) due(last *time.Time, changed int, now time.Time) bool {
	if changed == 0 && now.Sub(*last) < m.o.Alive {
		return false
	}
	*last = now
	return true
}

// back returns marks that were not written.
func (m *Mirror) back(shard fleet.Shard, w *work) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shards[shard]
	if s == nil {
		return
	}
	for id, version := range w.tasks {
		if _, again := s.tasks[id]; !again {
			m.pending++
		}
		s.tasks[id] = max(s.tasks[id], version)
	}
	for _, id := range w.robots {
		if _, again := s.robots[id]; !again {
			m.pending++
			s.robots[id] = struct{}{}
		}
	}
	s.alive.robots, s.alive.tasks = time.Time{}, time.Time{}
}

// roundOf writes a round of one shard and says how many entries that were.
func (m *Mirror) roundOf(ctx context.Context, shard fleet.Shard, budget int) (int, error) {
	now := time.Now()
	w := m.take(shard, budget, now)
	if w == nil {
		return 0, nil
	}
	n := len(w.tasks) + len(w.robots)
	graves, err := m.put(ctx, shard, w, now)
	switch {
	case errors.Is(err, errNewerOwner):
		m.Leave(shard)
		m.log.LogAttrs(ctx, slog.LevelInfo, "a newer owner mirrors a shard", slog.String("event", "redis.views"), slog.String("shard", shard.Key()))
		return 0, nil
	case err != nil:
		m.back(shard, w)
		m.bury(shard, graves)
		return n - len(w.tasks) - len(w.robots), err
	}
	m.bury(shard, graves)
	return n, m.sweep(ctx, shard, w.graves) // what is not swept lapses with the next comparison
}

// bury remembers tombstones.
func (m *Mirror) bury(shard fleet.Shard, graves []tombstone) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.shards[shard]; s != nil {
		if room := graveyard - len(s.gone); len(graves) > room {
			m.m.dropped.WithLabelValues("tombstones").Add(float64(len(graves) - max(0, room)))
			graves = graves[:max(0, room)]
		}
		s.gone = append(s.gone, graves...)
	}
}

var errNewerOwner = errors.New("a newer owner writes this shard")

// put writes what w names, and takes out of w what is written: a call that fails costs no more than its own entries, else a
// server that is late now and then would never see the end of a long round. What is not shown any more becomes a tombstone.
func (m *Mirror) put(ctx context.Context, shard fleet.Shard, w *work, now time.Time) (graves []tombstone, err error) {
	m.clock = max(m.clock+1, now.UnixMicro())
	rank := string(appendRank(nil, w.inc, m.clock))
	robots := make([]any, 0, 3*len(w.robots))
	for _, id := range w.robots {
		body := ""
		if v, _, ok := m.newestRobot(shard, id); ok {
			if body, err = m.robotBody(&v); err != nil {
				m.m.dropped.WithLabelValues("encode").Inc()
				continue
			}
		} else {
			graves = append(graves, tombstone{robots: true, id: string(id), rank: rank, at: now})
		}
		robots = append(robots, string(id), rank, body)
	}
	tasks := make([]any, 0, 3*len(w.tasks))
	for id, version := range w.tasks {
		body := ""
		if v, ok := m.newestTask(shard, id); ok {
			version = v.Version
			b, err := encodeTask(nil, &v)
			if err != nil {
				m.m.dropped.WithLabelValues("encode").Inc()
				continue
			}
			body = string(b)
		}
		r := string(appendRank(nil, 0, version))
		if body == "" {
			graves = append(graves, tombstone{id: string(id), rank: r, at: now})
		}
		tasks = append(tasks, string(id), r, body)
	}
	if w.alive.tasks {
		tasks, err = m.send(ctx, shard, tasksKey(shard), w.inc, tasks)
	}
	if err == nil && w.alive.robots {
		robots, err = m.send(ctx, shard, robotsKey(shard), w.inc, robots)
	}
	return w.left(tasks, robots, graves), err
}

// left takes out of w what is not among the entries that are left, and returns the tombstones that stand.
func (w *work) left(tasks, robots []any, graves []tombstone) []tombstone {
	waits := map[string]bool{}
	for i := 0; i < len(tasks); i += 3 {
		waits[tasks[i].(string)] = true
	}
	maps.DeleteFunc(w.tasks, func(id fleet.TaskID, _ int64) bool { return !waits[string(id)] })
	for i := 0; i < len(robots); i += 3 {
		waits[robots[i].(string)] = true
	}
	w.robots = slices.DeleteFunc(w.robots, func(id fleet.RobotID) bool { return !waits[string(id)] })
	return slices.DeleteFunc(graves, func(g tombstone) bool { return waits[g.id] })
}

func (m *Mirror) newestRobot(shard fleet.Shard, id fleet.RobotID) (v robot.View, n uint64, ok bool) {
	if m.o.Newest == nil {
		return v, 0, false
	}
	return m.o.Newest.Robot(shard, id)
}

func (m *Mirror) newestTask(shard fleet.Shard, id fleet.TaskID) (v taskView, ok bool) {
	if m.o.Newest == nil {
		return v, false
	}
	v, ok = m.o.Newest.Task(shard, id)
	return v, ok && !v.Status.Final()
}

// robotBody encodes a robot; its registration, which is shared and never changed, is encoded once.
func (m *Mirror) robotBody(v *robot.View) (string, error) {
	var spec json.RawMessage
	if v.Spec != nil {
		if spec = m.specs[v.Spec]; spec == nil {
			b, err := encodeSpec(v.Spec)
			if err != nil {
				return "", err
			}
			if len(m.specs) >= maxSpecs {
				clear(m.specs)
			}
			spec = b
			m.specs[v.Spec] = spec
		}
	}
	b, err := encodeRobot(m.buf[:0], v, spec)
	m.buf = b
	return string(b), err
}

// send takes entries (triples of id, rank, body) to a hash, a chunk a script, and returns those that are left.
func (m *Mirror) send(ctx context.Context, shard fleet.Shard, hash string, inc fleet.Incarnation, entries []any) (left []any, err error) {
	for first := true; first || len(entries) > 0; first = false {
		n := min(len(entries), 3*chunk)
		args := append([]any{int64(inc), m.o.TTL.Milliseconds(), string(shard.Warehouse)}, entries[:n]...)
		answer, err := m.run(ctx, m.show, []string{hash, floorsKey(shard.Tenant)}, args).Slice()
		if err != nil {
			return entries, fmt.Errorf("mirror views of shard %s: %w", shard.Key(), err)
		}
		if len(answer) != 4 {
			return entries, fmt.Errorf("mirror views of shard %s: %w", shard.Key(), errAnswer)
		}
		taken, _ := answer[0].(int64)
		written, _ := answer[1].(int64)
		older, _ := answer[2].(int64)
		life, _ := answer[3].(string)
		if taken < 0 {
			return entries, errNewerOwner
		}
		m.m.written.Add(float64(written))
		m.written.Add(written)
		m.m.older.Add(float64(older))
		m.lives(shard, hash, life)
		entries = entries[n:]
	}
	return nil, nil
}

// run runs a script within the bound of a call.
func (m *Mirror) run(ctx context.Context, s *goredis.Script, keys []string, args []any) *goredis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, m.o.Timeout)
	defer cancel()
	return s.Run(ctx, m.client, keys, args...)
}

// lives looks at the life of a hash: where Redis has forgotten it, it is filled in; where somebody else has done so, all
// that this process shows is told again.
func (m *Mirror) lives(shard fleet.Shard, hash, life string) {
	m.mu.Lock()
	s := m.shards[shard]
	again := false
	switch {
	case s == nil || m.o.Rows == nil:
	case life == "":
		m.ask(fillOf{shard: shard, inc: s.inc})
	case s.lives[hash] != life:
		again = true
		s.lives[hash] = life
	}
	m.mu.Unlock()
	if again {
		m.retell(shard)
	}
}

// sweep removes tombstones.
func (m *Mirror) sweep(ctx context.Context, shard fleet.Shard, graves []tombstone) error {
	pairs := map[string][]any{}
	for _, g := range graves {
		hash := tasksKey(shard)
		if g.robots {
			hash = robotsKey(shard)
		}
		pairs[hash] = append(pairs[hash], g.id, g.rank)
	}
	for hash, args := range maps.All(pairs) {
		if err := m.run(ctx, m.drop, []string{hash}, args).Err(); err != nil {
			return fmt.Errorf("remove what is gone from shard %s: %w", shard.Key(), err)
		}
	}
	return nil
}
