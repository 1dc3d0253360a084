package actors

import (
	"context"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fleet"
	"starling/engine/robot"
)

// Care gives what a tenant's settings say of a warehouse's batteries, idle robots and matching. It may read the store.
type Care func(ctx context.Context, shard fleet.Shard) dispatch.RulesChanged

// rulesAgain is how old the rules of a dispatcher may be, and rulesWithin how long asking for them may take.
const (
	rulesAgain  = 10 * time.Second
	rulesWithin = 5 * time.Second
)

// askRules has the rules and rates looked up beside, where that is due: they come as mail. One look-up at a time is under way.
func (w *warehouseShell) askRules(now time.Time) {
	sys, b := w.box.sys, w.box
	if sys.Care == nil && sys.Sampling == nil || now.Sub(w.rulesAt) < rulesAgain || !w.asking.CompareAndSwap(false, true) {
		return
	}
	w.rulesAt = now
	asking, sh := &w.asking, b.sh
	sys.pool.async(func() {
		defer asking.Store(false)
		ctx, cancel := context.WithTimeout(sys.ctx, rulesWithin)
		defer cancel()
		if sys.Sampling != nil {
			sh.watch(sys.Sampling(ctx, sh.id))
		}
		if sys.Care != nil {
			b.post(sys.Care(ctx, sh.id))
		}
	})
}

// watch sets the rates at which the shard's robots are watched; each hears of them with the next message it is told.
func (sh *shard) watch(rates robot.Sampling) {
	if now := sh.rates.Load(); now == nil || *now != rates {
		sh.rates.Store(&rates)
	}
}
