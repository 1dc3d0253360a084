package influx

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/engine/fact"
	"starling/engine/fleet"
)

// server answers writes as it is told, and remembers what it took.
type server struct {
	*httptest.Server
	mu    sync.Mutex
	code  int
	lines []string
	tries int
}

func newServer(t *testing.T, code int) *server {
	s := &server{code: code}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.URL.Path != "/api/v2/write" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.tries++
		if s.code < 300 {
			raw, _ := io.ReadAll(plainBody(r))
			s.lines = append(s.lines, strings.Split(strings.TrimSpace(string(raw)), "\n")...)
		}
		w.WriteHeader(s.code)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) set(code int) { s.mu.Lock(); defer s.mu.Unlock(); s.code = code }

func (s *server) took() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.lines) }

func client(t *testing.T, s *server, dir string, most int64) *Client {
	c, err := Open(t.Context(), Options{URL: s.URL, Org: "o", Token: "x", Dir: dir, SpoolBytes: most, Retry: time.Millisecond, Registerer: prometheus.NewPedanticRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// plainBody is what a write says, compressed or not.
func plainBody(r *http.Request) io.Reader {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return r.Body
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return strings.NewReader("not gzip\n")
	}
	return z
}

func within(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never comes to that")
		}
	}
}

func write(c *Client, from, n int) {
	batch := make([]fact.Status, n)
	for i := range batch {
		batch[i] = status(from+i, time.Now())
	}
	c.WriteStatuses(context.Background(), batch)
}

// What fits into the disk's bound arrives, all of it and the newest of it; what does not is counted.
func TestTheSpoolIsBoundedAndCounted(t *testing.T) {
	t.Parallel()
	s := newServer(t, http.StatusServiceUnavailable)
	dir := t.TempDir()
	c := client(t, s, dir, 8<<10)
	const blocks, size = 200, 50
	for i := range blocks {
		write(c, i*size, size)
	}
	dropped := func() float64 { return testutil.ToFloat64(c.metrics.dropped.WithLabelValues("disk")) }
	waiting := func() float64 { return testutil.ToFloat64(c.metrics.waiting) }
	onDisk := func() (bytes int64) {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if info, err := f.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return bytes
	}
	within(t, func() bool { // all is on disk, or given up
		return dropped()+waiting() == blocks*size && float64(onDisk()) == testutil.ToFloat64(c.metrics.spool)
	})
	if n := onDisk(); n > 8<<10 || dropped() == 0 {
		t.Fatalf("%d bytes on disk, %v dropped", n, dropped())
	}
	s.set(http.StatusNoContent)
	within(t, func() bool { return float64(s.took())+dropped() >= blocks*size })
	c.Close()
	if n := float64(s.took()); n+dropped() != blocks*size {
		t.Fatalf("%v arrived and %v dropped, want %d in all", n, dropped(), blocks*size)
	}
	seen := strings.Join(s.lines, "\n")
	if !strings.Contains(seen, "robot_id=r9999 ") {
		t.Fatal("the newest is not among what arrived")
	}
}

func TestRefusedPointsHoldUpNobody(t *testing.T) {
	t.Parallel()
	s := newServer(t, http.StatusBadRequest)
	c := client(t, s, t.TempDir(), 0)
	defer c.Close()
	write(c, 0, 7)
	refused := func() float64 { return testutil.ToFloat64(c.metrics.dropped.WithLabelValues("refused")) }
	within(t, func() bool { return refused() == 7 })
	s.set(http.StatusNoContent)
	write(c, 100, 5)
	within(t, func() bool { return s.took() == 5 })
	if n := testutil.ToFloat64(c.metrics.waiting); n != 0 {
		t.Fatalf("%v points wait on disk", n)
	}
}

func TestADiskThatFailsCosts(t *testing.T) {
	t.Parallel()
	s := newServer(t, http.StatusServiceUnavailable)
	dir := t.TempDir()
	c := client(t, s, dir, 0)
	defer c.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	write(c, 0, 7)
	within(t, func() bool { return testutil.ToFloat64(c.metrics.dropped.WithLabelValues("disk_fault")) == 7 })
}

func TestWithoutADirectoryNothingIsKept(t *testing.T) {
	t.Parallel()
	s := newServer(t, http.StatusServiceUnavailable)
	c := client(t, s, "", 0)
	defer c.Close()
	write(c, 0, 7)
	within(t, func() bool { return testutil.ToFloat64(c.metrics.dropped.WithLabelValues("memory")) == 7 })
}

// A server that hangs costs nobody who measures more than its turn.
func TestAServerThatHangsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(hang)
	c, err := Open(t.Context(), Options{URL: s.URL, Org: "o", Token: "x", Dir: t.TempDir(), Retry: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 20 {
		write(c, i, 1)
	}
	if n := testutil.ToFloat64(c.metrics.waiting); n < 20-queued-1 {
		t.Fatalf("%v points on disk", n)
	}
}

// picky is a server that takes what accept says, and answers 500 to the rest, as InfluxDB answers a body cut short.
func picky(t *testing.T, accept func(bucket, body string) int) *server {
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v2/write" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		raw, err := io.ReadAll(plainBody(r))
		code := http.StatusInternalServerError
		if err == nil {
			code = accept(r.URL.Query().Get("bucket"), string(raw))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if code < 300 {
			s.lines = append(s.lines, strings.Split(strings.TrimSpace(string(raw)), "\n")...)
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(s.Close)
	return s
}

// leave fills a spool as a process before leaves it: files of five points each.
func leave(t *testing.T, dir string, files int) {
	t.Helper()
	s, err := openSpool(dir, 1<<30, newMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	for k := range files {
		b := &block{}
		for i := range 5 {
			st := status(k*5+i, time.Now())
			b.lines = appendStatus(b.lines, &st)
			b.note(st.At)
		}
		s.put(b)
	}
	s.close()
}

// live writes one point after another, each once the one before is there, and fails where one had to wait on disk.
func live(t *testing.T, c *Client, s *server, n int) {
	t.Helper()
	for i := range n {
		id := 10_000 + i
		write(c, id, 1)
		within(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, l := range s.lines {
				if strings.Contains(l, fmt.Sprintf("robot_id=r%d ", id)) {
					return true
				}
			}
			return false
		})
	}
	within(t, func() bool { return testutil.ToFloat64(c.metrics.points.WithLabelValues("memory")) == float64(n) })
}

func TestAFileCutShortHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := picky(t, func(string, string) int { return http.StatusNoContent })
	dir := t.TempDir()
	leave(t, dir, 4)
	files, err := filepath.Glob(filepath.Join(dir, "*.lp.gz"))
	if err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	if err := os.Truncate(files[1], 40); err != nil {
		t.Fatal(err)
	}
	c := client(t, s, dir, 0)
	defer c.Close()
	live(t, c, s, 20)
	within(t, func() bool { return s.took() == 20+15 && testutil.ToFloat64(c.metrics.waiting) == 0 })
	if n := testutil.ToFloat64(c.metrics.dropped.WithLabelValues("disk_fault")); n != 5 {
		t.Fatalf("%v dropped, want what was cut short", n)
	}
}

// A file that the server never takes, whatever it answers, goes last, and goes in the end.
func TestAFileThatIsNeverTakenHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := picky(t, func(_, body string) int {
		if strings.Contains(body, "robot_id=r7 ") {
			return http.StatusInternalServerError
		}
		return http.StatusNoContent
	})
	dir := t.TempDir()
	leave(t, dir, 4) // the second has r7
	c := client(t, s, dir, 0)
	defer c.Close()
	live(t, c, s, 20)
	within(t, func() bool { return s.took() >= 20+15 })
	refused := func() float64 { return testutil.ToFloat64(c.metrics.dropped.WithLabelValues("refused")) }
	for i := 0; refused() == 0; i++ { // while others are taken
		n := s.took()
		write(c, 20_000+i, 1)
		within(t, func() bool { return s.took() > n })
	}
	if refused() != 5 || testutil.ToFloat64(c.metrics.waiting) != 0 {
		t.Fatalf("%v dropped, %v wait", refused(), testutil.ToFloat64(c.metrics.waiting))
	}
}

// While the server takes nothing at all nothing is given up, however often it says that it is its own fault.
func TestAServerThatFailsLosesNothing(t *testing.T) {
	t.Parallel()
	var code atomic.Int32
	code.Store(http.StatusInternalServerError)
	var tries atomic.Int32
	s := picky(t, func(string, string) int { tries.Add(1); return int(code.Load()) })
	dir := t.TempDir()
	leave(t, dir, 2)
	c := client(t, s, dir, 0)
	defer c.Close()
	within(t, func() bool { return tries.Load() > 15 })
	code.Store(http.StatusNoContent)
	within(t, func() bool { return s.took() == 10 })
}

// Timings whose bucket is missing wait; statuses do not wait with them, and readiness tells.
func TestAStreamThatIsRefusedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	var missing atomic.Bool
	missing.Store(true)
	s := picky(t, func(bucket, _ string) int {
		if missing.Load() && strings.HasSuffix(bucket, "_1m") {
			return http.StatusNotFound
		}
		return http.StatusNoContent
	})
	c := client(t, s, t.TempDir(), 0)
	defer c.Close()
	c.WriteTimings([]fact.Timing{{Shard: fleet.Shard{Tenant: "t", Warehouse: "w"}, Task: "task", At: time.Now()}})
	within(t, func() bool { return testutil.ToFloat64(c.metrics.waiting) == 1 })
	live(t, c, s, 20)
	missing.Store(false)
	within(t, func() bool { return s.took() == 21 })
}

// Whoever comes second takes a folder of its own, and whoever comes later what it left.
func TestADirectoryIsOneProcesss(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := openSpool(dir, 1<<30, newMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	leave(t, dir, 3) // beside the first
	if first.dir != dir || len(first.files) != 0 {
		t.Fatalf("%s has %d files", first.dir, len(first.files))
	}
	first.put(&block{lines: []byte("x"), points: 1})
	first.close()
	again, err := openSpool(dir, 1<<30, newMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	if again.dir != dir || len(again.files) != 4 || again.points != 16 {
		t.Fatalf("%s has %d files of %d points, want what both left", again.dir, len(again.files), again.points)
	}
	if b := again.first(streamRaw); b == nil || b.points != 16 || !slices.IsSorted(b.serials) {
		t.Fatalf("%+v", b)
	}
}

// Readiness is not what the server says of itself alone.
func TestPingTellsWhatIsNotWritten(t *testing.T) {
	t.Parallel()
	var health, buckets, writes atomic.Int32
	for _, a := range []*atomic.Int32{&health, &buckets, &writes} {
		a.Store(http.StatusOK)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health":
			w.WriteHeader(int(health.Load()))
		case "/api/v2/write":
			w.WriteHeader(int(writes.Load()))
		default:
			w.WriteHeader(int(buckets.Load()))
		}
	}))
	defer srv.Close()
	c := client(t, &server{Server: srv}, t.TempDir(), 0)
	defer c.Close()
	ping := func() error { return c.Ping(t.Context()) }
	if err := ping(); err != nil {
		t.Fatal(err)
	}
	buckets.Store(http.StatusUnauthorized)
	if ping() == nil {
		t.Fatal("the token is refused, and all is well")
	}
	buckets.Store(http.StatusOK)
	for _, code := range []int32{http.StatusNotFound, http.StatusBadRequest} {
		writes.Store(code)
		write(c, 0, 1)
		within(t, func() bool { return ping() != nil })
		writes.Store(http.StatusNoContent)
		write(c, 0, 1)
		within(t, func() bool { return ping() == nil })
	}
}
