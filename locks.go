package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"starling/actors"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
	"starling/persistence/postgres"
	"starling/persistence/redis"
)

// startLocks prepares the locks of dispatching and replanning. A process that is alone, or has no Redis, needs none: what
// it writes is fenced by the shard's incarnation all the same.
func (a *app) startLocks(registry prometheus.Registerer) error {
	url := a.Config.RedisURL.Reveal()
	if url == "" || a.Alone {
		return nil
	}
	var err error
	a.locks, err = redis.OpenLocks(redis.LockOptions{
		Options: redis.Options{URL: url, Log: a.Log}, Registerer: registry,
		Raise: func(ctx context.Context, l redis.Lock, token int64, owner string) (int64, error) {
			return a.store.RaiseFence(ctx, l.Shard, fact.Fence{Lock: l.Name, Token: token}, owner)
		},
	})
	return err
}

// stopLocks gives back what is held.
func (a *app) stopLocks() {
	if a.locks != nil {
		_ = a.locks.Close()
	}
}

// keepLocks holds a shard's locks as the owner of this incarnation.
func (a *app) keepLocks(shard fleet.Shard, inc fleet.Incarnation) {
	if a.locks == nil {
		return
	}
	for _, name := range []string{redis.LockDispatch, redis.LockReplan} {
		a.locks.Keep(redis.Lock{Shard: shard, Name: name}, int64(inc))
	}
}

// dropLocks lets go of a shard that has a newer owner.
func (a *app) dropLocks(shard fleet.Shard) {
	if a.locks == nil {
		return
	}
	for _, name := range []string{redis.LockDispatch, redis.LockReplan} {
		a.locks.Drop(redis.Lock{Shard: shard, Name: name})
	}
}

// journal is where actors record: with the tokens of the locks under which they decide.
func (a *app) journal() actors.Journal {
	if a.locks == nil {
		return a.store
	}
	return lockedJournal{a.store, a.locks.Token}
}

// lockedJournal gives what is decided under a lock its token. A lock that was never had, because Redis is away, gives
// none: then the shard's incarnation alone is checked.
type lockedJournal struct {
	*postgres.Store
	token func(redis.Lock) (token int64, held bool)
}

// Append implements actors.Journal.
func (j lockedJournal) Append(ctx context.Context, units []fact.Unit) []error {
	for i := range units {
		u := &units[i]
		u.Fences = nil
		for _, name := range locksOf(u) {
			if token, _ := j.token(redis.Lock{Shard: u.Shard, Name: name}); token != 0 {
				u.Fences = append(u.Fences, fact.Fence{Lock: name, Token: token})
			}
		}
	}
	return j.Store.Append(ctx, units)
}

// locksOf names the locks under which a unit was decided.
func locksOf(u *fact.Unit) (names []string) {
	var dispatched, replanned bool
	for i := range u.Facts {
		switch u.Facts[i].Event.(type) {
		case task.Assigned:
			dispatched = true
		case task.Unassigned:
			replanned = true
		}
	}
	if dispatched {
		names = append(names, redis.LockDispatch)
	}
	if replanned {
		names = append(names, redis.LockReplan)
	}
	return names
}
