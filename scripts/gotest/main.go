// Command gotest runs test suites one after the other and ends with one line of totals:
//
//	go run ./scripts/gotest [--fuzz 5s | --fuzz-total 2m] [--suite] GO-TEST-ARGS… [--suite GO-TEST-ARGS…]…
//
// Each --suite is one `go test -json`. --fuzz adds one run per fuzz target of the checkout, each of this length;
// --fuzz-total shares a time among all of them (what compiling takes comes on top). Where Go's fuzzer stumbles over
// its own end of time, the target runs again by count, and that verdict stands. Passing tests are silent, failing ones
// show their output. A skipped test counts as failed when CI is set: a missing server must not look like success.
// Exit codes: 0 all passed, 1 something failed, 2 wrong usage.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Getenv("CI") != "")
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out io.Writer, ci bool) int {
	suites, err := parse(args)
	if err != nil {
		fmt.Fprintln(out, "gotest:", err)
		return 2
	}
	out = &lockedWriter{w: out} // go's own complaints come on a goroutine of os/exec
	t := &totals{out: out, ci: ci}
	for _, suite := range suites {
		t.run(ctx, suite)
		if again := t.again; again != nil {
			t.again = nil
			t.run(ctx, again)
		}
		if ctx.Err() != nil {
			break
		}
	}
	t.close()
	if t.failed > 0 || t.passed == 0 {
		return 1
	}
	return 0
}

// run runs one suite; what keeps it from running counts as a failure.
func (t *totals) run(ctx context.Context, suite []string) {
	fmt.Fprintln(t.out, "== go test", strings.Join(suite, " "))
	t.args = suite
	if err := t.suite(ctx, suite); err != nil {
		fmt.Fprintln(t.out, "gotest:", err)
		t.failed++
	}
}

// fuzzTime is the limit of a fuzz run; repeated it runs by count, which has no end of time.
var (
	fuzzTime = regexp.MustCompile(`^-fuzztime=.*s$`)
	// ownDeadline is how a fuzz run ends when the fuzzer takes its own end of time for a failure (golang/go#75804, in
	// Go before 1.27). A failure of the target says more than that.
	ownDeadline = regexp.MustCompile(`(?m)^--- FAIL: Fuzz\w+ \([0-9.]+s\)\n    context deadline exceeded\n`)
)

// stumbled says that a fuzz run ended by nothing but the fuzzer's own deadline, and returns the run by count.
func (t *totals) stumbled(name, output string) []string {
	limit := slices.IndexFunc(t.args, fuzzTime.MatchString)
	if limit < 0 || strings.Contains(name, "/") || !ownDeadline.MatchString(output) || strings.Contains(output, "Failing input") {
		return nil
	}
	again := slices.Delete(slices.Clone(t.args), limit, limit+1)
	again = slices.DeleteFunc(again, func(a string) bool { return strings.HasPrefix(a, "-timeout=") })
	return slices.Concat(again[:limit], []string{"-fuzztime=20000x", "-timeout=5m"}, again[limit:])
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func parse(args []string) ([][]string, error) {
	var suites [][]string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--suite":
			suites = append(suites, nil)
		case (args[i] == "--fuzz" || args[i] == "--fuzz-total") && i+1 < len(args):
			targets, err := fuzzTargets()
			if err != nil {
				return nil, err
			}
			length := args[i+1]
			if args[i] == "--fuzz-total" {
				if length, err = share(length, len(targets)); err != nil {
					return nil, err
				}
			}
			for _, t := range targets {
				suites = append(suites, []string{"-run=^$", "-fuzz=^" + t.name + "$", "-fuzztime=" + length, "-timeout=0", t.pkg})
			}
			i++
		case len(suites) == 0:
			suites = append(suites, []string{args[i]})
		default:
			suites[len(suites)-1] = append(suites[len(suites)-1], args[i])
		}
	}
	if len(suites) == 0 {
		return nil, fmt.Errorf("usage: gotest [--fuzz TIME | --fuzz-total TIME] [--suite] GO-TEST-ARGS…")
	}
	return suites, nil
}

var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// share is each target's part of a time: at least a second, since less shows nothing.
func share(total string, targets int) (string, error) {
	d, err := time.ParseDuration(total)
	if err != nil || d <= 0 {
		return "", fmt.Errorf("--fuzz-total: want a time such as 2m, got %q", total)
	}
	return max(time.Second, (d / time.Duration(max(1, targets))).Truncate(100*time.Millisecond)).String(), nil
}

// target is a fuzz target: the function, and the package as go test takes it.
type target struct{ name, pkg string }

// fuzzTargets finds the fuzz targets under the current folder.
func fuzzTargets() ([]target, error) {
	var targets []target
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range fuzzFunc.FindAllSubmatch(source, -1) {
			targets = append(targets, target{string(m[1]), "./" + filepath.ToSlash(filepath.Dir(path))})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for fuzz targets: %w", err)
	}
	return targets, nil
}

// event is a line of `go test -json` (see `go doc test2json`).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

type timing struct {
	name    string
	seconds float64
}

// totals counts results over all suites.
type totals struct {
	out                     io.Writer
	ci                      bool
	passed, failed, skipped int
	bad                     []string // names of what failed
	slow                    []timing
	args, again             []string // of the suite that runs; of the one to run instead of it, nil = none
}

// pkg is what is known of a package while it runs.
type pkg struct {
	output  map[string]*strings.Builder // by test; "" = the package's own
	results map[string]event            // by test
}

func (t *totals) suite(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	cmd.Stderr = t.out
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start go test: %w", err)
	}
	failedBefore, finished := t.failed, 0
	pkgs := map[string]*pkg{}
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 && t.line(line, pkgs) {
			finished++
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	if err != nil && t.failed == failedBefore && t.again == nil || finished == 0 {
		return fmt.Errorf("go test %s ended early: %w", strings.Join(args, " "), cmp.Or(err, io.ErrUnexpectedEOF))
	}
	return nil
}

// line takes one line of output and reports whether it finished a package.
func (t *totals) line(line []byte, pkgs map[string]*pkg) bool {
	var e event
	if json.Unmarshal(line, &e) != nil {
		fmt.Fprintf(t.out, "%s", line) // what go itself says, such as a download
		return false
	}
	if e.Action == "build-output" {
		fmt.Fprint(t.out, e.Output)
		return false
	}
	p := pkgs[e.Package]
	if p == nil {
		p = &pkg{output: map[string]*strings.Builder{}, results: map[string]event{}}
		pkgs[e.Package] = p
	}
	switch e.Action {
	case "output":
		if p.output[e.Test] == nil {
			p.output[e.Test] = &strings.Builder{}
		}
		p.output[e.Test].WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test != "" {
			p.results[e.Test] = e
			return false
		}
		t.finish(e, p)
		delete(pkgs, e.Package)
		return true
	}
	return false
}

// finish counts a package's leaf tests (a test with subtests is not one) and prints what failed.
func (t *totals) finish(end event, p *pkg) {
	names := make([]string, 0, len(p.results))
	for name := range p.results {
		names = append(names, name)
	}
	slices.Sort(names)
	passed, failed, skipped := 0, 0, 0
	for _, name := range names {
		r := p.results[name]
		if r.Action == "pass" && slices.ContainsFunc(names, func(other string) bool { return strings.HasPrefix(other, name+"/") }) {
			continue
		}
		full := end.Package + "." + name
		switch {
		case r.Action == "pass":
			passed++
			t.slow = append(t.slow, timing{full, r.Elapsed})
		case r.Action == "skip" && !t.ci:
			skipped++
		case r.Action == "fail" && t.stumbled(name, p.text(name)) != nil:
			t.again = t.stumbled(name, p.text(name))
			fmt.Fprintf(t.out, "%s: the fuzzer took its own end of time for a failure: once more, by count\n", full)
		default:
			failed++
			t.bad = append(t.bad, full)
			fmt.Fprintf(t.out, "--- %s %s\n%s", r.Action, full, p.text(name))
		}
	}
	if t.again != nil {
		return
	}
	if end.Action == "fail" && failed == 0 {
		failed++
		t.bad = append(t.bad, end.Package)
	}
	if end.Action == "fail" {
		fmt.Fprint(t.out, p.text(""))
	}
	if passed+failed+skipped > 0 {
		fmt.Fprintf(t.out, "%-4s %s  %.1fs  %d passed, %d failed\n", map[bool]string{true: "ok", false: "FAIL"}[failed == 0], end.Package, end.Elapsed, passed, failed)
	}
	t.passed, t.failed, t.skipped = t.passed+passed, t.failed+failed, t.skipped+skipped
}

func (p *pkg) text(test string) string {
	if b := p.output[test]; b != nil {
		return b.String()
	}
	return ""
}

// close prints the slowest tests, the failures again and, last, the line of totals.
func (t *totals) close() {
	slices.SortFunc(t.slow, func(a, b timing) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, s := range t.slow[:min(5, len(t.slow))] {
		if s.seconds >= 5 {
			fmt.Fprintf(t.out, "slow: %.1fs %s\n", s.seconds, s.name)
		}
	}
	for _, name := range t.bad {
		fmt.Fprintln(t.out, "failed:", name)
	}
	skipped := ""
	if t.skipped > 0 {
		skipped = fmt.Sprintf(", %d skipped", t.skipped)
	}
	fmt.Fprintf(t.out, "%d passed, %d failed%s\n", t.passed, t.failed, skipped)
}
