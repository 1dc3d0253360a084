// Package lorr runs problems of the League of Robot Runners against the engine: it reads their files, drives the real
// actors in lock-step (virtual time, no network), and measures a run in real time. Only the root and tests import it.
//
// Size: sortation_2000 with 500 robots for 600 steps takes about ten seconds of a core.
package lorr

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"starling/bench/robots"
)

// Problem is one problem, read whole.
type Problem struct {
	MapPath     string
	Map         []byte
	Start       []int   // start cells, row-major
	Tasks       [][]int // cells to visit, in order
	TeamSize    int
	TasksReveal float64 // open tasks at any time, as a share of the team
	Delays      *DelayConfig
}

// DelayConfig is the delay model of a problem; times are in steps.
type DelayConfig struct {
	MinDelay int     `json:"minDelay"`
	MaxDelay int     `json:"maxDelay"`
	PDelay   float64 `json:"pDelay"`
	Mean     float64 `json:"gaussMeanRatio"`
	Std      float64 `json:"gaussStdRatio"`
}

// Robots is the model in the terms of virtual robots: a step is a second.
func (c *DelayConfig) Robots() robots.Delays {
	second := func(n int) time.Duration { return time.Duration(n) * time.Second }
	return robots.Delays{P: c.PDelay, Min: second(c.MinDelay), Max: second(c.MaxDelay), Mean: c.Mean, Std: c.Std}
}

// Begin lets the tasks begin elsewhere in their list, by a seed; 1 = as the problem has them. That is how several seeds
// differ: the engine itself throws no dice.
func (p *Problem) Begin(seed uint64) {
	if n := uint64(len(p.Tasks)); n > 0 {
		k := (seed - 1) * 997 % n
		p.Tasks = append(slices.Clone(p.Tasks[k:]), p.Tasks[:k]...)
	}
}

// LoadDelays reads the delay model of a problem alone.
func LoadDelays(path string) (*DelayConfig, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the delays: %w", err)
	}
	var head struct {
		Delays *DelayConfig `json:"delayConfig"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("read the delays of %s: %w", path, err)
	}
	if head.Delays == nil {
		return nil, fmt.Errorf("read the delays of %s: it has no delayConfig", path)
	}
	return head.Delays, nil
}

// Load reads a problem. Files that it names are looked for as given from the problem's folder, then by base name
// beside it.
func Load(path string) (*Problem, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the problem: %w", err)
	}
	var head struct {
		Map      string       `json:"mapFile"`
		Agents   string       `json:"agentFile"`
		Tasks    string       `json:"taskFile"`
		TeamSize int          `json:"teamSize"`
		Reveal   float64      `json:"numTasksReveal"`
		Delays   *DelayConfig `json:"delayConfig"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("read the problem %s: %w", path, err)
	}
	p := &Problem{TeamSize: head.TeamSize, TasksReveal: head.Reveal, Delays: head.Delays}
	if p.TasksReveal <= 0 {
		p.TasksReveal = 1.5
	}
	p.MapPath = beside(path, head.Map)
	if p.Map, err = os.ReadFile(p.MapPath); err != nil {
		return nil, fmt.Errorf("read the map: %w", err)
	}
	agents, err := readRows(beside(path, head.Agents))
	if err != nil {
		return nil, err
	}
	for _, a := range agents {
		p.Start = append(p.Start, a[0])
	}
	if p.Tasks, err = readRows(beside(path, head.Tasks)); err != nil {
		return nil, err
	}
	if p.TeamSize < 1 || p.TeamSize > len(p.Start) {
		return nil, fmt.Errorf("read the problem %s: %d robots, but %d start cells", path, p.TeamSize, len(p.Start))
	}
	return p, nil
}

func beside(problem, name string) string {
	given := filepath.Join(filepath.Dir(problem), name)
	if _, err := os.Stat(given); err == nil {
		return given
	}
	return filepath.Join(filepath.Dir(problem), filepath.Base(name))
}

// readRows reads a file of comments (#), a count, and as many lines of numbers.
func readRows(path string) ([][]int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a file of the problem: %w", err)
	}
	var rows [][]int
	count := -1
	in := bufio.NewScanner(bytes.NewReader(b))
	for line := 1; in.Scan(); line++ {
		text := strings.TrimSpace(in.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		var row []int
		for f := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(f))
			if err != nil || n < 0 {
				return nil, fmt.Errorf("read %s, line %d: want numbers", path, line)
			}
			row = append(row, n)
		}
		if count < 0 {
			count = row[0]
			continue
		}
		if rows = append(rows, row); len(rows) == count {
			break
		}
	}
	if len(rows) != count {
		return nil, fmt.Errorf("read %s: %d lines, want %d", path, len(rows), count)
	}
	return rows, nil
}
