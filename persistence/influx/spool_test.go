package influx

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/engine/fact"
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
	within(t, func() bool { return dropped()+waiting() >= (blocks-queued-1)*size })
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var bytes int64
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			bytes += info.Size()
		}
	}
	if bytes > 8<<10 || dropped() == 0 || float64(bytes) != testutil.ToFloat64(c.metrics.spool) {
		t.Fatalf("%d bytes on disk (said: %v), %v dropped", bytes, testutil.ToFloat64(c.metrics.spool), dropped())
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
