package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

func tenantOf(t *gen.Tenant) (fact.Tenant, error) {
	return fact.Tenant{
		ID: fleet.TenantID(t.TenantID), Slug: t.Slug, Name: t.Name, Settings: t.Settings, Limits: t.Limits, Version: t.Version, CreatedAt: t.CreatedAt.UTC(),
	}, nil
}

// CreateTenant adds a customer; for platform administrators. A slug in use is a *fact.ConflictError with Key "slug".
func (r *TenantsRepo) CreateTenant(ctx context.Context, t fact.Tenant, idem *fact.Idempotency) error {
	err := r.s.asPlatform(ctx, writing, func(q *gen.Queries) error {
		if err := q.SetTenant(ctx, nilID); err != nil {
			return err
		}
		if err := remember(ctx, q, "", idem); err != nil {
			return err
		}
		_, err := q.CreateTenant(ctx, gen.CreateTenantParams{
			TenantID: string(t.ID), Slug: t.Slug, Name: t.Name, Settings: object(t.Settings), Limits: object(t.Limits), CreatedAt: t.CreatedAt,
		})
		if broke(err, "tenants_slug_key") {
			return &fact.ConflictError{Key: "slug"}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("create tenant %s: %w", t.ID, err)
	}
	return nil
}

// object is a JSON object, the empty one where nothing was given.
func object(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}

// SetTenantLimits changes a tenant's name (nil = stays) and replaces its limits (empty = stay); for platform
// administrators, the database refuses others. ifVersion -1 = whatever it is; another version than the present is a
// *fact.ConflictError with Key "version". Errors: fact.ErrNotFound.
func (r *TenantsRepo) SetTenantLimits(ctx context.Context, id fleet.TenantID, name *string, limits json.RawMessage, ifVersion int64) (t fact.Tenant, err error) {
	if err := known(id); err != nil {
		return t, err
	}
	if len(limits) == 0 {
		limits = nil // NULL: what is there stays
	}
	err = r.s.asPlatform(ctx, writing, func(q *gen.Queries) error {
		if err := q.SetTenant(ctx, string(id)); err != nil {
			return err
		}
		row, err := q.LockTenant(ctx, string(id))
		if err != nil {
			return err
		}
		if ifVersion >= 0 && row.Version != ifVersion {
			return &fact.ConflictError{Key: "version", Existing: string(id)}
		}
		if row, err = q.SetTenantLimits(ctx, gen.SetTenantLimitsParams{TenantID: string(id), Name: name, Limits: limits}); err != nil {
			return err
		}
		t, err = tenantOf(&row)
		return err
	})
	return t, err
}

// Origins returns the origins that any tenant's settings let in, at most atMost of them, in no order.
func (r *TenantsRepo) Origins(ctx context.Context, atMost int) (origins []string, err error) {
	err = r.s.asPlatform(ctx, reading, func(q *gen.Queries) (err error) {
		origins, err = q.TenantOrigins(ctx, int32(atMost))
		return err
	})
	return origins, err
}

// GetTenantByID returns a tenant; fact.ErrNotFound where there is none.
func (r *TenantsRepo) GetTenantByID(ctx context.Context, id fleet.TenantID) (t fact.Tenant, err error) {
	if err := known(id); err != nil {
		return t, err
	}
	err = r.s.inTenant(ctx, reading, id, func(q *gen.Queries) error {
		row, err := q.GetTenant(ctx, string(id))
		if err != nil {
			return err
		}
		t, err = tenantOf(&row)
		return err
	})
	return t, err
}

// GetTenantBySlug returns a tenant; fact.ErrNotFound where there is none.
func (r *TenantsRepo) GetTenantBySlug(ctx context.Context, slug string) (t fact.Tenant, err error) {
	err = r.s.asPlatform(ctx, reading, func(q *gen.Queries) error {
		row, err := q.GetTenantBySlug(ctx, slug)
		if err != nil {
			return err
		}
		t, err = tenantOf(&row)
		return err
	})
	return t, err
}

// ListTenants lists all customers, newest first; for platform administrators.
func (r *TenantsRepo) ListTenants(ctx context.Context, p fact.Page) (l fact.List[fact.Tenant], err error) {
	c, err := from(p, "tenants", newest())
	if err != nil {
		return l, err
	}
	err = r.s.asPlatform(ctx, reading, func(q *gen.Queries) error {
		rows, err := q.ListTenants(ctx, gen.ListTenantsParams{BeforeAt: c.At, BeforeID: c.ID, PageSize: size(p)})
		if err != nil {
			return err
		}
		l, err = page(p, rows, tenantOf, func(t *gen.Tenant) cursor { return cursor{At: t.CreatedAt, ID: t.TenantID} }, "tenants")
		return err
	})
	return l, err
}

// PatchSettings merges a JSON object into a tenant's settings: a member that is null goes. ifVersion -1 = whatever
// it is; another version than the present is a *fact.ConflictError with Key "version".
func (r *TenantsRepo) PatchSettings(ctx context.Context, id fleet.TenantID, patch json.RawMessage, ifVersion int64) (t fact.Tenant, err error) {
	if err := known(id); err != nil {
		return t, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(patch, &members); err != nil || members == nil {
		return t, fmt.Errorf("settings want a JSON object: %w", fact.ErrRejected)
	}
	err = r.s.inTenant(ctx, writing, id, func(q *gen.Queries) error {
		row, err := q.LockTenant(ctx, string(id))
		if err != nil {
			return err
		}
		if ifVersion >= 0 && row.Version != ifVersion {
			return &fact.ConflictError{Key: "version", Existing: string(id)}
		}
		settings := map[string]json.RawMessage{}
		if err := json.Unmarshal(row.Settings, &settings); err != nil {
			return fmt.Errorf("read the settings of tenant %s: %w", id, err)
		}
		for name, value := range members { // each member has its own name: the order does not matter
			if string(value) == "null" {
				delete(settings, name)
				continue
			}
			settings[name] = value
		}
		merged, err := json.Marshal(settings)
		if err != nil {
			return err
		}
		row, err = q.SetTenantSettings(ctx, gen.SetTenantSettingsParams{TenantID: string(id), Settings: merged, IfVersion: row.Version})
		if err != nil {
			return err
		}
		t, err = tenantOf(&row)
		return err
	})
	return t, err
}

func userOf(u *gen.User) fact.User {
	return fact.User{
		ID: fleet.UserID(u.UserID), Tenant: fleet.TenantID(u.TenantID), Subject: u.Subject, Email: u.Email, DisplayName: u.DisplayName,
		Role: given[string](u.Role), CreatedAt: u.CreatedAt.UTC(), LastLoginAt: u.LastLoginAt.UTC(),
	}
}

// UpsertUserFromOIDC keeps who has signed in: by tenant and subject. A new one gets u.ID, one known keeps its id and
// its role; e-mail and name become what the token says.
func (r *UsersRepo) UpsertUserFromOIDC(ctx context.Context, tenant fleet.TenantID, u fact.User) (saved fact.User, err error) {
	err = r.s.inTenant(ctx, writing, tenant, func(q *gen.Queries) error {
		row, err := q.UpsertUser(ctx, gen.UpsertUserParams{
			UserID: string(u.ID), TenantID: string(tenant), Subject: u.Subject, Email: u.Email, DisplayName: u.DisplayName,
		})
		saved = userOf(&row)
		return err
	})
	if err != nil {
		return fact.User{}, fmt.Errorf("keep user %q: %w", u.Subject, err)
	}
	return saved, nil
}

// GetUserByID returns a user; fact.ErrNotFound where there is none.
func (r *UsersRepo) GetUserByID(ctx context.Context, tenant fleet.TenantID, id fleet.UserID) (u fact.User, err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return u, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		row, err := q.GetUser(ctx, gen.GetUserParams{TenantID: string(tenant), UserID: string(id)})
		u = userOf(&row)
		return err
	})
	return u, err
}

// GetUserRole returns the role that a tenant has given to who bears a subject, "" = none: it leaves the token's.
func (r *UsersRepo) GetUserRole(ctx context.Context, tenant fleet.TenantID, subject string) (role string, err error) {
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		given, err := q.GetUserRole(ctx, gen.GetUserRoleParams{TenantID: string(tenant), Subject: subject})
		if given != nil {
			role = *given
		}
		return err
	})
	if errors.Is(err, fact.ErrNotFound) {
		return "", nil
	}
	return role, err
}

func warehouseOf(w *gen.Warehouse) (fact.Warehouse, error) {
	return fact.Warehouse{
		ID: fleet.WarehouseID(w.WarehouseID), Tenant: fleet.TenantID(w.TenantID), Code: w.WarehouseCode, Name: w.Name,
		Timezone: w.Timezone, Region: w.Region, CreatedAt: w.CreatedAt.UTC(),
	}, nil
}

// CreateWarehouse adds a floor. A code in use is a *fact.ConflictError with Key "warehouse_code";
// a tenant that is not there is fact.ErrNotFound.
func (r *WarehousesRepo) CreateWarehouse(ctx context.Context, w fact.Warehouse, idem *fact.Idempotency) error {
	err := r.s.inTenant(ctx, writing, w.Tenant, func(q *gen.Queries) error {
		if err := remember(ctx, q, w.Tenant, idem); err != nil {
			return err
		}
		_, err := q.CreateWarehouse(ctx, gen.CreateWarehouseParams{
			WarehouseID: string(w.ID), TenantID: string(w.Tenant), WarehouseCode: w.Code, Name: w.Name, Timezone: w.Timezone,
			Region: w.Region, CreatedAt: w.CreatedAt,
		})
		if broke(err, "warehouses_tenant_id_warehouse_code_key") {
			return &fact.ConflictError{Key: "warehouse_code"}
		}
		if misses(err, "warehouses_tenant_id_fkey") { // the token's issuer knows a tenant that nobody has created here
			return fmt.Errorf("tenant %s: %w", w.Tenant, fact.ErrNotFound)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("create warehouse %s: %w", w.ID, err)
	}
	return nil
}

// GetWarehouse returns a warehouse; fact.ErrNotFound where there is none.
func (r *WarehousesRepo) GetWarehouse(ctx context.Context, tenant fleet.TenantID, id fleet.WarehouseID) (w fact.Warehouse, err error) {
	if err := known(string(tenant), string(id)); err != nil {
		return w, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		row, err := q.GetWarehouse(ctx, gen.GetWarehouseParams{TenantID: string(tenant), WarehouseID: string(id)})
		if err != nil {
			return err
		}
		w, err = warehouseOf(&row)
		return err
	})
	return w, err
}

// ListWarehouses lists a tenant's warehouses, newest first.
func (r *WarehousesRepo) ListWarehouses(ctx context.Context, tenant fleet.TenantID, p fact.Page) (l fact.List[fact.Warehouse], err error) {
	c, err := from(p, "warehouses", newest())
	if err != nil {
		return l, err
	}
	err = r.s.inTenant(ctx, reading, tenant, func(q *gen.Queries) error {
		rows, err := q.ListWarehouses(ctx, gen.ListWarehousesParams{
			TenantID: string(tenant), BeforeAt: c.At, BeforeID: c.ID, PageSize: size(p),
		})
		if err != nil {
			return err
		}
		l, err = page(p, rows, warehouseOf, func(w *gen.Warehouse) cursor { return cursor{At: w.CreatedAt, ID: w.WarehouseID} }, "warehouses")
		return err
	})
	return l, err
}
