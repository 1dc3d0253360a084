package hall

import (
	"syscall"
	"time"

	"starling/engine/dispatch"
	"starling/engine/zone"
)

// Meter counts what the actors of a hall do: CPU time of the zones and of the dispatchers (the distance tables that they
// have made included, and the share of garbage collection that happens meanwhile), and messages by kind.
type Meter struct {
	Zones, Dispatch time.Duration
	Messages        Messages
	// Decisions is the CPU time of each turn of a dispatcher that took a tick, the newest last; bounded by decisions.
	Decisions []time.Duration
	ticked    bool
}

// Messages counts what actors were told, by kind of actor, and what zones said to each other.
type Messages struct {
	Robot, Zone, Task, Warehouse int64
	Tokens, Claims, Pushes       int64 // batches between zones, and what they carry
	Answers, Domain              int64 // grants and denials of claims; words between zones planned together
}

// Since is what has been counted since before, by name.
func (m Messages) Since(before Messages) map[string]int64 {
	return map[string]int64{
		"to robots": m.Robot - before.Robot, "to zones": m.Zone - before.Zone, "to tasks": m.Task - before.Task,
		"to dispatchers": m.Warehouse - before.Warehouse, "tokens": m.Tokens - before.Tokens, "claims": m.Claims - before.Claims,
		"pushes": m.Pushes - before.Pushes, "answers": m.Answers - before.Answers, "domain": m.Domain - before.Domain,
	}
}

const decisions = 1 << 16

// Turn implements actors.Meter.
func (m *Meter) Turn(kind string, run func() int) int {
	switch kind {
	case "zone":
		begin := CPU()
		n := run()
		m.Zones += CPU() - begin
		m.Messages.Zone += int64(n)
		return n
	case "warehouse":
		m.ticked = false
		begin := CPU()
		n := run()
		took := CPU() - begin
		m.Dispatch += took
		m.Messages.Warehouse += int64(n)
		if m.ticked && len(m.Decisions) < decisions {
			m.Decisions = append(m.Decisions, took)
		}
		return n
	}
	n := run()
	switch kind {
	case "robot":
		m.Messages.Robot += int64(n)
	case "task":
		m.Messages.Task += int64(n)
	}
	return n
}

// Heard implements actors.Meter.
func (m *Meter) Heard(_ string, message any) {
	switch x := message.(type) {
	case zone.TokenReceived:
		m.Messages.Tokens++
		for i := range x.Token.Claims {
			m.Messages.Claims++
			if x.Token.Claims[i].Push {
				m.Messages.Pushes++
			}
		}
	case zone.Answered:
		m.Messages.Answers++
	case zone.Led, zone.Lent, zone.Advised:
		m.Messages.Domain++
	case dispatch.Ticked, dispatch.Woke:
		m.ticked = true
	}
}

// Planning is the CPU time of zones and dispatchers so far.
func (m *Meter) Planning() time.Duration { return m.Zones + m.Dispatch }

// CPU is the CPU time of this process, user and system.
func CPU() time.Duration {
	t, _ := Usage()
	return t
}

// Usage is the CPU time of this process and its greatest resident size in bytes.
func Usage() (time.Duration, int64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Maxrss * 1024
}
