package postgres

import (
	"context"
	"fmt"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// DeadLettersRepo shows the facts that could not be sent, and takes what people decide about them.
type DeadLettersRepo struct{ s *Store }

// ListDeadLetters lists letters, the newest first.
func (r *DeadLettersRepo) ListDeadLetters(
	ctx context.Context, tenant fleet.TenantID, f fact.LetterFilter, p fact.Page,
) (l fact.List[fact.DeadLetter], err error) {
	c, err := from(p, "dead_letters", newest())
	if err != nil || !isUUID(string(tenant)) {
		return fact.List[fact.DeadLetter]{Items: []fact.DeadLetter{}}, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.ListDeadLetters(ctx, gen.ListDeadLettersParams{
			TenantID: string(tenant), BeforeAt: c.At, BeforeID: c.ID, Topic: f.Topic, State: string(f.State), PageSize: size(p),
		})
		if err != nil {
			return err
		}
		l, err = page(p, rows, letterOf, func(d *gen.ListDeadLettersRow) cursor { return cursor{At: d.DeadAt, ID: d.EventID} }, "dead_letters")
		return err
	})
	if err != nil {
		return fact.List[fact.DeadLetter]{}, fmt.Errorf("list dead letters: %w", err)
	}
	return l, nil
}

func letterOf(d *gen.ListDeadLettersRow) (fact.DeadLetter, error) {
	l := fact.DeadLetter{
		ID: fleet.EventID(d.EventID), AggregateType: d.AggregateType, AggregateID: d.AggregateID, Topic: d.Topic, Key: d.Key, Type: d.EventType,
		Cause: d.Cause, Attempts: int(d.Attempts), Deaths: int(d.Deaths), At: d.CreatedAt, DeadAt: d.DeadAt, State: fact.LetterState(d.State),
		Waiting: int(d.Waiting),
	}
	if d.HandledAt != nil {
		l.HandledAt = *d.HandledAt
	}
	if d.HandledBy != nil {
		l.HandledBy = fleet.UserID(*d.HandledBy)
	}
	return l, nil
}

// GetDeadLetter returns a letter with its payload; fact.ErrNotFound where there is none.
func (r *DeadLettersRepo) GetDeadLetter(ctx context.Context, tenant fleet.TenantID, id fleet.EventID) (l fact.DeadLetter, err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return l, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		l, err = letter(ctx, q, tenant, id)
		return err
	})
	return l, err
}

func letter(ctx context.Context, q *gen.Queries, tenant fleet.TenantID, id fleet.EventID) (fact.DeadLetter, error) {
	d, err := q.GetDeadLetter(ctx, gen.GetDeadLetterParams{TenantID: string(tenant), EventID: string(id)})
	if err != nil {
		return fact.DeadLetter{}, err
	}
	l, err := letterOf(&gen.ListDeadLettersRow{
		EventID: d.EventID, TenantID: d.TenantID, Shard: d.Shard, AggregateType: d.AggregateType, AggregateID: d.AggregateID, Topic: d.Topic,
		Key: d.Key, EventType: d.EventType, Cause: d.Cause, Attempts: d.Attempts, Deaths: d.Deaths, CreatedAt: d.CreatedAt, DeadAt: d.DeadAt,
		State: d.State, HandledAt: d.HandledAt, HandledBy: d.HandledBy, Waiting: d.Waiting,
	})
	l.Payload = d.Payload
	return l, err
}

// AskDeadLetter asks the pump to send a letter again, or to leave it out for ever; to ask twice for the same is to ask once.
// Errors: fact.ErrNotFound; a *fact.ConflictError (Key "state") where it has been dealt with already, or the other thing was
// asked for.
func (r *DeadLettersRepo) AskDeadLetter(
	ctx context.Context, tenant fleet.TenantID, id fleet.EventID, to fact.LetterState, by fleet.UserID,
) (l fact.DeadLetter, err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return l, err
	}
	err = r.s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error {
		_, asked := q.AskDeadLetter(ctx, gen.AskDeadLetterParams{TenantID: string(tenant), EventID: string(id), ToState: string(to), HandledBy: optional(by)})
		if asked != nil && !absent(asked) {
			return asked
		}
		if l, err = letter(ctx, q, tenant, id); err != nil {
			return err
		}
		if asked != nil {
			return &fact.ConflictError{Key: "state", Existing: string(id)}
		}
		return nil
	})
	return l, err
}
