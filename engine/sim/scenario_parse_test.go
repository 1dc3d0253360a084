package sim_test

import (
	"strings"
	"testing"

	"starling/engine/sim"
)

const small = "floor\na.b\n...\n\nzones\nWWE\nWWE\n\nrobot r1 at a\ntask t1 robot r1 visit b\nwithin 20s\n"

func TestWhatIsWrongInAScenarioIsSaid(t *testing.T) {
	t.Parallel()
	if _, err := sim.ParseScenario("small", small); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"fly":                                  "what is",
		"robot r1 at b":                        "there twice",
		"robot r2 at a":                        "somebody stands",
		"robot r2 at z":                        "no cell",
		"robot r2 at b speed fast":             "no number",
		"task t2 robot r9 visit b":             "no robot r9",
		"task t2 robot r1":                     "nothing to visit",
		"task t2 visit 9,9":                    "no cell",
		"at 1s zone X silent for 2s":           "what is",
		"at 1s zone W explodes":                "cannot",
		"at soon zone W restarts":              "no duration",
		"at 1s robot r9 stops for 1s":          "what is",
		"at 1s robot r1 slow 0.1 for 1s":       "no number",
		"at 1s cancel t9":                      "what is",
		"at 1s lane a q closes":                "what is",
		"at 1s process restarts now":           "too much",
		"expect r9 keeps on":                   "who or what",
		"expect nobody enters X from 0s to 1s": "who or what",
		"expect nobody on q from 0s to 1s":     "who or what",
		"expect t9 ends by 3s":                 "who or what",
		"expect r1 dances":                     "nobody can expect",
		"zones\nWEW\nWEW\n":                    "no rectangle",
		"zones\nWE\nWE\n":                      "equal",
		"floor\n@@@\n...\n":                    "no cell",
		"within 2h":                            "no duration",
	} {
		if _, err := sim.ParseScenario("small", small+line+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// FuzzParseScenario: whatever is read either is refused or can be played.
func FuzzParseScenario(f *testing.F) {
	for _, name := range sim.Scenarios() {
		f.Add(name)
	}
	f.Add(small)
	f.Add("floor\n><\n^v\n\nrobot r at 0,0\nat 1s keepout 0,0 for 2s\nwithin 1s\n")
	f.Fuzz(func(_ *testing.T, text string) {
		sc, err := sim.ParseScenario("fuzz", text)
		if err != nil || len(sc.Robots) > 4 || len(sc.Floor)*len(sc.Floor[0]) > 100 {
			return
		}
		sc.Play(1).Until(0)
	})
}
