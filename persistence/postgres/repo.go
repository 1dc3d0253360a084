package postgres

import (
	"bytes"
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// The repositories: small writes outside the actors, and the rows that clients list and read. Each is the Store with
// the methods of one subject; all take the tenant, and see nothing but its rows.
type (
	// TenantsRepo keeps the customers. Platform administrators alone see more than one.
	TenantsRepo struct{ s *Store }
	// UsersRepo keeps who has signed in.
	UsersRepo struct{ s *Store }
	// WarehousesRepo keeps the floors.
	WarehousesRepo struct{ s *Store }
	// MapsRepo keeps maps and their versions.
	MapsRepo struct{ s *Store }
	// ZonesRepo keeps overlays and shows traffic zones.
	ZonesRepo struct{ s *Store }
	// LanesRepo shows lanes.
	LanesRepo struct{ s *Store }
	// RobotsRepo shows registered robots with their last snapshots.
	RobotsRepo struct{ s *Store }
	// TasksRepo shows tasks and their histories.
	TasksRepo struct{ s *Store }
	// CommandsRepo shows commands.
	CommandsRepo struct{ s *Store }
	// DecisionsRepo shows why tasks went where they went.
	DecisionsRepo struct{ s *Store }
	// AuditRepo keeps who did what.
	AuditRepo struct{ s *Store }
)

const nilID = firstID

// known returns fact.ErrNotFound for what is no id at all.
func known[S ~string](ids ...S) error {
	for _, id := range ids {
		if !isUUID(string(id)) {
			return fact.ErrNotFound
		}
	}
	return nil
}

// sieve says whether an id of a filter can match anything: "" narrows nothing, what is no uuid matches nothing.
func sieve[S ~string](id S) bool { return id == "" || isUUID(string(id)) }

// keyOf is the tenant under which keys of platform administrators stand.
func keyOf(tenant fleet.TenantID) string {
	if tenant == "" {
		return nilID
	}
	return string(tenant)
}

// remember records an idempotency key with its answer in the transaction of q. A key that is used is a
// *fact.ConflictError.
func remember(ctx context.Context, q *gen.Queries, tenant fleet.TenantID, idem *fact.Idempotency) error {
	if idem == nil {
		return nil
	}
	id := keyOf(tenant)
	if err := q.LockKey(ctx, gen.LockKeyParams{TenantID: id, Route: idem.Route, Key: idem.Key}); err != nil {
		return err
	}
	first, used, err := firstAnswer(ctx, q, fleet.TenantID(id), idem.Route, idem.Key)
	if err != nil {
		return err
	}
	if used {
		c := &fact.ConflictError{Key: "idempotency_key", SameFingerprint: bytes.Equal(first.Fingerprint, idem.Fingerprint)}
		if c.SameFingerprint {
			c.Answer = &first.Answer
		}
		return c
	}
	headers, err := encodeHeaders(&idem.Answer)
	if err != nil {
		return err
	}
	return q.InsertKeys(ctx, gen.InsertKeysParams{
		TenantID: id, Routes: []string{idem.Route}, Keys: []string{idem.Key}, Fingerprints: [][]byte{notNil(idem.Fingerprint)},
		Statuses: []int32{int32(idem.Answer.Status)}, Headers: []string{headers}, Bodies: [][]byte{notNil(idem.Answer.Body)},
	})
}

// absent says that a query found no row.
func absent(err error) bool { return errors.Is(err, pgx.ErrNoRows) }
