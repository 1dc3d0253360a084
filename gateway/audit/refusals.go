package audit

import (
	"sync"
	"time"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// refusalsPerS bounds the entries about refused requests of one tenant in a second, and those of nobody knows whom:
// everybody can cause them, and none may hide another's.
const refusalsPerS = 100

// budget counts refusals by tenant within a second. Tenants are those that good tokens name.
type budget struct {
	mu     sync.Mutex
	second int64
	spent  map[fleet.TenantID]int
}

func (b *budget) take(now time.Time, tenant fleet.TenantID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := now.Unix(); s != b.second || b.spent == nil {
		b.second, b.spent = s, map[fleet.TenantID]int{}
	}
	b.spent[tenant]++
	return b.spent[tenant] <= refusalsPerS
}

// Refused records who was not let in, at most refusalsPerS times a second of one tenant; what is more is counted.
func (r *Recorder) Refused(e fact.AuditEntry) {
	if r == nil {
		return
	}
	if !r.refusals.take(time.Now(), e.Tenant) {
		r.metrics.dropped.WithLabelValues("refusals").Inc()
		return
	}
	r.Add(e)
}

// shed says that an entry makes room for others: reads and refusals do where the queue is half full, so that writes and
// sign-ins find a place.
func (r *Recorder) shed(e *fact.AuditEntry) bool {
	read := e.Method == "GET" || e.Status == 401 || e.Status == 403
	return read && e.Action != "auth.sign_in" && len(r.queue) > cap(r.queue)/2
}
