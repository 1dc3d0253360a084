package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/zone"
)

// zoneShell holds a zone's core. Its only durable thing is the roster: entries and exits are recorded beside its
// work, several at a time, and the core is told how an entry ended. Nothing is held back or stashed for them.
type zoneShell struct {
	life
	state *zone.State
	floor *floor
	out   []zone.Effect

	// seq numbers the roster facts; latest is each robot's last one: an exit that failed is tried again only while
	// no entry of the robot has followed it. Bound: the robots of the zone and those whose exit is not recorded.
	seq    uint64
	latest map[fleet.RobotID]uint64
	// exits are those to be recorded again, when the timer says so.
	exits map[fleet.RobotID]uint64
	tries int
}

func newZoneShell(b *box) *zoneShell {
	z := &zoneShell{latest: map[fleet.RobotID]uint64{}, exits: map[fleet.RobotID]uint64{}}
	z.box, z.self = b, z
	return z
}

// load implements living. The roster is read when nothing that the zone's last life had sent to be recorded is under way
// any more: a robot whose entry was, would be missing.
func (z *zoneShell) load() (any, error) {
	if n := z.box.units.Load(); n > 0 {
		return nil, fmt.Errorf("load the roster of zone %s: %d of its facts are still being recorded: %w", z.box.id, n, fact.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(z.box.sys.ctx, appendTimeout)
	defer cancel()
	roster, err := z.box.sys.Store.LoadZone(ctx, z.box.sh.id, fleet.ZoneID(z.box.id))
	if err != nil {
		return nil, fmt.Errorf("load the roster of zone %s: %w", z.box.id, err)
	}
	return roster, nil
}

// restore implements living.
func (z *zoneShell) restore(rec any, _ bool) {
	sh := z.box.sh
	f := sh.floor.Load()
	number := -1
	if f != nil && f.graph != nil {
		number = slices.IndexFunc(f.zones, func(b *box) bool { return b == z.box })
	}
	if number < 0 {
		return // of a former map: it is being stopped
	}
	z.floor = f
	z.state = zone.New(f.graph, number, f.tables, z.box.sys.Rules, z.box.sys.nextEpoch(sh.incarnation()), sh.incarnation())
	roster, _ := rec.([]zone.RosterEntry)
	for _, m := range sh.told.again(z.state.ID()) {
		z.decide(m)
	}
	if len(roster) > 0 || !sh.notBefore().IsZero() {
		z.decide(zone.Restored{Roster: roster, Until: sh.notBefore()})
	}
}

// idle implements living: zones live as long as their map is active.
func (z *zoneShell) idle() bool { return false }

// failAll implements living.
func (z *zoneShell) failAll(error) {
	clear(z.exits)
	z.state = nil
}

// handle implements living.
func (z *zoneShell) handle(c actor.Context, m any) {
	switch m := m.(type) {
	case zone.Msg:
		if _, ok := m.(zone.Ticked); ok {
			z.box.ticked.Store(false)
		}
		if z.state != nil {
			z.decide(m)
		}
	case *ask:
		z.asked(c, m)
	case *record:
		m.then(m.err)
	case wake:
		z.exitAgain()
	}
}

// asked takes requests: they are acknowledged when the core has decided.
func (z *zoneShell) asked(c actor.Context, a *ask) {
	if _, ok := a.msg.(hello); ok {
		a.reply(c.Self())
		return
	}
	m, ok := a.msg.(zone.Msg)
	if !ok || z.state == nil {
		a.fail(fmt.Errorf("zone cannot take %T: %w", a.msg, fact.ErrPrecondition))
		return
	}
	z.decide(m)
	a.reply(done{})
}

// done is the answer to a request that asks for nothing but to be done.
type done struct{}

func (z *zoneShell) decide(m zone.Msg) {
	z.out = z.state.Decide(z.box.sys.now(), m, z.out[:0])
	for _, f := range z.out {
		z.perform(f)
	}
	clear(z.out)
}

// perform does what an effect says; the core emits them in rank order.
func (z *zoneShell) perform(f zone.Effect) {
	sh := z.box.sh
	switch f := f.(type) {
	case zone.RecordEntry:
		z.recordEntry(f)
	case zone.RecordExit:
		z.recordExit(f.Robot)
	case zone.SendGrant:
		z.tell(kindRobot, string(f.Grant.Robot), robot.Granted{Grant: f.Grant})
	case zone.SendRefusal:
		z.tell(kindRobot, string(f.Wait.Robot), robot.Refused{Wait: f.Wait})
	case zone.CallRoll:
		z.tell(kindRobot, string(f.Robot), robot.ZoneRestarted{Zone: z.state.ID(), Epoch: f.Epoch})
	case zone.SendToken:
		z.neighbour(f.Token.To, zone.TokenReceived{Token: f.Token})
	case zone.SendAnswer:
		z.neighbour(f.Answer.To, zone.Answered{Answer: f.Answer})
	case zone.SendLead:
		z.neighbour(f.Lead.To, zone.Led{Lead: f.Lead})
	case zone.SendLend:
		z.neighbour(f.Lend.To, zone.Lent{Lend: f.Lend})
	case zone.SendAdvice:
		z.neighbour(f.Advice.To, zone.Advised{Advice: f.Advice})
	case zone.Show:
		z.box.sys.Views.ShowZone(sh.id, &f.View)
		z.tell(kindWarehouse, "", dispatch.ZoneReported{View: f.View})
	}
}

// tell sends; what does not arrive was counted, and the protocol repeats it.
func (z *zoneShell) tell(k kind, id string, m any) { _ = z.box.sh.tell(k, id, m) }

func (z *zoneShell) neighbour(id fleet.ZoneID, m zone.Msg) {
	b := z.box.sh.zoneOf(id, z.floor.graph)
	if b == nil || !b.post(m) {
		z.box.sys.metrics.dropped("zone_mail").Inc()
	}
}

func (z *zoneShell) recordEntry(f zone.RecordEntry) {
	id, number := f.Entry.Robot, f.Number
	z.seq++
	z.latest[id] = z.seq
	delete(z.exits, id)
	z.submit(z.fact(fact.RosterEntered{Zone: z.state.ID(), Entry: f.Entry}), func(err error) {
		if z.state == nil {
			return
		}
		if err == nil {
			z.decide(zone.EntryRecorded{Robot: id, Number: number})
			return
		}
		z.complain(err)
		z.decide(zone.EntryFailed{Robot: id, Number: number})
	})
}

func (z *zoneShell) recordExit(id fleet.RobotID) {
	z.seq++
	seq := z.seq
	z.latest[id] = seq
	z.exit(id, seq)
}

func (z *zoneShell) exit(id fleet.RobotID, seq uint64) {
	z.submit(z.fact(fact.RosterLeft{Zone: fleet.ZoneID(z.box.id), Robot: id}), func(err error) {
		if z.latest[id] != seq {
			return // it has entered again since
		}
		if err == nil {
			delete(z.latest, id)
			if len(z.exits) == 0 {
				z.tries = 0
			}
			return
		}
		z.complain(err)
		if errors.Is(err, fact.ErrFenced) {
			return
		}
		if len(z.exits) == 0 {
			z.tries++
			z.box.wakeAt(z.box.sys.now().Add(z.box.sys.backoff(z.tries)))
		}
		z.exits[id] = seq
	})
}

// exitAgain records the exits whose recording failed.
func (z *zoneShell) exitAgain() {
	ids := make([]fleet.RobotID, 0, len(z.exits))
	for id := range z.exits {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		seq := z.exits[id]
		delete(z.exits, id)
		z.exit(id, seq)
	}
}

func (z *zoneShell) fact(event any) fact.Fact {
	return fact.Fact{
		ID: z.box.sys.newEventID(), At: z.box.sys.now(), By: fleet.Actor{Part: "zone"}, Subject: z.box.id, Event: event,
	}
}

func (z *zoneShell) submit(f fact.Fact, then func(error)) {
	sh, l := z.box.sh, z.state
	r := &record{
		unit: fact.Unit{Shard: sh.id, Incarnation: sh.incarnation(), Facts: []fact.Fact{f}}, to: z.box,
		then: func(err error) {
			if z.state == l { // not restarted since
				then(err)
			}
		},
	}
	if err := sh.writer.submit(r); err != nil {
		r.err = err
		z.box.postFront(r) // never from within the Decide that asked for it
	}
}

// complain counts a roster fact that was not recorded; it is worth a line only where waiting does not mend it.
func (z *zoneShell) complain(err error) {
	sys := z.box.sys
	sys.metrics.wrong("roster_" + outcome(err)).Inc()
	if errors.Is(err, fact.ErrConflict) || errors.Is(err, fact.ErrRejected) {
		sys.log.LogAttrs(sys.ctx, slog.LevelError, "roster fact refused", slog.String("event", "zone.roster"),
			slog.String("zone_id", z.box.id), slog.Any("error", err))
	}
}
