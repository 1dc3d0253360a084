package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"starling/engine/fleet"
)

// The headers of a job in Redis.
const (
	headerTenant = "tenant"
	headerKey    = "key"
	headerTrace  = "traceparent"
	headerBeat   = "beat" // made by schedule
)

// failedFor is how long a job that has failed for good stands in the way of its like; then it is tried once more for each
// that is made.
const failedFor = 10 * time.Minute

// errUnknownKind: a newer version of the program has made it, or an older one.
var errUnknownKind = errors.New("kind of jobs is not known here")

// Add makes a job, unless there is one of its kind and key already: that is no error, and made is false. Errors: Redis is
// away, ErrFull.
func (r *Runner) Add(ctx context.Context, j Job) (made bool, err error) {
	k, ok := r.kinds[j.Kind]
	if !ok {
		return false, fmt.Errorf("make a job %q: %w", j.Kind, errUnknownKind)
	}
	if r.inspect == nil {
		return false, fmt.Errorf("make a job %s: %w", j.Kind, errNoRedis)
	}
	return r.enqueue(ctx, &k, j, id(&j))
}

// errNoRedis: there is none in the configuration.
var errNoRedis = errors.New("no Redis is configured")

// id is the identity of a job in its queue.
func id(j *Job) string { return j.Kind + ":" + string(j.Tenant) + ":" + j.Key }

// overtime is how much longer than a try may take the library waits for its answer: one that says that its job is not to be
// kept must come before the library gives up on it. Its clock goes by whole seconds.
const overtime = 2 * time.Second

// enqueue puts the job into its queue. Its id makes it unique: it is free again as soon as the job is done, and one that
// has failed for good stands in the way of its like until somebody looks at it, or for as long as failed is kept.
func (r *Runner) enqueue(ctx context.Context, k *Kind, j Job, id string, beat ...asynq.Option) (bool, error) {
	if r.waiting[k.Queue].Load() >= maxWaiting {
		r.metrics.dropped.WithLabelValues(string(k.Queue)).Inc()
		return false, fmt.Errorf("make a job %s: %w", j.Kind, ErrFull)
	}
	headers := map[string]string{headerTenant: string(j.Tenant), headerKey: j.Key, headerTrace: string(j.Trace)}
	if len(beat) > 0 {
		headers[headerBeat] = "1"
	}
	t := asynq.NewTaskWithHeaders(j.Kind, j.Body, headers)
	o := []asynq.Option{asynq.Queue(string(k.Queue)), asynq.TaskID(id), asynq.MaxRetry(k.Tries - 1), asynq.Timeout(k.Timeout + overtime)}
	if !j.At.IsZero() {
		o = append(o, asynq.ProcessAt(j.At))
	}
	_, err := r.client.Load().EnqueueContext(ctx, t, append(o, beat...)...)
	switch {
	case errors.Is(err, asynq.ErrTaskIDConflict):
		if len(beat) == 0 && r.again(k.Queue, id) {
			r.metrics.made.WithLabelValues(j.Kind, "again").Inc()
			return true, nil
		}
		r.metrics.made.WithLabelValues(j.Kind, "there").Inc()
		return false, nil
	case err != nil:
		r.metrics.made.WithLabelValues(j.Kind, "failed").Inc()
		return false, fmt.Errorf("make a job %s: %w", j.Kind, err)
	}
	r.known[k.Queue].Store(true)
	r.waiting[k.Queue].Add(1) // until it is counted again: thousands may be made in between
	r.metrics.made.WithLabelValues(j.Kind, "made").Inc()
	return true, nil
}

// again lets a job of the id run once more that failed for good a while ago.
func (r *Runner) again(q Queue, id string) bool {
	t, err := r.inspect.GetTaskInfo(string(q), id)
	if err != nil || t.State != asynq.TaskStateArchived || r.o.Now().Sub(t.LastFailedAt) < failedFor {
		return false
	}
	return r.inspect.RunTask(string(q), id) == nil
}

// serve does a job that Redis has handed out.
func (r *Runner) serve(ctx context.Context, t *asynq.Task) error {
	h := t.Headers()
	j := Job{
		Kind: t.Type(), Tenant: fleet.TenantID(h[headerTenant]), Key: h[headerKey], Trace: fleet.Trace(h[headerTrace]),
		Body: json.RawMessage(t.Payload()),
	}
	k, ok := r.kinds[j.Kind]
	if !ok {
		return fmt.Errorf("do a job %q: %w", j.Kind, errUnknownKind)
	}
	err := r.inTime(ctx, &k, j)
	if errors.Is(err, ErrElsewhere) {
		if n, _ := asynq.GetRetryCount(ctx); n >= k.Tries-1 {
			return fmt.Errorf("nobody does the job %s: %w", j.Kind, asynq.RevokeTask)
		}
	}
	if err != nil && h[headerBeat] != "" { // the next beat is its retry: it is no job for people to look at
		return fmt.Errorf("%w: %w", err, asynq.RevokeTask)
	}
	return err
}

// inTime does the job and ends it before the library gives up on it.
func (r *Runner) inTime(ctx context.Context, k *Kind, j Job) error {
	if end, ok := ctx.Deadline(); ok {
		early, cancel := context.WithDeadline(ctx, end.Add(-overtime/2))
		defer cancel()
		ctx = early
	}
	return r.do(ctx, k, j)
}

// do does the job, measured.
func (r *Runner) do(ctx context.Context, k *Kind, j Job) (err error) {
	began := time.Now()
	ctx = traced(ctx, &j)
	r.metrics.running.WithLabelValues(k.Name).Inc()
	defer func() {
		r.metrics.running.WithLabelValues(k.Name).Dec()
		r.metrics.took.WithLabelValues(k.Name).Observe(time.Since(began).Seconds())
		r.metrics.done.WithLabelValues(k.Name, outcome(err)).Inc()
		if err != nil && !errors.Is(err, ErrElsewhere) && !errors.Is(err, errBusy) && r.ctx.Err() == nil {
			r.log.LogAttrs(ctx, slog.LevelWarn, "job has failed", slog.String("event", "job.failed"), slog.String("job", k.Name),
				slog.String("tenant_id", string(j.Tenant)), slog.String("key", j.Key), slog.String("trace_id", traceID(j.Trace)), slog.Any("error", err))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	return k.Do(ctx, j)
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, ErrElsewhere):
		return "elsewhere"
	case errors.Is(err, errBusy):
		return "busy"
	default:
		return "failed"
	}
}

// schedule makes a job of the kind again and again, each at the same beat of the clock in every process: the id of its
// beat sees to it that there is one of it, however many processes make it. Where Redis does not take it, this process
// does the work: it is idempotent, so that two processes may do it at once.
func (r *Runner) schedule(k Kind) {
	for {
		now := r.o.Now()
		beat := now.Truncate(k.Every).Add(k.Every)
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(beat.Sub(now)):
		}
		r.tick(&k, beat)
	}
}

// tick makes the job of one beat.
func (r *Runner) tick(k *Kind, beat time.Time) {
	j := Job{Kind: k.Name}
	if r.inspect != nil {
		ctx, cancel := context.WithTimeout(r.ctx, min(k.Every/2, 2*time.Second))
		// Retention keeps the id taken until no process can come with the same beat any more.
		keep := max(2*k.Every, 30*time.Second)
		_, err := r.enqueue(ctx, k, j, fmt.Sprintf("%s@%d", k.Name, beat.UnixMilli()), asynq.Retention(keep), asynq.Deadline(beat.Add(max(2*k.Every, k.Timeout)+overtime)), asynq.MaxRetry(0))
		cancel()
		if err == nil || r.ctx.Err() != nil {
			return
		}
	}
	select {
	case r.local <- struct{}{}:
	default: // what runs is slow: the next beat comes
		r.metrics.dropped.WithLabelValues("local").Inc()
		return
	}
	r.done.Go(func() {
		defer func() { <-r.local }()
		_ = r.do(r.ctx, k, j) // logged and counted; the next beat is its retry
	})
}
