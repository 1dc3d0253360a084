package influx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"starling/engine/fact"
)

// The coarser buckets are made by tasks of the server itself. A task looks at the last lookBack each time it runs, so that
// what comes a little late counts; it writes the same points again. What comes later than that is made up for when it has
// come (Client.makeUp).

const (
	lookBack   = 15 * time.Minute
	tasksEvery = 5 * time.Minute
	tasksAfter = time.Minute // beyond the full window: what is under way comes in
	minute     = time.Minute
	quarter    = 15 * time.Minute
)

func (c *Client) minutes() string  { return c.o.Bucket + "_1m" }
func (c *Client) quarters() string { return c.o.Bucket + "_15m" }

// thinning is one step from finer to coarser points of a measurement.
type thinning struct {
	measurement string
	numbers     []string // fields with a mean, least and greatest
	lasts       []string // fields with a last value alone
	tags        []string
	from, to    string // buckets
	every       time.Duration
	again       bool // from is thinned itself: points have their tag agg
}

func (c *Client) thinnings() []thinning {
	status := thinning{
		measurement: measurementStatus, numbers: []string{"x", "y", "velocity_mps", "battery_soc", "sampling_hz"},
		lasts: []string{"theta", "vertex", "state", "zone_id", "task_id", "waiting_for", "waiting_on"}, tags: []string{"tenant", "warehouse", "robot_id"},
	}
	congestion := thinning{measurement: measurementCongestion, tags: []string{"tenant", "warehouse", "kind", "id"}}
	for _, f := range fact.CongestionFields() {
		congestion.numbers = append(congestion.numbers, f.Name)
	}
	var all []thinning
	for _, t := range []thinning{status, congestion} {
		t.from, t.to, t.every = c.o.Bucket, c.minutes(), minute
		all = append(all, t)
		t.from, t.to, t.every, t.again = c.minutes(), c.quarters(), quarter, true
		all = append(all, t)
	}
	return all
}

// name is the task's.
func (t *thinning) name() string { return t.to + " " + t.measurement }

// script makes the points of [start, stop), which are Flux expressions.
func (t *thinning) script(org, start, stop string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "data = from(bucket: %s)\n  |> range(start: %s, stop: %s)\n  |> filter(fn: (r) => r._measurement == %s)\n", quote(t.from), start, stop, quote(t.measurement))
	one := func(agg string, fields []string) {
		if len(fields) == 0 {
			return
		}
		b.WriteString("data\n")
		if t.again {
			fmt.Fprintf(&b, "  |> filter(fn: (r) => r.agg == %s)\n", quote(agg))
		}
		fmt.Fprintf(&b, "  |> filter(fn: (r) => %s)\n  |> aggregateWindow(every: %s, fn: %s, createEmpty: false, timeSrc: \"_start\")\n", anyOf(fields), flux(t.every), agg)
		fmt.Fprintf(&b, "  |> set(key: \"agg\", value: %s)\n  |> to(bucket: %s, org: %s, tagColumns: [%s, \"agg\"])\n", quote(agg), quote(t.to), quote(org), quoted(t.tags))
	}
	one("mean", t.numbers)
	one("min", t.numbers)
	one("max", t.numbers)
	one("last", append(append([]string{}, t.numbers...), t.lasts...))
	return b.String()
}

// task is the script as the server runs it again and again.
func (t *thinning) task(org string) string {
	every := max(tasksEvery, t.every)
	back := max(lookBack, 2*t.every)
	return fmt.Sprintf("import \"date\"\n\noption task = {name: %s, every: %s, offset: %s}\n\nstop = date.truncate(t: now(), unit: %s)\nstart = date.sub(d: %s, from: stop)\n\n%s",
		quote(t.name()), flux(every), flux(tasksAfter), flux(t.every), flux(back), t.script(org, "start", "stop"))
}

// Downsample makes the coarser points of a time again, from what is there.
func (c *Client) Downsample(ctx context.Context, from, to time.Time) error {
	for _, t := range c.thinnings() {
		start, stop := from.Truncate(t.every), to.Add(t.every).Truncate(t.every)
		script := t.script(c.o.Org, start.UTC().Format(time.RFC3339), stop.UTC().Format(time.RFC3339))
		if _, err := c.query(ctx, script, 6*c.o.Timeout); err != nil { // nobody waits for it
			return fmt.Errorf("make %s: %w", t.name(), err)
		}
	}
	return nil
}

// setUp makes what is missing, until it has seen all.
func (c *Client) setUp(ctx context.Context) {
	for try := 0; ctx.Err() == nil; try++ {
		err := c.makeAll(ctx)
		if err == nil {
			return
		}
		c.metrics.errors.WithLabelValues("set_up").Inc()
		if !errors.Is(err, ErrAway) {
			c.log.LogAttrs(ctx, slog.LevelWarn, "the buckets of influxdb are not as they should be", slog.String("event", "influx.set_up"), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(c.o.Retry<<min(try, 7), 30*time.Second)):
		}
	}
}

func (c *Client) makeAll(ctx context.Context) error {
	org, err := c.orgID(ctx)
	if err != nil {
		return err
	}
	for i, name := range []string{c.o.Bucket, c.minutes(), c.quarters()} {
		if err := c.makeBucket(ctx, org, name, &c.keeps[i]); err != nil {
			return err
		}
	}
	for _, t := range c.thinnings() {
		if err := c.makeTask(ctx, org, &t); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) orgID(ctx context.Context) (string, error) {
	var list struct {
		Orgs []struct{ ID, Name string }
	}
	if err := c.read(ctx, "/api/v2/orgs", url.Values{"org": {c.o.Org}}, &list); err != nil {
		return "", fmt.Errorf("find the organisation: %w", err)
	}
	for _, o := range list.Orgs {
		if o.Name == c.o.Org {
			return o.ID, nil
		}
	}
	return "", fmt.Errorf("find the organisation: %w: it is not there", ErrAway)
}

func (c *Client) read(ctx context.Context, path string, q url.Values, to any) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	raw, err := c.ask(ctx, http.MethodGet, path, q, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("read the answer of %s: %w", path, err)
	}
	return nil
}

// makeBucket leaves one alone that is there: who runs the server may want another retention, which is noted.
func (c *Client) makeBucket(ctx context.Context, org, name string, keep *atomic.Int64) error {
	var list struct {
		Buckets []struct {
			Name           string
			RetentionRules []struct {
				Type         string
				EverySeconds int64
			}
		}
	}
	err := c.read(ctx, "/api/v2/buckets", url.Values{"orgID": {org}, "name": {name}}, &list)
	var none *statusError
	if err != nil && (!errors.As(err, &none) || none.code != http.StatusNotFound) {
		return fmt.Errorf("find bucket %s: %w", name, err)
	}
	for _, b := range list.Buckets {
		if b.Name == name {
			seconds := int64(0)
			for _, r := range b.RetentionRules {
				seconds = r.EverySeconds
			}
			keep.Store(seconds)
			return nil
		}
	}
	_, err = c.ask(ctx, http.MethodPost, "/api/v2/buckets", nil, map[string]any{
		"orgID": org, "name": name, "retentionRules": []any{map[string]any{"type": "expire", "everySeconds": keep.Load()}},
	})
	if errors.As(err, &none) && none.code == http.StatusUnprocessableEntity {
		return nil // another process was faster
	}
	if err != nil {
		return fmt.Errorf("make bucket %s: %w", name, err)
	}
	return nil
}

// task is one that the server has.
type task struct{ ID, Name, Flux string }

// makeTask makes a task, or makes one that is there as this version wants it. Names are not unique: of those that two
// processes have made at once, both leave the first.
func (c *Client) makeTask(ctx context.Context, org string, t *thinning) error {
	script := t.task(c.o.Org)
	have, err := c.tasks(ctx, org, t)
	if err != nil {
		return err
	}
	if len(have) == 0 {
		if _, err := c.ask(ctx, http.MethodPost, "/api/v2/tasks", nil, map[string]any{"orgID": org, "flux": script, "status": "active"}); err != nil {
			return fmt.Errorf("make task %s: %w", t.name(), err)
		}
		if have, err = c.tasks(ctx, org, t); err != nil {
			return err
		}
	}
	for i, x := range have {
		path := "/api/v2/tasks/" + url.PathEscape(x.ID)
		var gone *statusError
		switch {
		case i > 0:
			if _, err := c.ask(ctx, http.MethodDelete, path, nil, nil); err != nil && (!errors.As(err, &gone) || gone.code != http.StatusNotFound) {
				return fmt.Errorf("remove a second task %s: %w", t.name(), err)
			}
		case x.Flux != script:
			if _, err := c.ask(ctx, http.MethodPatch, path, nil, map[string]any{"flux": script}); err != nil {
				return fmt.Errorf("change task %s: %w", t.name(), err)
			}
		}
	}
	return nil
}

// tasks are those of the name, the first first.
func (c *Client) tasks(ctx context.Context, org string, t *thinning) ([]task, error) {
	var list struct{ Tasks []task }
	if err := c.read(ctx, "/api/v2/tasks", url.Values{"orgID": {org}, "name": {t.name()}, "limit": {"100"}}, &list); err != nil {
		return nil, fmt.Errorf("find task %s: %w", t.name(), err)
	}
	own := slices.DeleteFunc(list.Tasks, func(x task) bool { return x.Name != t.name() })
	slices.SortFunc(own, func(a, b task) int { return strings.Compare(a.ID, b.ID) })
	return own, nil
}

// Flux.

// quote writes a string of Flux; nothing in it is code.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"', '\\', '$':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '\n', '\r', '\t':
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quoted(all []string) string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = quote(s)
	}
	return strings.Join(out, ", ")
}

func anyOf(fields []string) string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = "r._field == " + quote(f)
	}
	return strings.Join(out, " or ")
}

// flux is a duration of Flux.
func flux(d time.Duration) string {
	ms := int64(math.Round(float64(d) / float64(time.Millisecond)))
	if ms%60_000 == 0 {
		return strconv.FormatInt(ms/60_000, 10) + "m"
	}
	if ms%1000 == 0 {
		return strconv.FormatInt(ms/1000, 10) + "s"
	}
	return strconv.FormatInt(ms, 10) + "ms"
}
