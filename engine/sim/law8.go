package sim

import "starling/engine/robot"

// isolated is law 8, a tenant cannot hurt another: tenants run side by side, and whatever one of them sends names
// only what is its own.
type isolated struct{ w *World }

func (l *isolated) id(s *site, id, what string) {
	if !s.home(id) {
		l.w.fail(8, "%s of tenant %d goes to %s", what, s.number, id)
	}
}

func (l *isolated) order(s *site, o robot.Order) {
	l.id(s, string(o.Robot), "order")
	l.id(s, string(o.Task), "order of the task")
}
