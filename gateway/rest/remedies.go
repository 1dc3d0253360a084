package rest

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

// Remedies are what is done against jams in the warehouses that are scored here. Errors wrap those of package fact.
// (actors.Remedies.)
type Remedies interface {
	List(shard fleet.Shard) []congestion.Held
	Press(shard fleet.Shard, kind congestion.ActionKind, subject congestion.Subject, by fleet.Actor) (congestion.Held, error)
	Undo(shard fleet.Shard, id, reason string, by fleet.Actor) error
}

type remedySubject struct {
	Type string `json:"type" enum:"zone,warehouse"`
	ID   string `json:"id" format:"uuid"`
}

type heldBody struct {
	ID          string        `json:"remedy_id" format:"uuid"`
	WarehouseID string        `json:"warehouse_id" format:"uuid"`
	Kind        string        `json:"action" enum:"reroute,hold_tasks,cap_active"`
	Subject     remedySubject `json:"subject"`
	Label       string        `json:"label"`
	Reason      string        `json:"reason" doc:"what was seen when it was applied"`
	Automatic   bool          `json:"automatic" doc:"by a rule, not by a person's press"`
	By          *string       `json:"by" doc:"who has pressed"`
	AppliedAt   string        `json:"applied_at" format:"date-time"`
	Robots      int           `json:"robots" doc:"at most so many robots have such tasks; 0 = it bounds none"`
	Expected    effect        `json:"expected"`
	Measured    *remedyEffect `json:"measured" doc:"null = it has not been looked at yet"`
}

type remedyEffect struct {
	Index  float64  `json:"congestion_index" doc:"change since it was applied; less than 0 = less of a jam"`
	AfterS int      `json:"after_s"`
	_      struct{} `nullable:"true"`
}

func (a *api) heldOf(w fleet.WarehouseID, h *congestion.Held) heldBody {
	b := heldBody{
		ID: h.ID, WarehouseID: string(w), Kind: h.Kind.String(), Subject: remedySubject{h.Subject.Of.String(), h.Subject.ID}, Label: h.Label, Reason: h.Reason,
		Automatic: h.Automatic, By: text(h.By), AppliedAt: ts(h.At), Robots: h.Most, Expected: effect{round(h.Expected.Index), h.Expected.Robots, h.Expected.WithinS},
	}
	if h.Measured.Measured {
		b.Measured = &remedyEffect{Index: round(h.Measured.Index), AfterS: h.Measured.WithinS}
	}
	return b
}

type remedyWish struct {
	WarehouseID string        `json:"warehouse_id" format:"uuid"`
	Kind        string        `json:"action" enum:"reroute,hold_tasks,cap_active"`
	Subject     remedySubject `json:"subject" doc:"cap_active is of the warehouse, all others of a zone"`
}

// remedies are what is done against jams now, and the presses of people.
func (a *api) remedies() {
	type query struct {
		WarehouseID string `query:"warehouse_id" required:"true" format:"uuid"`
	}
	type listOut struct {
		Body struct {
			Items []heldBody `json:"items" doc:"the oldest first"`
			Next  *string    `json:"next_cursor" doc:"null: there are few"`
		}
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/congestion/remedies", id: "list-remedies", summary: "What is done against jams now", tag: "congestion", engine: true},
		func(ctx context.Context, who *auth.Identity, in *query) (*listOut, error) {
			shard, err := a.shardOf(ctx, who, in.WarehouseID, "query.warehouse_id")
			if err != nil {
				return nil, err
			}
			out := &listOut{}
			out.Body.Items = []heldBody{}
			if a.Remedies == nil {
				return out, nil
			}
			held := a.Remedies.List(shard)
			for i := range held {
				out.Body.Items = append(out.Body.Items, a.heldOf(shard.Warehouse, &held[i]))
			}
			return out, nil
		})
	a.pressRemedy()
	a.undoRemedy()
}

func (a *api) pressRemedy() {
	type in struct {
		Keyed
		RawBody []byte
		Body    remedyWish
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/congestion/remedies", id: "apply-remedy", summary: "Do something against a jam", tag: "congestion", engine: true, status: http.StatusCreated, answer: heldBody{}, also: []int{http.StatusConflict, http.StatusPreconditionFailed}},
		func(ctx context.Context, who *auth.Identity, in *in) (*created, error) {
			sum := sha256.Sum256(in.RawBody)
			if first, err := a.firstAnswer(ctx, who.Tenant, pressRoute, in.Key, sum[:]); first != nil || err != nil {
				return first, err
			}
			shard, err := a.shardOf(ctx, who, in.Body.WarehouseID, "body.warehouse_id")
			if err != nil {
				return nil, err
			}
			if a.Remedies == nil {
				return nil, newError(http.StatusPreconditionFailed, codePrecondition, "nothing is measured here")
			}
			kind, subject, err := wished(&in.Body, shard)
			if err != nil {
				return nil, err
			}
			held, err := a.Remedies.Press(shard, kind, subject, by(who))
			if err != nil {
				// The twin of this request may have won meanwhile: what it did is what this one conflicts with.
				if first, _ := a.firstAnswer(ctx, who.Tenant, pressRoute, in.Key, sum[:]); first != nil {
					return first, nil
				}
				return nil, err
			}
			return a.pressed(ctx, who, shard, &held, in.Key, sum[:])
		})
}

// pressRoute is the scope of the keys of presses.
const pressRoute = "POST /congestion/remedies"

// wished checks what is asked for.
func wished(w *remedyWish, shard fleet.Shard) (congestion.ActionKind, congestion.Subject, error) {
	kind, _ := congestion.ParseActionKind(w.Kind) // it is one of those
	subject := congestion.Subject{Of: congestion.OfZone, ID: strings.ToLower(w.Subject.ID)}
	if w.Subject.Type == congestion.OfWarehouse.String() {
		subject.Of = congestion.OfWarehouse
	}
	switch whole := subject.Of == congestion.OfWarehouse; {
	case whole != (kind == congestion.CapActive):
		return kind, subject, invalid("body.subject.type", "cap_active is of the warehouse, all others of a zone")
	case whole && subject.ID != string(shard.Warehouse):
		return kind, subject, invalid("body.subject.id", "want that of the warehouse")
	}
	return kind, subject, nil
}

// pressed answers a press. What is in force is kept in no transaction of the store: where its key cannot be kept it is taken back,
// so that who asks again does not meet what nobody has told him of.
func (a *api) pressed(ctx context.Context, who *auth.Identity, shard fleet.Shard, held *congestion.Held, key string, sum []byte) (*created, error) {
	ans, err := render(http.StatusCreated, "/api/v1/congestion/remedies/"+held.ID, a.heldOf(shard.Warehouse, held))
	if err == nil && key != "" {
		err = a.Facts.RememberAnswer(ctx, who.Tenant, &fact.Idempotency{Key: key, Route: pressRoute, Fingerprint: sum, Answer: ans})
	}
	if err != nil {
		return nil, errors.Join(err, a.Remedies.Undo(shard, held.ID, "its request could not be kept", by(who)))
	}
	return answerOf(&ans, false), nil
}

func (a *api) undoRemedy() {
	type in struct {
		ID          string `path:"remedy_id" format:"uuid"`
		WarehouseID string `query:"warehouse_id" required:"true" format:"uuid"`
	}
	add(a, op{method: http.MethodDelete, path: "/api/v1/congestion/remedies/{remedy_id}", id: "undo-remedy", summary: "Take back what was done against a jam", tag: "congestion", engine: true, status: http.StatusNoContent},
		func(ctx context.Context, who *auth.Identity, in *in) (*struct{}, error) {
			w, err := a.Facts.GetWarehouse(ctx, who.Tenant, fleet.WarehouseID(in.WarehouseID)) // not there: neither is the remedy
			if err != nil {
				return nil, err
			}
			if a.Remedies == nil {
				return nil, newError(http.StatusPreconditionFailed, codePrecondition, "nothing is measured here")
			}
			return nil, a.Remedies.Undo(fleet.Shard{Tenant: who.Tenant, Warehouse: w.ID}, in.ID, "taken back by a person", by(who))
		})
}
