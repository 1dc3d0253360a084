// Package record writes the recording of a bench run: where robots started, every move they reported, every task
// with its errands, and the summary. It judges nothing (see bench/validate) and invents nothing: what was not
// reported is not written.
//
// Size: about 70 bytes a move; 2,000 robots for 600 steps are at most 84 MB. A move costs no allocation.
package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// The names of the files of a recording.
const (
	StartFile   = "start.json"
	MovesFile   = "moves.jsonl"
	TasksFile   = "tasks.jsonl"
	SummaryFile = "summary.json"
)

// Summary is the figures of one run. DecisionMS and CommandMS are nil in lock-step, where time is virtual.
type Summary struct {
	TasksFinished int          `json:"tasks_finished"`
	Steps         int          `json:"steps"`
	Robots        int          `json:"robots"`
	DecisionMS    *Percentiles `json:"decision_ms"`   // milliseconds
	CommandMS     *Percentiles `json:"command_ms"`    // milliseconds
	CPUS          float64      `json:"cpu_s"`         // user and system, seconds
	MaxRSSBytes   int64        `json:"max_rss_bytes"` // peak resident size
	WallS         float64      `json:"wall_s"`        // seconds
	StuckMaxS     float64      `json:"stuck_max_s"`   // longest time in which a healthy robot with a task made no move
	// PlanMS is the CPU time that zones and dispatcher took for each step, distance tables included, and PlanCPUS all of
	// it; where time is virtual.
	PlanMS   *Percentiles `json:"plan_ms,omitempty"`
	PlanCPUS float64      `json:"plan_cpu_s,omitempty"`
	Zones    int          `json:"zones,omitempty"`
}

// Percentiles describes a sample of durations.
type Percentiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Move is one move that a robot reported. Cells are numbered row-major; times are milliseconds since the start.
type Move struct {
	Robot, From, To    int
	DepartMS, ArriveMS int64
}

// Task is one task that was awarded. Robot counts from 0.
type Task struct {
	Task       int      `json:"task"`
	Robot      int      `json:"robot"`
	AssignedMS int64    `json:"assigned_ms"`
	Errands    []Errand `json:"errands"`
}

// Errand is one cell to visit; ReachedMS is nil where the run ended before.
type Errand struct {
	Cell      int    `json:"cell"`
	ReachedMS *int64 `json:"reached_ms"`
}

// Writer writes one recording. It has one owner: calls are not synchronised. The first error stands: later calls
// write nothing, and Close returns it.
type Writer struct {
	dir     string
	moves   *stream
	tasks   *stream
	scratch []byte
	err     error
}

// Create starts a recording in dir, which is made where it is missing; files of an earlier one are overwritten, and
// its summary is removed, so that a summary always belongs to the moves beside it. start is the cell of each robot.
func Create(dir string, start []int) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the recording's directory: %w", err)
	}
	if err := os.Remove(filepath.Join(dir, SummaryFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old summary: %w", err)
	}
	if start == nil {
		start = []int{}
	}
	if err := writeJSON(filepath.Join(dir, StartFile), start); err != nil {
		return nil, err
	}
	w := &Writer{dir: dir}
	var err error
	if w.moves, err = open(filepath.Join(dir, MovesFile)); err != nil {
		return nil, err
	}
	if w.tasks, err = open(filepath.Join(dir, TasksFile)); err != nil {
		return nil, errors.Join(err, w.moves.close())
	}
	return w, nil
}

// Move appends one move.
func (w *Writer) Move(m Move) {
	if w.err != nil {
		return
	}
	b := append(w.scratch[:0], `{"robot":`...)
	b = strconv.AppendInt(b, int64(m.Robot), 10)
	b = append(b, `,"from":`...)
	b = strconv.AppendInt(b, int64(m.From), 10)
	b = append(b, `,"to":`...)
	b = strconv.AppendInt(b, int64(m.To), 10)
	b = append(b, `,"depart_ms":`...)
	b = strconv.AppendInt(b, m.DepartMS, 10)
	b = append(b, `,"arrive_ms":`...)
	b = strconv.AppendInt(b, m.ArriveMS, 10)
	w.scratch = append(b, "}\n"...)
	if _, err := w.moves.buf.Write(w.scratch); err != nil {
		w.err = fmt.Errorf("write a move: %w", err)
	}
}

// Task appends one task, once nothing of it can change any more (its end, or the end of the run).
func (w *Writer) Task(t Task) {
	if w.err != nil {
		return
	}
	if t.Errands == nil {
		t.Errands = []Errand{}
	}
	line, err := json.Marshal(t)
	if err == nil {
		_, err = w.tasks.buf.Write(append(line, '\n'))
	}
	if err != nil {
		w.err = fmt.Errorf("write task %d: %w", t.Task, err)
	}
}

// Close writes the summary last, once all else is on the disk, and closes the recording. It returns the first error
// of the whole recording.
func (w *Writer) Close(s Summary) error {
	err := errors.Join(w.err, w.moves.close(), w.tasks.close())
	if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(w.dir, SummaryFile), s); err != nil {
		return err
	}
	return syncDir(w.dir)
}

type stream struct {
	file *os.File
	buf  *bufio.Writer
}

func open(path string) (*stream, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create a file of the recording: %w", err)
	}
	return &stream{file: f, buf: bufio.NewWriterSize(f, 1<<16)}, nil
}

func (s *stream) close() error {
	if err := errors.Join(s.buf.Flush(), s.file.Sync(), s.file.Close()); err != nil {
		return fmt.Errorf("close %s: %w", filepath.Base(s.file.Name()), err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	s, err := open(path)
	if err != nil {
		return err
	}
	if _, err := s.buf.Write(append(b, '\n')); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", filepath.Base(path), err), s.close())
	}
	return s.close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open the recording's directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync the recording's directory: %w", err)
	}
	return nil
}
