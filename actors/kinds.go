package actors

import "github.com/asynkron/protoactor-go/actor"

// makers builds the shells by kind.
type makers [kinds]func(b *box) actor.Actor

func realMakers() makers {
	return makers{
		kindRobot:     func(b *box) actor.Actor { return newRobotShell(b) },
		kindZone:      func(b *box) actor.Actor { return newZoneShell(b) },
		kindTask:      func(b *box) actor.Actor { return newTaskShell(b) },
		kindWarehouse: func(b *box) actor.Actor { return newWarehouseShell(b) },
		kindAlerts:    func(b *box) actor.Actor { return newAlertsShell(b) },
	}
}

// incarnate is the producer of an activation's shell, at its start and after each panic.
func (b *box) incarnate() actor.Actor { return b.sys.makers[b.kind](b) }
