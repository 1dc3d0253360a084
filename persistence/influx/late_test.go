package influx

import (
	"io"
	"net/http"
	"net/http/httptest"
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
