package congestion

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"starling/engine/fleet"
)

// When and how much is done. What the bench of jams has measured of it stands in docs/congestion.md.
const (
	// actFrom is the level from which on something is done by itself. At level 2 a jam stands already, and what comes then only
	// keeps it from growing.
	actFrom = 1
	// denseShare is the share of the critical density from which on tasks are held: where there are fewer, it is not they that jam.
	denseShare = 0.5
	// holdIndex is the index from which on they are: a level that risk alone gives is no reason.
	holdIndex = 0.25
	// overFull is the level of the warehouse, and of most of its zones, from which on fewer robots have tasks.
	overFull = 2
	// looks is how often a remedy is looked at, and made tighter where it has not helped, before it is taken back.
	looks = 3
	// tighter is by how much.
	tighter = 0.7
	// boundShare is how many robots may have tasks that lead into or through a jammed zone, as a share of its vertices: about
	// half of the density at which aisles flow best, for the robots that are there already, and those that leave, need room too.
	boundShare = 0.10
	// boundFew is how many they are at least.
	boundFew = 4
	// easeEvery and easeBy say how a zone that has come down is let go again: more robots step by step, so that those who
	// were held back do not all come at once.
	easeEvery = 30 * time.Second
	easeBy    = 1.25
	// activeCut is the share of the robots with tasks that keep having them on a floor that is jammed all over, activeFloor the
	// share of its vertices below which that never goes. One step, and no loop: loops that cut on and on ended at their floor
	// (docs/adr/0014).
	activeCut   = 0.75
	activeFloor = 0.08
	// allOver is the share of the zones that are at level 2 when the floor as a whole is over-full.
	allOver = 0.5
	// spoilt is by how much tasks that end may fall while a remedy holds: more, and it does harm whatever the index says.
	spoilt = 0.85
	// better is by how much they must rise to speak for a remedy that has not lowered the index.
	better = 1.05
	// riseMost is by how much the index may rise where robots are led round others that cannot move: the jam that it is against may
	// still be growing.
	riseMost = 0.25
	// againAfter is for how long a remedy that did not help is not tried again by itself.
	againAfter = 10 * time.Minute
	// stuckBins is for how many bins a robot must not have moved before others are led round it by far ways: most that stop go on
	// by then.
	stuckBins = 3
	// maxRemedies bounds what is in force at once in a warehouse, whatever the settings say.
	maxRemedies = 100
	// lookBack is over how many bins what was before, and after, is averaged.
	lookBack = 6
)

// Remedy is something that is done against a jam.
type Remedy struct {
	Number    uint64 // unique in the life of this Acts
	Kind      ActionKind
	Subject   Subject
	Label     string // for people: what is done
	Reason    string // and why
	Expected  Effect
	Measured  Effect // Measured.Measured = it has been looked at
	Automatic bool
	By        string // who has pressed, "" = nobody
	At        time.Time
	Most      int // robots: of HoldTasks and CapActive

	before figures
	peak   float64 // index, since it holds
	looked int
	eased  time.Time
}

// Held is a remedy that holds, by the name that others have for it.
type Held struct {
	ID string // a UUID
	Remedy
}

// figures are what a remedy is judged by.
type figures struct{ index, tasks float64 }

// StepKind says what has become of a remedy.
type StepKind uint8

// The steps of a remedy.
const (
	Applied StepKind = iota
	Measured
	Undone
)

// Step is told, and recorded, once each.
type Step struct {
	Kind   StepKind
	At     time.Time
	Remedy Remedy
	Reason string // of Undone, and what Measured has found, in words
}

// Acts decides what is done against the jams of one warehouse: it looks at each bin's scores, applies what settings allow to
// be done by itself, and what people press, looks after a while whether it has helped, and takes back what has not. Relief says
// what holds now. Pure, and bounded: some hundred bytes for each subject that was congested of late and each remedy.
type Acts struct {
	settings Acting
	number   uint64
	inForce  []Remedy
	past     map[Subject][]float64 // indices of the newest bins, oldest first
	newest   map[Subject]Score
	stuck    map[Subject]int       // in how many bins, one after another, somebody there could not move
	failed   map[attempt]time.Time // what did not help, and when
	ended    int                   // tasks since the last bin
	tasks    []float64             // that ended in the newest bins
	at       time.Time
}

// attempt is a kind of remedy for a subject.
type attempt struct {
	kind    ActionKind
	subject Subject
}

// NewActs knows of nothing and does nothing.
func NewActs(settings Acting) *Acts {
	return &Acts{settings: settings, past: map[Subject][]float64{}, newest: map[Subject]Score{}, stuck: map[Subject]int{}, failed: map[attempt]time.Time{}}
}

// Set puts new settings in force. Remedies that hold go on.
func (a *Acts) Set(s Acting) { a.settings = s }

// TaskEnded counts a task that has come to its end.
func (a *Acts) TaskEnded() { a.ended++ }

// InForce are the remedies that hold, oldest first.
func (a *Acts) InForce() []Remedy { return slices.Clone(a.inForce) }

// Review takes the scores of one bin and says what was done, measured and undone.
func (a *Acts) Review(now time.Time, scores []Score) []Step {
	a.at = now
	a.note(scores)
	var steps []Step
	steps = a.look(now, steps)
	if a.settings.Automatic < actFrom {
		return steps
	}
	return a.act(now, scores, steps)
}

// note remembers the newest bins.
func (a *Acts) note(scores []Score) {
	a.tasks = append(a.tasks, float64(a.ended))
	a.tasks = a.tasks[max(0, len(a.tasks)-lookBack):]
	a.ended = 0
	for i := range scores {
		s := &scores[i]
		if s.Of == OfLane { // what is done is done to zones and warehouses
			continue
		}
		p := append(a.past[s.Subject], s.Index)
		a.past[s.Subject] = p[max(0, len(p)-lookBack):]
		a.newest[s.Subject] = *s
		if a.stuck[s.Subject]++; s.Faulted == 0 {
			delete(a.stuck, s.Subject)
		}
	}
	for k, s := range a.newest { // zones of a former map
		if a.at.Sub(s.At) > 5*time.Minute {
			delete(a.newest, k)
			delete(a.past, k)
			delete(a.stuck, k)
		}
	}
	for k, at := range a.failed {
		if a.at.Sub(at) > againAfter {
			delete(a.failed, k)
		}
	}
}

// figures are the means of the newest bins.
func (a *Acts) figures(s Subject) figures {
	return figures{index: mean(a.past[s]), tasks: mean(a.tasks)}
}

func mean(of []float64) float64 {
	sum := 0.0
	for _, v := range of {
		sum += v
	}
	return sum / float64(max(1, len(of)))
}

// look measures remedies whose time has come, takes back what has not helped, and lets go of what is needed no more.
func (a *Acts) look(now time.Time, steps []Step) []Step {
	kept := a.inForce[:0]
	for _, r := range a.inForce {
		f := a.figures(r.Subject)
		r.peak = max(r.peak, f.index)
		if r.looked < looks && now.Sub(r.At) >= time.Duration(r.looked+1)*a.settings.LookAfter {
			r.looked++
			var helped bool
			var step Step
			if helped, step = r.measure(now, f, a.settings.LeastGain); helped || r.again() {
				steps = append(steps, step)
			} else {
				a.failed[attempt{r.Kind, r.Subject}] = now
				steps = append(steps, step, Step{Kind: Undone, At: now, Remedy: r, Reason: "it has not helped: " + step.Reason})
				continue
			}
		}
		if reason := a.ease(now, &r); reason != "" {
			steps = append(steps, Step{Kind: Undone, At: now, Remedy: r, Reason: reason})
			continue
		}
		kept = append(kept, r)
	}
	a.inForce = kept
	return steps
}

// measure notes what the remedy has brought.
func (r *Remedy) measure(now time.Time, f figures, least float64) (helped bool, s Step) {
	r.Measured = Effect{Index: f.index - r.before.index, Robots: r.Expected.Robots, WithinS: int(now.Sub(r.At).Seconds()), Measured: true}
	helped, found := r.judge(f, least)
	return helped, Step{Kind: Measured, At: now, Remedy: *r, Reason: found}
}

// again makes a remedy tighter that has not helped yet, where it can be; a jam that grows while it comes into force says little.
func (r *Remedy) again() bool {
	if r.Kind != HoldTasks || r.looked >= looks {
		return false
	}
	r.Most = max(boundFew, int(tighter*float64(r.Most)))
	return true
}

// judge says whether the remedy has helped, and in words what it has brought.
func (r *Remedy) judge(f figures, least float64) (helped bool, found string) {
	perMinute := float64(time.Minute / Bin)
	found = fmt.Sprintf("congestion index %.2f to %.2f, tasks a minute %.1f to %.1f", r.before.index, f.index, perMinute*r.before.tasks, perMinute*f.tasks)
	switch {
	case r.Kind == Reroute: // what it is against goes on: it may only make nothing worse
		return f.index-r.before.index < riseMost, found
	case r.before.tasks > 0 && f.tasks >= better*r.before.tasks:
		return true, found
	case f.tasks < spoilt*r.before.tasks && r.Kind != HoldTasks:
		return false, found
	}
	from := r.before.index
	if r.looked < looks { // a jam that grew while it came into force; in the end it must be better than it was
		from = max(from, r.peak)
	}
	return from-f.index >= least, found
}

// ease lets go of a remedy whose subject is congested no more, step by step where many would come at once; the reason why it is
// at its end, "" = it goes on.
func (a *Acts) ease(now time.Time, r *Remedy) string {
	s, known := a.newest[r.Subject]
	if !known {
		return "its zone is not scored any more"
	}
	if r.Kind == Reroute && s.Faulted == 0 {
		return "all can move again"
	}
	if s.Level > 0 || r.Kind == Reroute {
		r.eased = now
		if bound := a.bound(&s); r.Kind == HoldTasks && r.Most > bound && s.Level >= actFrom {
			r.Most = bound // it has come back while it was let go
		}
		return ""
	}
	switch r.Kind {
	case HoldTasks, CapActive:
		if now.Sub(r.eased) < easeEvery {
			return ""
		}
		r.eased = now
		r.Most = int(math.Ceil(easeBy * float64(r.Most)))
		if r.Most < s.Capacity/4 {
			return ""
		}
	case Reroute, CapAdmission, CloseLane, SendCharging, ActionKinds:
	}
	return "the jam is over"
}

// act applies what helps against what is seen.
func (a *Acts) act(now time.Time, scores []Score, steps []Step) []Step {
	zones, jammed := 0, 0
	var worst []*Score
	var site *Score
	for i := range scores {
		switch s := &scores[i]; s.Of {
		case OfZone:
			zones++
			if s.Level >= overFull {
				jammed++
			}
			worst = append(worst, s)
		case OfWarehouse:
			site = s
		case OfLane:
		}
	}
	slices.SortFunc(worst, func(x, y *Score) int {
		return cmp.Or(cmp.Compare(y.Level, x.Level), cmp.Compare(y.Index, x.Index), cmp.Compare(x.ID, y.ID))
	})
	if site != nil && site.Level >= overFull && site.Level <= a.settings.Automatic && float64(jammed) >= allOver*float64(max(1, zones)) {
		steps = a.apply(now, a.remedy(CapActive, site), steps)
	}
	for _, s := range worst {
		if a.stuck[s.Subject] >= stuckBins && s.Queue > 0 && s.Level <= a.settings.Automatic {
			steps = a.apply(now, a.remedy(Reroute, s), steps)
		}
		if s.Level >= actFrom && s.Level <= a.settings.Automatic && s.Index >= holdIndex && s.Density >= denseShare*s.Critical {
			steps = a.apply(now, a.remedy(HoldTasks, s), steps)
		}
	}
	return steps
}

func (a *Acts) holds(kind ActionKind, s Subject) bool {
	return slices.ContainsFunc(a.inForce, func(r Remedy) bool { return r.Kind == kind && r.Subject == s })
}

// apply puts a remedy in force by itself, where that is allowed.
func (a *Acts) apply(now time.Time, r Remedy, steps []Step) []Step {
	_, failed := a.failed[attempt{r.Kind, r.Subject}]
	if !a.settings.Remedies[r.Kind] || failed || a.holds(r.Kind, r.Subject) || len(a.inForce) >= min(a.settings.MostAtOnce, maxRemedies) {
		return steps
	}
	r.Automatic = true
	return append(steps, a.start(now, r))
}

func (a *Acts) start(now time.Time, r Remedy) Step {
	a.number++
	r.Number, r.At, r.eased = a.number, now, now
	r.before = a.figures(r.Subject)
	a.inForce = append(a.inForce, r)
	return Step{Kind: Applied, At: now, Remedy: r, Reason: r.Reason}
}

// Press puts a remedy in force that a person asks for, whatever the settings say of what is done by itself. False = there is no
// such subject, it cannot be done to it, it holds already, or too many hold.
func (a *Acts) Press(now time.Time, kind ActionKind, subject Subject, by string) (Step, bool) {
	s, known := a.newest[subject]
	if !known || !suits(kind, subject.Of) || a.holds(kind, subject) || len(a.inForce) >= maxRemedies {
		return Step{}, false
	}
	r := a.remedy(kind, &s)
	r.By = by
	return a.start(now, r), true
}

// Undo takes a remedy back. False = it does not hold.
func (a *Acts) Undo(now time.Time, number uint64, reason string) (Step, bool) {
	i := slices.IndexFunc(a.inForce, func(r Remedy) bool { return r.Number == number })
	if i < 0 {
		return Step{}, false
	}
	r := a.inForce[i]
	a.inForce = slices.Delete(a.inForce, i, i+1)
	a.failed[attempt{r.Kind, r.Subject}] = now // nobody fights a rule that does it again at once
	return Step{Kind: Undone, At: now, Remedy: r, Reason: reason}, true
}

// bound is how many robots may have tasks that lead through a jammed zone.
func (a *Acts) bound(s *Score) int {
	return max(boundFew, int(math.Round(boundShare*float64(s.Capacity))))
}

// Relief is what holds now.
func (a *Acts) Relief() Relief {
	var out Relief
	for i := range a.inForce {
		r := &a.inForce[i]
		zone := fleet.ZoneID(r.Subject.ID)
		switch r.Kind {
		case Reroute:
			out.Detour = append(out.Detour, zone)
		case HoldTasks:
			if out.Most == nil {
				out.Most = map[fleet.ZoneID]int{}
			}
			out.Most[zone] = r.Most
		case CapActive:
			out.Active = r.Most
		case CloseLane, CapAdmission, SendCharging, ActionKinds: // people close lanes; the others are not built
		}
	}
	slices.Sort(out.Detour)
	return out
}
