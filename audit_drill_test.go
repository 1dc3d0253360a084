//go:build integration

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// act is a request that was sent, by the id under which it must be on record.
type act struct {
	id, path string
	status   int // 0 = no answer came
}

// sendActs sends n writes of all kinds, numbered from first on, sixteen at a time; told is called after each answer.
func (l *ledger) sendActs(first, n int, told func(answered int)) []act {
	acts := make([]act, n)
	kinds := l.creations()
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	answered := 0
	for i := range acts {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			kind := kinds[i%len(kinds)]
			a := act{id: uuid.NewString(), path: kind.path}
			a.status = l.act(&a, kind.body(first+i))
			mu.Lock()
			defer mu.Unlock()
			if acts[i] = a; a.status != 0 {
				answered++
				told(answered)
			}
		})
	}
	all.Wait()
	return acts
}

// done are those acts that were acknowledged. (Of uploads some are told to come back later, and of those that add a version
// to one map at the same time some that another was first.)
func done(t *testing.T, acts []act) (list []act) {
	t.Helper()
	for _, a := range acts {
		switch {
		case a.status/100 == 2:
			list = append(list, a)
		case a.status == http.StatusTooManyRequests:
		case a.status == http.StatusPreconditionFailed && strings.HasSuffix(a.path, "/versions"):
		default:
			t.Errorf("POST %s: %d", a.path, a.status)
		}
	}
	return list
}

// act sends one write under the id of a, once, and returns the status of its answer.
func (l *ledger) act(a *act, body any) (status int) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, l.URL+l.path(a.path), bytes.NewReader(b))
	if err != nil {
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+l.tokenFor(a.path))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", a.id)
	req.Header.Set("X-Request-ID", a.id)
	res, err := l.client.Do(req)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// onRecord returns how many rows the audit log has of a request, and how many of them are open intents.
func (l *ledger) onRecord(t *testing.T, id string) (rows, open int) {
	t.Helper()
	query := `SELECT count(*), count(*) FILTER (WHERE status_code = 0) FROM audit_logs WHERE request_id = $1 AND method = 'POST' AND actor_user_id IS NOT NULL AND action NOT LIKE 'auth.%'`
	if err := l.db.QueryRow(t.Context(), query, id).Scan(&rows, &open); err != nil {
		t.Fatal(err)
	}
	return rows, open
}

// missingOnDisk counts the acts whose entries do not lie in the local journal. (A sign-in's bears the id of the request
// that was the first with its token.)
func (l *ledger) missingOnDisk(t *testing.T, acts []act) (missing int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(l.dir, ".starling", "audit", "*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var journal []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		journal = append(journal, b...)
	}
	for _, a := range acts {
		found := false
		for line := range bytes.Lines(journal) {
			found = found || bytes.HasSuffix(line, []byte("\n")) && bytes.Contains(line, []byte(a.id)) && !bytes.Contains(line, []byte(`"auth.`))
		}
		if !found {
			missing++
		}
	}
	return missing
}

// metric reads a counter of the program.
func (l *ledger) metric(t *testing.T, series string) int {
	t.Helper()
	_, _, text := l.ask(t, http.MethodGet, "/metrics", "")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` ([0-9.e+]+)$`).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(v)
}

// Killed in the middle of writes of all kinds: each that was acknowledged is on record, once, before the program runs
// again; none that was not is on record twice.
func TestEveryAcknowledgedWriteIsOnRecordAfterAKill(t *testing.T) {
	const n, until = 600, 250
	l := newLedger(t)
	acts := l.sendActs(0, n, func(answered int) {
		if answered == until {
			l.kill()
		}
	})
	_ = l.cmd.Wait()
	check := func(when string) {
		var acknowledged, unheard, open int
		for _, a := range acts {
			rows, intents := l.onRecord(t, a.id)
			open += intents
			switch {
			case a.status/100 == 2:
				if acknowledged++; rows != 1 {
					t.Errorf("%s: POST %s was acknowledged with %d and is on record %d times", when, a.path, a.status, rows)
				}
			case a.status == 0:
				unheard++
				fallthrough
			default:
				if rows > 1 {
					t.Errorf("%s: POST %s is on record %d times", when, a.path, rows)
				}
			}
		}
		if acknowledged < until/2 || unheard == 0 {
			t.Errorf("%s: %d acknowledged and %d unheard of %d", when, acknowledged, unheard, n)
		}
		t.Logf("%s: %d acknowledged, %d without answer, %d open intents", when, acknowledged, unheard, open)
	}
	check("killed")
	l.launch(t, "gateway,engine")
	l.ready(t)
	l.robot = l.addRobot(t, "later") // the other has as many commands to be done as a robot may have
	more := done(t, l.sendActs(n, 40, func(int) {}))
	check("running again")
	l.terminate(t)
	for _, a := range more { // ended in order, all are completed
		if rows, open := l.onRecord(t, a.id); rows != 1 || open != 0 {
			t.Errorf("POST %s (%d) is on record %d times, %d open", a.path, a.status, rows, open)
		}
	}
}

// While nobody can write the log, writes go on, and what is to be on record waits on disk: also when the program is
// killed then.
func TestWritesGoOnWhileTheLogIsShut(t *testing.T) {
	l := newLedger(t)
	tx, err := l.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	acts := done(t, l.sendActs(0, 24, func(int) {}))
	if len(acts) < 18 {
		t.Errorf("%d writes were acknowledged while the log was shut", len(acts))
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		missing := l.missingOnDisk(t, acts)
		if missing == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("of %d acts %d are not on disk", len(acts), missing)
		}
	}
	if lost := l.metric(t, `starling_postgres_audit_total{outcome="intent_lost"}`); lost == 0 {
		t.Error("no intent is counted as lost")
	}
	l.kill()
	_ = l.cmd.Wait()
	if missing := l.missingOnDisk(t, acts); missing != 0 {
		t.Fatalf("after the kill %d acts are not on disk", missing)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.launch(t, "gateway,engine")
	l.ready(t)
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		missing := ""
		for _, a := range acts {
			if rows, open := l.onRecord(t, a.id); rows != 1 || open != 0 {
				missing = fmt.Sprintf("POST %s is on record %d times, %d open", a.path, rows, open)
			}
		}
		if missing == "" {
			break
		}
		if time.Now().After(end) {
			t.Fatal(missing)
		}
	}
	l.terminate(t)
	if left, _ := filepath.Glob(filepath.Join(l.dir, ".starling", "audit", "*")); len(left) != 0 {
		t.Errorf("left on disk: %v", left)
	}
}
