package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"starling/engine/fleet"
)

// Violation is a broken law.
type Violation struct {
	Law     int // 1..10, as design.md counts them
	Seed    uint64
	Step    int
	At      time.Duration // virtual
	Message string
}

// Error implements error.
func (v *Violation) Error() string {
	return fmt.Sprintf("law %d broken at seed %d, step %d (%v): %s", v.Law, v.Seed, v.Step, v.At, v.Message)
}

// Result is what a run came to.
type Result struct {
	Steps    int
	Digest   uint64
	Moves    int
	Created  int // tasks acknowledged
	Ended    int // of them, those that have ended
	Finished int // of them, those that succeeded
	Grants   int
	Crashes  int
	Charged  float64    // whole batteries
	Lowest   float64    // level that a battery had
	Broken   *Violation // nil = all laws held
}

// World is one run.
type World struct {
	Config
	// Trace, where set, is told what happens. For people; the run is the same without.
	Trace func(line string)

	clock  clock
	epoch  time.Time // of virtual time zero
	rng    *rand.Rand
	calm   bool
	sites  []*site
	steps  int
	digest uint64
	laws   laws
	broken *Violation
	result Result
	stage  *stage // of a scenario, nil = none
}

// New builds the world of a config; nothing has happened yet.
func New(c Config) *World {
	w := &World{
		Config: c, rng: rand.New(rand.NewPCG(c.Seed, 1)), digest: 14695981039346656037, result: Result{Lowest: 1},
		epoch: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for i := range max(1, c.Tenants) {
		w.sites = append(w.sites, newSite(w, i))
	}
	w.laws.init(w)
	if c.Scenario != nil {
		w.stage = newStage(w, c.Scenario)
		w.stage.open()
	}
	for _, s := range w.sites {
		s.open()
	}
	w.clock.after(c.Chaos, "calm", w.becalm)
	return w
}

// becalm ends all faults: from now on everything must come to its end.
func (w *World) becalm() {
	w.calm = true
	if w.stage != nil {
		return // a scenario's faults have ends of their own
	}
	for _, s := range w.sites {
		s.becalm()
	}
}

// Run runs to the end, or for at most steps events where steps > 0, or until a law is broken.
func (w *World) Run(steps int) Result {
	end := w.Chaos + w.Calm
	for w.broken == nil && (steps <= 0 || w.steps < steps) {
		e, ok := w.clock.next()
		if !ok || e.at > end || w.laws.deadlocks.over || w.stage.over() {
			w.laws.ended()
			break
		}
		w.steps++
		w.mix(uint64(e.at), e.what)
		e.do()
		w.laws.stepped()
	}
	w.result.Steps, w.result.Broken = w.steps, w.broken
	for _, s := range w.sites {
		w.mix(s.digest(), "site")
	}
	w.result.Digest = w.digest
	return w.result
}

// now is the virtual time as the cores see it.
func (w *World) now() time.Time { return w.epoch.Add(w.clock.now) }

// mix folds something into the run's digest.
func (w *World) mix(n uint64, what string) {
	h := w.digest ^ n
	h *= 1099511628211
	for i := range len(what) {
		h = (h ^ uint64(what[i])) * 1099511628211
	}
	w.digest = h
}

// fail notes the first broken law.
func (w *World) fail(law int, format string, args ...any) {
	if w.broken == nil {
		w.broken = &Violation{Law: law, Seed: w.Seed, Step: w.steps, At: w.clock.now, Message: fmt.Sprintf(format, args...)}
	}
}

func (w *World) trace(format string, args ...any) {
	if w.Trace != nil {
		w.Trace(fmt.Sprintf("%8.3f ", w.clock.now.Seconds()) + fmt.Sprintf(format, args...))
	}
}

// settling is how long a warehouse is left in peace at first, until each robot has told where it stands: of a robot
// that has never said a word nobody can know.
const settling = 15 * time.Second

// peace says that nothing goes wrong now.
func (w *World) peace() bool { return w.calm || w.clock.now < settling }

// chance is true with probability p, in chaos.
func (w *World) chance(p float64) bool { return !w.peace() && p > 0 && w.rng.Float64() < p }

// upTo draws a duration.
func (w *World) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(d) + 1))
}

// pause is d; in lock-step it ends at the next half second after that, never while the robots act.
func (w *World) pause(d time.Duration) time.Duration {
	const half = 500 * time.Millisecond
	if !w.Lockstep {
		return d
	}
	return (w.clock.now + d).Truncate(half) + half - w.clock.now
}

// every calls do again and again, at random intervals with this mean, until the calm.
func (w *World) every(mean time.Duration, what string, do func()) {
	if mean <= 0 {
		return
	}
	w.clock.after(min(time.Duration(w.rng.ExpFloat64()*float64(mean)), 4*mean), what, func() {
		if w.calm {
			return
		}
		if !w.peace() {
			do()
		}
		w.every(mean, what, do)
	})
}

// mail carries one message between two actors of a house, as badly as the config says.
func (w *World) mail(s *site, what string, deliver func()) {
	life := s.life
	send := func() {
		d := w.upTo(w.Mail.Delay)
		if w.chance(w.Mail.Stray) {
			d += w.upTo(w.Mail.StrayDelay)
		}
		w.clock.after(d, what, func() {
			if s.life == life {
				deliver()
			}
		})
	}
	if w.chance(w.Mail.Lose) {
		w.trace("lost: %s", what)
		return
	}
	send()
	if w.chance(w.Mail.Repeat) {
		send()
	}
}

// id makes an identity that tells its tenant.
func (s *site) id(kind string, n int) string {
	return fmt.Sprintf("%08x-%s-4000-8000-%012x", s.number+1, kind, n)
}

// The kinds of identities.
const (
	idTask    = "7a5c"
	idRobot   = "0b07"
	idCommand = "c03d"
	idMap     = "3a90"
	idEvent   = "e7e7"
)

// home says whether an identity made by id belongs to the site; "" belongs anywhere.
func (s *site) home(id string) bool {
	return id == "" || len(id) > 8 && id[:8] == fmt.Sprintf("%08x", s.number+1)
}

// short is an identity for people.
func short[T ~string](id T) string {
	if len(id) < 12 {
		return string(id)
	}
	return string(id[7:13]) + "-" + string(id[len(id)-4:])
}

// perTick is the interval of the zones' planning rounds.
func (w *World) perTick() time.Duration {
	if w.Lockstep {
		return time.Second
	}
	return 250 * time.Millisecond
}

// lease is until when the site may grant.
func (s *site) lease() time.Time {
	if s.w.Lease == 0 {
		return fleet.Far
	}
	return s.leaseUntil
}
