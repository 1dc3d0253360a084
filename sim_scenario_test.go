package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"starling/engine/sim"
)

// simCommand runs `starling sim` with args.
func simCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), append([]string{"sim"}, args...), &out, &err, newSimCmd())
	return code, out.String(), err.String()
}

func TestScenariosAreListedAndPlayedWithoutAnEngine(t *testing.T) {
	t.Parallel()
	code, list, _ := simCommand(t, "--list")
	if code != 0 || len(strings.Split(strings.TrimSpace(list), "\n")) != len(sim.Scenarios()) {
		t.Fatalf("--list: exit %d\n%s", code, list)
	}
	code, trace, errs := simCommand(t, "--scenario", "two-robots-one-goal")
	if code != 0 || !strings.Contains(trace, "t2  is done") || !strings.HasSuffix(trace, "all came out as it must\n") {
		t.Errorf("exit %d\n%s%s", code, trace, errs)
	}
	if strings.Contains(trace, "\x1b") {
		t.Error("colours without a terminal")
	}
}

func TestAScenarioIsWrittenForPlayers(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "film.json")
	code, lines, errs := simCommand(t, "--scenario", "two-robots-one-goal", "--json", "--out", file)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	moves := 0
	for line := range strings.Lines(lines) {
		var m struct {
			Robot  *int   `json:"robot"`
			Depart *int64 `json:"depart_ms"`
			Arrive int64  `json:"arrive_ms"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.Robot == nil {
			t.Fatalf("%s: %v", line, err)
		}
		if m.Depart != nil {
			moves++
			if m.Arrive <= *m.Depart {
				t.Errorf("arrived before it set off: %s", line)
			}
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var film sim.Film
	if err := json.Unmarshal(b, &film); err != nil {
		t.Fatal(err)
	}
	if moves == 0 || film.Name != "two-robots-one-goal" || film.Floor.Cols != 5 || len(film.Zones) == 0 || len(film.Frames) < 10 || len(film.Frames[0].Robots) != 2 {
		t.Errorf("%d moves, film %q of %d frames, floor %+v", moves, film.Name, len(film.Frames), film.Floor)
	}
}

func TestAScenarioThatFailsIsAnExitCode(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "lost.txt")
	const text = "floor\na.b\n\nrobot r1 at a\ntask t1 robot r1 visit b\nexpect r1 stands from 0s to 9s\nwithin 20s\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := simCommand(t, "--scenario", file); code != 1 || !strings.Contains(out, "not so: expect r1 stands") {
		t.Errorf("a scenario that does not hold: exit %d\n%s", code, out)
	}
	for _, args := range [][]string{{"--scenario", "no-such-thing"}, {"--url", "http://127.0.0.1:1", "--robots", "3"}} {
		if code, _, errs := simCommand(t, args...); code != 2 {
			t.Errorf("%v: exit %d, want 2: %s", args, code, errs)
		}
	}
}
