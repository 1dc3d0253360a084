package storetest

import (
	"errors"
	"slices"
	"testing"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/task"
)

func taskComesBack(t *testing.T, b *bench) {
	r := b.robot()
	for name, end := range map[string][]task.Event{
		"succeeded": {task.Started{}, task.ErrandReached{Errand: 0}, task.ErrandReached{Errand: 1}, task.Succeeded{}},
		"failed":    {task.Started{}, task.Failed{Reason: "no way"}},
		"cancelled": {task.CancelStarted{Reason: "asked"}, task.Cancelled{Reason: "asked", Confirmed: true}},
		"moved on":  {task.Unassigned{Robot: r.ID, Reason: "offline"}, b.assigned(newID[fleet.TaskID](), r.ID), task.Started{}},
		"open":      {},
	} {
		s := b.spec()
		s.Robot = r.ID
		want := &task.State{}
		events := append([]task.Event{task.Created{Spec: s}, b.assigned(s.ID, r.ID)}, end...)
		for i, e := range events {
			if a, ok := e.(task.Assigned); ok {
				a.Decision.Task = s.ID
				e = a
			}
			f := b.fact(string(s.ID), int64(i+1), e)
			want.Apply(f.At, e)
			b.mustRecord(b.unit(f))
		}
		got := b.fold(s.ID)
		equal(t, name, *got, *want)
		if string(got.Spec.Payload) != string(s.Payload) {
			t.Fatalf("payload %s, want %s", got.Spec.Payload, s.Payload)
		}
		rec, err := b.Facts.LoadTask(t.Context(), b.shard, s.ID)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name+": the decision", rec.Events[1].Event.(task.Assigned).Decision, events[1].(task.Assigned).Decision)
	}
	bare := task.Spec{
		ID: newID[fleet.TaskID](), Shard: b.shard, Type: fleet.Charge, Payload: []byte(`{}`), Source: "schedule", CreatedAt: b.now,
	}
	b.mustRecord(b.created(bare))
	equal(t, "a bare task", b.fold(bare.ID).Spec, bare)
	b.absent(newID[fleet.TaskID]())
}

func repeated(t *testing.T, b *bench) {
	r, s, z := b.robot(), b.spec(), newID[fleet.ZoneID]()
	create := b.created(s)
	create.Idempotency = &fact.Idempotency{Key: "k", Route: "POST /tasks", Fingerprint: []byte("f"), Answer: fact.Answer{Status: 201}}
	assign := b.unit(b.fact(string(s.ID), 2, b.assigned(s.ID, r.ID)))
	enter := b.unit(b.fact(string(z), 0, fact.RosterLeft{Zone: z, Robot: r.ID}))
	for range 3 {
		b.mustRecord(create)
		b.mustRecord(assign)
		b.mustRecord(enter)
		b.mustRecord(create, assign, enter)
	}
	if got := b.fold(s.ID); got.Version != 2 {
		t.Fatalf("version %d after repeats, want 2", got.Version)
	}
	unknown := newID[fleet.EventID]()
	known, err := b.Facts.Recorded(t.Context(), b.shard, []fleet.EventID{create.Facts[0].ID, unknown, assign.Facts[0].ID})
	if err != nil || !slices.Equal(known, []bool{true, false, true}) {
		t.Fatalf("recorded: %v, %v", known, err)
	}
}

func badUnit(t *testing.T, b *bench) {
	good := make([]task.Spec, 9)
	var units []fact.Unit
	for i := range good {
		good[i] = b.spec()
		units = append(units, b.created(good[i]))
	}
	broken, urgent, lost, ghost := b.spec(), b.spec(), b.spec(), newID[fleet.TaskID]()
	broken.Payload, urgent.Priority = []byte(`{"pickup":`), 10
	bad := []fact.Unit{
		b.created(broken),
		b.created(urgent),
		b.unit(b.fact(string(ghost), 2, task.Started{})), // no such task
		b.unit(b.fact(string(lost.ID), 1, task.Created{Spec: lost}), b.fact(string(lost.ID), 2, b.assigned(lost.ID, newID[fleet.RobotID]()))), // no such robot
	}
	for i, at := range []int{0, 3, 7, 13} {
		units = slices.Insert(units, min(at, len(units)), bad[i])
	}
	failed := 0
	for i, err := range b.record(units...) {
		isBad := slices.ContainsFunc(bad, func(u fact.Unit) bool { return u.Facts[0].ID == units[i].Facts[0].ID })
		switch {
		case isBad && !errors.Is(err, fact.ErrRejected):
			t.Fatalf("bad unit %d: %v, want ErrRejected", i, err)
		case !isBad && err != nil:
			t.Fatalf("good unit %d: %v", i, err)
		case isBad:
			failed++
		}
	}
	if failed != len(bad) {
		t.Fatalf("%d failed, want %d", failed, len(bad))
	}
	for _, s := range good {
		b.fold(s.ID)
	}
	for _, id := range []fleet.TaskID{broken.ID, urgent.ID, lost.ID, ghost} {
		b.absent(id)
	}
}

func wholeBatch(t *testing.T, b *bench) {
	first := b.spec()
	b.mustRecord(b.created(first))
	one, two := b.spec(), b.spec()
	batch := b.unit(
		b.fact(string(one.ID), 1, task.Created{Spec: one}),
		b.fact(string(first.ID), 1, task.Created{Spec: first}), // there already
		b.fact(string(two.ID), 1, task.Created{Spec: two}))
	batch.Idempotency = &fact.Idempotency{Key: "b", Route: "POST /tasks:batch", Fingerprint: []byte("f"), Answer: fact.Answer{Status: 201}}
	c := conflict(t, b.record(batch)[0], "task_id")
	if c.Existing != string(first.ID) {
		t.Fatalf("existing %q, want %s", c.Existing, first.ID)
	}
	b.absent(one.ID)
	b.absent(two.ID)
	if _, a, err := b.Facts.FirstAnswer(t.Context(), b.shard.Tenant, "POST /tasks:batch", "b"); a != nil || err != nil {
		t.Fatalf("the answer of a batch that failed is kept: %v", err)
	}
	batch.Facts = slices.Delete(batch.Facts, 1, 2)
	b.mustRecord(batch)
	b.fold(one.ID)
	b.fold(two.ID)
}

func idempotency(t *testing.T, b *bench) {
	s := b.spec()
	answer := fact.Answer{Status: 201, Location: "/api/v1/tasks/" + string(s.ID), Body: []byte("{\"task_id\" : 1}\n")}
	key := fact.Idempotency{Key: "k1", Route: "POST /tasks", Fingerprint: []byte{1, 2, 3}, Answer: answer}
	u := b.created(s)
	u.Idempotency = &key
	b.mustRecord(u)

	again := b.created(b.spec())
	other := key
	other.Answer = fact.Answer{Status: 201, Body: []byte("second")}
	again.Idempotency = &other
	c := conflict(t, b.record(again)[0], "idempotency_key")
	if !c.SameFingerprint || c.Answer == nil {
		t.Fatalf("same body: %+v, want the first answer", c)
	}
	equal(t, "the first answer", *c.Answer, answer)
	b.absent(fleet.TaskID(again.Facts[0].Subject))

	changed := other
	changed.Fingerprint = []byte{9}
	again.Idempotency = &changed
	if c := conflict(t, b.record(again)[0], "idempotency_key"); c.SameFingerprint || c.Answer != nil {
		t.Fatalf("other body: %+v, want no answer", c)
	}
	elsewhere := fact.Idempotency{Key: "k1", Route: "POST /tasks:batch", Fingerprint: []byte{1}, Answer: answer}
	again.Idempotency = &elsewhere
	b.mustRecord(again) // another route is another scope

	fingerprint, got, err := b.Facts.FirstAnswer(t.Context(), b.shard.Tenant, "POST /tasks", "k1")
	if err != nil || got == nil || !slices.Equal(fingerprint, key.Fingerprint) {
		t.Fatalf("first answer: %v %v %v", fingerprint, got, err)
	}
	equal(t, "the kept answer", *got, answer)
	if _, a, err := b.Facts.FirstAnswer(t.Context(), b.shard.Tenant, "POST /tasks", "k2"); a != nil || err != nil {
		t.Fatalf("an unused key: %v %v", a, err)
	}
}

func idempotencyInGroup(t *testing.T, b *bench) {
	units := make([]fact.Unit, 20)
	for i := range units {
		units[i] = b.created(b.spec())
		units[i].Idempotency = &fact.Idempotency{
			Key: string(rune('a' + i%5)), Route: "POST /tasks", Fingerprint: []byte{byte(i % 10)}, Answer: fact.Answer{Status: 201, Body: []byte{byte(i)}},
		}
	}
	for i, err := range b.record(units...) {
		if i < 5 {
			if err != nil {
				t.Fatalf("unit %d: %v", i, err)
			}
			continue
		}
		c := conflict(t, err, "idempotency_key")
		if same := i%10 < 5; c.SameFingerprint != same || same && (c.Answer == nil || c.Answer.Body[0] != byte(i%5)) {
			t.Fatalf("unit %d: %+v", i, c)
		}
		b.absent(fleet.TaskID(units[i].Facts[0].Subject))
	}
}

func oldVersion(t *testing.T, b *bench) {
	r, s := b.robot(), b.spec()
	b.mustRecord(b.created(s))
	b.mustRecord(b.unit(b.fact(string(s.ID), 2, b.assigned(s.ID, r.ID))))
	for _, version := range []int64{2, 4} {
		c := conflict(t, b.record(b.unit(b.fact(string(s.ID), version, task.CancelStarted{Reason: "late"})))[0], "version")
		if c.Task == nil || c.Task.Status != fleet.TaskAssigned || c.Task.Version != 2 || c.Task.Robot != r.ID {
			t.Fatalf("version %d: the conflict shows %+v", version, c.Task)
		}
	}
	if got := b.fold(s.ID); got.Version != 2 {
		t.Fatalf("version %d, want 2", got.Version)
	}
}

func stepsInGroup(t *testing.T, b *bench) {
	r := b.robot()
	one, two := b.spec(), b.spec()
	units := []fact.Unit{
		b.created(one),
		b.created(two),
		b.unit(b.fact(string(one.ID), 2, b.assigned(one.ID, r.ID))),
		b.unit(b.fact(string(one.ID), 3, task.Started{}), b.fact(string(one.ID), 4, task.ErrandReached{Errand: 0})),
		b.unit(b.fact(string(two.ID), 2, task.Cancelled{Reason: "no robot"})),
		b.unit(b.fact(string(one.ID), 5, task.ErrandReached{Errand: 1}), b.fact(string(one.ID), 6, task.Succeeded{})),
	}
	b.mustRecord(units...)
	if got := b.fold(one.ID); got.Status != fleet.TaskSucceeded || got.Errand != 2 || got.Version != 6 || got.Robot != r.ID {
		t.Fatalf("first task: %+v", got)
	}
	if got := b.fold(two.ID); got.Status != fleet.TaskCancelled || got.Version != 2 || got.Reason != "no robot" {
		t.Fatalf("second task: %+v", got)
	}
}

func largeGroup(t *testing.T, b *bench) {
	r := b.robot()
	var units []fact.Unit
	var specs []task.Spec
	for range 400 {
		s := b.spec()
		specs = append(specs, s)
		units = append(units, b.created(s))
	}
	b.mustRecord(units...)
	units = units[:0]
	for _, s := range specs {
		units = append(units, b.unit(b.fact(string(s.ID), 2, b.assigned(s.ID, r.ID))))
	}
	b.mustRecord(units...)
	for _, s := range specs[:20] {
		if got := b.fold(s.ID); got.Version != 2 || got.Robot != r.ID {
			t.Fatalf("task %s: %+v", s.ID, got)
		}
	}
	rec, err := b.Facts.LoadWarehouse(t.Context(), b.shard)
	if err != nil || len(rec.Held) != 400 || len(rec.Tasks) != 0 {
		t.Fatalf("%d held, %d open: %v", len(rec.Held), len(rec.Tasks), err)
	}
}

func tenantsApart(t *testing.T, b *bench) {
	s := b.spec()
	u := b.created(s)
	u.Idempotency = &fact.Idempotency{Key: "k", Route: "POST /tasks", Fingerprint: []byte("f"), Answer: fact.Answer{Status: 201}}
	b.mustRecord(u)
	mine := b.shard
	b.shard = b.Shard(t)
	b.absent(s.ID)
	if _, a, err := b.Facts.FirstAnswer(t.Context(), b.shard.Tenant, "POST /tasks", "k"); a != nil || err != nil {
		t.Fatalf("another tenant's answer: %v %v", a, err)
	}
	rec, err := b.Facts.LoadWarehouse(t.Context(), b.shard)
	if err != nil || len(rec.Tasks)+len(rec.Held)+len(rec.Robots) != 0 {
		t.Fatalf("another tenant's warehouse: %+v %v", rec, err)
	}
	other := b.created(b.spec())
	other.Idempotency = u.Idempotency
	b.mustRecord(other) // the same key
	if err := b.record(b.unit(b.fact(string(s.ID), 2, task.Started{})))[0]; !errors.Is(err, fact.ErrRejected) {
		t.Fatalf("a step of another tenant's task: %v, want ErrRejected", err)
	}
	b.shard = mine
	if got := b.fold(s.ID); got.Version != 1 {
		t.Fatalf("version %d, want 1", got.Version)
	}
}
