package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"starling/engine/sim"
)

// errScenario ends a scenario that did not come out as it must.
var errScenario = errors.New("the scenario did not come out as it must")

// listScenarios prints the scenarios of the house.
func listScenarios(out io.Writer) error {
	for _, name := range sim.Scenarios() {
		sc, err := sim.NamedScenario(name)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%-24s %s\n", name, sc.Title); err != nil {
			return err
		}
	}
	return nil
}

// findScenario takes one of the house, or else a file.
func findScenario(ref string) (*sim.Scenario, error) {
	sc, err := sim.NamedScenario(ref)
	if !errors.Is(err, sim.ErrNoScenario) {
		return sc, err
	}
	b, errFile := os.ReadFile(ref)
	if errFile != nil {
		return nil, usageError{fmt.Errorf("--scenario %s: neither a scenario (starling sim --list) nor a file that can be read", ref)}
	}
	return sim.ParseScenario(strings.TrimSuffix(filepath.Base(ref), filepath.Ext(ref)), string(b))
}

// playScenario runs a scenario in this process, on virtual time, and prints its trace; with JSON its moves and waits.
func playScenario(o simOptions, out io.Writer) error {
	sc, err := findScenario(o.Scenario)
	if err != nil {
		return err
	}
	v := sc.Play(o.Seed).Finish()
	if o.Out != "" {
		b, err := json.Marshal(v.Film)
		if err != nil {
			return fmt.Errorf("encode the recording: %w", err)
		}
		if err := os.WriteFile(o.Out, append(b, '\n'), 0o600); err != nil {
			return fmt.Errorf("write the recording: %w", err)
		}
	}
	if o.JSON {
		b, err := v.MarshalLines()
		if err != nil {
			return err
		}
		if _, err := out.Write(b); err != nil {
			return err
		}
	} else if err := printTrace(sc, &v, newPaint(out)); err != nil {
		return err
	}
	if v.Broken != nil || len(v.Faults) > 0 {
		return fmt.Errorf("%w: %s", errScenario, strings.Join(faultsOf(&v), "; "))
	}
	return nil
}

func faultsOf(v *sim.Verdict) []string {
	faults := slices.Clone(v.Faults)
	if v.Broken != nil {
		faults = append([]string{v.Broken.Error()}, faults...)
	}
	return faults
}

// paint writes with colours where a person looks on.
type paint struct {
	out io.Writer
	on  bool
}

func newPaint(out io.Writer) paint {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return paint{out: out}
	}
	info, err := f.Stat()
	return paint{out, err == nil && info.Mode()&os.ModeCharDevice != 0}
}

const (
	faint, bold, yellow, red, green = "2", "1", "33", "31", "32"
	robotHues                       = 6 // colours of the 256-colour cube that tell robots apart
)

func (p paint) dye(colour, s string) string {
	if !p.on || colour == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// printTrace shows the floor, what happened and how it came out.
func printTrace(sc *sim.Scenario, v *sim.Verdict, p paint) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n\n", p.dye(bold, sc.Title), sc.About)
	for _, row := range sc.Floor {
		fmt.Fprintf(&b, "  %s\n", row)
	}
	b.WriteByte('\n')
	for line := range strings.Lines(v.Trace) {
		b.WriteString(p.line(strings.TrimSuffix(line, "\n"), v.Robots))
		b.WriteByte('\n')
	}
	longest := 0.0
	for _, r := range v.Rings {
		longest = max(longest, (r.Until - r.Since).Seconds())
	}
	fmt.Fprintf(&b, "\n%d moves in %.1f s; %d rings of robots that waited for each other, the longest %.1f s\n", len(v.Steps), v.Lasted.Seconds(), len(v.Rings), longest)
	faults := faultsOf(v)
	for _, f := range faults {
		fmt.Fprintln(&b, p.dye(red, "not so: "+f))
	}
	if len(faults) == 0 {
		fmt.Fprintln(&b, p.dye(green, "all laws held, all came out as it must"))
	}
	_, err := io.WriteString(p.out, b.String())
	return err
}

// line colours one line of a trace: times faint, each robot in its own hue, waits yellow.
func (p paint) line(line string, robots []string) string {
	const clock = 10
	if !p.on || len(line) < clock {
		return line
	}
	at, rest := line[:clock], line[clock:]
	name, what, _ := strings.Cut(rest, "  ")
	switch k := slices.Index(robots, name); {
	case k < 0:
		rest = p.dye(bold, rest)
	case strings.HasPrefix(what, "waits"):
		rest = p.dye(hue(k), name) + "  " + p.dye(yellow, what)
	default:
		rest = p.dye(hue(k), name) + "  " + what
	}
	return p.dye(faint, at) + rest
}

func hue(robot int) string {
	return [robotHues]string{"38;5;39", "38;5;208", "38;5;76", "38;5;170", "38;5;45", "38;5;220"}[robot%robotHues]
}
