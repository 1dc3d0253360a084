package auth

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// Why a token is refused: for metrics and the log at debug level. Whoever sent it learns only that it is.
const (
	reasonSize      = "size"
	reasonForm      = "form"      // not three parts of base64url, or not JSON, or a member twice
	reasonHeader    = "header"    // a member that must not be there
	reasonType      = "type"      // no access token
	reasonAlgorithm = "algorithm" // none, symmetric or unknown
	reasonKeyID     = "key_id"    // none, or no text of reasonable length
	reasonIssuer    = "issuer"    // not one of ours
	reasonKey       = "key"       // the issuer has no such key, or not for this algorithm
	reasonSignature = "signature"
	reasonExpiry    = "expiry" // no exp that can be read
	reasonExpired   = "expired"
	reasonTimes     = "times" // nbf or iat that cannot be read
	reasonEarly     = "early" // nbf or iat in the future
	reasonAudience  = "audience"
	reasonBound     = "bound"   // to a key
	reasonClaims    = "claims"  // subject, name, robot …
	reasonRoles     = "roles"   // not lists of texts
	reasonTenants   = "tenants" // not UUIDs
)

// counters are what the check of tokens counts.
type counters struct {
	refused     *prometheus.CounterVec
	unavailable prometheus.Counter
}

func newCounters(r prometheus.Registerer) counters {
	c := counters{
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_auth_refused_total", Help: "Tokens refused, by reason."}, []string{"reason"}),
		unavailable: prometheus.NewCounter(prometheus.CounterOpts{Name: "starling_auth_unavailable_total", Help: "Tokens that could not be checked, since an issuer's keys could not be had."}),
	}
	if r != nil {
		r.MustRegister(c.refused, c.unavailable)
	}
	return c
}

// refuse counts a refusal and says no more than that.
func (v *Verifier) refuse(ctx context.Context, reason string) error {
	v.counters.refused.WithLabelValues(reason).Inc()
	if v.o.Log != nil {
		v.o.Log.LogAttrs(ctx, slog.LevelDebug, "token refused", slog.String("event", "auth.refused"), slog.String("reason", reason))
	}
	return fmt.Errorf("%w (%s)", ErrUnauthenticated, reason)
}
