package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/gateway/auth"
	"starling/gateway/history"
)

// History tells what was measured. (gateway/history.)
type History interface {
	Robot(ctx context.Context, tenant fleet.TenantID, id fleet.RobotID, q history.Query) (history.Series, error)
	Congestion(ctx context.Context, tenant fleet.TenantID, of congestion.Of, id string, q history.Query) (history.Series, error)
}

// The bounds of what may be asked.
const (
	mostColumns  = 40
	longestEvery = 24 * time.Hour
	usualSpan    = time.Hour
	longestSpan  = 2 * 366 * 24 * time.Hour
	leastGap     = 30 * time.Second
	crowdGap     = 45 * time.Second // zones are scored every 10 s
)

// HistoryQuery is the query of every history.
type HistoryQuery struct {
	From   time.Time `query:"from" doc:"The first instant; absent = an hour before to"`
	To     time.Time `query:"to" doc:"The first instant that is not in it any more; absent = now"`
	Fields []string  `query:"fields" maxItems:"40" doc:"Which, separated by commas; of a window the mean of a number and the last of anything else, or what a suffix says: battery_soc.min. Absent = the usual ones"`
	Every  string    `query:"every" maxLength:"16" pattern:"^[1-9][0-9]{0,7}(ms|s|m|h|d)?$" doc:"One point for each window of that length, 1 s to 1 d: 30s, 5m, 1h; a number alone is seconds. Absent = every measurement"`
	Agg    string    `query:"agg" enum:"mean,last,min,max" default:"mean" doc:"Of windows: what holds for fields without a suffix"`
	Limit  int       `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"Points of a page"`
	Cursor string    `query:"cursor" maxLength:"64" doc:"next_cursor of the page before"`
}

type historyItem struct {
	At     string         `json:"at" format:"date-time" doc:"Of the measurement, or the beginning of the window or gap"`
	Fields map[string]any `json:"fields" nullable:"true" doc:"By the names that were asked for; null = a gap: nothing was measured"`
}

type historyBody struct {
	Items         []historyItem `json:"items" doc:"The oldest first"`
	Every         *string       `json:"every" doc:"As asked for; null = every measurement"`
	Source        string        `json:"source" enum:"store,memory,both" doc:"memory: the time-series store is not there or does not answer, and this is what the engine remembers"`
	ExpiredBefore *string       `json:"expired_before" format:"date-time" doc:"What lies before is not kept so finely any more: that there is nothing is no gap. null = all that was asked is kept"`
	Next          *string       `json:"next_cursor" doc:"null at the end"`
}

// historyOut is rendered by hand: JSON or CSV.
type historyOut struct {
	ContentType string `header:"Content-Type"`
	Vary        string `header:"Vary"`
	NextCursor  string `header:"X-Next-Cursor"`
	Expired     string `header:"X-Expired-Before"`
	Body        []byte
}

func (a *api) histories() {
	type robotQuery struct {
		ID string `path:"robot_id" format:"uuid"`
		HistoryQuery
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/robots/{robot_id}/history", id: "robot-history", summary: "What was measured of a robot", tag: "robots", status: 200, answer: historyBody{}},
		func(ctx context.Context, who *auth.Identity, in *robotQuery) (*historyOut, error) {
			q, err := a.historyOf(&in.HistoryQuery, fact.RobotFields(), []string{"x", "y", "theta", "velocity_mps", "battery_soc", "state"})
			if err != nil {
				return nil, err
			}
			r, err := a.robot(ctx, who, in.ID)
			if err != nil {
				return nil, err
			}
			q.Gap = leastGap
			if a.Quotas != nil {
				settings := a.Quotas.Settings(ctx, who.Tenant)
				q.Gap = gapOf(settings.Sampling(r.Spec.Warehouse))
			}
			return a.series(ctx, &in.HistoryQuery, func() (history.Series, error) {
				return a.History.Robot(ctx, who.Tenant, r.Spec.ID, *q)
			})
		})
	type zoneQuery struct {
		ID string `path:"zone_id" format:"uuid"`
		HistoryQuery
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/congestion/zones/{zone_id}/history", id: "zone-history", summary: "How congested a zone was", tag: "congestion", status: 200, answer: historyBody{}},
		func(ctx context.Context, who *auth.Identity, in *zoneQuery) (*historyOut, error) {
			return a.crowd(ctx, who, &in.HistoryQuery, congestion.OfZone, in.ID, func() error {
				_, err := a.Facts.GetZone(ctx, who.Tenant, fleet.ZoneID(in.ID))
				return err
			})
		})
	type laneQuery struct {
		ID string `path:"lane_id" format:"uuid"`
		HistoryQuery
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/congestion/lanes/{lane_id}/history", id: "lane-history", summary: "How congested a lane was", tag: "congestion", status: 200, answer: historyBody{}},
		func(ctx context.Context, who *auth.Identity, in *laneQuery) (*historyOut, error) {
			return a.crowd(ctx, who, &in.HistoryQuery, congestion.OfLane, in.ID, func() error {
				_, err := a.Facts.GetLane(ctx, who.Tenant, fleet.LaneID(in.ID))
				return err
			})
		})
	for _, path := range []string{"/api/v1/robots/{robot_id}/history", "/api/v1/congestion/zones/{zone_id}/history", "/api/v1/congestion/lanes/{lane_id}/history"} {
		answer := a.huma.OpenAPI().Paths[path].Get.Responses["200"]
		answer.Content["text/csv"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: "For whoever accepts it: at and the fields; a gap is a row with its time alone"}}
	}
}

// gapOf is the silence that no pace of a robot explains.
func gapOf(s robot.Sampling) time.Duration {
	slowest := min(s.IdleHz, s.MovingHz, s.AlarmedHz)
	return max(leastGap, time.Duration(2.5/slowest*float64(time.Second)))
}

// crowd answers the history of a zone or lane that there is.
func (a *api) crowd(ctx context.Context, who *auth.Identity, in *HistoryQuery, of congestion.Of, id string, exists func() error) (*historyOut, error) {
	q, err := a.historyOf(in, fact.CongestionFields(), []string{"congestion_index", "risk_score", "confidence", "mean_speed_mps", "queue_length", "occupancy", "production"})
	if err != nil {
		return nil, err
	}
	if err := exists(); err != nil {
		return nil, err
	}
	q.Gap = crowdGap
	return a.series(ctx, in, func() (history.Series, error) { return a.History.Congestion(ctx, who.Tenant, of, id, *q) })
}

// historyOf checks what is asked.
func (a *api) historyOf(in *HistoryQuery, known []fact.Field, usual []string) (*history.Query, error) {
	var bad faults
	now := a.Now().UTC()
	q := &history.Query{HistoryQuery: fact.HistoryQuery{From: in.From.UTC(), To: in.To.UTC(), Limit: in.Limit}}
	if in.To.IsZero() {
		q.To = now
		if !in.From.IsZero() && !in.From.Before(now) {
			bad.add("query.from", "want a time that has passed")
		}
	}
	if in.From.IsZero() {
		q.From = q.To.Add(-usualSpan)
	}
	switch {
	case len(bad) > 0:
	case !q.From.Before(q.To):
		bad.add("query.to", "want a time after from")
	case q.To.Sub(q.From) > longestSpan:
		bad.add("query.from", "at most two years")
	}
	if in.Every != "" {
		every, ok := parseEvery(in.Every)
		if !ok {
			bad.add("query.every", "want 1s..1d")
		}
		q.Every = every
	}
	agg, _ := fact.ParseAgg(cmp.Or(in.Agg, "mean"))
	names := in.Fields
	if len(names) == 0 {
		names = usual
	}
	for _, name := range names {
		c, problem := columnOf(name, agg, known)
		if problem != "" {
			bad.add("query.fields", problem)
			break
		}
		q.Columns = append(q.Columns, c)
	}
	if err := bad.err(); err != nil {
		return nil, err
	}
	in.Fields = names
	if in.Cursor != "" {
		at, ok := readCursor(in.Cursor)
		if !ok || at.Before(q.From.Add(-longestEvery)) || !at.Before(q.To) {
			return nil, fact.ErrBadCursor
		}
		q.From = at
	}
	return q, nil
}

// columnOf reads a field's name, with or without a suffix.
func columnOf(name string, agg fact.Agg, known []fact.Field) (c fact.Column, problem string) {
	field, suffix, suffixed := strings.Cut(name, ".")
	i := slices.IndexFunc(known, func(f fact.Field) bool { return f.Name == field })
	if i < 0 {
		all := make([]string, len(known))
		for k, f := range known {
			all[k] = f.Name
		}
		return c, "want some of " + strings.Join(all, ", ")
	}
	own := agg
	if suffixed {
		var ok bool
		if own, ok = fact.ParseAgg(suffix); !ok {
			return c, "want a suffix of " + strings.Join(fact.Aggs(), ", ")
		}
		if known[i].Lasts() && own != fact.Last {
			return c, field + " has a last value alone"
		}
	}
	if known[i].Lasts() {
		own = fact.Last
	}
	return fact.Column{Field: field, Agg: own}, ""
}

// parseEvery reads the length of a window.
func parseEvery(s string) (time.Duration, bool) {
	unit, digits := time.Second, s
	for _, u := range []struct {
		suffix string
		unit   time.Duration
	}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}} {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			unit, digits = u.unit, rest
			break
		}
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n > int(longestEvery/time.Millisecond) {
		return 0, false
	}
	d := time.Duration(n) * unit
	return d, d >= time.Second && d <= longestEvery
}

func writeCursor(at time.Time) string {
	return base64.RawURLEncoding.EncodeToString([]byte("t" + strconv.FormatInt(at.UnixMilli(), 10)))
}

func readCursor(s string) (time.Time, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	digits, ok := strings.CutPrefix(string(raw), "t")
	if err != nil || !ok {
		return time.Time{}, false
	}
	ms, err := strconv.ParseInt(digits, 10, 64)
	return time.UnixMilli(ms).UTC(), err == nil
}

// series tells a history in the form that the client takes.
func (a *api) series(ctx context.Context, in *HistoryQuery, tell func() (history.Series, error)) (*historyOut, error) {
	if a.History == nil {
		return nil, newError(http.StatusServiceUnavailable, codeUnavailable, "this process keeps no history")
	}
	s, err := tell()
	if errors.Is(err, history.ErrAway) {
		return nil, fmt.Errorf("%w: %w", fact.ErrUnavailable, err)
	}
	if err != nil {
		return nil, err
	}
	out := &historyOut{ContentType: "application/json", Vary: "Accept"}
	for i := range s.Points {
		for k, v := range s.Points[i].Values {
			if f, ok := v.(float64); ok { // a micrometre, or a millionth of a battery, is less than anybody measures
				s.Points[i].Values[k] = math.Round(f*1e6) / 1e6
			}
		}
	}
	if !s.Next.IsZero() {
		out.NextCursor = writeCursor(s.Next)
	}
	if !s.Expired.IsZero() {
		out.Expired = ts(s.Expired)
	}
	if wantsCSV(requestOf(ctx).accept) {
		out.ContentType = "text/csv; charset=utf-8; header=present"
		out.Body, err = historyCSV(in.Fields, &s)
		return out, err
	}
	body := historyBody{Items: make([]historyItem, len(s.Points)), Every: text(in.Every), Source: s.Source, ExpiredBefore: text(out.Expired), Next: text(out.NextCursor)}
	for i, p := range s.Points {
		body.Items[i].At = ts(p.At)
		if p.Values == nil {
			continue
		}
		fields := make(map[string]any, len(p.Values))
		for k, v := range p.Values {
			fields[in.Fields[k]] = v
		}
		body.Items[i].Fields = fields
	}
	out.Body, err = json.Marshal(body)
	return out, err
}

// historyCSV is a table: at and the fields; a gap is a row with nothing but its time.
func historyCSV(fields []string, s *history.Series) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true // RFC 4180
	_ = w.Write(append([]string{"at"}, fields...))
	row := make([]string, len(fields)+1)
	for _, p := range s.Points {
		clear(row)
		row[0] = ts(p.At)
		for k, v := range p.Values {
			switch v := v.(type) {
			case float64:
				row[k+1] = strconv.FormatFloat(v, 'f', -1, 64)
			case string:
				row[k+1] = v
			}
		}
		_ = w.Write(row)
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// wantsCSV says whether a client takes CSV rather than JSON.
func wantsCSV(accept string) bool {
	best, weight := "", 0.0
	for part := range strings.SplitSeq(accept, ",") {
		media, params, _ := strings.Cut(part, ";")
		q := 1.0
		for p := range strings.SplitSeq(params, ";") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
				q, _ = strconv.ParseFloat(v, 64)
			}
		}
		media = strings.ToLower(strings.TrimSpace(media))
		if q > weight && slices.Contains([]string{"text/csv", "application/json", "application/*", "*/*"}, media) {
			best, weight = media, q
		}
	}
	return best == "text/csv"
}
