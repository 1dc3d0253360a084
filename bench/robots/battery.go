package robots

import (
	"math"
	"time"
)

// atCharger is how near a robot has to stand, in metres.
const atCharger = 0.3

// settle brings the battery to now, before the robot begins or ends to move or says how it is.
func (c *carrier) settle(now time.Time, b *bot) {
	o := &c.fleet.o.Battery
	seconds := max(0, now.Sub(b.settled).Seconds())
	if now.After(b.settled) {
		b.settled = now
	}
	b.charging = false
	if o.PerM <= 0 && o.PerS <= 0 {
		return
	}
	if !b.moving {
		for _, p := range o.Chargers {
			if math.Hypot(p.X-b.x, p.Y-b.y) <= atCharger {
				b.charging = true
				b.battery = min(1, b.battery+o.PerCharge*seconds)
				return
			}
		}
	}
	b.battery = max(0, b.battery-o.PerS*seconds)
}

// flat says that it cannot move any more: it is stranded.
func (c *carrier) flat(b *bot) bool { return c.fleet.o.Battery.PerM > 0 && b.battery <= 0 }
