package stream

import (
	"time"

	"starling/engine/fleet"
	"starling/gateway/view"
)

// maxBehind is how many events a client may be behind: the log is its queue.
const maxBehind = 4096

// resyncEvery is how often a subscription may begin anew by itself.
const resyncEvery = time.Second

// follower is a log that subscriptions follow.
type follower[T any] interface {
	Head(now time.Time, w fleet.WarehouseID) view.Place
	After(now time.Time, w fleet.WarehouseID, at view.Place) (next *view.Run[T], behind int, ok bool)
}

// after looks for what a subscription must be told next, and closes the connection of a client that is too far behind and
// takes nothing: what comes at once, or while the server is busy, is not its fault. Who comes back far behind, or was long
// about its snapshot, may be as far behind as it was then. Nobody may be further behind than the log is long.
func after[T any](now time.Time, s *sub, log follower[T]) (next *view.Run[T], behind int, ok bool) {
	next, behind, ok = log.After(now, s.warehouse, s.place)
	switch {
	case !ok:
		return nil, 0, false
	case s.allow == 0: // the first look
		s.allow = min(behind+maxBehind, view.MaxKept)
	case behind <= maxBehind:
		s.allow = maxBehind
	case behind > s.allow && s.busy.Load() && time.Since(s.gave) > slowAfter:
		s.session.close(closeSlow, "slow_consumer", 1000)
		return nil, 0, true
	}
	return next, behind, true
}

// cut says whether the log has been cut under a subscription, and closes its connection if so: events would be missing.
// Where the log began anew the subscription does too, as soon as the client reads on.
func cut[T any](now time.Time, s *sub, log follower[T]) bool {
	if log.Head(now, s.warehouse).Life != s.place.Life {
		return false
	}
	s.session.close(closeSlow, "slow_consumer", 1000)
	return true
}
