package congestion

import (
	"math"
	"time"
)

// Active is how many robots of a warehouse with so many vertices may hold tasks at once. Beyond the critical density more
// robots on the road deliver less; robots without a task let themselves be pushed aside and are no traffic of their own.
// CONWIP is this for production lines (Spearman, Woodruff and Hopp 1990).
func Active(vertices int) int {
	return max(FewActive, int(math.Round(ActiveShare*float64(vertices))))
}

// Crowd bounds how many robots of a warehouse hold tasks at once by what is seen, between CrowdFirst and Active. Where
// tasks lie close together, or most ways lead through one aisle, far fewer than Active bring the flow to its peak, and with
// more of them a jam grows for as long as they come, slowly at first. The sign is the share of robots with tasks that have
// stood for StandsFor: about one in a hundred on a floor that flows, whatever its shape, more and more beyond. The limit
// comes up while fewer stand and goes down while more do; nobody is called back. (Additive increase, multiplicative
// decrease: Chiu and Jain 1989.) The zero value is ready.
type Crowd struct {
	limit int // 0 = not known yet
	next  time.Time
}

// CrowdFirst is with how many robots a warehouse with so many vertices begins.
func CrowdFirst(vertices int) int {
	return min(Active(vertices), max(crowdSmall, int(math.Round(crowdShare*float64(vertices)))))
}

// Limit is how many robots may hold tasks at once, 0 = not known yet.
func (c *Crowd) Limit() int { return c.limit }

// Review takes what is seen: on a floor of so many vertices so many robots hold tasks and, of them, so many have stood for
// StandsFor.
func (c *Crowd) Review(now time.Time, vertices, busy, standing int) {
	least, most := CrowdFirst(vertices), Active(vertices)
	if c.limit = min(max(c.limit, least), most); now.Before(c.next) {
		return
	}
	c.next = now.Add(crowdEvery)
	switch share := float64(standing) / float64(max(1, busy)); {
	case share > standingMany:
		c.limit = max(least, min(c.limit, int(crowdCut*float64(busy))))
	case share < standingFew && busy >= c.limit-c.limit/50: // who is not at the limit has not tried it
		c.limit = min(most, c.limit+max(1, int(crowdGrow*float64(c.limit))))
	}
}
