package jobs

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"starling/engine/fleet"
)

// Failed is a job that has used up its tries.
type Failed struct {
	Queue  Queue
	ID     string
	Kind   string
	Tenant fleet.TenantID
	Key    string
	Cause  string
	Tries  int
	At     time.Time // of the last try
	Trace  fleet.Trace
}

// ErrNoJob: there is no such failed job.
var ErrNoJob = errors.New("no such failed job")

// maxFailed bounds a list of failed jobs, of each queue.
const maxFailed = 500

// Failures lists the jobs that have used up their tries, the newest first, at most 500 of each queue. Errors: Redis is away.
func (r *Runner) Failures() ([]Failed, error) {
	if r.inspect == nil {
		return nil, nil
	}
	var out []Failed
	for _, q := range Queues() {
		list, err := r.inspect.ListArchivedTasks(string(q), asynq.PageSize(maxFailed))
		if errors.Is(err, asynq.ErrQueueNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the failed jobs of %s: %w", q, err)
		}
		for _, t := range list {
			out = append(out, Failed{
				Queue: q, ID: t.ID, Kind: t.Type, Cause: t.LastErr, Tries: t.Retried + 1, At: t.LastFailedAt,
				Tenant: fleet.TenantID(t.Headers[headerTenant]), Key: t.Headers[headerKey], Trace: fleet.Trace(t.Headers[headerTrace]),
			})
		}
	}
	slices.SortStableFunc(out, func(a, b Failed) int { return cmp.Or(b.At.Compare(a.At), strings.Compare(a.ID, b.ID)) })
	return out, nil
}

// Retry lets a failed job run once more. Errors: ErrNoJob, Redis is away.
func (r *Runner) Retry(q Queue, id string) error {
	return r.upon(q, id, "run again", func() error { return r.inspect.RunTask(string(q), id) })
}

// Discard forgets a failed job. Errors: ErrNoJob, Redis is away.
func (r *Runner) Discard(q Queue, id string) error {
	return r.upon(q, id, "forget", func() error { return r.inspect.DeleteTask(string(q), id) })
}

func (r *Runner) upon(q Queue, id, what string, do func() error) error {
	if r.inspect == nil {
		return fmt.Errorf("%s job %s: %w", what, id, ErrNoJob)
	}
	t, err := r.inspect.GetTaskInfo(string(q), id)
	if err == nil && t.State != asynq.TaskStateArchived {
		err = ErrNoJob
	}
	if err == nil {
		err = do()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, asynq.ErrQueueNotFound), errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, ErrNoJob):
		return fmt.Errorf("%s job %s: %w", what, id, ErrNoJob)
	}
	return fmt.Errorf("%s job %s: %w", what, id, err)
}

// countEvery is how often queues are measured.
const countEvery = 5 * time.Second

// count measures the queues.
func (r *Runner) count() {
	for {
		there, err := r.inspect.Queues()
		r.away.Store(err != nil)
		for _, q := range Queues() {
			if err == nil {
				r.measure(q, slices.Contains(there, string(q)))
			}
		}
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(countEvery):
		}
	}
}

// measure measures a queue; there says that Redis knows it.
func (r *Runner) measure(q Queue, there bool) {
	i, before := &asynq.QueueInfo{}, r.waiting[q].Load()
	if there {
		var err error
		if i, err = r.inspect.GetQueueInfo(string(q)); err != nil {
			return
		}
	} else {
		r.introduce(q)
	}
	r.waiting[q].Add(int64(i.Pending+i.Scheduled+i.Retry+i.Active) - before) // with what is being made meanwhile
	for state, n := range map[string]int{"pending": i.Pending, "active": i.Active, "scheduled": i.Scheduled, "retry": i.Retry, "failed": i.Archived} {
		r.metrics.queue.WithLabelValues(string(q), state).Set(float64(n))
	}
	r.metrics.age.WithLabelValues(string(q)).Set(i.Latency.Seconds())
}

// introduce makes the queue known again where Redis has forgotten everything since it was made known: a client does that
// once in its life, and nobody could look into the queue any more.
func (r *Runner) introduce(q Queue) {
	if !r.known[q].Swap(false) {
		return
	}
	old := r.client.Swap(asynq.NewClient(r.at))
	r.done.Go(func() {
		select { // what is under way with it takes two seconds
		case <-time.After(5 * time.Second):
		case <-r.ctx.Done():
		}
		_ = old.Close()
	})
}

// body decodes the body of a job.
func body[T any](j *Job) (v T, err error) {
	if err := json.Unmarshal(j.Body, &v); err != nil {
		return v, fmt.Errorf("read the body of a job %s: %w: %w", j.Kind, err, asynq.SkipRetry)
	}
	return v, nil
}
