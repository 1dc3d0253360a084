package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// module writes a small module of test files and makes it the current folder.
func module(t *testing.T, tests map[string]string) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "")
	tests["go.mod"] = "module example\n\ngo 1.26\n"
	for name, body := range tests {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const header = "package a\n\nimport \"testing\"\n\n"

func TestTheLastLineCountsAndTheExitCodeFollows(t *testing.T) {
	tests := map[string]struct {
		body string
		ci   bool
		code int
		last string
		also string // a regular expression that the output matches
	}{
		"all pass, a parent of subtests does not count": {
			body: header + "func TestA(t *testing.T) { t.Run(\"x\", func(*testing.T) {}); t.Run(\"y\", func(*testing.T) {}) }\n",
			last: "2 passed, 0 failed",
		},
		"one fails and shows its output": {
			body: header + "func TestA(t *testing.T) {}\nfunc TestB(t *testing.T) { t.Error(\"the reason\") }\n",
			code: 1, last: "1 passed, 1 failed", also: `(?s)the reason.*failed: example/a\.TestB`,
		},
		"it does not compile": {
			body: header + "func TestA(t *testing.T) { nonsense }\n",
			code: 1, last: "0 passed, 1 failed", also: "undefined: nonsense",
		},
		"it panics": {
			body: header + "func TestA(t *testing.T) { panic(\"the reason\") }\n",
			code: 1, last: "0 passed, 1 failed", also: "the reason",
		},
		"a skipped test is told": {
			body: header + "func TestA(t *testing.T) { t.Skip(\"no server\") }\nfunc TestB(t *testing.T) {}\n",
			last: "1 passed, 0 failed, 1 skipped",
		},
		"a skipped test fails in CI": {
			body: header + "func TestA(t *testing.T) { t.Skip(\"no server\") }\nfunc TestB(t *testing.T) {}\n",
			ci:   true, code: 1, last: "1 passed, 1 failed", also: "no server",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			module(t, map[string]string{"a/a_test.go": test.body})
			var out bytes.Buffer
			code := run(t.Context(), []string{"./..."}, &out, test.ci)
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if last := lines[len(lines)-1]; code != test.code || last != test.last {
				t.Errorf("exit code %d and %q, want %d and %q:\n%s", code, last, test.code, test.last, out.String())
			}
			if !regexp.MustCompile(test.also).MatchString(out.String()) {
				t.Errorf("%q is not in:\n%s", test.also, out.String())
			}
		})
	}
}

func TestSuitesAddUpAndFuzzTargetsAreFound(t *testing.T) {
	module(t, map[string]string{
		"a/a_test.go":       header + "func TestA(t *testing.T) {}\nfunc FuzzA(f *testing.F) { f.Fuzz(func(*testing.T, int) {}) }\n",
		"b/b_test.go":       strings.Replace(header, "package a", "package b", 1) + "func TestB(t *testing.T) {}\n",
		".hidden/h_test.go": header + "func FuzzHidden(f *testing.F) {}\n",
	})
	var out bytes.Buffer
	code := run(t.Context(), []string{"-run=Test", "./a", "--suite", "./b", "--fuzz", "10x"}, &out, true)
	if code != 0 || !strings.HasSuffix(out.String(), "\n3 passed, 0 failed\n") {
		t.Errorf("exit code %d:\n%s", code, out.String())
	}
}

func TestWhatCannotRunIsNoSuccess(t *testing.T) {
	module(t, map[string]string{"a/a.go": "package a\n"})
	for name, args := range map[string][]string{"no package": {"./nowhere"}, "a flag go does not know": {"-nonsense", "./..."}, "no test at all": {"./..."}} {
		var out bytes.Buffer
		if code := run(t.Context(), args, &out, false); code != 1 {
			t.Errorf("%s: exit code %d:\n%s", name, code, out.String())
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), nil, &out, false); code != 2 {
		t.Errorf("no arguments: exit code %d", code)
	}
}

func TestATimeIsSharedAmongAllFuzzTargets(t *testing.T) {
	fuzz := func(name string) string {
		return "func Fuzz" + name + "(f *testing.F) { f.Fuzz(func(*testing.T, int) {}) }\n"
	}
	module(t, map[string]string{"a/a_test.go": header + fuzz("A") + fuzz("B"), "b/b_test.go": header + fuzz("C")})
	suites, err := parse([]string{"--fuzz-total", "9s"})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]string, len(suites))
	for i, s := range suites {
		all[i] = strings.Join(s, " ")
	}
	want := []string{"-run=^$ -fuzz=^FuzzA$ -fuzztime=3s -timeout=0 ./a", "-run=^$ -fuzz=^FuzzB$ -fuzztime=3s -timeout=0 ./a", "-run=^$ -fuzz=^FuzzC$ -fuzztime=3s -timeout=0 ./b"}
	if !slices.Equal(all, want) {
		t.Errorf("got %q, want %q", all, want)
	}
	for total, want := range map[string]string{"120s": "8.5s", "1s": "1s"} {
		if got, err := share(total, 14); err != nil || got != want {
			t.Errorf("14th of %s: %s %v, want %s", total, got, err, want)
		}
	}
	for _, bad := range []string{"", "x", "-1s", "5"} {
		if _, err := parse([]string{"--fuzz-total", bad}); err == nil {
			t.Errorf("--fuzz-total %q passes", bad)
		}
	}
}

func TestAFuzzersOwnEndOfTimeIsTriedAgainByCount(t *testing.T) {
	// The output is that of the fuzzer: the target prints what a coordinator that stumbles prints.
	stumble := "func FuzzA(f *testing.F) {\n\tif os.Getenv(\"GOTEST_STUMBLE\") != \"\" && flag.Lookup(\"test.fuzztime\").Value.String() == \"1s\" {\n" +
		"\t\tfmt.Println(\"--- FAIL: FuzzA (1.01s)\\n    context deadline exceeded\")\n\t\tf.FailNow()\n\t}\n" +
		"\tf.Fuzz(func(t *testing.T, n int) { if %s { t.Fatal(\"found\") } })\n}\n"
	head := "package a\n\nimport (\n\t\"flag\"\n\t\"fmt\"\n\t\"os\"\n\t\"testing\"\n)\n\n"
	t.Setenv("GOTEST_STUMBLE", "1")
	for name, test := range map[string]struct {
		when, last string
		code       int
	}{
		"a target without fault passes": {"false", "1 passed, 0 failed", 0},
		"a fault is found":              {"n != 0", "0 passed, 1 failed", 1},
	} {
		t.Run(name, func(t *testing.T) {
			module(t, map[string]string{"a/a_test.go": head + fmt.Sprintf(stumble, test.when)})
			var out bytes.Buffer
			code := run(t.Context(), []string{"--fuzz", "1s"}, &out, true)
			if code != test.code || !strings.HasSuffix(out.String(), "\n"+test.last+"\n") || !strings.Contains(out.String(), "once more, by count") {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, test.code, test.last, out.String())
			}
		})
	}
}
