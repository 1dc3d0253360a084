package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/audit"
	"starling/gateway/auth"
)

var errAway = errors.New("the store is away")

// sink is a store that can be away, or answer nobody.
type sink struct {
	mu      sync.Mutex
	away    bool
	stuck   chan struct{} // not nil: writes wait for it
	entries []fact.AuditEntry
	batches []int
	users   []fact.User
	calls   int
}

func (s *sink) WriteAuditLog(ctx context.Context, entries []fact.AuditEntry) error {
	s.mu.Lock()
	stuck := s.stuck
	s.calls++
	s.mu.Unlock()
	if stuck != nil {
		select {
		case <-stuck:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return errAway
	}
	s.entries = append(s.entries, entries...)
	s.batches = append(s.batches, len(entries))
	return nil
}

func (s *sink) UpsertUserFromOIDC(_ context.Context, tenant fleet.TenantID, u fact.User) (fact.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return fact.User{}, errAway
	}
	u.Tenant = tenant
	s.users = append(s.users, u)
	return u, nil
}

func (s *sink) set(away bool, stuck chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.stuck = away, stuck
}

func (s *sink) ids() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		out = append(out, e.ID)
	}
	return out
}

// bed is a recorder with its sink and what it said.
type bed struct {
	*audit.Recorder
	sink     *sink
	registry *prometheus.Registry
	log      *bytes.Buffer
	dir      string
}

type locked struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func newBed(t *testing.T, s *sink, o audit.Options) *bed {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	b := &bed{sink: s, registry: prometheus.NewRegistry(), log: &bytes.Buffer{}, dir: o.Dir}
	o.Sink, o.Users, o.Registerer = s, s, b.registry
	o.Log = slog.New(slog.NewTextHandler(&locked{b: b.log}, nil))
	o.Every, o.Retry = time.Millisecond, time.Millisecond
	var err error
	if b.Recorder, err = audit.New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.stop(t) })
	return b
}

func (b *bed) stop(t *testing.T) {
	t.Helper()
	if err := b.Stop(context.Background()); err != nil { // the test's context has ended
		t.Error(err)
	}
}

func (b *bed) count(t *testing.T, metric, label string) int {
	t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != "starling_audit_"+metric || label != "" && m.GetLabel()[0].GetValue() != label {
				continue
			}
			if m.GetGauge() != nil {
				return int(m.GetGauge().GetValue())
			}
			return int(m.GetCounter().GetValue())
		}
	}
	return 0
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func entries(n int) (list []fact.AuditEntry, ids []string) {
	for range n {
		e := fact.AuditEntry{
			ID: uuid.NewString(), At: time.Now().UTC().Truncate(time.Microsecond), Tenant: "11111111-1111-4111-8111-111111111111",
			Subject: "ålice\n\"", Action: "task.create", Status: 201, Duration: 1234567 * time.Nanosecond, ClientIP: "192.0.2.1",
			Details: []byte(`{"a":1}`),
		}
		list, ids = append(list, e), append(ids, e.ID)
	}
	return list, ids
}

func (b *bed) add(list []fact.AuditEntry) {
	for _, e := range list {
		b.Add(e)
	}
}

// files lists what the journal has on disk.
func files(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestEntriesAreWrittenInBatches(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{})
	s := &sink{stuck: stuck}
	b := newBed(t, s, audit.Options{Batch: 50})
	list, ids := entries(1000)
	b.add(list)
	close(stuck)
	b.stop(t)
	if !slices.Equal(s.ids(), ids) {
		t.Fatalf("%d entries written, not the %d in order", len(s.ids()), len(ids))
	}
	if s.entries[0].Subject != list[0].Subject || string(s.entries[0].Details) != `{"a":1}` {
		t.Fatalf("%+v", s.entries[0])
	}
	if most := slices.Max(s.batches); most > 50 || len(s.batches) > 100 {
		t.Fatalf("%d batches of up to %d", len(s.batches), most)
	}
	if left, _ := os.ReadDir(b.dir); len(left) != 0 {
		t.Fatalf("left on disk: %v", left)
	}
	b.Add(list[0]) // too late: counted, and no panic
	if n := b.count(t, "dropped_total", "closed"); n != 1 {
		t.Fatalf("%d counted", n)
	}
}

func TestNothingIsLostWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	s := &sink{away: true}
	b := newBed(t, s, audit.Options{SegmentBytes: 4 << 10, Batch: 20})
	list, ids := entries(400)
	for i := range list { // in several batches, one after the other
		b.Add(list[i])
		if i%50 == 49 {
			until(t, "they lie on disk", func() bool { return b.count(t, "entries_total", "spilled") > i-50 })
		}
	}
	until(t, "all lie on disk", func() bool { return b.count(t, "entries_total", "spilled") == 400 })
	if b.count(t, "sink_down", "") != 1 || b.count(t, "journal_bytes", "") < 400*100 || len(files(t, b.dir)) < 10 {
		t.Fatalf("down %d, %d bytes, %d files", b.count(t, "sink_down", ""), b.count(t, "journal_bytes", ""), len(files(t, b.dir)))
	}
	s.set(false, nil)
	until(t, "all are replayed", func() bool { return len(s.ids()) == 400 })
	if !slices.Equal(s.ids(), ids) {
		t.Fatal("they are out of order")
	}
	same(t, s.entries[399], list[399])
	until(t, "the journal is empty", func() bool { return b.count(t, "journal_bytes", "") == 0 && len(files(t, b.dir)) == 0 })
	b.Add(list[0])
	until(t, "it goes on without the journal", func() bool { return b.count(t, "entries_total", "written") == 1 })
	if d := b.count(t, "dropped_total", "journal") + b.count(t, "dropped_total", "entries"); d != 0 {
		t.Fatalf("%d dropped", d)
	}
}

func same(t *testing.T, got, want fact.AuditEntry) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Fatalf("came back as\n%s, want\n%s", g, w)
	}
}

// A store that answers nobody: the queue is emptied to disk, and whoever adds does not wait.
func TestASlowStoreFillsTheDiskNotTheQueue(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{})
	s := &sink{stuck: stuck}
	b := newBed(t, s, audit.Options{Queue: 64, Batch: 10})
	list, ids := entries(500)
	for i, e := range list {
		until(t, "there is room", func() bool { return b.count(t, "queue", "") < 60 })
		b.Add(e)
		_ = i
	}
	if n := b.count(t, "entries_total", "spilled"); n < 300 {
		t.Fatalf("%d entries on disk", n)
	}
	close(stuck)
	until(t, "all are written", func() bool { return len(s.ids()) == 500 })
	got := s.ids()
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Fatal("others than those that were added")
	}
	b.stop(t)
}

func TestWhatHasNoRoomIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	s := &sink{away: true}
	b := newBed(t, s, audit.Options{JournalBytes: 5000, Batch: 7})
	list, ids := entries(100)
	b.add(list)
	until(t, "all are somewhere", func() bool {
		return b.count(t, "entries_total", "spilled")+b.count(t, "dropped_total", "journal") == 100
	})
	kept := b.count(t, "entries_total", "spilled")
	if size := b.count(t, "journal_bytes", ""); kept == 0 || kept == 100 || size > 5000 {
		t.Fatalf("%d kept in %d bytes", kept, size)
	}
	s.set(false, nil)
	until(t, "those kept are written", func() bool { return len(s.ids()) == kept })
	for _, id := range s.ids() {
		if !slices.Contains(ids, id) {
			t.Fatalf("who is %s", id)
		}
	}
	b.stop(t)
	if !strings.Contains(b.log.String(), "level=ERROR") || !strings.Contains(b.log.String(), "audit.lost") {
		t.Fatalf("said %q", b.log)
	}

	stuck := make(chan struct{})
	full := newBed(t, &sink{stuck: stuck}, audit.Options{Queue: 5, Dir: brokenLater(t)})
	list, _ = entries(200)
	if err := os.RemoveAll(full.dir); err != nil { // no disk either
		t.Fatal(err)
	}
	full.add(list)
	if full.count(t, "dropped_total", "entries") == 0 {
		t.Fatal("200 entries in a queue of 5")
	}
	close(stuck)
}

func brokenLater(t *testing.T) string { return filepath.Join(t.TempDir(), "audit") }

// What the store did not take before the end is there for the next process.
func TestTheNextProcessReplaysWhatWasLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &sink{away: true}
	list, ids := entries(60)
	first := newBed(t, s, audit.Options{Dir: dir})
	first.add(list)
	first.stop(t)
	if len(s.ids()) != 0 || len(files(t, dir)) == 0 {
		t.Fatalf("%d written, on disk %v", len(s.ids()), files(t, dir))
	}
	s.set(false, nil)
	next := newBed(t, s, audit.Options{Dir: dir})
	until(t, "they are replayed", func() bool { return len(s.ids()) == 60 })
	if !slices.Equal(s.ids(), ids) {
		t.Fatal("out of order")
	}
	next.stop(t)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}
}

// The end waits for a store that takes nothing only as long as it is given.
func TestStopEndsInTime(t *testing.T) {
	t.Parallel()
	s := &sink{stuck: make(chan struct{})}
	b := newBed(t, s, audit.Options{Timeout: time.Hour})
	list, _ := entries(30)
	b.add(list)
	until(t, "one is under way", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.calls > 0 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if n := b.count(t, "entries_total", "spilled"); n != 30 {
		t.Fatalf("%d of 30 on disk", n)
	}
}

func TestARecorderThatIsNotThereRecordsNothing(t *testing.T) {
	t.Parallel()
	var r *audit.Recorder
	r.Add(fact.AuditEntry{})
	r.SignedIn(&auth.Identity{Subject: "x"}, fact.AuditEntry{})
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.New(audit.Options{Sink: &sink{}}); err == nil {
		t.Fatal("a recorder without a directory")
	}
}

func TestTheFirstUseOfATokenIsASignIn(t *testing.T) {
	t.Parallel()
	s := &sink{}
	b := newBed(t, s, audit.Options{Tokens: 8})
	const tenant, subject = "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"
	who := &auth.Identity{
		Subject: subject, Email: "a@example.com", Name: strings.Repeat("ü", 300), Tenant: tenant, Roles: []string{auth.Viewer},
		TokenID: "secret-free", Issuer: "https://issuer", Expires: time.Now(),
	}
	entry := func(tenant fleet.TenantID) fact.AuditEntry {
		return fact.AuditEntry{ID: uuid.NewString(), At: time.Now(), Tenant: tenant, Action: "auth.sign_in", Status: 200}
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { b.SignedIn(who, entry(tenant)) })
	}
	wg.Wait()
	b.SignedIn(who, entry("44444444-4444-4444-8444-444444444444")) // the same token in another tenant
	next := *who
	next.TokenID = "another"
	b.SignedIn(&next, entry(tenant))
	bare := auth.Identity{Subject: "platform", TokenID: "bare", Roles: []string{auth.PlatformAdmin}}
	b.SignedIn(&bare, entry(""))
	robot := auth.Identity{Subject: "r", TokenID: "robot", Roles: []string{auth.RobotRole}}
	b.SignedIn(&robot, entry(tenant))
	certified := auth.Identity{Subject: "spiffe://x", Roles: []string{auth.Service}, Expires: who.Expires}
	b.SignedIn(&certified, entry(tenant))
	b.SignedIn(&certified, entry(tenant))
	b.stop(t)
	if n := len(s.ids()); n != 6 {
		t.Fatalf("%d sign-ins, want 6", n)
	}
	if s.entries[0].User != subject {
		t.Fatalf("user %q", s.entries[0].User)
	}
	if len(s.users) != 5 {
		t.Fatalf("%d users kept, want 5: %+v", len(s.users), s.users)
	}
	u := s.users[0]
	if u.ID != subject || u.Tenant != tenant || u.Email != "a@example.com" || len(u.DisplayName) > 255 || !strings.HasPrefix(u.DisplayName, "üü") {
		t.Fatalf("%+v", u)
	}
	if s.users[3].Tenant != fleet.NilTenant || len(s.users[3].ID) != 36 {
		t.Fatalf("%+v", s.users[3])
	}
	// A memory of 8 tokens forgets the oldest: never more than its bound, and a token in use stays.
	c := newBed(t, &sink{}, audit.Options{Tokens: 8})
	for i := range 100 {
		x := *who
		x.TokenID = fmt.Sprint(i)
		c.SignedIn(&x, entry(tenant))
		c.SignedIn(who, entry(tenant))
	}
	if n := c.count(t, "sign_ins_total", "seen"); n != 101 {
		t.Fatalf("%d sign-ins of 101 tokens", n)
	}
}

func TestAUserIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := &sink{away: true}
	b := newBed(t, s, audit.Options{})
	for i := range 3 {
		b.SignedIn(&auth.Identity{Subject: "a", TokenID: fmt.Sprint(i)}, fact.AuditEntry{ID: uuid.NewString()})
	}
	until(t, "they are given up", func() bool { return b.count(t, "sign_ins_total", "user_lost") == 3 })
	s.set(false, nil)
	b.SignedIn(&auth.Identity{Subject: "a", TokenID: "last"}, fact.AuditEntry{ID: uuid.NewString()})
	until(t, "one is kept", func() bool { return b.count(t, "sign_ins_total", "user_kept") == 1 })
}

func TestUserIDsAreStable(t *testing.T) {
	t.Parallel()
	upper := &auth.Identity{Subject: "ABCDEF00-1111-4111-8111-111111111111"}
	if id := auth.UserID(upper); id != "abcdef00-1111-4111-8111-111111111111" {
		t.Fatalf("%q", id)
	}
	a := auth.UserID(&auth.Identity{Subject: "alice", Issuer: "i", Tenant: "t"})
	for _, other := range []auth.Identity{
		{Subject: "alice", Issuer: "i", Tenant: "u"}, {Subject: "alice", Issuer: "j", Tenant: "t"}, {Subject: "bob", Issuer: "i", Tenant: "t"},
	} {
		if auth.UserID(&other) == a {
			t.Fatalf("%+v has alice's id", other)
		}
	}
	if again := auth.UserID(&auth.Identity{Subject: "alice", Issuer: "i", Tenant: "t", Name: "A"}); again != a || len(a) != 36 {
		t.Fatalf("%q and %q", again, a)
	}
	if auth.UserID(nil) != "" || auth.UserID(&auth.Identity{}) != "" {
		t.Fatal("nobody has an id")
	}
}
