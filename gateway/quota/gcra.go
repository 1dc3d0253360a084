package quota

import "time"

// Rate is how much of something a tenant may use: Units every Per, and Units at once (the burst). Over any time w no
// more than Units + Units·w/Per are let through.
type Rate struct {
	Units int
	Per   time.Duration
}

// cost is how long n units take to come back, rounded up: what is given never exceeds the rate.
func (r Rate) cost(n int) time.Duration {
	if r.Units <= 0 {
		return 0
	}
	units, per := int64(r.Units), int64(r.Per)
	whole, rest := int64(n)/units, int64(n)%units // in two steps: n·Per may not fit
	return time.Duration(whole*per + (rest*per+units-1)/units)
}

// left is how many units may be taken at once while debt has to come back.
func (r Rate) left(debt time.Duration) int {
	if r.Units <= 0 || debt >= r.Per {
		return 0
	}
	free := float64(r.Per-max(0, debt)) / float64(r.Per) * float64(r.Units)
	n := int(free + 1e-6)
	if r.cost(n) > r.Per-max(0, debt) { // by a rounding
		n--
	}
	return n
}

// decide is the generic cell rate algorithm (ITU-T I.371): debt is how long it takes until all that was taken has come
// back; what costs cost is let through where the debt stays within tolerance. after is the debt afterwards; wait, of what
// is refused, how long until it would be let through.
func decide(debt, cost, tolerance time.Duration) (ok bool, after, wait time.Duration) {
	debt = max(0, debt)
	if cost > tolerance-debt {
		return false, debt, debt + cost - tolerance
	}
	return true, debt + cost, 0
}
