package rest

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/gateway/auth"
	"starling/gateway/view"
)

// Diagrams tells what was learned of how zones flow. (actors.Scorer.)
type Diagrams interface {
	Diagram(shard fleet.Shard, zone fleet.ZoneID) (congestion.Shown, bool)
}

// HotspotBody is how congested a zone or lane is, or is expected to be: an item of hotspots, and of the live channel.
type HotspotBody struct {
	Kind        string   `json:"kind" enum:"zone,lane"`
	ID          string   `json:"id" format:"uuid"`
	WarehouseID string   `json:"warehouse_id" format:"uuid"`
	At          string   `json:"at" format:"date-time" doc:"end of the ten seconds that were measured"`
	Index       float64  `json:"congestion_index" minimum:"0" maximum:"1" doc:"the share of robot time that is lost against free driving; with a horizon the one that is expected"`
	Risk        float64  `json:"risk_score" minimum:"0" maximum:"1" doc:"that it reaches level 2 within a minute, gridlocks, or is cut off"`
	Confidence  float64  `json:"confidence" minimum:"0" maximum:"1"`
	Level       int      `json:"level" minimum:"0" maximum:"3" doc:"as it was measured; with a horizon 0"`
	SpeedRatio  float64  `json:"mean_speed_ratio" minimum:"0" maximum:"1" doc:"of the speed of free driving"`
	SpeedMPS    float64  `json:"mean_speed_mps"`
	Queue       int      `json:"queue_length" doc:"robots that wait for others"`
	Occupancy   int      `json:"occupancy"`
	Capacity    int      `json:"capacity"`
	Production  float64  `json:"production" doc:"moves a second"`
	Density     float64  `json:"density"`
	Critical    float64  `json:"critical_density" doc:"beyond which production falls"`
	Waiting     float64  `json:"waiting_share"`
	Inbound     int      `json:"inbound" doc:"robots elsewhere that want to be there"`
	Trend       float64  `json:"trend" doc:"change of the index within the last minute"`
	Forecast    float64  `json:"forecast_60" doc:"the index in a minute, by persistence and inbound demand"`
	Actions     []action `json:"suggested_actions" doc:"what may be done about it, the best first"`
}

type action struct {
	Kind     string          `json:"action" enum:"reroute,cap_admission,close_lane,hold_tasks,send_charging,cap_active"`
	Label    string          `json:"label"`
	Expected effect          `json:"expected"`
	Method   string          `json:"method"`
	Path     string          `json:"path"`
	Body     json.RawMessage `json:"body,omitempty"`
	Roles    []string        `json:"roles,omitempty" doc:"who may do it: one of these roles; left out where all are told the same"`
	Allowed  *bool           `json:"allowed,omitempty" doc:"whether the token that asked may do it; left out where all are told the same"`
}

type effect struct {
	Index   float64 `json:"congestion_index" doc:"change of the index; less than 0 = less of a jam"`
	Robots  int     `json:"robots" doc:"that it touches"`
	WithinS int     `json:"within_s"`
}

type hotspotsBody struct {
	GeneratedAt string        `json:"generated_at" format:"date-time"`
	HorizonS    int           `json:"horizon_seconds"`
	Source      string        `json:"source" enum:"observed,model,persistence" doc:"persistence: as it is, how it changed lately, and the robots that are on their way there"`
	Warehouse   *siteBody     `json:"warehouse" doc:"the warehouse as a whole; null = nothing was measured yet"`
	Items       []hotspotItem `json:"items" doc:"the worst first"`
}

type hotspotItem struct {
	HotspotBody
	Recent []float64 `json:"recent" doc:"indices of the last five minutes, one for ten seconds, the oldest first"`
}

type siteBody struct {
	At         string    `json:"at" format:"date-time"`
	Index      float64   `json:"congestion_index"`
	Risk       float64   `json:"risk_score"`
	Confidence float64   `json:"confidence"`
	Level      int       `json:"level"`
	SpeedRatio float64   `json:"mean_speed_ratio"`
	Queue      int       `json:"queue_length"`
	Occupancy  int       `json:"occupancy"`
	Capacity   int       `json:"capacity"`
	Production float64   `json:"production"`
	Forecast   float64   `json:"forecast_60"`
	Recent     []float64 `json:"recent"`
	_          struct{}  `nullable:"true"`
}

// round keeps four digits: more is noise.
func round(v float64) float64 { return math.Round(v*1e4) / 1e4 }

func roundAll(all []float64) []float64 {
	out := make([]float64, len(all))
	for i, v := range all {
		out[i] = round(v)
	}
	return out
}

// Hotspot renders a score, for here and for the live channel.
func Hotspot(w fleet.WarehouseID, h *congestion.Hotspot) HotspotBody {
	if h.Actions == nil {
		h.Actions = congestion.Suggest(string(w), &h.Score)
	}
	b := HotspotBody{
		Kind: h.Of.String(), ID: h.ID, WarehouseID: string(w), At: ts(h.At), Index: round(h.Index), Risk: round(h.Risk),
		Confidence: round(h.Confidence), Level: h.Level, SpeedRatio: round(h.SpeedRatio), SpeedMPS: round(h.SpeedMPS), Queue: h.Queue,
		Occupancy: h.Occupancy, Capacity: h.Capacity, Production: round(h.Production), Density: round(h.Density), Critical: round(h.Critical),
		Waiting: round(h.WaitingShare), Inbound: h.Inbound, Trend: round(h.Trend), Forecast: round(h.Forecast), Actions: make([]action, len(h.Actions)),
	}
	for i := range h.Actions {
		x := &h.Actions[i]
		b.Actions[i] = action{
			Kind: x.Kind.String(), Label: x.Label, Expected: effect{round(x.Expected.Index), x.Expected.Robots, x.Expected.WithinS},
			Method: x.Method, Path: x.Path, Body: x.Body,
		}
	}
	return b
}

// HeatBody renders a score as the live channel tells it.
func HeatBody(c *fact.Congestion) any {
	return Hotspot(c.Shard.Warehouse, &congestion.Hotspot{Score: c.Score, Source: congestion.SourceObserved})
}

func (a *api) hotspots() {
	type query struct {
		WarehouseID string `query:"warehouse_id" required:"true" format:"uuid"`
		Horizon     string `query:"horizon_seconds" enum:"0,60,300,900" default:"0" doc:"0 = as it was measured last"`
		Limit       int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	}
	type out struct{ Body hotspotsBody }
	add(a, op{method: http.MethodGet, path: "/api/v1/congestion/hotspots", id: "list-hotspots", summary: "Where it jams, or will", tag: "congestion", engine: true},
		func(ctx context.Context, who *auth.Identity, in *query) (*out, error) {
			shard, err := a.shardOf(ctx, who, in.WarehouseID, "query.warehouse_id")
			if err != nil {
				return nil, err
			}
			seconds, _ := strconv.Atoi(in.Horizon) // it is one of those
			return &out{a.hotspotsOf(who, shard, time.Duration(seconds)*time.Second, in.Limit)}, nil
		})
	a.diagrams()
	a.remedies()
}

func (a *api) hotspotsOf(who *auth.Identity, shard fleet.Shard, horizon time.Duration, limit int) hotspotsBody {
	b := hotspotsBody{GeneratedAt: ts(a.Now()), HorizonS: int(horizon.Seconds()), Source: congestion.SourceObserved, Items: []hotspotItem{}}
	if horizon > 0 {
		b.Source = congestion.SourcePersistence
	}
	heat := a.Views.Congestion(shard)
	scores := make([]congestion.Score, len(heat))
	recent := make(map[congestion.Subject][]float64, len(heat))
	for i := range heat {
		h := &heat[i]
		scores[i], recent[h.Subject] = h.Score, h.Recent
		if h.Of == congestion.OfWarehouse {
			b.Warehouse = siteOf(h)
		}
	}
	var held []congestion.Held
	if a.Remedies != nil {
		held = a.Remedies.List(shard)
	}
	for _, h := range congestion.Hotspots(scores, horizon, limit) {
		h.Actions = untried(congestion.Suggest(string(shard.Warehouse), &h.Score), held)
		item := hotspotItem{Hotspot(shard.Warehouse, &h), roundAll(recent[h.Subject])}
		for i := range item.Actions {
			a.permit(&item.Actions[i], h.Actions[i].Kind, who)
		}
		b.Items = append(b.Items, item)
	}
	return b
}

// untried are the suggestions that are not in force already. Never nil.
func untried(all []congestion.Action, held []congestion.Held) []congestion.Action {
	out := make([]congestion.Action, 0, len(all))
	for i := range all {
		x := &all[i]
		if !slices.ContainsFunc(held, func(h congestion.Held) bool { return h.Kind == x.Kind && h.Subject == x.Subject }) {
			out = append(out, *x)
		}
	}
	return out
}

// permit says who may do what is suggested.
func (a *api) permit(x *action, kind congestion.ActionKind, who *auth.Identity) {
	door := "POST /api/v1/congestion/remedies"
	if kind == congestion.CloseLane {
		door = "PATCH /api/v1/lanes/{lane_id}"
	}
	if rule := a.policy.Rule(door); rule != nil {
		may := rule.Allows(who)
		x.Roles, x.Allowed = rule.Every(), &may
	}
}

func siteOf(h *view.Heat) *siteBody {
	return &siteBody{
		At: ts(h.At), Index: round(h.Index), Risk: round(h.Risk), Confidence: round(h.Confidence), Level: h.Level, SpeedRatio: round(h.SpeedRatio),
		Queue: h.Queue, Occupancy: h.Occupancy, Capacity: h.Capacity, Production: round(h.Production), Forecast: round(h.Forecast), Recent: roundAll(h.Recent),
	}
}

type diagramPoint struct {
	Density    float64 `json:"density" doc:"robots per vertex"`
	Production float64 `json:"production" doc:"moves a second"`
	Weight     float64 `json:"weight" doc:"tens of seconds that count, those of long ago less"`
}

type diagramBody struct {
	ZoneID   string         `json:"zone_id" format:"uuid"`
	Kind     string         `json:"kind" enum:"open,aisle,one_lane,parking,charging" doc:"how its vertices hang together, or what stands there"`
	Class    string         `json:"class" enum:"open,aisle,one_lane" doc:"zones of which it is compared with"`
	Capacity int            `json:"capacity" doc:"vertices"`
	Points   []diagramPoint `json:"points" doc:"what was seen, by density"`
	OfClass  []diagramPoint `json:"of_class" doc:"what was seen in zones of its class, for as many vertices"`
	Critical float64        `json:"critical_density" doc:"beyond which production falls: seen here, else in zones of its class, else what is usual there"`
	Greatest float64        `json:"greatest_production" doc:"moves a second at the critical density; 0 = not seen yet"`
	Known    bool           `json:"peak_known" doc:"production was seen to fall beyond its greatest"`
	FreeMPS  float64        `json:"free_speed_mps" doc:"of robots when nobody is in the way; 0 = not known yet"`
	Now      diagramNow     `json:"now"`
}

type diagramNow struct {
	Density    float64 `json:"density"`
	Production float64 `json:"production"`
	Level      int     `json:"level"`
}

func (a *api) diagrams() {
	type get struct {
		ID string `path:"zone_id" format:"uuid"`
	}
	type out struct{ Body diagramBody }
	add(a, op{method: http.MethodGet, path: "/api/v1/congestion/zones/{zone_id}/diagram", id: "zone-diagram", summary: "How a zone flows: production over density, as it was learned, and where it is now", tag: "congestion", engine: true, also: []int{http.StatusPreconditionFailed}},
		func(ctx context.Context, who *auth.Identity, in *get) (*out, error) {
			z, err := a.Facts.GetZone(ctx, who.Tenant, fleet.ZoneID(in.ID))
			if err != nil {
				return nil, err
			}
			shard := fleet.Shard{Tenant: who.Tenant, Warehouse: z.Warehouse}
			var d congestion.Shown
			known := false
			if a.Diagrams != nil {
				d, known = a.Diagrams.Diagram(shard, z.ID)
			}
			if !known {
				return nil, newError(http.StatusPreconditionFailed, codePrecondition, "nothing was measured there: it is no traffic zone of the active map, or no robot has said anything yet")
			}
			h, _ := a.Views.CongestionOf(shard, congestion.Subject{Of: congestion.OfZone, ID: string(z.ID)})
			return &out{diagramBody{
				ZoneID: string(z.ID), Kind: d.Kind.String(), Class: d.Class.String(), Capacity: d.Capacity, Points: pointsOf(d.Own), OfClass: pointsOf(d.OfClass),
				Critical: round(d.Critical), Greatest: round(d.Greatest), Known: d.Known, FreeMPS: round(d.FreeMPS),
				Now: diagramNow{round(d.Density), round(d.Production), h.Level},
			}}, nil
		})
}

func pointsOf(bins []congestion.DiagramBin) []diagramPoint {
	out := make([]diagramPoint, len(bins))
	for i, d := range bins {
		out[i] = diagramPoint{round(d.Density), round(d.Production), round(d.Weight)}
	}
	return out
}
