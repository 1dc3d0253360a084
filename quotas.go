package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fleet"
	"starling/gateway/quota"
	"starling/gateway/rest"
	"starling/persistence/redis"
)

// bound prepares tenants' quotas: counted together with other processes where there is a Redis, else by this one alone.
func (a *app) bound(registry prometheus.Registerer) error {
	o := quota.Options{
		Tenant: a.store.Tenants.GetTenantByID, Origins: a.store.Tenants.Origins, Log: a.Log, Registerer: registry,
	}
	if url := a.Config.RedisURL.Reveal(); url != "" {
		counter, err := redis.Open(redis.Options{URL: url, Log: a.Log})
		if err != nil {
			return err
		}
		a.counter, o.Counter = counter, counter
	}
	a.quotas = quota.New(o)
	return nil
}

// unbind ends what bound has begun.
func (a *app) unbind() {
	if a.quotas != nil {
		a.quotas.Stop()
	}
	if a.counter != nil {
		_ = a.counter.Close()
	}
}

// quotaChecks are what the state of health tells of quotas: a Redis that is away degrades the process and no more.
func (a *app) quotaChecks() []rest.Check {
	if a.counter == nil {
		return nil
	}
	probe := a.quotas.Probe
	if a.mirror != nil { // whose patience is longer: a busy machine is no Redis that is away
		probe = a.mirror.Ping
	}
	return []rest.Check{{Name: "redis", Probe: probe}}
}

// linkQuotas holds the robot link to its tenants' quotas.
type linkQuotas struct{ quotas *quota.Quotas }

// TakeStatuses implements link.Quotas.
func (l linkQuotas) TakeStatuses(tenant fleet.TenantID, n int) int {
	return l.quotas.TakeNow(tenant, quota.Statuses, n)
}

// CarryRobot implements link.Quotas.
func (l linkQuotas) CarryRobot(ctx context.Context, tenant fleet.TenantID) (leave func(), ok bool) {
	leave, v := l.quotas.Enter(ctx, tenant, quota.Actors)
	return leave, v.OK
}
