package influx

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
)

// carried are fields that stand in key points alone: their last value holds on.
var carried = [...]string{"task_id", "sampling_hz"}

// While a thing is measured these fields are. They are asked for in any case: where they are, something was measured, though
// none of what was asked for.
const (
	alwaysOfRobot  = "state"
	alwaysOfCrowds = "occupancy"
)

// silent are fields that are not written where they are "".
var silent = [...]string{"zone_id", "waiting_for", "waiting_on"}

// keyEvery is at most between two key points, and a little.
const keyEvery = 65 * time.Second

// RobotHistory reads what was measured of a robot of the tenant, wherever it was. Errors wrap ErrAway.
func (c *Client) RobotHistory(ctx context.Context, tenant fleet.TenantID, id fleet.RobotID, q fact.HistoryQuery) ([]fact.HistoryPoint, error) {
	return c.history(ctx, measurementStatus, [][2]string{{"tenant", string(tenant)}, {"robot_id", string(id)}}, q)
}

// CongestionHistory reads how full a zone or lane was. Errors wrap ErrAway.
func (c *Client) CongestionHistory(ctx context.Context, tenant fleet.TenantID, of congestion.Of, id string, q fact.HistoryQuery) ([]fact.HistoryPoint, error) {
	return c.history(ctx, measurementCongestion, [][2]string{{"tenant", string(tenant)}, {"kind", of.String()}, {"id", id}}, q)
}

// Kept is for how long points so far apart (0 = each measurement) are kept; 0 = for ever.
func (c *Client) Kept(every time.Duration) time.Duration {
	most := c.retention(0)
	for i, least := range [...]time.Duration{0, minute, quarter} {
		if keep := c.retention(i); every >= least && (keep == 0 || most != 0 && keep > most) {
			most = keep
		}
	}
	return most
}

// retention is for how long a bucket keeps what it has, the finest is 0.
func (c *Client) retention(i int) time.Duration {
	return time.Duration(c.keeps[i].Load()) * time.Second
}

// source is the finest bucket that still has the beginning of what is asked, and is fine enough for it.
func (c *Client) source(now time.Time, q *fact.HistoryQuery) (bucket string, thinned bool) {
	age := now.Sub(q.From)
	gone := func(i int) bool { return c.retention(i) > 0 && age > c.retention(i) }
	switch {
	case gone(0) && gone(1) && q.Every >= quarter:
		return c.quarters(), true
	case gone(0) && q.Every >= minute:
		return c.minutes(), true
	}
	return c.o.Bucket, false
}

// history asks; the first of the tags is the tenant's, whose turn it waits for.
func (c *Client) history(ctx context.Context, measurement string, tags [][2]string, q fact.HistoryQuery) ([]fact.HistoryPoint, error) {
	bucket, thinned := c.source(time.Now(), &q)
	asked := len(q.Columns)
	always := alwaysOfRobot
	if measurement == measurementCongestion {
		always = alwaysOfCrowds
	}
	q.Columns = append(slices.Clone(q.Columns), fact.Column{Field: always, Agg: fact.Last})
	from := q.From
	raw := q.Every == 0
	carries := raw && slices.ContainsFunc(q.Columns, func(col fact.Column) bool { return slices.Contains(carried[:], col.Field) })
	if carries {
		from = from.Add(-keyEvery)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "data = from(bucket: %s)\n  |> range(start: %s, stop: %s)\n  |> filter(fn: (r) => r._measurement == %s",
		quote(bucket), from.UTC().Format(time.RFC3339Nano), q.To.UTC().Format(time.RFC3339Nano), quote(measurement))
	for _, t := range tags {
		fmt.Fprintf(&b, " and r.%s == %s", t[0], quote(t[1]))
	}
	b.WriteString(")\n")
	by := map[fact.Agg][]string{}
	for _, col := range q.Columns {
		agg := col.Agg
		if raw {
			agg = fact.Last
		}
		if !slices.Contains(by[agg], col.Field) {
			by[agg] = append(by[agg], col.Field)
		}
	}
	for agg := fact.Mean; agg <= fact.Max; agg++ {
		fields := by[agg]
		if len(fields) == 0 {
			continue
		}
		fmt.Fprintf(&b, "data\n  |> filter(fn: (r) => %s)\n", anyOf(fields))
		if thinned {
			fmt.Fprintf(&b, "  |> filter(fn: (r) => r.agg == %s)\n", quote(agg.String()))
		}
		if !raw {
			fmt.Fprintf(&b, "  |> aggregateWindow(every: %s, fn: %s, createEmpty: false, timeSrc: \"_start\")\n", flux(q.Every), agg)
		} else {
			fmt.Fprintf(&b, "  |> limit(n: %d)\n", q.Limit+int(2*keyEvery/time.Second)*10)
		}
		fmt.Fprintf(&b, "  |> keep(columns: [\"_time\", \"_field\", \"_value\"])\n  |> yield(name: %s)\n", quote(agg.String()))
	}
	done, err := c.turns.take(ctx, fleet.TenantID(tags[0][1]))
	if err != nil {
		return nil, err
	}
	defer done()
	cells, err := c.query(ctx, b.String(), c.o.Timeout)
	if err != nil {
		return nil, err
	}
	return assemble(cells, q, asked), nil
}

// errQuery: the server has begun to answer and could not end it.
var errQuery = errors.New("influxdb cannot answer")

// cell is one value of a result.
type cell struct {
	agg   fact.Agg
	at    time.Time
	field string
	value any
}

// assemble makes points of cells, the oldest first. They have the values of the first columns, as many as were asked for.
func assemble(cells []cell, q fact.HistoryQuery, asked int) []fact.HistoryPoint {
	slices.SortStableFunc(cells, func(a, b cell) int { return a.at.Compare(b.at) })
	hold := make([]any, len(q.Columns))
	var out []fact.HistoryPoint
	for i := 0; i < len(cells); {
		p := fact.HistoryPoint{At: cells[i].at, Values: make([]any, len(q.Columns))}
		for ; i < len(cells) && cells[i].at.Equal(p.At); i++ {
			for k, col := range q.Columns {
				if col.Field == cells[i].field && (q.Every == 0 || col.Agg == cells[i].agg) {
					p.Values[k] = cells[i].value
				}
			}
		}
		if q.Every == 0 {
			for k, col := range q.Columns {
				if slices.Contains(carried[:], col.Field) {
					hold[k] = cmp.Or(p.Values[k], hold[k])
					p.Values[k] = hold[k]
				}
			}
		}
		if p.At.Before(q.From) || !p.At.Before(q.To) || slices.IndexFunc(p.Values, func(v any) bool { return v != nil }) < 0 {
			continue
		}
		if p.Values[asked] != nil {
			for k, col := range q.Columns {
				if p.Values[k] == nil && slices.Contains(silent[:], col.Field) {
					p.Values[k] = ""
				}
			}
		}
		p.Values = p.Values[:asked]
		if out = append(out, p); len(out) == q.Limit {
			break
		}
	}
	return out
}

// query runs a script and reads all it yields.
func (c *Client) query(ctx context.Context, script string, within time.Duration) ([]cell, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	raw, err := c.askBy(ctx, c.asking, http.MethodPost, "/api/v2/query", url.Values{"org": {c.o.Org}}, map[string]any{
		"query": script, "type": "flux", "dialect": map[string]any{"annotations": []string{"datatype"}, "header": true},
	})
	if err != nil {
		c.metrics.errors.WithLabelValues("query").Inc()
		return nil, err
	}
	return readCSV(strings.NewReader(string(raw)))
}

// readCSV reads annotated CSV: tables, each with its types and its names.
func readCSV(r io.Reader) ([]cell, error) {
	rd := csv.NewReader(r)
	rd.FieldsPerRecord, rd.ReuseRecord = -1, true
	var cells []cell
	var types []string
	at := map[string]int{}
	header := false
	for {
		row, err := rd.Read()
		if errors.Is(err, io.EOF) {
			return cells, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the answer of influxdb: %w", err)
		}
		switch {
		case strings.HasPrefix(row[0], "#datatype"):
			types, header = slices.Clone(row), true
			continue
		case header || len(at) == 0 || row[0] == "" && len(row) > 1 && row[1] == "result" || row[0] == "error":
			header = false
			clear(at)
			for i, name := range row {
				at[name] = i
			}
			continue
		}
		get := func(name string) string {
			if i, ok := at[name]; ok && i < len(row) {
				return row[i]
			}
			return ""
		}
		if _, ok := at["error"]; ok {
			return nil, fmt.Errorf("%w: %s", errQuery, get("error"))
		}
		c, err := cellOf(get, at["_value"] < len(types) && types[at["_value"]] == "string")
		if err != nil {
			return nil, err
		}
		if c.field != "" {
			cells = append(cells, c)
		}
	}
}

// cellOf reads a row by the names of its columns; text tells that its value is one.
func cellOf(get func(name string) string, text bool) (c cell, err error) {
	if get("_time") == "" || get("_field") == "" {
		return c, nil
	}
	if c.at, err = time.Parse(time.RFC3339Nano, get("_time")); err != nil {
		return c, fmt.Errorf("read a time of influxdb: %w", err)
	}
	c.at, c.field = c.at.UTC(), strings.Clone(get("_field"))
	c.agg, _ = fact.ParseAgg(get("result"))
	value := get("_value")
	switch {
	case text:
		c.value = strings.Clone(value)
	case value == "":
		c.field = "" // null
	default:
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return c, fmt.Errorf("read a value of influxdb: %w", err)
		}
		c.value = f
	}
	return c, nil
}
