package audit

import (
	"testing"
	"time"

	"starling/engine/fact"
)

func TestNoTenantsRefusalsHideAnothers(t *testing.T) {
	t.Parallel()
	var b budget
	at, taken := time.Unix(1_000_000, 0), 0
	for range 3 * refusalsPerS {
		if b.take(at, "") {
			taken++
		}
	}
	if taken != refusalsPerS || !b.take(at, "ours") || !b.take(at.Add(time.Second), "") {
		t.Errorf("%d in one second", taken)
	}
}

func TestReadsMakeRoomForWrites(t *testing.T) {
	t.Parallel()
	r := &Recorder{queue: make(chan fact.AuditEntry, 10)}
	read, write := fact.AuditEntry{Method: "GET", Status: 200}, fact.AuditEntry{Method: "POST", Status: 201}
	refused, signIn := fact.AuditEntry{Method: "POST", Status: 403}, fact.AuditEntry{Method: "GET", Action: "auth.sign_in", Status: 200}
	for range 6 {
		if r.shed(&read) {
			t.Fatal("a read is shed while there is room")
		}
		r.queue <- write
	}
	if !r.shed(&read) || !r.shed(&refused) || r.shed(&write) || r.shed(&signIn) {
		t.Error("the wrong entries make room")
	}
}
