package rest

import (
	"context"
	"errors"
	"maps"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/gateway/auth"
)

type laneBody struct {
	LaneID   string      `json:"lane_id" format:"uuid"`
	MapID    string      `json:"map_id" format:"uuid"`
	From     string      `json:"from"`
	To       string      `json:"to"`
	LengthM  float64     `json:"length_m"`
	SpeedMPS *float64    `json:"speed_limit_mps"`
	Closed   bool        `json:"closed"`
	Reason   *string     `json:"reason"`
	Geometry lineGeoJSON `json:"geometry"`
}

type laneWish struct {
	Closed   *bool    `json:"closed,omitempty"`
	SpeedMPS *float64 `json:"speed_limit_mps,omitempty" minimum:"0" maximum:"100" doc:"0 = as in the map"`
	Reason   string   `json:"reason,omitempty" maxLength:"500"`
}

type lineGeoJSON struct {
	Type        string        `json:"type" enum:"LineString"`
	Coordinates [2][2]float64 `json:"coordinates"`
}

func laneOf(l *fact.Lane) laneBody {
	b := laneBody{
		LaneID: string(l.ID), MapID: string(l.Map), From: l.From, To: l.To, LengthM: l.LengthM, Closed: l.Closed, Reason: text(l.Reason),
		Geometry: lineGeoJSON{"LineString", l.Points},
	}
	if l.SpeedMPS > 0 {
		b.SpeedMPS = &l.SpeedMPS
	}
	return b
}

func (a *api) lanes() {
	type query struct {
		Paged
		Placed
		MapID string `query:"map_id" required:"true" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/lanes", id: "list-lanes", summary: "Lanes of a map", tag: "maps", status: 200, answer: list[laneBody]{}},
		func(ctx context.Context, who *auth.Identity, in *query) (*placedOut, error) {
			area, err := in.area()
			if err != nil {
				return nil, err
			}
			if _, err := a.Facts.GetMap(ctx, who.Tenant, fleet.MapID(in.MapID)); err != nil {
				return nil, err
			}
			l, err := a.Facts.ListLanes(ctx, who.Tenant, fact.LaneFilter{Map: fleet.MapID(in.MapID), At: area}, in.page())
			if err != nil {
				return nil, err
			}
			return placedOf(&in.Placed, &listOf(l, laneOf).Body, lanePart)
		})
	alsoFeatures[lineGeoJSON, laneFeature](a, "/api/v1/lanes", "LaneFeatures")
	type patch struct {
		ID   string `path:"lane_id" format:"uuid"`
		Body laneWish
	}
	type out struct{ Body laneBody }
	add(a, op{method: http.MethodPatch, path: "/api/v1/lanes/{lane_id}", id: "patch-lane", summary: "Close, open or slow a lane", tag: "maps", engine: true},
		func(ctx context.Context, who *auth.Identity, in *patch) (*out, error) {
			l, err := a.Facts.GetLane(ctx, who.Tenant, fleet.LaneID(in.ID))
			if err != nil {
				return nil, err
			}
			m := dispatch.LaneRequested{Lane: l.ID, Closed: in.Body.Closed, SpeedMPS: in.Body.SpeedMPS, Reason: in.Body.Reason, By: by(who), Trace: traceOf(ctx)}
			if _, err := a.Engine.ChangeLane(ctx, fleet.Shard{Tenant: who.Tenant, Warehouse: l.Warehouse}, m); err != nil {
				return nil, err
			}
			l, err = a.Facts.GetLane(ctx, who.Tenant, l.ID)
			return &out{laneOf(&l)}, err
		})
}

type polygonGeoJSON struct {
	Type        string `json:"type" enum:"Polygon"`
	Coordinates []ring `json:"coordinates" minItems:"1" maxItems:"1" doc:"one closed ring, in map metres"`
}

type ring [][2]float64

// Schema implements huma.SchemaProvider.
func (ring) Schema(huma.Registry) *huma.Schema {
	two, four, thousand, far, near := 2, 4, 1000, 1e6, -1e6
	return &huma.Schema{Type: huma.TypeArray, MinItems: &four, MaxItems: &thousand, Items: &huma.Schema{
		Type: huma.TypeArray, MinItems: &two, MaxItems: &two, Items: &huma.Schema{Type: huma.TypeNumber, Minimum: &near, Maximum: &far},
	}}
}

type zoneBody struct {
	ZoneID    string         `json:"zone_id" format:"uuid"`
	MapID     string         `json:"map_id" format:"uuid"`
	Kind      string         `json:"kind" enum:"traffic,keep_out,slow,parking,charging"`
	Name      string         `json:"name"`
	Capacity  int            `json:"capacity"`
	Polygon   polygonGeoJSON `json:"polygon"`
	Version   int64          `json:"version"`
	Occupancy *int           `json:"occupancy" doc:"traffic zones: robots in it now"`
	Queue     *int           `json:"queue_length" doc:"traffic zones: robots with a task that wait"`
}

func (a *api) zoneOf(who *auth.Identity) func(*fact.Zone) zoneBody {
	return func(z *fact.Zone) zoneBody {
		b := zoneBody{
			ZoneID: string(z.ID), MapID: string(z.Map), Kind: z.Kind, Name: z.Name, Capacity: z.Capacity, Version: z.Version,
			Polygon: polygonGeoJSON{"Polygon", []ring{ring(z.Polygon)}},
		}
		if z.Kind == "traffic" && a.Views != nil {
			if v, _, ok := a.Views.Zone(fleet.Shard{Tenant: who.Tenant, Warehouse: z.Warehouse}, z.ID); ok {
				b.Occupancy, b.Queue = &v.Occupancy, &v.Queue
			}
		}
		return b
	}
}

type newZone struct {
	MapID    uid            `json:"map_id" format:"uuid"`
	Kind     string         `json:"kind" enum:"keep_out,slow,parking,charging"`
	Name     string         `json:"name,omitempty" maxLength:"200"`
	Capacity whole          `json:"capacity,omitempty" minimum:"0" maximum:"1000000"`
	Polygon  polygonGeoJSON `json:"polygon"`
}

type zoneGot struct {
	ETag string `header:"ETag"`
	Body zoneBody
}

type zoneOut struct {
	Status   int
	ETag     string `header:"ETag"`
	Location string `header:"Location" doc:"where it is new"`
	Body     zoneBody
}

func (a *api) zones() {
	type query struct {
		Paged
		Placed
		MapID       string `query:"map_id" format:"uuid"`
		WarehouseID string `query:"warehouse_id" format:"uuid"`
		Kind        string `query:"kind" enum:"traffic,keep_out,slow,parking,charging"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/zones", id: "list-zones", summary: "Zones", tag: "zones", status: 200, answer: list[zoneBody]{}},
		func(ctx context.Context, who *auth.Identity, in *query) (*placedOut, error) {
			area, err := in.area()
			if err != nil {
				return nil, err
			}
			f := fact.ZoneFilter{Map: fleet.MapID(in.MapID), Warehouse: fleet.WarehouseID(in.WarehouseID), Kind: in.Kind, At: area}
			l, err := a.Facts.ListZones(ctx, who.Tenant, f, in.page())
			if err != nil {
				return nil, err
			}
			return placedOf(&in.Placed, &listOf(l, a.zoneOf(who)).Body, zonePart)
		})
	alsoFeatures[polygonGeoJSON, zoneFeature](a, "/api/v1/zones", "ZoneFeatures")
	type get struct {
		ID string `path:"zone_id" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/zones/{zone_id}", id: "get-zone", summary: "A zone", tag: "zones"},
		func(ctx context.Context, who *auth.Identity, in *get) (*zoneGot, error) {
			z, err := a.Facts.GetZone(ctx, who.Tenant, fleet.ZoneID(in.ID))
			return &zoneGot{etag(z.Version), a.zoneOf(who)(&z)}, err
		})
	type put struct {
		ID      string `path:"zone_id" format:"uuid"`
		IfMatch string `header:"If-Match" minLength:"1"`
		Body    newZone
	}
	add(a, op{method: http.MethodPut, path: "/api/v1/zones/{zone_id}", id: "put-zone", summary: "Draw or redraw an overlay", tag: "zones", engine: true},
		func(ctx context.Context, who *auth.Identity, in *put) (*zoneOut, error) {
			return a.putZone(ctx, who, in.ID, in.IfMatch, &in.Body)
		})
	answers := a.huma.OpenAPI().Paths["/api/v1/zones/{zone_id}"].Put.Responses
	answers["201"] = &huma.Response{Description: http.StatusText(http.StatusCreated), Headers: maps.Clone(answers["200"].Headers), Content: answers["200"].Content}
	type remove struct {
		ID      string `path:"zone_id" format:"uuid"`
		IfMatch string `header:"If-Match" minLength:"1"`
	}
	add(a, op{method: http.MethodDelete, path: "/api/v1/zones/{zone_id}", id: "delete-zone", summary: "Remove an overlay", tag: "zones", engine: true, status: 204},
		func(ctx context.Context, who *auth.Identity, in *remove) (*struct{}, error) {
			z, err := a.Facts.GetZone(ctx, who.Tenant, fleet.ZoneID(in.ID))
			if err != nil {
				return nil, err
			}
			if z.Kind == "traffic" {
				return nil, newError(http.StatusConflict, codeConflict, "a traffic zone belongs to its map")
			}
			v, err := ifMatch(in.IfMatch)
			if err != nil {
				return nil, err
			}
			if err := a.Facts.DeleteZone(ctx, who.Tenant, z.ID, v); err != nil {
				return nil, err
			}
			return nil, a.redrawn(ctx, &z)
		})
}

func (a *api) putZone(ctx context.Context, who *auth.Identity, id, header string, b *newZone) (*zoneOut, error) {
	ring := roadmap.Polygon(b.Polygon.Coordinates[0])
	v, err := ifMatch(header)
	if err != nil {
		return nil, err
	}
	m, err := a.Facts.GetMap(ctx, who.Tenant, fleet.MapID(b.MapID))
	if errors.Is(err, fact.ErrNotFound) {
		return nil, invalid("body.map_id", "there is no such map")
	}
	if err != nil {
		return nil, err
	}
	old, err := a.Facts.GetZone(ctx, who.Tenant, fleet.ZoneID(id))
	switch {
	case errors.Is(err, fact.ErrNotFound):
	case err != nil:
		return nil, err
	case old.Kind == "traffic":
		return nil, newError(http.StatusConflict, codeConflict, "a traffic zone belongs to its map")
	}
	z := fact.Zone{ID: fleet.ZoneID(id), Tenant: who.Tenant, Map: m.ID, Warehouse: m.Warehouse, Kind: b.Kind, Name: b.Name, Capacity: int(b.Capacity), Polygon: ring}
	saved, fresh, err := a.Facts.PutZone(ctx, z, v)
	if err != nil {
		return nil, err
	}
	if err := a.redrawn(ctx, &saved); err != nil {
		return nil, err
	}
	if old.Map != "" && old.Map != m.ID { // it has gone from another map
		if err := a.redrawn(ctx, &old); err != nil {
			return nil, err
		}
	}
	out := &zoneOut{Status: http.StatusOK, ETag: etag(saved.Version), Body: a.zoneOf(who)(&saved)}
	if fresh {
		out.Status, out.Location = http.StatusCreated, "/api/v1/zones/"+id
	}
	return out, nil
}

// redrawn lets a change of an overlay take effect, where its map is the active one.
func (a *api) redrawn(ctx context.Context, z *fact.Zone) error {
	shard := fleet.Shard{Tenant: z.Tenant, Warehouse: z.Warehouse}
	g, err := a.Engine.ActiveGraph(ctx, shard)
	if err != nil || g == nil || g.MapID != z.Map {
		return err
	}
	return a.keepOut(ctx, shard, g)
}

// keepOut tells the engine which vertices of the active map nobody may enter.
func (a *api) keepOut(ctx context.Context, shard fleet.Shard, g *roadmap.Graph) error {
	var out []fleet.Vertex
	err := a.keepOuts(ctx, shard.Tenant, g.MapID, func(z *fact.Zone) { out = append(out, g.Inside(z.Polygon)...) })
	if err != nil {
		return err
	}
	return a.Engine.ChangeOverlays(ctx, shard, out)
}

// keepOuts shows the overlays of a map that nobody may enter.
func (a *api) keepOuts(ctx context.Context, tenant fleet.TenantID, id fleet.MapID, see func(*fact.Zone)) error {
	for p := (fact.Page{Limit: 500}); ; {
		l, err := a.Facts.ListZones(ctx, tenant, fact.ZoneFilter{Map: id, Kind: "keep_out"}, p)
		if err != nil {
			return err
		}
		for i := range l.Items {
			see(&l.Items[i])
		}
		if l.Next == "" {
			return nil
		}
		p.Cursor = l.Next
	}
}
