package scale

import (
	"context"
	"fmt"
	"time"

	"starling/bench/hall"
	"starling/bench/record"
	"starling/engine/fleet"
	"starling/engine/task"
)

// Decisions is what new tasks have waited for, and what deciding has cost.
type Decisions struct {
	Robots   int                `json:"robots"`
	PerS     int                `json:"tasks_per_s"`
	Created  int                `json:"created"`
	Awarded  int                `json:"awarded"`
	WaitMS   record.Percentiles `json:"wait_ms"`  // from creation to the award, in virtual time
	CPUMS    record.Percentiles `json:"cpu_ms"`   // of each turn of the dispatcher that decided
	TotalMS  record.Percentiles `json:"total_ms"` // bound of both together: wait and the dearest turn at that share
	CPUPerS  float64            `json:"cpu_ms_s"` // of the dispatcher a second
	RSSBytes int64              `json:"max_rss_bytes"`
}

// errand is how far the second place of a task is from the first, in metres: tasks of about half a minute, so that there
// are always robots without one.
const errand = 25

// Decide lets so many new tasks a second come, for seconds, to a warehouse whose robots drive as in life.
func Decide(ctx context.Context, run Run, perS, seconds int) (Decisions, error) {
	run.Driving, run.PerWarehouse = true, run.Robots
	r, err := newRunner(ctx, run)
	if err != nil {
		return Decisions{}, err
	}
	r.awarded = map[fleet.TaskID]bool{}
	h := r.houses[0]
	each := int(time.Second / hall.Slice)
	var cpu time.Duration
	warm := min(10, seconds/2)
	for k := range seconds * each {
		if k == warm*each {
			r.waits, r.meter.Decisions, cpu = nil, nil, r.meter.Dispatch
		}
		for range perS*(k+1)/each - perS*k/each {
			if err := r.near(ctx, h); err != nil {
				return Decisions{}, err
			}
		}
		if err := r.hall.Moment(ctx); err != nil {
			return Decisions{}, err
		}
		if r.Progress != nil && k%each == 0 {
			r.Progress(k / each)
		}
	}
	out := Decisions{
		Robots: run.Robots, PerS: perS, Created: perS * (seconds - warm), Awarded: len(r.waits), WaitMS: percentiles(r.waits),
		CPUMS: percentiles(r.meter.Decisions), CPUPerS: float64((r.meter.Dispatch - cpu).Microseconds()) / 1000 / float64(seconds-warm),
	}
	out.TotalMS = record.Percentiles{P50: out.WaitMS.P50 + out.CPUMS.P50, P99: out.WaitMS.P99 + out.CPUMS.P99, Max: out.WaitMS.Max + out.CPUMS.Max}
	_, out.RSSBytes = hall.Usage()
	return out, r.hall.Close(ctx)
}

// near creates a task whose places are not far from each other.
func (r *runner) near(ctx context.Context, h *house) error {
	n := len(r.graph.Vertices)
	from := fleet.Vertex(r.rng.IntN(n))
	to := from
	for to == from || r.graph.Manhattan(from, to) > errand {
		to = fleet.Vertex(max(0, min(n-1, int(from)+r.rng.IntN(10*errand)-5*errand)))
	}
	r.serial++
	spec := task.Spec{
		ID: fleet.TaskID(fmt.Sprintf("5ca1e000-0000-4000-a000-%012d", r.serial)), Shard: h.shard, Type: fleet.Patrol, Source: "api",
		CreatedAt: r.hall.Now(), Payload: []byte("{}"), Errands: []fleet.Vertex{from, to},
	}
	if _, err := r.hall.System.CreateTask(ctx, spec, fleet.Actor{Part: "bench"}, "", nil); err != nil {
		return fmt.Errorf("create a task: %w", err)
	}
	return nil
}
