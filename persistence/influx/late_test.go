package influx

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"
)

// However long the server was away, its minutes are made again a quarter of an hour at a time, each until it succeeds.
func TestWhatCameLateIsMadeUpSliceBySlice(t *testing.T) {
	t.Parallel()
	window := regexp.MustCompile(`start: (\S+), stop: ([^)]+)\)`)
	var mu sync.Mutex
	made := map[string]int{} // windows of the first step
	fails := 3
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		m := window.FindStringSubmatch(string(raw))
		if r.URL.Path != "/api/v2/query" || m == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if fails > 0 {
			fails--
			w.WriteHeader(http.StatusGatewayTimeout)
			return
		}
		from, err1 := time.Parse(time.RFC3339, m[1])
		to, err2 := time.Parse(time.RFC3339, m[2])
		if err1 != nil || err2 != nil || to.Sub(from) > quarter || to.Sub(from) < minute {
			t.Errorf("a window of %v: %s", to.Sub(from), m[0])
		}
		made[m[1]+" "+m[2]]++
	}))
	defer srv.Close()
	c := client(t, &server{Server: srv}, t.TempDir(), 0)
	defer c.Close()
	start := time.Now().Add(-3 * time.Hour).Truncate(quarter)
	c.out.owe(start.Add(7*time.Minute), start.Add(2*time.Hour+time.Minute))
	within(t, func() bool { from, _, _ := c.out.slice(); return from.IsZero() })
	mu.Lock()
	defer mu.Unlock()
	for q := start; q.Before(start.Add(2*time.Hour + time.Minute)); q = q.Add(quarter) {
		key := q.UTC().Format(time.RFC3339) + " " + q.Add(quarter).UTC().Format(time.RFC3339)
		if n := made[key]; n < 2 || n > 4 { // of two measurements, the quarters, and where they are whole the minutes
			t.Errorf("%s is made %d times: %v", key, n, made)
		}
	}
}

func TestWhatComesWhileItIsMadeUpIsNotForgotten(t *testing.T) {
	t.Parallel()
	o := outbox{due: make(chan struct{}, 1)}
	now := time.Now()
	o.owe(now.Add(-time.Minute), now)
	_, to, version := o.slice()
	o.owe(now.Add(-time.Minute), now)
	o.paid(to, version)
	if from, _, _ := o.slice(); from.IsZero() {
		t.Fatal("forgotten")
	}
	for {
		from, to, version := o.slice()
		if from.IsZero() {
			break
		}
		o.paid(to, version)
	}
}

// What is owed, and what will be, is found by the next process, also where the one before had a folder beside it; and it is
// forgotten once it is made.
func TestWhatIsOwedSurvivesARestart(t *testing.T) {
	t.Parallel()
	s, dir := newServer(t, http.StatusNoContent), t.TempDir() // it makes nothing: it answers no query
	now := time.Now()
	a, b := client(t, s, dir, 0), client(t, s, dir, 0)
	a.out.owe(now.Add(-3*time.Hour), now.Add(-2*time.Hour))
	b.out.cameLate(span{now.Add(-5 * time.Hour).UnixMilli(), now.Add(-4 * time.Hour).UnixMilli()}, false) // more is to come
	a.Close()
	b.Close()
	c := client(t, s, dir, 0)
	from, _, version := c.out.slice()
	c.out.mu.Lock()
	to := c.out.owed.to
	c.out.mu.Unlock()
	if from.UnixMilli() != now.Add(-5*time.Hour).UnixMilli() || to.UnixMilli() != now.Add(-2*time.Hour).UnixMilli() {
		t.Errorf("owed are %v to %v", from, to)
	}
	if _, err := os.Stat(filepath.Join(dir, "1", owedName)); !os.IsNotExist(err) {
		t.Errorf("it is owed twice: %v", err)
	}
	c.out.paid(to, version)
	c.Close()
	d := client(t, s, dir, 0)
	defer d.Close()
	if from, _, _ := d.out.slice(); !from.IsZero() {
		t.Errorf("what was made is owed again: %v", from)
	}
}

func TestADamagedNoteOfWhatIsOwedIsNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x", "5", "9 5", "-9 5"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, owedName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openSpool(dir, 1, newMetrics(nil))
		if err != nil || s.owed != (span{}) {
			t.Errorf("%q: %v, %v", text, s.owed, err)
		}
		s.close()
	}
}
