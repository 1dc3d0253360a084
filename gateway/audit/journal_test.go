package audit_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"starling/engine/fact"
	"starling/gateway/audit"
)

// childDir, where set, makes the test's binary a process that records into this directory until it is killed.
const childDir = "AUDIT_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// child adds entries for ever and says which ones it knows to be on disk.
func child(dir string) {
	s := &sink{away: true}
	r, err := audit.New(audit.Options{Sink: s, Dir: dir, Every: time.Millisecond, SegmentBytes: 8 << 10, Retry: time.Hour})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	out := bufio.NewWriter(os.Stdout)
	for {
		list, ids := entries(7)
		for _, e := range list {
			r.Add(e)
		}
		// On disk by what the directory says, not by what the recorder says.
		for end := time.Now().Add(10 * time.Second); !onDisk(dir, ids[6]) && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
		for _, id := range ids {
			_, _ = fmt.Fprintln(out, id)
		}
		_ = out.Flush()
	}
}

func onDisk(dir, id string) bool {
	list, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	slices.Sort(list)
	for _, f := range slices.Backward(list) {
		if content, err := os.ReadFile(f); err == nil && bytes.Contains(content, []byte(id)) {
			return true
		}
	}
	return false
}

// A process that is killed leaves its journal to the next one, which does not wait for its own restart to find it.
func TestTheJournalOfAKilledProcessIsTakenOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &sink{}
	alive := newBed(t, s, audit.Options{Dir: dir, Adopt: 5 * time.Millisecond})
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var told []string
	lines := bufio.NewScanner(out)
	for len(told) < 70 && lines.Scan() {
		told = append(told, lines.Text())
	}
	if n := len(s.ids()); n != 0 {
		t.Errorf("%d entries of a living process were taken", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		told = append(told, lines.Text())
	}
	_ = cmd.Wait() // killed
	if len(told) < 70 {
		t.Fatalf("the child said %q", told)
	}
	until(t, "all are replayed", func() bool {
		have := s.ids()
		return !slices.ContainsFunc(told, func(id string) bool { return !slices.Contains(have, id) })
	})
	until(t, "its directory is gone", func() bool { return len(files(t, dir)) == 0 })
	alive.stop(t)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}
}

// Two processes share the directory and do not touch each other's journal; many that start at once share the dead one's.
func TestTwoProcessesDoNotFight(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	down := &sink{away: true}
	first := newBed(t, down, audit.Options{Dir: dir, Adopt: time.Millisecond})
	list, ids := entries(40)
	first.add(list)
	until(t, "they are on disk", func() bool { return first.count(t, "entries_total", "spilled") == 40 })
	up := &sink{}
	second := newBed(t, up, audit.Options{Dir: dir, Adopt: time.Millisecond})
	more, moreIDs := entries(40)
	second.add(more)
	until(t, "the second goes on", func() bool { return len(up.ids()) == 40 })
	if !slices.Equal(up.ids(), moreIDs) || len(files(t, dir)) == 0 {
		t.Fatal("the second has taken what is the first's")
	}
	first.stop(t)
	until(t, "the dead one's are taken over", func() bool { return len(up.ids()) == 80 })
	if got := up.ids()[40:]; !slices.Equal(got, ids) {
		t.Fatal("others than the first's")
	}
	second.stop(t)

	third := newBed(t, down, audit.Options{Dir: dir})
	list, ids = entries(300)
	third.add(list)
	third.stop(t)
	all := &sink{}
	var beds []*bed
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range 8 {
		wg.Go(func() {
			b := newBed(t, all, audit.Options{Dir: dir, Adopt: time.Millisecond})
			mu.Lock()
			defer mu.Unlock()
			beds = append(beds, b)
		})
	}
	wg.Wait()
	until(t, "all are replayed", func() bool { return len(all.ids()) >= 300 })
	for _, b := range beds {
		b.stop(t)
	}
	if got := all.ids(); !slices.Equal(got, ids) {
		t.Fatalf("%d entries, want each of the 300 once and in order", len(got))
	}
	for _, b := range beds {
		if strings.Contains(b.log.String(), "level=ERROR") {
			t.Fatalf("said %s", b.log)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}
}

// What a process was writing when it died is set aside, with whatever the disk made of it; the rest is replayed.
func TestATornLineIsSetAside(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func([]byte) []byte{
		"the last line is cut":        func(b []byte) []byte { return b[:len(b)-20] },
		"the last line lacks its end": func(b []byte) []byte { return b[:len(b)-1] },
		"the last line is zeros":      func(b []byte) []byte { return append(b[:len(b)-40], make([]byte, 40)...) },
		"a bit of it is another":      func(b []byte) []byte { b[len(b)-30] ^= 4; return b },
		"its sum is none":             func(b []byte) []byte { b[bytes.LastIndexByte(b[:len(b)-1], '\n')+1] = 'x'; return b },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := &sink{away: true}
			first := newBed(t, s, audit.Options{Dir: dir})
			list, ids := entries(20)
			first.add(list)
			first.stop(t)
			on := files(t, dir)
			last := on[len(on)-1]
			content, err := os.ReadFile(last)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(last, spoil(content), 0o600); err != nil {
				t.Fatal(err)
			}
			s.set(false, nil)
			next := newBed(t, s, audit.Options{Dir: dir})
			until(t, "the others are replayed", func() bool { return len(s.ids()) == 19 })
			until(t, "the journal is empty", func() bool { return len(files(t, dir)) == 0 })
			if !slices.Equal(s.ids(), ids[:19]) || next.count(t, "entries_total", "torn") != 1 {
				t.Fatalf("%d entries, %d torn", len(s.ids()), next.count(t, "entries_total", "torn"))
			}
		})
	}
}

// FuzzJournal reads arbitrary bytes as a dead process's journal: it does not fail, invents nothing, and what it does read
// can be written and read again.
func FuzzJournal(f *testing.F) {
	e := fact.AuditEntry{ID: "1", At: time.Unix(1, 2000).UTC(), Details: json.RawMessage(`{"a":[1]}`), Subject: "\u2028<"}
	good, err := audit.AppendLine(nil, &e)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, []byte(`{"id":"2","at":"2026-03-01T12:00:00.123456789+14:00","details":[1],"ns":-5}`))
	f.Add(append(bytes.Clone(good), good[:len(good)/2]...), []byte(`{"id":1}`))
	f.Add([]byte("00000000 \n\n\xff"), []byte(`{"id":"\u0000","at":"9999-12-31T23:59:59-14:00","details":"\ud800","status":1e9}`))
	f.Fuzz(func(t *testing.T, content, body []byte) {
		content = fmt.Appendf(bytes.Clone(content), "\n%08x %s\n", crc32.ChecksumIEEE(body), body) // a sum that is right, whatever it is of
		torn := 0
		list := audit.Parse(content, func(n int) {
			if n < 0 || n > len(content) {
				t.Fatalf("%d bytes torn of %d", n, len(content))
			}
			torn++
		})
		if lines := bytes.Count(content, []byte("\n")) + 1; len(list)+torn > lines {
			t.Fatalf("%d entries and %d torn lines of %d", len(list), torn, lines)
		}
		var again []byte
		for i := range list {
			bounded := list[i].Bounded()
			if bounded.Details != nil && !json.Valid(bounded.Details) {
				t.Fatalf("details %q", bounded.Details)
			}
			if again, err = audit.AppendLine(again, &bounded); err != nil {
				t.Fatalf("%v of %+v", err, bounded)
			}
		}
		back := audit.Parse(again, func(int) { t.Fatal("what was written is torn") })
		if len(back) != len(list) {
			t.Fatalf("%d of %d came back", len(back), len(list))
		}
	})
}

// FuzzBounded holds entries of arbitrary texts to what stores keep.
func FuzzBounded(f *testing.F) {
	f.Add("a\x00b", "\xff\xfe", `{"x":"\u0000\ud800","y":1e999,"z":[[[[[[[[[[1]]]]]]]]]]}`)
	f.Add(strings.Repeat("ä", 300), "ok", `{"`+strings.Repeat("k", 100)+`":1}`)
	f.Add(strings.Repeat("\xff", 300), "ok", `[1]`)
	f.Fuzz(func(t *testing.T, text, other, details string) {
		e := fact.AuditEntry{ID: uuid.Nil.String(), Subject: text, Path: other + text, UserAgent: other, Action: text, Details: json.RawMessage(details)}
		b := e.Bounded()
		for _, s := range []string{b.Subject, b.Path, b.UserAgent, b.Action} {
			if strings.ToValidUTF8(s, "") != s || strings.ContainsRune(s, 0) || len(s) > 1024 {
				t.Fatalf("%q", s)
			}
		}
		var v map[string]any
		if b.Details != nil && (json.Unmarshal(b.Details, &v) != nil || len(b.Details) > 16<<10 || bytes.Contains(b.Details, []byte(`\u0000`))) {
			t.Fatalf("details %q", b.Details)
		}
		if again := b.Bounded(); fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", b) {
			t.Fatalf("bounded twice: %+v, once: %+v", again, b)
		}
	})
}
