//go:build integration

package postgres_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
	"starling/persistence/postgres"
)

// pending writes n facts of one task and returns them as a pump claims them.
func pending(t *testing.T, s *postgres.Store, o *postgres.Outbox, shard fleet.Shard, n int) (int, []postgres.OutboxRow) {
	t.Helper()
	spec := newTask(shard, day)
	mustAppend(t, s, creation(spec))
	for v := int64(2); v <= int64(n); v++ {
		mustAppend(t, s, fact.Unit{Shard: shard, Facts: []fact.Fact{oneFact(string(spec.ID), v, day, task.ErrandReached{Errand: int(v)})}})
	}
	topics, _, err := o.Pending(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for pump, names := range topics {
		rows, err := o.Claim(t.Context(), pump, names, nil, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == n && rows[0].AggregateID == string(spec.ID) {
			return pump, rows
		}
	}
	t.Fatalf("the task's facts are not pending: %v", topics)
	return 0, nil
}

func claim(t *testing.T, o *postgres.Outbox, pump int, except ...string) []postgres.OutboxRow {
	t.Helper()
	rows, err := o.Claim(t.Context(), pump, []string{"alerts", "task.events"}, except, 100)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestTheOutboxGivesFactsInOrderUntilTheyAreMarked(t *testing.T) {
	t.Parallel()
	heard := make(chan uint16, 10)
	_, url := freshAt(t)
	s, err := postgres.Open(t.Context(), postgres.Options{URL: url, Outbox: func(mask uint16) { heard <- mask }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	o, err := s.OpenOutbox(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	shard := newShard(t, s)
	pump, rows := pending(t, s, o, shard, 4)
	if mask := <-heard; mask != 1<<pump {
		t.Errorf("the commit told of shards %b, want %d alone", mask, pump)
	}
	if !slices.IsSortedFunc(rows, func(a, b postgres.OutboxRow) int { return int(a.Seq - b.Seq) }) {
		t.Errorf("rows %+v", rows)
	}
	if lag, _, err := o.Lag(t.Context(), []int{pump}, []string{"task.events", "alerts"}); err != nil || len(lag) != 1 || lag[0].Pending != 4 || lag[0].Age <= 0 {
		t.Errorf("lag %+v, %v", lag, err)
	}
	if left := claim(t, o, pump, rows[0].AggregateID); len(left) != 0 {
		t.Errorf("an aggregate that waits is claimed: %+v", left)
	}
	if err := o.Sent(t.Context(), rows[:2]); err != nil {
		t.Fatal(err)
	}
	if left := claim(t, o, pump); len(left) != 2 || left[0].EventID != rows[2].EventID {
		t.Errorf("left %+v", left)
	}
	if err := o.Refuse(t.Context(), &rows[2], "why", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if waits, err := o.Waiting(t.Context(), pump, 10); err != nil || len(waits) != 1 || waits[0].AggregateID != rows[2].AggregateID {
		t.Errorf("waiting %v, %v", waits, err)
	}
	if left := claim(t, o, pump); left[0].Attempts != 1 {
		t.Errorf("%d attempts", left[0].Attempts)
	}
	// What has been sent stays sent, whatever a pump that comes late says.
	if err := errors.Join(o.Bury(t.Context(), &rows[0], "task.created", "late"), o.Hold(t.Context(), rows[:2]), o.Refuse(t.Context(), &rows[1], "late", time.Now())); err != nil {
		t.Fatal(err)
	}
	if l, err := s.DeadLetters.ListDeadLetters(t.Context(), shard.Tenant, fact.LetterFilter{}, fact.Page{Limit: 10}); err != nil || len(l.Items) != 0 {
		t.Errorf("letters %+v, %v", l, err)
	}
}

func TestADeadLetterParksItsAggregateUntilItIsDecided(t *testing.T) {
	t.Parallel()
	for _, to := range []fact.LetterState{fact.LetterRetrying, fact.LetterDiscarding} {
		t.Run(string(to), func(t *testing.T) {
			t.Parallel()
			s, url := freshAt(t)
			o, err := s.OpenOutbox(t.Context(), 2)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(o.Close)
			shard := newShard(t, s)
			pump, rows := pending(t, s, o, shard, 3)
			if err := o.Bury(t.Context(), &rows[0], "task.created", "too large"); err != nil {
				t.Fatal(err)
			}
			parked := claim(t, o, pump)
			if len(parked) != 2 || !parked[0].Parked || !parked[1].Parked {
				t.Fatalf("parked %+v", parked)
			}
			if err := o.Hold(t.Context(), parked); err != nil {
				t.Fatal(err)
			}
			if left := claim(t, o, pump); len(left) != 0 {
				t.Errorf("left %+v", left)
			}
			if _, dead, err := o.Lag(t.Context(), []int{pump}, nil); err != nil || dead["task.events"] != 1 {
				t.Errorf("dead %v, %v", dead, err)
			}
			letters, id := s.DeadLetters, fleet.EventID(rows[0].EventID)
			l, err := letters.GetDeadLetter(t.Context(), shard.Tenant, id)
			if err != nil || l.Waiting != 2 || l.State != fact.LetterOpen || l.Cause != "too large" || l.Attempts != 1 || string(l.Payload) != string(rows[0].Payload) {
				t.Errorf("letter %+v, %v", l, err)
			}
			if _, err := letters.AskDeadLetter(t.Context(), newShard(t, s).Tenant, id, to, ""); !errors.Is(err, fact.ErrNotFound) {
				t.Errorf("another tenant decides: %v", err)
			}
			for range 2 {
				if l, err := letters.AskDeadLetter(t.Context(), shard.Tenant, id, to, ""); err != nil || l.State != to {
					t.Errorf("asked %+v, %v", l, err)
				}
			}
			if _, asked, err := o.Pending(t.Context()); err != nil || !slices.Equal(asked, []int{pump}) {
				t.Errorf("asked shards %v, %v", asked, err)
			}
			if n, err := o.Handle(t.Context(), pump); err != nil || n != 1 {
				t.Errorf("handled %d, %v", n, err)
			}
			want := rows
			if to == fact.LetterDiscarding {
				want = rows[1:]
			}
			left := claim(t, o, pump)
			if len(left) != len(want) || left[0].EventID != want[0].EventID || left[0].Parked || left[0].Attempts != 0 {
				t.Errorf("left %+v", left)
			}
			// A pump that comes late with what it has read before holds nothing; and what is held all the same is freed.
			if err := o.Hold(t.Context(), parked); err != nil {
				t.Fatal(err)
			}
			if left := claim(t, o, pump); len(left) != len(want) {
				t.Errorf("held behind a letter that was dealt with: left %+v", left)
			}
			if _, err := connect(t, url, "").Exec(t.Context(), "UPDATE outbox_events SET held = true WHERE status = 'PENDING'"); err != nil {
				t.Fatal(err)
			}
			if err := o.Tidy(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := claim(t, o, pump); len(left) != len(want) {
				t.Errorf("held behind nothing: left %+v", left)
			}
			if n, err := o.Handle(t.Context(), pump); err != nil || n != 0 {
				t.Errorf("handled %d again, %v", n, err)
			}
			var conflict *fact.ConflictError
			if _, err := letters.AskDeadLetter(t.Context(), shard.Tenant, id, to, ""); !errors.As(err, &conflict) || conflict.Key != "state" {
				t.Errorf("decided twice: %v", err)
			}
			if to == fact.LetterRetrying { // it may die again
				if err := o.Bury(t.Context(), &left[0], "task.created", "still too large"); err != nil {
					t.Fatal(err)
				}
				if l, err = letters.GetDeadLetter(t.Context(), shard.Tenant, id); err != nil || l.Deaths != 2 || l.State != fact.LetterOpen || !l.HandledAt.IsZero() {
					t.Errorf("letter %+v, %v", l, err)
				}
			}
			if err := o.Tidy(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAShardHasOnePumpAtATime(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	o, err := s.OpenOutbox(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	a, b := o.NewLocks(), o.NewLocks()
	try := func(l *postgres.Locks, shard int, want bool) {
		t.Helper()
		got, err := l.Try(t.Context(), shard)
		for end := time.Now().Add(30 * time.Second); want && err == nil && !got && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			got, err = l.Try(t.Context(), shard) // the server lets go of a session's locks after the client has left
		}
		if err != nil || got != want || l.Held(shard) != want {
			t.Errorf("shard %d: %t, held %t, %v; want %t", shard, got, l.Held(shard), err, want)
		}
	}
	try(a, 3, true)
	try(a, 3, true)
	try(b, 3, false)
	try(b, 4, true)
	if n, err := a.Workers(t.Context()); err != nil || n != 2 {
		t.Errorf("%d workers, %v", n, err)
	}
	if err := a.Release(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	try(b, 3, true)
	// A session that is cut loses what it held, and says so at the next call.
	if _, err := connect(t, url, "").Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid IN (3, 4)"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Workers(t.Context()); err == nil || b.Held(3) || b.Held(4) {
		t.Errorf("held after the cut: %v", err)
	}
	try(a, 3, true)
	try(b, 4, true)
	b.Close(t.Context())
	try(a, 4, true)
	if n, err := b.Others(t.Context()); err != nil || n != 1 {
		t.Errorf("%d others, %v", n, err)
	}
	try(a, 4, true) // and b is none of them
	if n, err := a.Workers(t.Context()); err != nil || n != 1 {
		t.Errorf("%d workers after one has left, %v", n, err)
	}
	a.Close(t.Context())
}

func TestABellIsHeardByWhoeverListens(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	o, err := s.OpenOutbox(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	heard := make(chan uint16, 100)
	var done sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	done.Go(func() { o.Listen(ctx, func(mask uint16) { heard <- mask }) })
	defer done.Wait()
	defer cancel()
	if mask := <-heard; mask != 0xffff {
		t.Errorf("at the beginning it hears %b", mask)
	}
	bell := s.NewBell(t.Context())
	defer bell.Stop()
	bell.Ring(1 << 5)
	if mask := <-heard; mask != 1<<5 {
		t.Errorf("it hears %b", mask)
	}
	if _, err := connect(t, url, "").Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"); err != nil {
		t.Fatal(err)
	}
	if mask := <-heard; mask != 0xffff { // it listens again, and says that it may have missed something
		t.Errorf("after the cut it hears %b", mask)
	}
}

// Facts are held while their letter is being dealt with: whichever comes first, none stays held.
func TestHoldingAndDealingWithALetterAtOnceLosesNothing(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	o, err := s.OpenOutbox(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	shard := newShard(t, s)
	pump, rows := pending(t, s, o, shard, 3)
	if err := o.Bury(t.Context(), &rows[0], "task.created", "too large"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeadLetters.AskDeadLetter(t.Context(), shard.Tenant, fleet.EventID(rows[0].EventID), fact.LetterRetrying, ""); err != nil {
		t.Fatal(err)
	}
	// Somebody else's lock on the last row makes Hold stand in the middle of its work.
	conn := connect(t, url, "")
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM outbox_events WHERE event_id = $1 FOR UPDATE", rows[2].EventID); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	var held, handled error
	done.Go(func() { held = o.Hold(t.Context(), rows[1:]) })
	waitForLocks(t, url, "HoldOutbox", 1)
	done.Go(func() { _, handled = o.Handle(t.Context(), pump) })
	waitForLocks(t, url, "LockDead|HandleDead", 1)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	done.Wait()
	if held != nil || handled != nil {
		t.Fatal(held, handled)
	}
	if left := claim(t, o, pump); len(left) != 3 {
		t.Errorf("left %+v", left)
	}
}

// waitForLocks waits until so many sessions wait for locks in the middle of a statement.
func waitForLocks(t *testing.T, url, statement string, sessions int) {
	t.Helper()
	eye := connect(t, url, "")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var n int
		if err := eye.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ~ $1`, statement).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n >= sessions {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d wait, want %d: %s", n, sessions, statement)
		}
	}
}

// Whoever takes shards may have to wait; bells are rung all the same.
func TestABellRingsWhileShardsAreBeingTaken(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	shard := newShard(t, s)
	tx, err := connect(t, url, "").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), "LOCK TABLE shard_incarnations IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	ear := connect(t, url, "")
	if _, err := ear.Exec(t.Context(), "LISTEN starling_outbox"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	defer done.Wait()
	defer cancel()
	for range 2 { // as many as there are connections for it
		done.Go(func() {
			for ctx.Err() == nil {
				_, _, _ = s.Take(ctx, shard, "somebody") // again where its time is over
			}
		})
	}
	waitForLocks(t, url, "MakeShard|TakeShard", 2)
	bell := s.NewBell(t.Context())
	defer bell.Stop()
	bell.Ring(1 << 5)
	hear, end := context.WithTimeout(t.Context(), 30*time.Second)
	defer end()
	if n, err := ear.WaitForNotification(hear); err != nil || n.Payload != "32" {
		t.Errorf("heard %v, %v", n, err)
	}
}
