package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"starling/gateway/auth"
)

// issuers are those of the configuration, with their keys, which are fetched in the background until the process stops:
// its start does not wait for them.
func (a *app) issuers(registry prometheus.Registerer) []auth.Issuer {
	ctx, cancel := context.WithCancel(context.Background())
	issuers := make([]auth.Issuer, 0, len(a.Config.Issuers))
	for _, i := range a.Config.Issuers {
		keys := auth.NewRemoteKeys(auth.KeysOptions{Issuer: i.Issuer, URL: i.JWKSURL, TTL: a.Config.JWKSCacheTTL, Log: a.Log, Registerer: registry})
		a.keys.Go(func() { keys.Run(ctx) }) // ends with forget
		issuers = append(issuers, auth.Issuer{
			URL: i.Issuer, Audiences: i.Audiences, Clients: i.ClientIDs, Tenants: i.Tenants, Roles: i.Roles, Platform: i.Platform, Keys: keys,
		})
	}
	a.forget = func() { cancel(); a.keys.Wait() }
	return issuers
}
