package sim_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"starling/engine/sim"
)

var (
	updateFlag   = flag.Bool("update", false, "rewrite the golden traces of the scenarios")
	scenarioFlag = flag.String("sim.scenario", "", "a scenario's file to play once, with its trace")
)

// TestScenarioFile plays a file that is not of the house (yet).
func TestScenarioFile(t *testing.T) {
	if *scenarioFlag == "" {
		return // nothing was named: TestScenarios plays those of the house
	}
	b, err := os.ReadFile(*scenarioFlag)
	if err != nil {
		t.Fatal(err)
	}
	sc, err := sim.ParseScenario(filepath.Base(*scenarioFlag), string(b))
	if err != nil {
		t.Fatal(err)
	}
	v := sc.Play(1).Finish()
	t.Logf("\n%s", v.Trace)
	if v.Broken != nil || len(v.Faults) > 0 {
		t.Errorf("%v\n%s", v.Broken, strings.Join(v.Faults, "\n"))
	}
}

// TestScenarios plays every scenario of the house: all laws hold after every step, what it expects comes true, and its
// trace is, byte for byte, the golden one.
func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, name := range sim.Scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc, err := sim.NamedScenario(name)
			if err != nil {
				t.Fatal(err)
			}
			v := sc.Play(1).Finish()
			if v.Broken != nil {
				t.Errorf("%v", v.Broken)
			}
			for _, f := range v.Faults {
				t.Error(f)
			}
			golden := filepath.Join("testdata", "scenarios", name+".golden")
			if *updateFlag {
				if err := os.WriteFile(golden, []byte(v.Trace), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := v.Trace; got != string(want) {
				t.Errorf("the trace differs from %s, first at %s; read the difference, then run with -update", golden, difference(string(want), got))
			}
			if t.Failed() {
				t.Logf("\n%s", v.Trace)
			}
		})
	}
}

func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "\nwant " + a[i] + "\ngot  " + b[i]
		}
	}
	return "its end"
}
