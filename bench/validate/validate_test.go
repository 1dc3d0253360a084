package validate_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"starling/bench/record"
	"starling/bench/validate"
)

// floor is cells 0..11 in three rows of four; cell 5 is blocked.
const floor = "type octile\nheight 3\nwidth 4\nmap\n....\n.@..\n....\n"

func grid(t *testing.T) validate.Grid {
	t.Helper()
	g, err := validate.ParseGrid([]byte(floor))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func rules(r validate.Report) []validate.Rule {
	var out []validate.Rule
	for _, c := range r.Counts {
		out = append(out, c.Rule)
	}
	return out
}

// Each case breaks one rule and no other: with that rule taken out of the checker, the case fails.
func TestEachRuleFindsItsViolationAndNothingElse(t *testing.T) {
	t.Parallel()
	type recording struct {
		start    []int
		moves    []validate.Move
		tasks    []validate.Task
		lockstep bool
		want     []validate.Rule
	}
	for name, c := range map[string]recording{
		"following and a rotation in lock-step touch": {
			start: []int{2, 3, 7, 6, 10},
			moves: []validate.Move{{0, 2, 3, 0, 1000}, {1, 3, 7, 0, 1000}, {2, 7, 6, 0, 1000}, {3, 6, 2, 0, 1000}, {4, 10, 6, 1000, 2000}, {2, 6, 7, 1000, 2000}, {1, 7, 3, 1000, 2000}, {0, 3, 2, 1000, 2000}, {3, 2, 1, 1000, 2000}},
			want:  []validate.Rule{}, lockstep: true,
		},
		"a robot comes to a cell where another starts and stays": {
			start: []int{0, 2}, moves: []validate.Move{{0, 0, 1, 0, 1000}, {0, 1, 2, 1000, 2000}}, want: []validate.Rule{validate.RuleVertex},
		},
		"a robot comes before the one on the cell has arrived elsewhere": {
			start: []int{0, 1}, moves: []validate.Move{{1, 1, 2, 0, 2000}, {0, 0, 1, 500, 1999}}, want: []validate.Rule{validate.RuleVertex},
		},
		"two start on one cell": {start: []int{4, 4}, want: []validate.Rule{validate.RuleVertex}},
		"a robot passes through a cell while its holder stays, hidden behind a shorter stay": {
			start: []int{0, 2, 7},
			moves: []validate.Move{{0, 0, 1, 0, 1000}, {0, 1, 2, 1000, 2000}, {0, 2, 1, 2000, 3000}, {2, 7, 3, 0, 1000}, {2, 3, 2, 4000, 5000}},
			want:  []validate.Rule{validate.RuleVertex},
		},
		"two change places in one step": {
			start: []int{0, 1}, moves: []validate.Move{{0, 0, 1, 0, 1000}, {1, 1, 0, 0, 1000}}, want: []validate.Rule{validate.RuleSwap}, lockstep: true,
		},
		"a move over a corner": {
			start: []int{3}, moves: []validate.Move{{0, 3, 6, 0, 1000}}, want: []validate.Rule{validate.RuleAdjacent},
		},
		"a move over the edge of the floor to the next row": {
			start: []int{3}, moves: []validate.Move{{0, 3, 4, 0, 1000}}, want: []validate.Rule{validate.RuleAdjacent},
		},
		"a move from where the robot is not": {
			start: []int{0}, moves: []validate.Move{{0, 1, 2, 0, 1000}}, want: []validate.Rule{validate.RuleConsecutive},
		},
		"a move that begins before the one before it ended": {
			start: []int{0}, moves: []validate.Move{{0, 0, 1, 0, 1000}, {0, 1, 2, 900, 1900}}, want: []validate.Rule{validate.RuleConsecutive},
		},
		"a move that takes no time": {
			start: []int{0}, moves: []validate.Move{{0, 0, 1, 1000, 1000}}, want: []validate.Rule{validate.RuleConsecutive},
		},
		"a move before the start": {
			start: []int{0}, moves: []validate.Move{{0, 0, 1, -5, 1000}}, want: []validate.Rule{validate.RuleConsecutive},
		},
		"a move onto a blocked cell": {
			start: []int{1}, moves: []validate.Move{{0, 1, 5, 0, 1000}}, want: []validate.Rule{validate.RuleFree},
		},
		"a start on a blocked cell":   {start: []int{5}, want: []validate.Rule{validate.RuleFree}},
		"a start off the floor":       {start: []int{12}, want: []validate.Rule{validate.RuleFree}},
		"a move off the floor":        {start: []int{8}, moves: []validate.Move{{0, 8, 12, 0, 1000}}, want: []validate.Rule{validate.RuleFree}},
		"half a step in lock-step":    {start: []int{0}, moves: []validate.Move{{0, 0, 1, 500, 1500}}, want: []validate.Rule{validate.RuleLockstep}, lockstep: true},
		"two steps in lock-step":      {start: []int{0}, moves: []validate.Move{{0, 0, 1, 0, 2000}}, want: []validate.Rule{validate.RuleLockstep}, lockstep: true},
		"the same in real time":       {start: []int{0}, moves: []validate.Move{{0, 0, 1, 500, 2500}}, want: []validate.Rule{}},
		"a robot that does not exist": {start: []int{0}, moves: []validate.Move{{1, 2, 3, 0, 1000}}, want: []validate.Rule{validate.RuleRobot}},
		"a task of a robot that does not exist": {
			start: []int{0}, tasks: []validate.Task{{0, 1, 0, []validate.Errand{{0, 5}}}}, want: []validate.Rule{validate.RuleRobot},
		},
		"an errand where the robot came later": {
			start: []int{0}, moves: []validate.Move{{0, 0, 1, 0, 1000}},
			tasks: []validate.Task{{0, 0, 0, []validate.Errand{{1, 999}}}}, want: []validate.Rule{validate.RuleErrand},
		},
		"errands out of order": {
			start: []int{0}, moves: []validate.Move{{0, 0, 1, 0, 1000}, {0, 1, 2, 1000, 2000}},
			tasks: []validate.Task{{0, 0, 0, []validate.Errand{{2, 2000}, {1, 2500}}}}, want: []validate.Rule{validate.RuleErrand},
		},
		"an errand before the award": {
			start: []int{0}, tasks: []validate.Task{{0, 0, 100, []validate.Errand{{0, 50}}}}, want: []validate.Rule{validate.RuleErrand},
		},
		"an errand reached after one that was not": {
			start: []int{0}, tasks: []validate.Task{{0, 0, 0, []validate.Errand{{1, -1}, {0, 50}}}}, want: []validate.Rule{validate.RuleErrand},
		},
		"an errand that nobody was sent to": {
			start: []int{0}, tasks: []validate.Task{{0, -1, -1, []validate.Errand{{0, 50}}}}, want: []validate.Rule{validate.RuleErrand},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := &validate.Recording{Grid: grid(t), Start: c.start, Moves: c.moves, Tasks: c.tasks}
			report := validate.Check(rec, validate.Options{Lockstep: c.lockstep})
			if !slices.Equal(rules(report), c.want) {
				t.Fatalf("found %v, want %v", report.Findings, c.want)
			}
			if report.OK() != (len(c.want) == 0) {
				t.Fatal("OK contradicts the findings")
			}
		})
	}
}

func TestFindingsSayWhoWhereAndWhen(t *testing.T) {
	t.Parallel()
	rec := &validate.Recording{Grid: grid(t), Start: []int{0, 1}, Moves: []validate.Move{{0, 0, 1, 250, 1250}}}
	report := validate.Check(rec, validate.Options{})
	if len(report.Findings) != 1 {
		t.Fatalf("found %v", report.Findings)
	}
	f := report.Findings[0]
	if f.Robot != 0 || f.Other != 1 || f.Cell != 1 || f.AtMS != 1250 {
		t.Errorf("got %+v", f)
	}
	if got, want := f.String(), "vertex at 1250 ms: robot 0 comes to cell 1, which robot 1 holds until the end"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFindingsAreCappedAndAllAreCounted(t *testing.T) {
	t.Parallel()
	rec := &validate.Recording{Grid: grid(t), Start: make([]int, 50)}
	report := validate.Check(rec, validate.Options{PerRule: 3})
	if len(report.Findings) != 3 || len(report.Counts) != 1 || report.Counts[0].Times != 49 {
		t.Errorf("%d findings, counts %v; want 3 of 49", len(report.Findings), report.Counts)
	}
}

func TestTasksAndStandingAreCounted(t *testing.T) {
	t.Parallel()
	rec := &validate.Recording{
		Grid: grid(t), Start: []int{0, 11},
		Moves: []validate.Move{{0, 0, 1, 2000, 3000}, {0, 1, 2, 10_000, 11_000}},
		Tasks: []validate.Task{
			{0, 0, 1000, []validate.Errand{{1, 3000}}},
			{1, 0, 3000, []validate.Errand{{1, 3500}, {2, 11_000}}}, // stands from 3,000 to 10,000 ms
			{2, -1, -1, []validate.Errand{{7, -1}}},
			{3, 1, 9000, []validate.Errand{{11, 9000}, {10, -1}}}, // stands from 9,000 ms on, a little of it
		},
	}
	report := validate.Check(rec, validate.Options{})
	if !report.OK() {
		t.Fatal(report.Findings)
	}
	got := []int{report.Robots, report.Moves, report.Tasks, report.Finished, report.Errands, report.StillRobot, int(report.StillMaxMS), int(report.EndMS)}
	if want := []int{2, 2, 4, 2, 4, 0, 7000, 11_000}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	report = validate.Check(rec, validate.Options{EndMS: 60_000})
	if report.StillRobot != 1 || report.StillMaxMS != 51_000 {
		t.Errorf("robot %d stood %d ms, want robot 1 for 51000 ms", report.StillRobot, report.StillMaxMS)
	}
}

func TestAWrittenRecordingIsReadBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plan := filepath.Join(dir, "floor.map")
	if err := os.WriteFile(plan, []byte(floor), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := record.Create(dir, []int{0})
	if err != nil {
		t.Fatal(err)
	}
	w.Move(record.Move{Robot: 0, From: 0, To: 1, DepartMS: 0, ArriveMS: 1000})
	w.Move(record.Move{Robot: 0, From: 1, To: 5, DepartMS: 1000, ArriveMS: 2000})
	at := int64(1000)
	w.Task(record.Task{Task: 0, Robot: 0, AssignedMS: 0, Errands: []record.Errand{{Cell: 1, ReachedMS: &at}, {Cell: 2}}})
	if err := w.Close(record.Summary{}); err != nil {
		t.Fatal(err)
	}
	report, err := validate.Dir(dir, plan, validate.Options{Lockstep: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := rules(report); !slices.Equal(got, []validate.Rule{validate.RuleFree}) || report.Moves != 2 || report.Errands != 1 || report.Finished != 0 {
		t.Errorf("got %+v", report)
	}
}

func TestWhatCannotBeReadIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, content, want string }{
		"a move without a field": {"moves.jsonl", `{"robot":0,"from":1,"to":2,"depart_ms":0}`, "moves.jsonl line 2"},
		"a move that is no JSON": {"moves.jsonl", `{`, "moves.jsonl line 2"},
		"a task without errands": {"tasks.jsonl", `{"task":0,"robot":0,"assigned_ms":0}`, "tasks.jsonl line 2"},
		"an errand without cell": {"tasks.jsonl", `{"task":0,"robot":0,"assigned_ms":0,"errands":[{}]}`, "tasks.jsonl line 2"},
		"a start that is a word": {"start.json", `"x"`, "start.json"},
		"a map with a short row": {"floor.map", "type octile\nheight 1\nwidth 2\nmap\n.\n", "row 0 has 1 cells"},
		"a map with few rows":    {"floor.map", "type octile\nheight 2\nwidth 1\nmap\n.\n", "but 1 rows"},
		"a map without its word": {"floor.map", "height 1\n", "no line says map"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, content := range map[string]string{"floor.map": floor, "start.json": "[0]", "moves.jsonl": "", "tasks.jsonl": ""} {
				if file == c.file {
					content = "\n" + c.content
					if !strings.HasSuffix(file, "l") {
						content = c.content
					}
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := validate.Dir(dir, filepath.Join(dir, "floor.map"), validate.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error that names %q", err, c.want)
			}
		})
	}
}

// A dumb twin: positions looked at every half millisecond-tick of a small random recording.
func TestOverlapsAgreeWithLookingAtEveryInstant(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	found := 0
	for round := range 500 {
		rec := randomRecording(rng, grid(t))
		got := map[string]bool{}
		for _, f := range validate.Check(rec, validate.Options{PerRule: 1000}).Findings {
			got[string(f.Rule)] = true
		}
		vertex, swap := dumb(rec)
		if got["vertex"] != vertex || got["swap"] != swap {
			t.Fatalf("round %d: checker says %v, looking says vertex %v, swap %v\n%+v", round, got, vertex, swap, rec)
		}
		if vertex || swap {
			found++
		}
	}
	if found < 50 || found > 450 {
		t.Errorf("%d of 500 recordings violate: the generator is one-sided", found)
	}
}

func randomRecording(rng *rand.Rand, g validate.Grid) *validate.Recording {
	rec := &validate.Recording{Grid: g, Start: []int{0, 3, 11}[:2+rng.IntN(2)]}
	for robot, at := range rec.Start {
		now := int64(0)
		for range rng.IntN(4) {
			var next []int
			for cell := range g.Free {
				dr, dc := at/g.Cols-cell/g.Cols, at%g.Cols-cell%g.Cols
				if g.Free[cell] && dr*dr+dc*dc == 1 {
					next = append(next, cell)
				}
			}
			depart := now + rng.Int64N(3)
			now = depart + 1 + rng.Int64N(3)
			to := next[rng.IntN(len(next))]
			rec.Moves = append(rec.Moves, validate.Move{Robot: robot, From: at, To: to, Depart: depart, Arrive: now})
			at = to
		}
	}
	rng.Shuffle(len(rec.Moves), func(i, j int) { rec.Moves[i], rec.Moves[j] = rec.Moves[j], rec.Moves[i] })
	return rec
}

// dumb looks between all whole instants: who holds what, and who is under way where.
func dumb(rec *validate.Recording) (vertex, swap bool) {
	for half := int64(1); half < 60; half += 2 { // 0.5, 1.5, …
		held, under := map[int]bool{}, map[string]bool{}
		for robot, at := range rec.Start {
			for _, m := range rec.Moves {
				if m.Robot == robot && m.Arrive*2 <= half && later(rec, m, half) {
					at = m.To
				}
				if m.Robot == robot && m.Depart*2 < half && half < m.Arrive*2 {
					swap = swap || under[fmt.Sprint(m.To, m.From)]
					under[fmt.Sprint(m.From, m.To)] = true
				}
			}
			vertex = vertex || held[at]
			held[at] = true
		}
	}
	return vertex, swap
}

// later says that m is the last arrival of its robot before half.
func later(rec *validate.Recording, m validate.Move, half int64) bool {
	for _, o := range rec.Moves {
		if o.Robot == m.Robot && o.Arrive > m.Arrive && o.Arrive*2 <= half {
			return false
		}
	}
	return true
}

func BenchmarkCheck(b *testing.B) {
	const side, robots, steps = 200, 500, 600
	g := validate.Grid{Rows: side, Cols: side, Free: slices.Repeat([]bool{true}, side*side)}
	rec := &validate.Recording{Grid: g}
	for r := range robots {
		at := r * 80
		rec.Start = append(rec.Start, at)
		for k := range steps {
			to := at + 1 - 2*(k%2)
			rec.Moves = append(rec.Moves, validate.Move{Robot: r, From: at, To: to, Depart: int64(k) * 1000, Arrive: int64(k+1) * 1000})
			at = to
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if report := validate.Check(rec, validate.Options{Lockstep: true}); !report.OK() {
			b.Fatal(report.Findings[0])
		}
	}
}
