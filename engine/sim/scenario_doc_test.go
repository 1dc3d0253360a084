package sim_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"starling/engine/sim"
)

const (
	guide    = "../../docs/traffic.md"
	listFrom = "<!-- scenarios: rewritten by go test ./engine/sim -run TestTheGuide -update -->\n"
	listTo   = "<!-- end of scenarios -->\n"
)

// TestTheGuideShowsEveryScenario keeps the list in the guide as the files have it.
func TestTheGuideShowsEveryScenario(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), listFrom)
	_, after, ok2 := strings.Cut(rest, listTo)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks of the list", guide)
	}
	var list strings.Builder
	for _, name := range sim.Scenarios() {
		sc, err := sim.NamedScenario(name)
		if err != nil {
			t.Fatal(err)
		}
		describe(&list, sc)
	}
	text := before + listFrom + list.String() + listTo + after
	if *updateFlag {
		if err := os.WriteFile(guide, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != string(b) {
		t.Errorf("%s differs from the scenarios: run with -update and read the difference", guide)
	}
}

// describe draws one scenario: robots by their numbers, the floor, beside it the zones.
func describe(b *strings.Builder, sc *sim.Scenario) {
	fmt.Fprintf(b, "### %s\n\n**%s.** %s\n\n", sc.Name, sc.Title, sc.About)
	rows := make([][]byte, len(sc.Floor))
	for i, row := range sc.Floor {
		rows[i] = []byte(strings.ReplaceAll(row, "@", "#"))
	}
	for i, r := range sc.Robots {
		if col, row, ok := sc.Place(r.At); ok {
			rows[row][col] = "123456789X"[min(i, 9)]
		}
	}
	for i, row := range rows {
		line := "    " + string(row)
		if len(sc.Zones) > 0 {
			line += "    " + sc.Zones[i]
		}
		fmt.Fprintln(b, strings.TrimRight(line, " "))
	}
	fmt.Fprintln(b)
	for i, r := range sc.Robots {
		var jobs []string
		for _, e := range sc.Tasks {
			if e.Robot == r.Name {
				jobs = append(jobs, strings.Join(e.Visit, " "))
			}
		}
		what := "has nothing to do"
		if len(jobs) > 0 {
			what = "goes to " + strings.Join(jobs, ", then ")
		}
		fmt.Fprintf(b, "- %d = %s at %s %s\n", i+1, r.Name, r.At, what)
	}
	var faults []string
	for _, f := range sc.Faults {
		faults = append(faults, "`"+f.Line+"`")
	}
	if len(faults) > 0 {
		fmt.Fprintf(b, "- %s\n", strings.Join(faults, ", "))
	}
	var holds []string
	for _, e := range sc.Expects {
		holds = append(holds, e.Line)
	}
	fmt.Fprintf(b, "- must hold: %s\n\n", strings.Join(slices.Concat(holds, []string{fmt.Sprintf("every task ends within %v", sc.Within)}), "; "))
}
