package validate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Grid is the floor: cells numbered row-major.
type Grid struct {
	Rows, Cols int
	Free       []bool
}

// free says whether cell is on the floor and not blocked.
func (g Grid) free(cell int) bool { return cell >= 0 && cell < len(g.Free) && g.Free[cell] }

// adjacent says whether two cells are 4-neighbours.
func (g Grid) adjacent(a, b int) bool {
	if g.Cols == 0 {
		return false
	}
	dr, dc := a/g.Cols-b/g.Cols, a%g.Cols-b%g.Cols
	return dr*dr+dc*dc == 1
}

// Move is one line of moves.jsonl.
type Move struct {
	Robot, From, To int
	Depart, Arrive  int64 // milliseconds
}

// Task is one line of tasks.jsonl.
type Task struct {
	ID, Robot int // Robot is -1 where nobody was awarded
	Assigned  int64
	Errands   []Errand
}

// Errand is one visit of a task; Reached is -1 where it was not made.
type Errand struct {
	Cell    int
	Reached int64
}

// Recording is what is checked.
type Recording struct {
	Grid  Grid
	Start []int // cell of each robot at 0 ms
	Moves []Move
	Tasks []Task
}

// Read reads the recording in dir and the map (MovingAI's octile text) it was driven on. Errors name file and line.
func Read(dir, mapPath string) (*Recording, error) {
	text, err := os.ReadFile(mapPath)
	if err != nil {
		return nil, fmt.Errorf("read the map: %w", err)
	}
	var r Recording
	if r.Grid, err = ParseGrid(text); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Base(mapPath), err)
	}
	start, err := os.ReadFile(filepath.Join(dir, "start.json"))
	if err != nil {
		return nil, fmt.Errorf("read where robots start: %w", err)
	}
	if err := json.Unmarshal(start, &r.Start); err != nil {
		return nil, fmt.Errorf("read start.json: %w", err)
	}
	err = lines(filepath.Join(dir, "moves.jsonl"), func(line []byte) error {
		m, err := parseMove(line)
		r.Moves = append(r.Moves, m)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = lines(filepath.Join(dir, "tasks.jsonl"), func(line []byte) error {
		t, err := parseTask(line)
		r.Tasks = append(r.Tasks, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// ParseGrid reads MovingAI's octile text: a head that ends with "map", then rows; `@ T O W` are blocked.
func ParseGrid(text []byte) (Grid, error) {
	head, body, found := bytes.Cut(bytes.ReplaceAll(text, []byte("\r"), nil), []byte("\nmap\n"))
	if !found {
		return Grid{}, errors.New("no line says map")
	}
	var g Grid
	for line := range strings.Lines(string(head)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(strings.TrimSpace(value))
		switch {
		case key == "height" && err == nil:
			g.Rows = n
		case key == "width" && err == nil:
			g.Cols = n
		}
	}
	rows := strings.Split(strings.TrimRight(string(body), "\n"), "\n")
	if g.Rows < 1 || g.Cols < 1 || len(rows) != g.Rows {
		return Grid{}, fmt.Errorf("height %d and width %d, but %d rows", g.Rows, g.Cols, len(rows))
	}
	for i, row := range rows {
		if len(row) != g.Cols {
			return Grid{}, fmt.Errorf("row %d has %d cells, want %d", i, len(row), g.Cols)
		}
		for _, c := range row {
			g.Free = append(g.Free, !strings.ContainsRune("@TOW", c))
		}
	}
	return g, nil
}

// lines calls f for each line that is not empty.
func lines(path string, f func([]byte) error) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the recording: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	in := bufio.NewReaderSize(file, 1<<16)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if err := f(line); err != nil {
				return fmt.Errorf("%s line %d: %w", filepath.Base(path), n, err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", filepath.Base(path), err)
		}
	}
}

func parseMove(line []byte) (Move, error) {
	var m struct {
		Robot, From, To *int
		Depart          *int64 `json:"depart_ms"`
		Arrive          *int64 `json:"arrive_ms"`
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return Move{}, err
	}
	if m.Robot == nil || m.From == nil || m.To == nil || m.Depart == nil || m.Arrive == nil {
		return Move{}, errors.New("want robot, from, to, depart_ms and arrive_ms")
	}
	return Move{*m.Robot, *m.From, *m.To, *m.Depart, *m.Arrive}, nil
}

func parseTask(line []byte) (Task, error) {
	var t struct {
		Task, Robot *int
		Assigned    *int64 `json:"assigned_ms"`
		Errands     []struct {
			Cell    *int
			Reached *int64 `json:"reached_ms"`
		}
	}
	if err := json.Unmarshal(line, &t); err != nil {
		return Task{}, err
	}
	if t.Task == nil || t.Errands == nil || t.Robot != nil && *t.Robot >= 0 && t.Assigned == nil {
		return Task{}, errors.New("want task, robot, assigned_ms and errands")
	}
	out := Task{ID: *t.Task, Robot: -1, Assigned: -1}
	if t.Robot != nil && *t.Robot >= 0 {
		out.Robot, out.Assigned = *t.Robot, *t.Assigned
	}
	for _, e := range t.Errands {
		if e.Cell == nil {
			return Task{}, errors.New("an errand without a cell")
		}
		errand := Errand{Cell: *e.Cell, Reached: -1}
		if e.Reached != nil {
			errand.Reached = *e.Reached
		}
		out.Errands = append(out.Errands, errand)
	}
	return out, nil
}
