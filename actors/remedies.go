package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/alert"
	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
)

// RemediesOptions are the ports of Remedies.
type RemediesOptions struct {
	// Relieve tells a warehouse what it is to do from now on. (System.Relieve.)
	Relieve func(ctx context.Context, shard fleet.Shard, r congestion.Relief) error
	// Record keeps with its alert what was done, measured or undone; errors wrap fact.ErrNotFound where there is no such alert.
	// (System.RecordRemedy.)
	Record     func(ctx context.Context, shard fleet.Shard, m alert.Msg) error
	Now        func() time.Time
	Log        *slog.Logger          // nil = silence
	Registerer prometheus.Registerer // nil = metrics are kept and not registered
}

// Remedies does something against jams: it has one core (congestion.Acts) for each shard that is scored here, tells warehouses
// what holds, and keeps with the alerts what was done. What holds does not outlive the process: a jam that goes on is acted upon
// anew.
//
// Bounds: shards as the scorer has them, in each maxUnrecorded remedies whose steps are not recorded yet.
type Remedies struct {
	o       RemediesOptions
	mu      sync.Mutex
	shards  map[fleet.Shard]*acting
	steps   *prometheus.CounterVec
	dropped *prometheus.CounterVec
	end     context.CancelFunc
	done    sync.WaitGroup
}

// acting is one shard's. Guarded by Remedies.mu.
type acting struct {
	acts   *congestion.Acts
	ids    map[uint64]string // of the remedies that hold
	unkept []unkept
}

// unkept are steps of one remedy that are to be recorded, in order.
type unkept struct {
	remedy string
	since  time.Time
	steps  []alert.Msg
}

// Bounds and patiences of what is to be recorded.
const (
	maxUnrecorded = 200
	recordEvery   = 2 * time.Second
	recordWithin  = 2 * time.Second
	// relieveWithin bounds telling a warehouse: it is mail.
	relieveWithin = time.Second
	// noAlertFor is for how long a remedy waits for the alert of its jam to be opened: longer than any dwell that is usual.
	noAlertFor = 10 * time.Minute
)

// NewRemedies starts what acts; Stop ends it.
func NewRemedies(o RemediesOptions) *Remedies {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Remedies{
		o: o, shards: map[fleet.Shard]*acting{},
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_congestion_remedies_total", Help: "Remedies against jams, by kind and step: applied, measured, undone.",
		}, []string{"kind", "step"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_congestion_remedies_unrecorded_total", Help: "Remedies that no alert has on record: there was none (no_alert), it has too many in force (alert_full), or too many waited (full).",
		}, []string{"why"}),
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(r.steps, r.dropped)
	}
	var ctx context.Context
	ctx, r.end = context.WithCancel(context.Background())
	r.done.Go(func() { r.run(ctx) })
	return r
}

// Stop records what it can of what waits until ctx is done, and ends it.
func (r *Remedies) Stop(ctx context.Context) {
	r.end()
	r.done.Wait()
	r.record(ctx)
}

// Review takes the scores of one bin of a shard, with the settings in force there.
func (r *Remedies) Review(shard fleet.Shard, settings congestion.Settings, scores []congestion.Score) {
	r.mu.Lock()
	a := r.of(shard)
	allowed := settings.Acting
	if settings.Off {
		allowed.Automatic = 0
	}
	a.acts.Set(allowed)
	r.note(shard, a, a.acts.Review(r.o.Now(), scores), fleet.Actor{Part: "congestion"})
	relief := a.acts.Relief()
	r.mu.Unlock()
	r.relieve(shard, relief)
}

// of finds what is known of a shard. The caller holds mu.
func (r *Remedies) of(shard fleet.Shard) *acting {
	a := r.shards[shard]
	if a == nil {
		a = &acting{acts: congestion.NewActs(congestion.Acting{}), ids: map[uint64]string{}}
		r.shards[shard] = a
	}
	return a
}

// relieve tells the warehouse what holds. Each bin says it again: one that has started anew knows nothing of it.
func (r *Remedies) relieve(shard fleet.Shard, relief congestion.Relief) {
	ctx, cancel := context.WithTimeout(context.Background(), relieveWithin)
	defer cancel()
	if err := r.o.Relieve(ctx, shard, relief); err != nil {
		r.o.Log.LogAttrs(ctx, slog.LevelWarn, "a warehouse is not told what to do against jams", slog.String("event", "congestion.relieve"),
			slog.String("shard", shard.Key()), slog.String("error", err.Error()))
	}
}

// TaskEnded counts a task of a shard that has come to its end: remedies are judged by that, too.
func (r *Remedies) TaskEnded(shard fleet.Shard) {
	if r == nil { // a process without an engine's scores
		return
	}
	r.mu.Lock()
	if a := r.shards[shard]; a != nil {
		a.acts.TaskEnded()
	}
	r.mu.Unlock()
}

// Gone forgets a shard that is not scored here any more.
func (r *Remedies) Gone(shard fleet.Shard) {
	r.mu.Lock()
	delete(r.shards, shard)
	r.mu.Unlock()
}

// List are the remedies that hold, oldest first.
func (r *Remedies) List(shard fleet.Shard) []congestion.Held {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.shards[shard]
	if a == nil {
		return nil
	}
	held := a.acts.InForce()
	out := make([]congestion.Held, len(held))
	for i := range held {
		out[i] = congestion.Held{ID: a.ids[held[i].Number], Remedy: held[i]}
	}
	return out
}

// Press puts a remedy in force that a person asks for. A *fact.ConflictError says that it cannot
// be done: nothing is known of the subject, it holds already, or too many hold.
func (r *Remedies) Press(shard fleet.Shard, kind congestion.ActionKind, subject congestion.Subject, by fleet.Actor) (congestion.Held, error) {
	r.mu.Lock()
	a := r.shards[shard]
	if a == nil {
		r.mu.Unlock()
		return congestion.Held{}, fmt.Errorf("%s: nothing was measured there: %w", kind, &fact.ConflictError{Key: "state"})
	}
	step, ok := a.acts.Press(r.o.Now(), kind, subject, string(by.User))
	if !ok {
		r.mu.Unlock()
		return congestion.Held{}, fmt.Errorf("%s of %s %s: %w", kind, subject.Of, subject.ID, &fact.ConflictError{Key: "state"})
	}
	r.note(shard, a, []congestion.Step{step}, by)
	held, relief := congestion.Held{ID: a.ids[step.Remedy.Number], Remedy: step.Remedy}, a.acts.Relief()
	r.mu.Unlock()
	r.relieve(shard, relief)
	return held, nil
}

// Undo takes a remedy back; an error that wraps fact.ErrNotFound says that it does not hold.
func (r *Remedies) Undo(shard fleet.Shard, id, reason string, by fleet.Actor) error {
	r.mu.Lock()
	a := r.shards[shard]
	var step congestion.Step
	found := false
	if a != nil {
		for n, of := range a.ids {
			if of == id {
				step, found = a.acts.Undo(r.o.Now(), n, reason)
			}
		}
	}
	if !found {
		r.mu.Unlock()
		return fmt.Errorf("undo remedy %s: %w", id, fact.ErrNotFound)
	}
	r.note(shard, a, []congestion.Step{step}, by)
	relief := a.acts.Relief()
	r.mu.Unlock()
	r.relieve(shard, relief)
	return nil
}

// Holds says whether a remedy holds here (Options.HoldsRemedy).
func (r *Remedies) Holds(shard fleet.Shard, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.shards[shard]; a != nil {
		for _, of := range a.ids {
			if of == id {
				return true
			}
		}
	}
	return false
}

// UndoOf takes back what an alert's rollback asks for (Options.UndoRemedy). What does not hold, after a restart say, is undone.
func (r *Remedies) UndoOf(shard fleet.Shard, _ alert.ID, x alert.Remedy) {
	by := fleet.Actor{Part: "alerts"}
	if r.Undo(shard, x.ID, "its alert was rolled back", by) == nil {
		return
	}
	r.mu.Lock()
	r.keep(r.of(shard), x.ID, alert.RemedyUndone{Remedy: x.ID, Reason: "it did not hold any more", By: by})
	r.mu.Unlock()
}

// note counts and logs steps, and puts them down to be recorded. The caller holds mu.
func (r *Remedies) note(shard fleet.Shard, a *acting, steps []congestion.Step, by fleet.Actor) {
	for i := range steps {
		s := &steps[i]
		x := &s.Remedy
		word := ""
		switch s.Kind {
		case congestion.Applied:
			word = "applied"
			a.ids[x.Number] = uuid.NewString()
		case congestion.Measured:
			word = "measured"
		case congestion.Undone:
			word = "undone"
		}
		id := a.ids[x.Number]
		r.steps.WithLabelValues(x.Kind.String(), word).Inc()
		r.o.Log.LogAttrs(context.Background(), slog.LevelInfo, "a remedy against a jam", slog.String("event", "congestion.remedy"), slog.String("step", word), slog.String("shard", shard.Key()),
			slog.String("remedy", id), slog.String("kind", x.Kind.String()), slog.String("subject", x.Subject.Of.String()+" "+x.Subject.ID), slog.String("reason", s.Reason))
		a.keepStep(r, id, s, by)
		if s.Kind == congestion.Undone {
			delete(a.ids, x.Number)
		}
	}
}

// keepStep puts down one step as the alerts have it.
func (a *acting) keepStep(r *Remedies, id string, s *congestion.Step, by fleet.Actor) {
	x := &s.Remedy
	switch s.Kind {
	case congestion.Applied:
		subject := alert.Subject{Type: x.Subject.Of.String(), ID: x.Subject.ID}
		r.keep(a, id, alert.RemedyApplied{
			Subject: subject, Cause: alert.Congestion, By: by,
			Remedy: alert.Remedy{
				ID: id, Kind: x.Kind.String(), Subject: subject, Label: x.Label, Reason: s.Reason, Automatic: x.Automatic, AppliedAt: x.At,
				Expected: fmt.Sprintf("congestion index %+.2f within %d s, %d robots", x.Expected.Index, x.Expected.WithinS, x.Expected.Robots),
			},
		})
	case congestion.Measured:
		r.keep(a, id, alert.RemedyMeasured{Remedy: id, Measured: s.Reason, By: by})
	case congestion.Undone:
		r.keep(a, id, alert.RemedyUndone{Remedy: id, Reason: s.Reason, By: by})
	}
}

// keep puts a step down behind those of the same remedy. The caller holds mu.
func (r *Remedies) keep(a *acting, id string, m alert.Msg) {
	for i := range a.unkept {
		if a.unkept[i].remedy == id {
			_, ends := m.(alert.RemedyUndone)
			steps := a.unkept[i].steps
			if _, ended := steps[len(steps)-1].(alert.RemedyUndone); ends && ended { // asked for again and again while the store is away
				return
			}
			a.unkept[i].steps = append(a.unkept[i].steps, m)
			return
		}
	}
	if len(a.unkept) >= maxUnrecorded {
		a.unkept = a.unkept[1:]
		r.dropped.WithLabelValues("full").Inc()
	}
	a.unkept = append(a.unkept, unkept{remedy: id, since: r.o.Now(), steps: []alert.Msg{m}})
}

func (r *Remedies) run(ctx context.Context) {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.record(ctx)
		}
	}
}

// record hands the alerts what waits. A remedy may come before its alert: it waits for that one.
func (r *Remedies) record(ctx context.Context) {
	r.mu.Lock()
	shards := make([]fleet.Shard, 0, len(r.shards))
	for s, a := range r.shards {
		if len(a.unkept) > 0 {
			shards = append(shards, s)
		}
	}
	r.mu.Unlock()
	for _, shard := range shards {
		r.mu.Lock()
		var waiting []unkept
		if a := r.shards[shard]; a != nil {
			waiting, a.unkept = a.unkept, nil
		}
		r.mu.Unlock()
		left := waiting[:0]
		for _, u := range waiting {
			if u = r.recordOne(ctx, shard, u); len(u.steps) > 0 {
				left = append(left, u)
			}
		}
		r.mu.Lock()
		if a := r.shards[shard]; a != nil {
			fresh := a.unkept
			a.unkept = left
			for _, u := range fresh {
				for _, m := range u.steps {
					r.keep(a, u.remedy, m)
				}
			}
		}
		r.mu.Unlock()
	}
}

// recordOne hands over the steps of one remedy, and returns those that are left.
func (r *Remedies) recordOne(ctx context.Context, shard fleet.Shard, u unkept) unkept {
	for len(u.steps) > 0 {
		within, cancel := context.WithTimeout(ctx, recordWithin)
		err := r.o.Record(within, shard, u.steps[0])
		cancel()
		_, applied := u.steps[0].(alert.RemedyApplied)
		switch {
		case err == nil:
			u.steps = u.steps[1:]
		case errors.Is(err, ErrAlertFull): // it has no room for more remedies, now or later
			r.dropped.WithLabelValues("alert_full").Inc()
			u.steps = nil
		case errors.Is(err, fact.ErrNotFound) && (!applied || r.o.Now().Sub(u.since) > noAlertFor):
			r.dropped.WithLabelValues("no_alert").Inc()
			u.steps = nil
		default:
			return u
		}
	}
	return u
}
