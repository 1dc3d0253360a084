package rest

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/uuid"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
)

type warehouseBody struct {
	WarehouseID string `json:"warehouse_id" format:"uuid"`
	TenantID    string `json:"tenant_id" format:"uuid"`
	Code        string `json:"warehouse_code"`
	Name        string `json:"name"`
	Timezone    string `json:"timezone" doc:"IANA name"`
	CreatedAt   string `json:"created_at" format:"date-time"`
}

func warehouseOf(w *fact.Warehouse) warehouseBody {
	return warehouseBody{string(w.ID), string(w.Tenant), w.Code, w.Name, w.Timezone, ts(w.CreatedAt)}
}

type newWarehouse struct {
	Code     string `json:"warehouse_code" minLength:"1" maxLength:"64"`
	Name     string `json:"name" minLength:"1" maxLength:"200"`
	Timezone string `json:"timezone,omitempty" maxLength:"64" default:"UTC" doc:"IANA name"`
}

// shardOf checks that the tenant has the warehouse.
func (a *api) shardOf(ctx context.Context, who *auth.Identity, id, field string) (fleet.Shard, error) {
	s := fleet.Shard{Tenant: who.Tenant, Warehouse: fleet.WarehouseID(id)}
	w, err := a.Facts.GetWarehouse(ctx, who.Tenant, s.Warehouse)
	if errors.Is(err, fact.ErrNotFound) {
		return s, invalid(field, "there is no such warehouse")
	}
	if err == nil {
		s.Warehouse = w.ID // as it is written everywhere, whatever letters it was asked for in
	}
	return s, err
}

func (a *api) warehouses() {
	add(a, op{method: http.MethodGet, path: "/api/v1/warehouses", id: "list-warehouses", summary: "Warehouses", tag: "warehouses"},
		func(ctx context.Context, who *auth.Identity, in *Paged) (*listed[warehouseBody], error) {
			l, err := a.Facts.ListWarehouses(ctx, who.Tenant, in.page())
			return listOf(l, warehouseOf), err
		})
	type get struct {
		ID string `path:"warehouse_id" format:"uuid"`
	}
	type out struct{ Body warehouseBody }
	add(a, op{method: http.MethodGet, path: "/api/v1/warehouses/{warehouse_id}", id: "get-warehouse", summary: "A warehouse", tag: "warehouses"},
		func(ctx context.Context, who *auth.Identity, in *get) (*out, error) {
			w, err := a.Facts.GetWarehouse(ctx, who.Tenant, fleet.WarehouseID(in.ID))
			return &out{warehouseOf(&w)}, err
		})
	type create struct {
		Keyed
		RawBody []byte
		Body    newWarehouse
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/warehouses", id: "create-warehouse", summary: "Create a warehouse", tag: "warehouses", status: 201, answer: warehouseBody{}},
		func(ctx context.Context, who *auth.Identity, in *create) (*created, error) {
			return a.once(ctx, who.Tenant, "POST /warehouses", &in.Keyed, in.RawBody, func() (fact.Answer, func(*fact.Idempotency) error, error) {
				w := fact.Warehouse{ID: fleet.WarehouseID(uuid.NewString()), Tenant: who.Tenant, Code: in.Body.Code, Name: in.Body.Name, Timezone: in.Body.Timezone, CreatedAt: a.Now()}
				ans, err := render(201, "/api/v1/warehouses/"+string(w.ID), warehouseOf(&w))
				return ans, func(i *fact.Idempotency) error { return a.Facts.CreateWarehouse(ctx, w, i) }, err
			})
		})
}
