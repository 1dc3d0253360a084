package record_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"starling/bench/record"
)

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestARecordingHasTheFieldsOfTheContract(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run")
	w, err := record.Create(dir, []int{4, 7})
	if err != nil {
		t.Fatal(err)
	}
	w.Move(record.Move{Robot: 1, From: 7, To: 8, DepartMS: 1000, ArriveMS: 2000})
	reached := int64(2000)
	w.Task(record.Task{Task: 3, Robot: 1, AssignedMS: 5, Errands: []record.Errand{{Cell: 8, ReachedMS: &reached}, {Cell: 9}}})
	w.Task(record.Task{Task: 4})
	err = w.Close(record.Summary{TasksFinished: 1, Steps: 2, Robots: 2, CommandMS: &record.Percentiles{P50: 1, P99: 2, Max: 3}, WallS: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		record.StartFile: `[4,7]`,
		record.MovesFile: `{"robot":1,"from":7,"to":8,"depart_ms":1000,"arrive_ms":2000}`,
		record.TasksFile: `{"task":3,"robot":1,"assigned_ms":5,"errands":[{"cell":8,"reached_ms":2000},{"cell":9,"reached_ms":null}]}` + "\n" +
			`{"task":4,"robot":0,"assigned_ms":0,"errands":[]}`,
		record.SummaryFile: `{"tasks_finished":1,"steps":2,"robots":2,"decision_ms":null,"command_ms":{"p50":1,"p99":2,"max":3},` +
			`"cpu_s":0,"max_rss_bytes":0,"wall_s":0.5,"stuck_max_s":0}`,
	} {
		if got := strings.TrimSpace(read(t, dir, name)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

func TestANewRecordingRemovesTheOldSummary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 {
		w, err := record.Create(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, record.SummaryFile)); !os.IsNotExist(err) {
			t.Fatalf("a summary lies beside an unfinished recording: %v", err)
		}
		if err := w.Close(record.Summary{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, dir, record.StartFile); got != "[]\n" {
		t.Errorf("start.json of no robots is %q", got)
	}
}

func TestAFailedWriteIsReportedAndLeavesNoSummary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, record.TasksFile), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := record.Create(dir, []int{1}); err == nil {
		t.Fatal("a directory stands where tasks.jsonl should be, and nobody says so")
	}
	if _, err := os.Stat(filepath.Join(dir, record.SummaryFile)); !os.IsNotExist(err) {
		t.Fatal("a summary was written for a recording that failed")
	}
}

func BenchmarkMove(b *testing.B) {
	w, err := record.Create(b.TempDir(), []int{1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.Move(record.Move{Robot: 12, From: 1234, To: 1235, DepartMS: 100_000, ArriveMS: 101_000})
	}
	if err := w.Close(record.Summary{}); err != nil {
		b.Fatal(err)
	}
}
