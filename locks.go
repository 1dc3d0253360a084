package main

import (
	"context"
	"fmt"
	"slices"

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

// journal is where actors record: with the tokens of the locks under which they decided.
func (a *app) journal() actors.Journal {
	if a.locks == nil {
		return a.store
	}
	return lockedJournal{a.store, a.locks.Under}
}

// tokens tells actors the tokens of locks when they decide; nil = there are no locks.
func (a *app) tokens() func(fleet.Shard, string) int64 {
	if a.locks == nil {
		return nil
	}
	return func(shard fleet.Shard, name string) int64 { return a.locks.Under(redis.Lock{Shard: shard, Name: name}) }
}

// lockedJournal refuses what was decided under a lock that somebody else held then, or holds now. Whoever has held it in
// between, and is gone again, is known to the store: what was decided before that has an older token. A lock of which Redis
// says nothing gives none: then the shard's incarnation alone is checked.
type lockedJournal struct {
	*postgres.Store
	under func(redis.Lock) int64
}

// Append implements actors.Journal.
func (j lockedJournal) Append(ctx context.Context, units []fact.Unit) []error {
	out := make([]error, len(units))
	taken, at := make([]fact.Unit, 0, len(units)), make([]int, 0, len(units))
	for i := range units {
		u := units[i]
		if out[i] = j.check(&u); out[i] == nil {
			taken, at = append(taken, u), append(at, i)
		}
	}
	if len(taken) > 0 {
		for n, err := range j.Store.Append(ctx, taken) {
			out[at[n]] = err
		}
	}
	return out
}

// check leaves a unit the tokens that the store is to check. It makes a list of its own: a unit may come again.
func (j lockedJournal) check(u *fact.Unit) error {
	fences := u.Fences
	u.Fences = nil
	for _, name := range locksOf(u) {
		now := j.under(redis.Lock{Shard: u.Shard, Name: name})
		then := now // of what was decided a moment ago
		if i := slices.IndexFunc(fences, func(f fact.Fence) bool { return f.Lock == name }); i >= 0 {
			then = fences[i].Token
		}
		switch {
		case now == fact.Refused || then == fact.Refused:
			return fmt.Errorf("append to shard %s under lock %s, which somebody else holds: %w", u.Shard.Key(), name, fact.ErrFenced)
		case then != 0:
			u.Fences = append(u.Fences, fact.Fence{Lock: name, Token: then})
		}
	}
	return nil
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
