package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/gateway/auth"
)

type findingBody struct {
	Code      string   `json:"code"`
	VertexIDs []string `json:"vertex_ids"`
	LaneIDs   []string `json:"lane_ids"`
	Message   string   `json:"message"`
}

type reportBody struct {
	Errors   []findingBody `json:"errors" doc:"forbid activation"`
	Warnings []findingBody `json:"warnings"`
}

func reportOf(r *roadmap.Report) reportBody {
	side := func(fs []roadmap.Finding) []findingBody {
		out := make([]findingBody, 0, len(fs))
		for _, f := range fs {
			out = append(out, findingBody{f.Code, nonNil(f.VertexIDs), nonNil(f.LaneIDs), f.Message})
		}
		return out
	}
	return reportBody{side(r.Errors), side(r.Warnings)}
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

type mapBody struct {
	MapID         string `json:"map_id" format:"uuid"`
	WarehouseID   string `json:"warehouse_id" format:"uuid"`
	Name          string `json:"name"`
	Version       int    `json:"version" doc:"newest"`
	ActiveVersion *int   `json:"active_version"`
	Revision      int64  `json:"revision"`
	CreatedAt     string `json:"created_at" format:"date-time"`
}

func mapOf(m *fact.Map) mapBody {
	b := mapBody{MapID: string(m.ID), WarehouseID: string(m.Warehouse), Name: m.Name, Version: m.Newest, Revision: m.Revision, CreatedAt: ts(m.CreatedAt)}
	if m.Active > 0 {
		b.ActiveVersion = &m.Active
	}
	return b
}

type uploadBody struct {
	MapID   string     `json:"map_id" format:"uuid"`
	Version int        `json:"version"`
	Status  string     `json:"status" enum:"DRAFT,ACTIVE,RETIRED"`
	Report  reportBody `json:"report"`
}

// VersionBody is a map version without its content.
type VersionBody struct {
	MapID       string     `json:"map_id" format:"uuid"`
	Version     int        `json:"version"`
	Status      string     `json:"status" enum:"DRAFT,ACTIVE,RETIRED"`
	Format      string     `json:"format"`
	ResolutionM float64    `json:"resolution_m"`
	Vertices    int        `json:"vertices_total"`
	Lanes       int        `json:"lanes_total"`
	Zones       int        `json:"zones_total"`
	Report      reportBody `json:"report"`
	CreatedAt   string     `json:"created_at" format:"date-time"`
	ActivatedAt *string    `json:"activated_at"`
}

func versionOf(v *fact.MapVersion) VersionBody {
	return VersionBody{
		string(v.Map), v.Version, v.Status, v.Format, v.ResM, v.Vertices, v.Lanes, v.Zones, reportOf(&v.Report), ts(v.CreatedAt), tsp(v.ActivatedAt),
	}
}

// MapSource is what a map is imported from.
type MapSource struct {
	Format      string  `json:"format" enum:"movingai,lorr,starling"`
	Content     content `json:"content" doc:"the source: text of a grid map, or a JSON object of format starling"`
	ResolutionM float64 `json:"resolution_m,omitempty" minimum:"0.01" maximum:"1000" default:"1" doc:"edge of a grid cell in metres"`
}

// content is a source as the importer wants it: the text of a JSON string, or a JSON object as it is.
type content []byte

// UnmarshalJSON implements json.Unmarshaler.
func (c *content) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		*c = bytes.Clone(b)
		return nil
	}
	var s string
	err := json.Unmarshal(b, &s)
	*c = content(s)
	return err
}

// Schema implements huma.SchemaProvider.
func (content) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeObject, AdditionalProperties: true}}}
}

type newMap struct {
	WarehouseID uid    `json:"warehouse_id" format:"uuid"`
	Name        string `json:"name" minLength:"1" maxLength:"200"`
	MapSource
}

// upload imports a source and gathers what is stored of it.
func (a *api) upload(who *auth.Identity, m fact.Map, version int, src *MapSource) (fact.MapUpload, error) {
	d, report := roadmap.Import(src.Format, src.Content, src.ResolutionM)
	u := fact.MapUpload{Map: m, Format: src.Format, ResM: src.ResolutionM, Content: src.Content, Report: report}
	if d != nil && report.OK() {
		var err error
		if u.Graph, err = roadmap.Build(d, roadmap.BuildOptions{MapID: m.ID, Version: version}); err != nil {
			return u, invalid("body.content", "the map has no free vertex")
		}
	}
	u.Map.CreatedBy = by(who).User
	return u, nil
}

func (a *api) maps() {
	type validate struct{ Body MapSource }
	type validated struct{ Body reportBody }
	add(a, op{method: http.MethodPost, path: "/api/v1/maps:validate", id: "validate-map", summary: "The report of a map, nothing stored", tag: "maps", body: maxMap},
		func(_ context.Context, _ *auth.Identity, in *validate) (*validated, error) {
			_, report := roadmap.Import(in.Body.Format, in.Body.Content, in.Body.ResolutionM)
			return &validated{reportOf(&report)}, nil
		})
	type create struct {
		Keyed
		RawBody []byte
		Body    newMap
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/maps", id: "create-map", summary: "Upload a map as a draft", tag: "maps", status: 201, body: maxMap, answer: uploadBody{}},
		func(ctx context.Context, who *auth.Identity, in *create) (*created, error) {
			return a.once(ctx, who.Tenant, "POST /maps", &in.Keyed, in.RawBody, func() (fact.Answer, func(*fact.Idempotency) error, error) {
				if _, err := a.shardOf(ctx, who, string(in.Body.WarehouseID), "body.warehouse_id"); err != nil {
					return fact.Answer{}, nil, err
				}
				m := fact.Map{ID: fleet.MapID(uuid.NewString()), Tenant: who.Tenant, Warehouse: fleet.WarehouseID(in.Body.WarehouseID), Name: in.Body.Name, CreatedAt: a.Now()}
				u, err := a.upload(who, m, 1, &in.Body.MapSource)
				if err != nil {
					return fact.Answer{}, nil, err
				}
				ans, err := render(201, "/api/v1/maps/"+string(m.ID), uploadBody{string(m.ID), 1, "DRAFT", reportOf(&u.Report)})
				return ans, func(i *fact.Idempotency) error { return a.Facts.CreateMap(ctx, u, i) }, err
			})
		})
	type query struct {
		Paged
		WarehouseID string `query:"warehouse_id" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/maps", id: "list-maps", summary: "Maps", tag: "maps"},
		func(ctx context.Context, who *auth.Identity, in *query) (*listed[mapBody], error) {
			l, err := a.Facts.ListMaps(ctx, who.Tenant, fleet.WarehouseID(in.WarehouseID), in.page())
			return listOf(l, mapOf), err
		})
	type get struct {
		ID string `path:"map_id" format:"uuid"`
	}
	type out struct {
		ETag string `header:"ETag"`
		Body mapBody
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/maps/{map_id}", id: "get-map", summary: "A map", tag: "maps"},
		func(ctx context.Context, who *auth.Identity, in *get) (*out, error) {
			m, err := a.Facts.GetMap(ctx, who.Tenant, fleet.MapID(in.ID))
			return &out{etag(m.Revision), mapOf(&m)}, err
		})
	a.mapVersions()
	a.mapContents()
	a.floorPlan()
}

func (a *api) mapVersions() {
	type create struct {
		Keyed
		ID      string `path:"map_id" format:"uuid"`
		IfMatch string `header:"If-Match" minLength:"1"`
		RawBody []byte
		Body    MapSource
	}
	add(a, op{method: http.MethodPost, path: "/api/v1/maps/{map_id}/versions", id: "create-map-version", summary: "Upload a further version as a draft", tag: "maps", status: 201, body: maxMap, answer: uploadBody{}},
		func(ctx context.Context, who *auth.Identity, in *create) (*created, error) {
			return a.once(ctx, who.Tenant, "POST /maps/"+in.ID+"/versions", &in.Keyed, in.RawBody, func() (fact.Answer, func(*fact.Idempotency) error, error) {
				m, err := a.Facts.GetMap(ctx, who.Tenant, fleet.MapID(in.ID))
				if err != nil {
					return fact.Answer{}, nil, err
				}
				if err := matches(in.IfMatch, m.Revision); err != nil {
					return fact.Answer{}, nil, err
				}
				m.Tenant = who.Tenant
				u, err := a.upload(who, m, m.Newest+1, &in.Body)
				if err != nil {
					return fact.Answer{}, nil, err
				}
				ans, err := render(201, "/api/v1/maps/"+in.ID+"/versions/"+strconv.Itoa(m.Newest+1), uploadBody{in.ID, m.Newest + 1, "DRAFT", reportOf(&u.Report)})
				return ans, func(i *fact.Idempotency) error {
					n, err := a.Facts.AddMapVersion(ctx, u, i)
					if err == nil && n != m.Newest+1 {
						err = fact.ErrConflict
					}
					return err
				}, err
			})
		})
	type query struct {
		Paged
		ID string `path:"map_id" format:"uuid"`
	}
	add(a, op{method: http.MethodGet, path: "/api/v1/maps/{map_id}/versions", id: "list-map-versions", summary: "Versions of a map", tag: "maps"},
		func(ctx context.Context, who *auth.Identity, in *query) (*listed[VersionBody], error) {
			if _, err := a.Facts.GetMap(ctx, who.Tenant, fleet.MapID(in.ID)); err != nil {
				return nil, err
			}
			l, err := a.Facts.ListMapVersions(ctx, who.Tenant, fleet.MapID(in.ID), in.page())
			return listOf(l, versionOf), err
		})
	a.activation()
}

func (a *api) activation() {
	type activate struct {
		ID      string `path:"map_id" format:"uuid"`
		N       int    `path:"n" minimum:"1" maximum:"2000000000"`
		IfMatch string `header:"If-Match" minLength:"1"`
	}
	type activated struct{ Body VersionBody }
	add(a, op{method: http.MethodPost, path: "/api/v1/maps/{map_id}/versions/{n}/activate", id: "activate-map-version", summary: "Drive on this version from now on", tag: "maps", engine: true},
		func(ctx context.Context, who *auth.Identity, in *activate) (*activated, error) {
			m, err := a.Facts.GetMap(ctx, who.Tenant, fleet.MapID(in.ID))
			if err != nil {
				return nil, err
			}
			if err := matches(in.IfMatch, m.Revision); err != nil {
				return nil, err
			}
			g, v, err := a.graph(ctx, who, in.ID, in.N)
			if err != nil {
				return nil, err
			}
			if !v.Report.OK() {
				return nil, newError(http.StatusPreconditionFailed, codePrecondition, "the map's report has errors").with("report", reportOf(&v.Report))
			}
			shard := fleet.Shard{Tenant: who.Tenant, Warehouse: v.Warehouse}
			if err := a.Engine.ActivateMap(ctx, g, shard, by(who), traceOf(ctx)); err != nil {
				return nil, err
			}
			// The overlays lie on other vertices now. The new map is the engine's when it has answered.
			if err := a.keepOut(ctx, shard, g); err != nil {
				return nil, err
			}
			v, _, err = a.Facts.GetMapVersion(ctx, who.Tenant, fleet.MapID(in.ID), in.N)
			return &activated{versionOf(&v)}, err
		})
}

func matches(header string, version int64) error {
	v, err := ifMatch(header)
	if err == nil && v >= 0 && v != version {
		err = &fact.ConflictError{Key: "version"}
	}
	return err
}

// graph rebuilds a stored version; nil where its source has errors.
func (a *api) graph(ctx context.Context, who *auth.Identity, id string, n int) (*roadmap.Graph, fact.MapVersion, error) {
	v, content, err := a.Facts.GetMapVersion(ctx, who.Tenant, fleet.MapID(id), n)
	if err != nil || !v.Report.OK() {
		return nil, v, err
	}
	if g, ok := a.graphs.get(v.Map, n); ok {
		return g, v, nil
	}
	d, _ := roadmap.Import(v.Format, content, v.ResM)
	if d == nil {
		return nil, v, nil
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: v.Map, Version: n})
	if err == nil {
		a.graphs.put(g)
	}
	return g, v, err
}

// The bounds of the graphs that are kept for clients that read a map page by page: their number and their vertices
// together. A large floor of 40,000 vertices builds in 0.13 s; a million vertices take 630 MB and are not kept.
const (
	maxGraphs        = 8
	maxGraphVertices = 250_000
)

// graphs keeps the graphs that were built last. A version never changes, and neither does a graph.
type graphs struct {
	mu   sync.Mutex
	list []*roadmap.Graph // the least recently used first
}

func (k *graphs) get(id fleet.MapID, n int) (*roadmap.Graph, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.list, func(g *roadmap.Graph) bool { return g.MapID == id && g.Version == n })
	if i < 0 {
		return nil, false
	}
	g := k.list[i]
	k.list = append(slices.Delete(k.list, i, i+1), g)
	return g, true
}

func (k *graphs) put(g *roadmap.Graph) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(slices.DeleteFunc(k.list, func(o *roadmap.Graph) bool { return o.MapID == g.MapID && o.Version == g.Version }), g)
	total := 0
	for i, o := range slices.Backward(k.list) {
		if total += len(o.Vertices); total > maxGraphVertices || len(k.list)-i > maxGraphs {
			k.list = slices.Delete(k.list, 0, i+1)
			return
		}
	}
}

type vertexBody struct {
	ID    string  `json:"id"`
	Index int     `json:"index" doc:"its number on the robot link"`
	Name  *string `json:"name"`
	X     float64 `json:"x"`
	Y     float64 `json:"y"`
	Zone  string  `json:"zone_id" format:"uuid"`
}

type mapLaneBody struct {
	ID      string  `json:"id" format:"uuid"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	LengthM float64 `json:"length_m"`
}

type contentBody struct {
	VersionBody
	VertexItems []vertexBody  `json:"vertices"`
	LaneItems   []mapLaneBody `json:"lanes"`
	Next        *string       `json:"next_cursor"`
}

type changeBody struct {
	Added        []string `json:"added"`
	Removed      []string `json:"removed"`
	Changed      []string `json:"changed"`
	AddedTotal   int      `json:"added_total"`
	RemovedTotal int      `json:"removed_total"`
	ChangedTotal int      `json:"changed_total"`
}

type diffBody struct {
	Vertices changeBody `json:"vertices"`
	Lanes    changeBody `json:"lanes"`
	Zones    changeBody `json:"zones"`
}

func (a *api) mapContents() {
	type get struct {
		Paged
		ID string `path:"map_id" format:"uuid"`
		N  int    `path:"n" minimum:"1" maximum:"2000000000"`
	}
	type out struct{ Body contentBody }
	add(a, op{method: http.MethodGet, path: "/api/v1/maps/{map_id}/versions/{n}", id: "get-map-version", summary: "A version: its report and, page by page, its vertices, each with the lanes that leave it", tag: "maps"},
		func(ctx context.Context, who *auth.Identity, in *get) (*out, error) {
			g, v, err := a.graph(ctx, who, in.ID, in.N)
			if err != nil {
				return nil, err
			}
			b := contentBody{VersionBody: versionOf(&v), VertexItems: []vertexBody{}, LaneItems: []mapLaneBody{}}
			first := 0
			if in.Cursor != "" {
				if first, err = strconv.Atoi(in.Cursor); err != nil || first < 1 || g == nil || first >= len(g.Vertices) {
					return nil, fact.ErrBadCursor
				}
			}
			if g != nil {
				b.fill(g, first, min(first+in.Limit, len(g.Vertices)))
			}
			return &out{b}, nil
		})
	type diff struct {
		ID      string `path:"map_id" format:"uuid"`
		N       int    `path:"n" minimum:"1" maximum:"2000000000"`
		Against int    `query:"against" required:"true" minimum:"1" maximum:"2000000000"`
	}
	type diffed struct{ Body diffBody }
	add(a, op{method: http.MethodGet, path: "/api/v1/maps/{map_id}/versions/{n}/diff", id: "diff-map-version", summary: "What this version has that another has not", tag: "maps", also: []int{412}},
		func(ctx context.Context, who *auth.Identity, in *diff) (*diffed, error) {
			g, _, err := a.graph(ctx, who, in.ID, in.N)
			if err != nil {
				return nil, err
			}
			o, _, err := a.graph(ctx, who, in.ID, in.Against)
			if err != nil {
				return nil, err
			}
			if g == nil || o == nil {
				return nil, newError(http.StatusPreconditionFailed, codePrecondition, "a version with errors cannot be compared")
			}
			d := roadmap.Diff(o, g)
			return &diffed{diffBody{changeOf(&d.Vertices), changeOf(&d.Lanes), changeOf(&d.Zones)}}, nil
		})
}

func (b *contentBody) fill(g *roadmap.Graph, first, last int) {
	for i := first; i < last; i++ {
		v := &g.Vertices[i]
		b.VertexItems = append(b.VertexItems, vertexBody{v.ID, i, text(v.Name), v.X, v.Y, string(g.Zones[g.ZoneOf[i]].ID)})
		for _, l := range g.Out[i] {
			ln := &g.Lanes[l]
			b.LaneItems = append(b.LaneItems, mapLaneBody{string(ln.ID), v.ID, g.Vertices[ln.To].ID, ln.LengthM})
		}
	}
	if last < len(g.Vertices) {
		next := strconv.Itoa(last)
		b.Next = &next
	}
}

func changeOf(c *roadmap.Change) changeBody {
	return changeBody{nonNil(c.Added), nonNil(c.Removed), nonNil(c.Changed), c.AddedTotal, c.RemovedTotal, c.ChangedTotal}
}
