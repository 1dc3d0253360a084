//go:build integration

package influx

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

// open is a client with buckets of its own on the real server.
func open(t *testing.T, s *stack.Influx, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{
		URL: s.URL(), Org: s.Org(), Token: s.Token(), Bucket: strings.ReplaceAll(t.Name(), "/", "-"), Dir: t.TempDir(), Retry: 10 * time.Millisecond,
	}
	for _, f := range change {
		f(&o)
	}
	c, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eventually waits until f says nil.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func setUp(t *testing.T, c *Client) {
	t.Helper()
	eventually(t, 30*time.Second, func() error { return c.makeAll(t.Context()) })
}

func columns(agg fact.Agg, fields ...string) (cols []fact.Column) {
	for _, f := range fields {
		cols = append(cols, fact.Column{Field: f, Agg: agg})
	}
	return cols
}

// drive writes n statuses, one each second from start: battery falls by a thousandth each.
func drive(c *Client, id fleet.RobotID, start time.Time, n int) {
	batch := make([]fact.Status, n)
	for i := range batch {
		batch[i] = status(1, start.Add(time.Duration(i)*time.Second))
		batch[i].Robot, batch[i].Battery, batch[i].Pose.X = id, 1-float64(i)/1000, float64(i)
		batch[i].Key = i == 0
		if i%10 == 9 {
			batch[i].State = fleet.Waiting
		}
	}
	c.WriteStatuses(context.Background(), batch)
}

func TestWhatIsMeasuredIsReadAgain(t *testing.T) {
	t.Parallel()
	c := open(t, stacktest.Influx(t))
	setUp(t, c)
	start := time.Now().Add(-10 * time.Minute).Truncate(time.Minute)
	drive(c, "r1", start, 120)
	drive(c, "r2", start, 5)
	q := fact.HistoryQuery{From: start, To: start.Add(time.Hour), Columns: columns(fact.Mean, "battery_soc", "x", "state", "task_id"), Limit: 1000}
	var got []fact.HistoryPoint
	eventually(t, 20*time.Second, func() error {
		var err error
		if got, err = c.RobotHistory(t.Context(), "t", "r1", q); err == nil && len(got) != 120 {
			err = fmt.Errorf("%d points, want 120", len(got))
		}
		return err
	})
	for i, p := range got {
		state := any("MOVING")
		if i%10 == 9 {
			state = "WAITING"
		}
		if !p.At.Equal(start.Add(time.Duration(i)*time.Second)) || p.Values[0] != math.Round((1-float64(i)/1000)*1e4)/1e4 || p.Values[1] != float64(i) || p.Values[2] != state ||
			p.Values[3] != "task" { // of the key point, and held on
			t.Fatalf("point %d: %+v", i, p)
		}
	}
	t.Run("a page that begins later knows what holds on", func(t *testing.T) {
		q := q
		q.From, q.Limit = start.Add(30*time.Second), 10
		got, err := c.RobotHistory(t.Context(), "t", "r1", q)
		if err != nil || len(got) != 10 || !got[0].At.Equal(q.From) || got[0].Values[3] != "task" {
			t.Fatalf("%v, %v", got, err)
		}
	})
	t.Run("what it did not say is no gap", func(t *testing.T) {
		q := q
		q.Columns = columns(fact.Last, "waiting_for", "sampling_hz")
		q.From = start.Add(100 * time.Second) // beyond the key point and what it holds for
		got, err := c.RobotHistory(t.Context(), "t", "r1", q)
		if err != nil || len(got) != 20 || len(got[0].Values) != 2 || got[0].Values[0] != "" || got[0].Values[1] != nil {
			t.Fatalf("%d points, %v, %v", len(got), got, err)
		}
		q.From, q.Every = start, 10*time.Second
		if got, err = c.RobotHistory(t.Context(), "t", "r1", q); err != nil || len(got) != 12 || got[0].Values[1] != 1.0 || got[11].Values[0] != "" {
			t.Fatalf("%d windows, %v, %v", len(got), got, err)
		}
	})
	t.Run("another tenant sees nothing", func(t *testing.T) {
		if got, err := c.RobotHistory(t.Context(), "other", "r1", q); err != nil || len(got) != 0 {
			t.Fatalf("%v, %v", got, err)
		}
	})
	for agg, want := range map[fact.Agg]float64{fact.Mean: .9955, fact.Last: .991, fact.Min: .991, fact.Max: 1} {
		t.Run("windows, "+agg.String(), func(t *testing.T) {
			q := q
			q.Every = 10 * time.Second
			q.Columns = append(columns(agg, "battery_soc"), columns(fact.Last, "state")...)
			got, err := c.RobotHistory(t.Context(), "t", "r1", q)
			if err != nil || len(got) != 12 || !got[0].At.Equal(start) || math.Abs(got[0].Values[0].(float64)-want) > 1e-9 || got[0].Values[1] != "WAITING" {
				t.Fatalf("%v, %v, want %v", got, err, want)
			}
		})
	}
}

// The coarser buckets hold the same mean, least, greatest and last, and histories that begin before the finer ones do read them.
func TestMinutesAndQuartersAreMade(t *testing.T) {
	t.Parallel()
	c := open(t, stacktest.Influx(t))
	setUp(t, c)
	start := time.Now().Add(-2 * time.Hour).Truncate(quarter)
	drive(c, "r1", start, 1000)
	c.WriteCongestion([]fact.Congestion{{Shard: fleet.Shard{Tenant: "t", Warehouse: "w"}, Score: congestion.Score{Subject: congestion.Subject{Of: congestion.OfZone, ID: "z"}, At: start, Index: .5, Occupancy: 3, Queue: 2}}})
	eventually(t, 20*time.Second, func() error {
		got, err := c.RobotHistory(t.Context(), "t", "r1", fact.HistoryQuery{From: start, To: start.Add(time.Hour), Columns: columns(fact.Mean, "x"), Limit: 5000})
		if err == nil && len(got) != 1000 {
			err = fmt.Errorf("%d points", len(got))
		}
		return err
	})
	if err := c.Downsample(t.Context(), start, start.Add(1000*time.Second)); err != nil {
		t.Fatal(err)
	}
	for bucket, c1 := range map[string]struct {
		every              time.Duration
		n                  int
		mean, low, hi, end float64
	}{
		c.minutes():  {minute, 17, 29.5, 0, 59, 59},
		c.quarters(): {quarter, 2, 449.5, 0, 899, 899},
	} {
		for agg, want := range map[string]float64{"mean": c1.mean, "min": c1.low, "max": c1.hi, "last": c1.end} {
			cells, err := c.query(t.Context(), fmt.Sprintf(`from(bucket: %q) |> range(start: %s) |> filter(fn: (r) => r._measurement == "robot_status" and r.robot_id == "r1" and r._field == "x" and r.agg == %q)`,
				bucket, start.UTC().Format(time.RFC3339), agg), c.o.Timeout)
			if err != nil || len(cells) != c1.n || math.Abs(cells[0].value.(float64)-want) > 1e-9 || !cells[0].at.Equal(start) {
				t.Fatalf("%s %s: %v %v, want %d, the first %v", bucket, agg, cells, err, c1.n, want)
			}
		}
		cells, err := c.query(t.Context(), fmt.Sprintf(`from(bucket: %q) |> range(start: %s) |> filter(fn: (r) => r._measurement == "zone_congestion" and r._field == "queue_length" and r.agg == "max")`,
			bucket, start.UTC().Format(time.RFC3339)), c.o.Timeout)
		if err != nil || len(cells) != 1 || cells[0].value != 2.0 {
			t.Fatalf("%s: congestion %v %v", bucket, cells, err)
		}
	}
	old := fact.HistoryQuery{From: time.Now().Add(-30 * 24 * time.Hour), To: time.Now(), Every: minute, Columns: columns(fact.Max, "x"), Limit: 100}
	got, err := c.RobotHistory(t.Context(), "t", "r1", old) // beyond the week: minutes
	if err != nil || len(got) != 17 || got[0].Values[0] != 59.0 {
		t.Fatalf("minutes: %v %v", got, err)
	}
	old.From, old.Every = time.Now().Add(-300*24*time.Hour), quarter
	if got, err = c.RobotHistory(t.Context(), "t", "r1", old); err != nil || len(got) != 2 || got[0].Values[0] != 899.0 {
		t.Fatalf("quarters: %v %v", got, err)
	}
}

func TestBucketsAndTasksAreAsTheyShouldBe(t *testing.T) {
	t.Parallel()
	c := open(t, stacktest.Influx(t))
	setUp(t, c)
	setUp(t, c) // again: nothing twice
	var buckets struct {
		Buckets []struct {
			Name           string
			RetentionRules []struct{ EverySeconds int }
		}
	}
	want := map[string]int{c.o.Bucket: 7 * 86400, c.minutes(): 90 * 86400, c.quarters(): 730 * 86400}
	if err := c.read(t.Context(), "/api/v2/buckets", map[string][]string{"limit": {"100"}}, &buckets); err != nil {
		t.Fatal(err)
	}
	for _, b := range buckets.Buckets {
		if keep, ours := want[b.Name]; ours && (len(b.RetentionRules) != 1 || b.RetentionRules[0].EverySeconds != keep) {
			t.Errorf("%s keeps %v, want %d s", b.Name, b.RetentionRules, keep)
		}
		delete(want, b.Name)
	}
	if len(want) != 0 {
		t.Errorf("missing: %v", want)
	}
	// A bucket that somebody has made keeps what it was made to keep, and that is told.
	other := open(t, stacktest.Influx(t), func(o *Options) { o.Bucket = c.o.Bucket + "_own" })
	org, err := other.orgID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.ask(t.Context(), "POST", "/api/v2/buckets", nil, map[string]any{
		"orgID": org, "name": other.o.Bucket + "_x", "retentionRules": []any{map[string]any{"type": "expire", "everySeconds": 7200}},
	}); err != nil {
		t.Fatal(err)
	}
	if err := other.makeBucket(t.Context(), org, other.o.Bucket+"_x", &other.keeps[0]); err != nil || other.Kept(time.Second) != 2*time.Hour {
		t.Errorf("of a bucket of 2 h it says %v, %v", other.Kept(time.Second), err)
	}
	for every, keep := range map[time.Duration]time.Duration{0: rawFor, time.Second: rawFor, minute: minutesFor, quarter: quarterFor} {
		if got := c.Kept(every); got != keep {
			t.Errorf("points every %v are kept %v, want %v", every, got, keep)
		}
	}
	for _, th := range c.thinnings() {
		var tasks struct {
			Tasks []struct{ Status, Flux, ID string }
		}
		eventually(t, 10*time.Second, func() error { // once the client itself, in the background, has made them too
			if err := c.read(t.Context(), "/api/v2/tasks", map[string][]string{"name": {th.name()}}, &tasks); err != nil {
				return err
			}
			if len(tasks.Tasks) != 1 || tasks.Tasks[0].Status != "active" || tasks.Tasks[0].Flux != th.task(c.o.Org) {
				return fmt.Errorf("%s: %+v", th.name(), tasks)
			}
			return nil
		})
		// The server runs what it was given: a run by hand ends well.
		raw, err := c.ask(t.Context(), "POST", "/api/v2/tasks/"+tasks.Tasks[0].ID+"/runs", nil, map[string]any{})
		if err != nil {
			t.Fatal(err)
		}
		var run struct{ ID string }
		if err := json.Unmarshal(raw, &run); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, func() error {
			var r struct{ Status string }
			if err := c.read(t.Context(), "/api/v2/tasks/"+tasks.Tasks[0].ID+"/runs/"+run.ID, nil, &r); err != nil {
				return err
			}
			if r.Status == "failed" {
				t.Fatalf("the run of %s failed: %s", th.name(), raw)
			}
			if r.Status != "success" {
				return fmt.Errorf("the run of %s is %s", th.name(), r.Status)
			}
			return nil
		})
	}
}

// While the server is away what is measured waits on disk, over a restart of ours, and all of it arrives.
func TestWhatCouldNotBeWrittenComesLater(t *testing.T) {
	t.Parallel()
	s := stacktest.OwnInflux(t)
	dir := t.TempDir()
	with := func(o *Options) { o.Dir = dir }
	c := open(t, s, with)
	setUp(t, c)
	start := time.Now().Add(-time.Hour).Truncate(time.Minute)
	drive(c, "r1", start, 10)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		drive(c, "r1", start.Add(time.Duration(10*(i+1))*time.Second), 10)
	}
	if _, err := c.RobotHistory(t.Context(), "t", "r1", fact.HistoryQuery{From: start, To: time.Now(), Columns: columns(fact.Last, "x"), Limit: 10}); err == nil {
		t.Fatal("a server that was killed answers")
	}
	eventually(t, 20*time.Second, func() error {
		if n := testutil.ToFloat64(c.metrics.waiting); n < 150 {
			return fmt.Errorf("%v points wait on disk", n)
		}
		return nil
	})
	c.Close() // with some still in memory
	c = open(t, s, with, func(o *Options) { o.Bucket = c.o.Bucket })
	if n := testutil.ToFloat64(c.metrics.waiting); n < 200 {
		t.Fatalf("%v points wait on disk after a restart, want 200", n)
	}
	if err := s.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, func() error {
		got, err := c.RobotHistory(t.Context(), "t", "r1", fact.HistoryQuery{From: start, To: time.Now(), Columns: columns(fact.Last, "x"), Limit: 1000})
		if err == nil && len(got) != 210 {
			err = fmt.Errorf("%d points, want 210", len(got))
		}
		return err
	})
	eventually(t, 30*time.Second, func() error { // and the minutes are made again
		cells, err := c.query(t.Context(), fmt.Sprintf(`from(bucket: %q) |> range(start: %s) |> filter(fn: (r) => r._field == "x" and r.agg == "mean")`, c.minutes(), start.UTC().Format(time.RFC3339)), c.o.Timeout)
		if err == nil && len(cells) != 4 {
			err = fmt.Errorf("%d minutes, want 4", len(cells))
		}
		return err
	})
}

func TestTimings(t *testing.T) {
	t.Parallel()
	c := open(t, stacktest.Influx(t))
	setUp(t, c)
	at := time.Now().Truncate(time.Millisecond)
	var batch []fact.Timing
	for i := range 50 { // that end in one millisecond
		batch = append(batch, fact.Timing{
			Shard: fleet.Shard{Tenant: "t", Warehouse: "w"}, Task: fleet.TaskID(fmt.Sprintf("task-%d", i)), Outcome: fleet.TaskSucceeded, Robot: "r1", Awards: 1, At: at,
			Waited: time.Second, Started: -1, Drove: time.Minute, Total: 2 * time.Minute,
		})
	}
	c.WriteTimings(batch)
	eventually(t, 20*time.Second, func() error {
		cells, err := c.query(t.Context(), fmt.Sprintf(`from(bucket: %q) |> range(start: -1m, stop: 1m) |> filter(fn: (r) => r._measurement == "task_timing" and r._field == "drove_s")`, c.minutes()), c.o.Timeout)
		if err == nil && (len(cells) < 45 || cells[0].value != 60.0) {
			err = fmt.Errorf("%d timings: %v", len(cells), cells)
		}
		return err
	})
}

// cpuOf is what a process has used so far.
func cpuOf(b *testing.B, pid int) time.Duration {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // of Linux's 100 ticks a second
}

// BenchmarkWrite writes what robots say to the real server, one batch after another as the writer makes them, after the
// series are there. The processor's time is told of both sides: it depends on the load of the machine far less than the rate.
func BenchmarkWrite(b *testing.B) {
	const robots = 20_000
	s := stacktest.Influx(b)
	c, err := Open(b.Context(), Options{URL: s.URL(), Org: s.Org(), Token: s.Token(), Bucket: "bench", Dir: b.TempDir(), SpoolBytes: 1 << 30, Timeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for end := time.Now().Add(30 * time.Second); c.makeAll(b.Context()) != nil && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	batch := make([]fact.Status, 5000)
	n, now := 0, time.Now().Add(-time.Hour)
	write := func(key bool) {
		for i := range batch {
			batch[i] = status((n+i)%robots, now)
			batch[i].Pace, batch[i].Key = robot.PaceMoving, key
		}
		n, now = n+len(batch), now.Add(250*time.Millisecond)
		blk := c.newBlock(streamRaw)
		for i := range batch {
			blk.lines = appendStatus(blk.lines, &batch[i])
			blk.note(batch[i].At)
		}
		if err := c.write(b.Context(), blk); err != nil {
			b.Fatal(err)
		}
		c.recycle(blk)
	}
	for range robots / len(batch) {
		write(true)
	}
	n = 0
	server, own := cpuOf(b, s.PID()), cpuOf(b, os.Getpid())
	for b.Loop() {
		write(false)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "statuses/s")
	b.ReportMetric(float64((cpuOf(b, s.PID())-server).Microseconds())/float64(n), "server-us/status")
	b.ReportMetric(float64((cpuOf(b, os.Getpid())-own).Microseconds())/float64(n), "client-us/status")
}
