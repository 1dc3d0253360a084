package actors

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
)

// snapshots is the snapshot writer of one shard: the newest state of each robot, saved in batches. Bound: one
// entry a robot. Where the store is away, it keeps the newest.
type snapshots struct {
	sys   *System
	sh    *shard
	mu    sync.Mutex
	newer map[fleet.RobotID]robot.LastKnown
	armed bool
	timer timer
}

// snapshotBatch is how many robots one call saves.
const snapshotBatch = 1000

func (w *snapshots) init(sys *System, sh *shard) {
	w.sys, w.sh, w.newer = sys, sh, map[fleet.RobotID]robot.LastKnown{}
	w.timer.owner = w
}

// put takes a robot's newest state.
func (w *snapshots) put(id fleet.RobotID, last robot.LastKnown) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.newer[id] = last
	w.arm(200 * time.Millisecond) // for the others of the same round to arrive
}

func (w *snapshots) arm(d time.Duration) {
	if w.armed {
		return
	}
	w.armed = true
	w.sys.wheel.arm(&w.timer, w.sys.now().Add(d))
}

// expire implements expirer.
func (w *snapshots) expire(time.Time) { w.sys.pool.async(w.flush) }

// flush saves what has gathered. It runs off the pool.
func (w *snapshots) flush() {
	w.mu.Lock()
	w.armed = false
	ids := make([]fleet.RobotID, 0, len(w.newer))
	for id := range w.newer {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	w.mu.Unlock()
	for batch := range slices.Chunk(ids, snapshotBatch) {
		if err := w.save(batch); err != nil {
			if !errors.Is(err, context.Canceled) {
				w.sys.metrics.wrong("snapshot").Inc()
			}
			if errors.Is(err, fact.ErrFenced) {
				w.sys.fenced(w.sh, "snapshot")
				return
			}
			w.mu.Lock()
			w.arm(w.sys.SnapshotEvery)
			w.mu.Unlock()
			return
		}
	}
}

func (w *snapshots) save(ids []fleet.RobotID) error {
	batch := make([]fact.RobotSnapshot, 0, len(ids))
	w.mu.Lock()
	for _, id := range ids {
		if last, ok := w.newer[id]; ok {
			batch = append(batch, fact.RobotSnapshot{Robot: id, Last: last})
			delete(w.newer, id)
		}
	}
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(w.sys.ctx, appendTimeout)
	defer cancel()
	err := w.sys.Store.SaveSnapshots(ctx, w.sh.id, batch)
	if err == nil {
		w.sys.metrics.snapshots.Add(float64(len(batch)))
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range batch {
		if _, newer := w.newer[b.Robot]; !newer {
			w.newer[b.Robot] = b.Last
		}
	}
	return err
}
