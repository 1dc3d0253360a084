package rest

import (
	"encoding/json"
	"math"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"starling/engine/fact"
	"starling/engine/roadmap"
)

// Placed is the query of lists of what lies on the floor.
type Placed struct {
	BBox   []float64 `query:"bbox" minItems:"4" maxItems:"4" doc:"x0,y0,x1,y1, map metres: what touches it"`
	Within []float64 `query:"within" minItems:"6" maxItems:"200" doc:"x,y,x,y,x,y…, map metres: what lies wholly inside that polygon"`
	Format string    `query:"format" enum:"json,geojson" default:"json" doc:"geojson: a FeatureCollection (RFC 7946) in map metres instead of WGS 84, with next_cursor beside its features"`
}

// farthest bounds coordinates, in metres.
const farthest = 1e6

// area reads what part of the floor is asked for.
func (p *Placed) area() (a fact.Area, err error) {
	var bad faults
	near := func(field string, all []float64) bool {
		for _, v := range all {
			if !(math.Abs(v) <= farthest) {
				bad.add(field, "want metres within a million")
				return false
			}
		}
		return true
	}
	switch b, w := p.BBox, p.Within; {
	case b != nil && w != nil:
		bad.add("query.within", "not with bbox")
	case b != nil && near("query.bbox", b):
		if b[0] >= b[2] || b[1] >= b[3] {
			bad.add("query.bbox", "want x0 < x1 and y0 < y1")
			break
		}
		a.Ring = roadmap.Polygon{{b[0], b[1]}, {b[2], b[1]}, {b[2], b[3]}, {b[0], b[3]}, {b[0], b[1]}}
	case w != nil && near("query.within", w):
		if len(w)%2 != 0 {
			bad.add("query.within", "want two numbers for each point")
			break
		}
		for i := 0; i < len(w); i += 2 {
			a.Ring = append(a.Ring, [2]float64{w[i], w[i+1]})
		}
		if n := len(a.Ring); a.Ring[0] != a.Ring[n-1] {
			a.Ring = append(a.Ring, a.Ring[0])
		}
		a.Inside = true
		if err := a.Ring.Check(); err != nil {
			bad.add("query.within", err.Error())
		}
	}
	return a, bad.err()
}

// feature is a thing on the floor as GIS programs read it.
type feature[G, P any] struct {
	Type       string `json:"type" enum:"Feature"`
	ID         string `json:"id" format:"uuid"`
	Geometry   G      `json:"geometry"`
	Properties P      `json:"properties"`
}

type featureCollection[G, P any] struct {
	Type     string          `json:"type" enum:"FeatureCollection"`
	Features []feature[G, P] `json:"features"`
	Next     *string         `json:"next_cursor" doc:"null at the end"`
}

// placedOut is a list in the form that was asked for.
type placedOut struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

const typeGeoJSON = "application/geo+json"

// placedOf renders a list in the form that was asked for; part makes one item a feature.
func placedOf[T, G, P any](p *Placed, l *list[T], part func(*T) feature[G, P]) (*placedOut, error) {
	out := &placedOut{ContentType: "application/json"}
	var v any = l
	if p.Format == "geojson" {
		out.ContentType = typeGeoJSON
		c := featureCollection[G, P]{Type: "FeatureCollection", Features: make([]feature[G, P], len(l.Items)), Next: l.Next}
		for i := range l.Items {
			c.Features[i] = part(&l.Items[i])
		}
		v = c
	}
	var err error
	out.Body, err = json.Marshal(v)
	return out, err
}

// zoneFeature says of a zone what zoneBody does.
type zoneFeature struct {
	MapID     string `json:"map_id" format:"uuid"`
	Kind      string `json:"kind" enum:"traffic,keep_out,slow,parking,charging"`
	Name      string `json:"name"`
	Capacity  int    `json:"capacity"`
	Version   int64  `json:"version"`
	Occupancy *int   `json:"occupancy"`
	Queue     *int   `json:"queue_length"`
}

func zonePart(z *zoneBody) feature[polygonGeoJSON, zoneFeature] {
	return feature[polygonGeoJSON, zoneFeature]{
		"Feature", z.ZoneID, z.Polygon, zoneFeature{z.MapID, z.Kind, z.Name, z.Capacity, z.Version, z.Occupancy, z.Queue},
	}
}

// laneFeature says of a lane what laneBody does.
type laneFeature struct {
	MapID    string   `json:"map_id" format:"uuid"`
	From     string   `json:"from"`
	To       string   `json:"to"`
	LengthM  float64  `json:"length_m"`
	SpeedMPS *float64 `json:"speed_limit_mps"`
	Closed   bool     `json:"closed"`
	Reason   *string  `json:"reason"`
}

func lanePart(l *laneBody) feature[lineGeoJSON, laneFeature] {
	return feature[lineGeoJSON, laneFeature]{"Feature", l.LaneID, l.Geometry, laneFeature{l.MapID, l.From, l.To, l.LengthM, l.SpeedMPS, l.Closed, l.Reason}}
}

// alsoFeatures documents the second form of a list.
func alsoFeatures[G, P any](a *api, path, name string) {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[featureCollection[G, P]](), true, name)
	a.huma.OpenAPI().Paths[path].Get.Responses["200"].Content[typeGeoJSON] = &huma.MediaType{Schema: schema}
}
