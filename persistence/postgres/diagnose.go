package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/persistence/postgres/gen"
)

// claimKey makes two units with the same key wait for each other and finds out whether one has been there already.
func (g *group) claimKey(ctx context.Context, it *item) error {
	k := it.unit.Idempotency
	if k == nil {
		return nil
	}
	tenant := string(g.shard.Shard.Tenant)
	if err := g.q.LockKey(ctx, gen.LockKeyParams{TenantID: tenant, Route: k.Route, Key: k.Key}); err != nil {
		return err
	}
	_, err := g.q.FirstAnswer(ctx, gen.FirstAnswerParams{TenantID: tenant, Route: k.Route, Key: k.Key})
	switch {
	case err == nil:
		return errLost
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	}
	return err
}

// diagnose says why a unit was lost: nil where it is recorded already (a repetition), else a *fact.ConflictError or an
// error that wraps fact.ErrRejected. err is a failure of the store.
func (g *group) diagnose(ctx context.Context, it *item) (verdict, err error) {
	again, err := g.repeated(ctx, it)
	if err != nil || again {
		return nil, err
	}
	for _, ask := range []func(context.Context, *item) (*fact.ConflictError, error){
		g.keyConflict, g.createConflict, g.moveConflict, g.robotConflict, g.alertConflict,
	} {
		c, err := ask(ctx, it)
		if err != nil {
			return nil, err
		}
		if c != nil {
			return c, nil
		}
	}
	return fmt.Errorf("%w: what it changes is not there: %w", fact.ErrRejected, fact.ErrNotFound), nil
}

// repeated says that all that leaves a trace under its event's id is recorded.
func (g *group) repeated(ctx context.Context, it *item) (bool, error) {
	var ids []string
	for i := range it.outbox {
		ids = append(ids, it.outbox[i].id)
	}
	tenant := string(g.shard.Shard.Tenant)
	commands := 0
	for i := range it.steps {
		c, ok := it.steps[i].event.(robot.CommandAccepted)
		if !ok {
			continue
		}
		commands++ // a command's id is made for one wish: its row is the trace
		_, err := g.q.GetCommand(ctx, gen.GetCommandParams{TenantID: tenant, RobotID: it.steps[i].fact.Subject, CommandID: string(c.Command.ID)})
		if errors.Is(err, pgx.ErrNoRows) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	if len(ids) == 0 {
		return commands > 0, nil
	}
	found, err := g.q.RecordedEvents(ctx, gen.RecordedEventsParams{EventIds: ids, TenantID: tenant})
	return len(found) == len(ids), err
}

func (g *group) keyConflict(ctx context.Context, it *item) (*fact.ConflictError, error) {
	k := it.unit.Idempotency
	if k == nil {
		return nil, nil
	}
	c := &fact.ConflictError{Key: "idempotency_key"}
	first, found, err := firstAnswer(ctx, g.q, g.shard.Shard.Tenant, k.Route, k.Key)
	if err != nil {
		return nil, err
	}
	if found {
		if c.SameFingerprint = bytes.Equal(first.Fingerprint, k.Fingerprint); c.SameFingerprint {
			c.Answer = &first.Answer
		}
	}
	if len(it.creates) != 1 || it.solo {
		if !found {
			return nil, nil
		}
		return c, nil
	}
	row, err := g.q.TaskByKey(ctx, gen.TaskByKeyParams{TenantID: string(g.shard.Shard.Tenant), Key: &k.Key})
	switch {
	case err == nil:
		c.Existing = row.TaskID
		if !found {
			c.SameFingerprint = bytes.Equal(row.IdempotencyFingerprint, k.Fingerprint)
		}
		return c, nil
	case !errors.Is(err, pgx.ErrNoRows):
		return nil, err
	case found:
		return c, nil
	}
	return nil, nil
}

func (g *group) createConflict(ctx context.Context, it *item) (*fact.ConflictError, error) {
	for _, s := range it.creates {
		st, err := getTask(ctx, g.q, g.shard.Shard.Tenant, s.ID)
		if errors.Is(err, fact.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &fact.ConflictError{Key: "task_id", Existing: string(s.ID), Task: st}, nil
	}
	return nil, nil
}

func (g *group) moveConflict(ctx context.Context, it *item) (*fact.ConflictError, error) {
	for _, m := range it.moves {
		st, err := getTask(ctx, g.q, g.shard.Shard.Tenant, m.task)
		switch {
		case errors.Is(err, fact.ErrNotFound):
		case err != nil:
			return nil, err
		case st.Version != m.from:
			return &fact.ConflictError{Key: "version", Existing: string(m.task), Task: st}, nil
		}
	}
	return nil, nil
}

func (g *group) robotConflict(ctx context.Context, it *item) (*fact.ConflictError, error) {
	tenant := string(g.shard.Shard.Tenant)
	for i := range it.steps {
		want := int64(0)
		switch e := it.steps[i].event.(type) {
		case robot.Registered:
			want = e.Version - 1
			other, err := g.q.GetRobotByCode(ctx, gen.GetRobotByCodeParams{TenantID: tenant, RobotCode: e.Spec.Code})
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return nil, err
			}
			if err == nil && other.RobotID != string(e.Spec.ID) {
				return &fact.ConflictError{Key: "robot_code", Existing: other.RobotID, Robot: robotView(&other)}, nil
			}
		case robot.Removed:
			want = e.Version - 1
		case robot.CommandAccepted, robot.CommandStaged, dispatch.MapActivated, dispatch.LaneChanged:
			continue
		}
		row, err := g.q.GetRobot(ctx, gen.GetRobotParams{TenantID: tenant, RobotID: it.steps[i].fact.Subject})
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if row.Version != want {
			return &fact.ConflictError{Key: "version", Existing: row.RobotID, Robot: robotView(&row)}, nil
		}
	}
	return nil, nil
}

type kept struct {
	Fingerprint []byte
	Answer      fact.Answer
}

func firstAnswer(ctx context.Context, q *gen.Queries, tenant fleet.TenantID, route, key string) (kept, bool, error) {
	row, err := q.FirstAnswer(ctx, gen.FirstAnswerParams{TenantID: string(tenant), Route: route, Key: key})
	if errors.Is(err, pgx.ErrNoRows) {
		return kept{}, false, nil
	}
	if err != nil {
		return kept{}, false, err
	}
	a, err := decodeAnswer(row.Status, row.Headers, row.Body)
	if err != nil {
		return kept{}, false, err
	}
	return kept{Fingerprint: row.Fingerprint, Answer: *a}, true, nil
}

// FirstAnswer returns the answer kept for the tenant's key on the route, with the fingerprint of its request; nil where
// the key is new (or older than a day or two). tenant "" = a platform administrator's keys.
func (s *Store) FirstAnswer(
	ctx context.Context, tenant fleet.TenantID, route, key string,
) (fingerprint []byte, answer *fact.Answer, err error) {
	if tenant == "" {
		tenant = firstID
	}
	err = s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		k, found, err := firstAnswer(ctx, q, tenant, route, key)
		if found {
			fingerprint, answer = k.Fingerprint, &k.Answer
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("look up an idempotency key: %w", err)
	}
	return fingerprint, answer, nil
}

// RememberAnswer keeps the answer of a key of a tenant, for what is created in no transaction of the store. A key that is used is a
// *fact.ConflictError.
func (s *Store) RememberAnswer(ctx context.Context, tenant fleet.TenantID, idem *fact.Idempotency) error {
	err := s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error { return remember(ctx, q, tenant, idem) })
	if err != nil {
		return fmt.Errorf("remember an idempotency key: %w", err)
	}
	return nil
}

// doubts remembers the transactions whose COMMIT had no answer, until they are asked about. Bound: the newest 256.
type doubts struct {
	mu   sync.Mutex
	list []doubt
}

type doubt struct {
	xid string
	ids []fleet.EventID
}

const doubtBound = 256

func (d *doubts) add(g *group) {
	n := doubt{xid: g.xid}
	for _, it := range g.items {
		if it.err == nil && !it.lost {
			for i := range it.unit.Facts {
				n.ids = append(n.ids, it.unit.Facts[i].ID)
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, n)
	if over := len(d.list) - doubtBound; over > 0 {
		d.list = slices.Delete(d.list, 0, over)
	}
}

// of returns the newest transaction in doubt that wrote one of the ids.
func (d *doubts) of(id fleet.EventID) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := len(d.list) - 1; i >= 0; i-- {
		if slices.Contains(d.list[i].ids, id) {
			return d.list[i].xid, true
		}
	}
	return "", false
}

// Recorded says for each event id whether it is durable. A transaction that is still under way on the server is
// fact.ErrUnavailable: ask again. Events that leave no trace of their own (the roster's, a command's stages, lanes) are
// known only to the store that wrote them, from its own doubts.
func (s *Store) Recorded(ctx context.Context, shard fleet.Shard, ids []fleet.EventID) ([]bool, error) {
	out := make([]bool, len(ids))
	err := s.inTenant(ctx, writing, shard.Tenant, func(q *gen.Queries) error {
		statuses := map[string]string{}
		var open []string
		at := map[string][]int{}
		for i, id := range ids {
			xid, doubted := s.doubts.of(id)
			if !doubted {
				if isUUID(string(id)) {
					open, at[string(id)] = append(open, string(id)), append(at[string(id)], i)
				}
				continue
			}
			if statuses[xid] == "" {
				st, err := q.XactStatus(ctx, xid)
				if err != nil {
					return err
				}
				statuses[xid] = st
			}
			switch statuses[xid] {
			case "committed":
				out[i] = true
			case "aborted":
			default:
				return fmt.Errorf("transaction %s is %s: %w", xid, statuses[xid], fact.ErrUnavailable)
			}
		}
		if len(open) == 0 {
			return nil
		}
		found, err := q.RecordedEvents(ctx, gen.RecordedEventsParams{EventIds: open, TenantID: string(shard.Tenant)})
		for _, id := range found {
			for _, i := range at[id] {
				out[i] = true
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read back %d events: %w", len(ids), err)
	}
	return out, nil
}
