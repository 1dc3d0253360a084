package cluster

import (
	"strings"

	"starling/engine/fleet"
)

// Identity formats what names an actor within its kind from anywhere in the cluster: "tenant/warehouse/id", or
// "tenant/warehouse" for the warehouse itself. The part up to the second slash is the unit of ownership.
func Identity(shard fleet.Shard, id string) string {
	if id == "" {
		return shard.Key()
	}
	return shard.Key() + "/" + id
}

// ParseIdentity reads what Identity wrote; ok is false for anything else.
func ParseIdentity(identity string) (shard fleet.Shard, id string, ok bool) {
	tenant, rest, ok := strings.Cut(identity, "/")
	if !ok || tenant == "" {
		return fleet.Shard{}, "", false
	}
	warehouse, id, _ := strings.Cut(rest, "/")
	if warehouse == "" || strings.Contains(id, "/") {
		return fleet.Shard{}, "", false
	}
	return fleet.Shard{Tenant: fleet.TenantID(tenant), Warehouse: fleet.WarehouseID(warehouse)}, id, true
}
