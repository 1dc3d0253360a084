package rest

import (
	"errors"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
)

// polish completes the document with what no operation's types say: the answers that are errors stand in it once,
// as do the headers that every request may and every answer does carry.
func polish(o *huma.OpenAPI) {
	text := func(most int) *huma.Schema { return &huma.Schema{Type: huma.TypeString, MaxLength: &most} }
	o.Components.Headers = map[string]*huma.Header{
		"X-Request-ID":        {Description: "Names the request in the log; the request's own where it has one", Schema: text(128)},
		"Retry-After":         {Description: "Seconds", Schema: &huma.Schema{Type: huma.TypeInteger}},
		"WWW-Authenticate":    {Schema: text(200)},
		"Idempotent-Replayed": {Description: "true: the answer is the first one to this Idempotency-Key", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"true"}}},
	}
	o.Components.Parameters = map[string]*huma.Param{
		"X-Tenant-ID":   {Name: "X-Tenant-ID", In: "header", Description: "Which of the token's tenants; needed where it names several", Schema: &huma.Schema{Type: huma.TypeString, Format: "uuid"}},
		"X-Tenant-Slug": {Name: "X-Tenant-Slug", In: "header", Description: "As X-Tenant-ID, by slug", Schema: &huma.Schema{Type: huma.TypeString, Pattern: slugShape.String()}},
		"X-Request-ID":  {Name: "X-Request-ID", In: "header", Description: "Taken where it is " + idShape.String() + ", else one is made", Schema: &huma.Schema{Type: huma.TypeString}},
	}
	o.Components.Responses = map[string]*huma.Response{}
	asked := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(o.Paths)) {
		p := o.Paths[path]
		for _, op := range []*huma.Operation{p.Get, p.Put, p.Post, p.Patch, p.Delete} {
			if op == nil {
				continue
			}
			polishOne(o, op)
			if op.RequestBody != nil {
				for _, m := range op.RequestBody.Content {
					mayBeNull(o, m.Schema, asked)
				}
			}
		}
	}
	for _, s := range o.Components.Schemas.Map() {
		for name, f := range s.Properties {
			if f.Nullable && len(f.Enum) > 0 {
				f.Enum = append(f.Enum, nil)
			}
			polishText(name, f)
		}
	}
}

// mayBeNull says of what a body need not have that it may as well be null, and does so for all that the body holds.
// (What we answer has nulls: a client may send back what it got.)
func mayBeNull(o *huma.OpenAPI, s *huma.Schema, seen map[string]bool) {
	if s == nil || seen[s.Ref] {
		return
	}
	if s.Ref != "" {
		seen[s.Ref] = true
		s = o.Components.Schemas.SchemaFromRef(s.Ref)
	}
	for name, f := range s.Properties {
		if !slices.Contains(s.Required, name) && f.Ref == "" && f.Type != "" {
			f.Nullable = true
		}
		mayBeNull(o, f, seen)
	}
	mayBeNull(o, s.Items, seen)
}

// polishText says what Resolve demands of texts, so that a client can know it beforehand.
func polishText(name string, s *huma.Schema) {
	one, sixtyFour, most, id := 1, 64, 128, 36
	switch {
	case s.Format == "uuid": // of all the ways to write one, the usual
		s.MinLength, s.MaxLength = &id, &id
		s.PrecomputeMessages()
	case s.Type == huma.TypeString && s.MaxLength != nil && s.Pattern == "" && s.Format == "":
		s.Pattern = printableShape
	case name == "capabilities" && s.MaxItems != nil:
		s.Items = &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &sixtyFour, Pattern: printableShape}
	case name == "waypoints":
		s.Items = &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &most, Pattern: printableShape}
	case name == "allowed_zones":
		s.Items = &huma.Schema{Type: huma.TypeString, Format: "uuid", MinLength: &id, MaxLength: &id}
	}
	if s.Items != nil {
		s.Items.PrecomputeMessages() // it is checked by this
	}
}

// printableShape is what any tool can read of "no control characters".
const printableShape = `^[^\x00-\x1f\x7f-\x9f]*$`

func polishOne(o *huma.OpenAPI, op *huma.Operation) {
	for _, p := range op.Parameters {
		if p.Name != "cursor" {
			polishText(p.Name, p.Schema)
		}
	}
	for _, name := range []string{"X-Tenant-ID", "X-Tenant-Slug", "X-Request-ID"} {
		op.Parameters = append(op.Parameters, &huma.Param{Ref: "#/components/parameters/" + name})
	}
	if op.RequestBody != nil {
		delete(op.RequestBody.Content, "application/octet-stream") // the raw bytes of the same JSON
	}
	for status, r := range op.Responses {
		if r.Headers == nil {
			r.Headers = map[string]*huma.Header{}
		}
		delete(r.Headers, "Content-Type")
		r.Headers["X-Request-ID"] = headerRef("X-Request-ID")
		if r.Headers["Idempotent-Replayed"] != nil {
			r.Headers["Idempotent-Replayed"] = headerRef("Idempotent-Replayed")
		}
		if status < "400" {
			continue
		}
		switch status {
		case "429", "503":
			r.Headers["Retry-After"] = headerRef("Retry-After")
		case "401":
			r.Headers["WWW-Authenticate"] = headerRef("WWW-Authenticate")
		}
		name := strings.ReplaceAll(r.Description, " ", "")
		o.Components.Responses[name] = r
		op.Responses[status] = &huma.Response{Ref: "#/components/responses/" + name}
	}
}

func headerRef(name string) *huma.Header {
	return &huma.Header{Ref: "#/components/headers/" + name}
}

// object is a JSON object that is passed on as it is.
type object []byte

// MarshalJSON implements json.Marshaler; nothing is an empty object.
func (o object) MarshalJSON() ([]byte, error) {
	if len(o) == 0 {
		return []byte(`{}`), nil
	}
	return o, nil
}

// Schema implements huma.SchemaProvider.
func (object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// refuseMethod answers 405 and says which methods the path knows.
func (a *api) refuseMethod(routes chi.Routes) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		known := map[string]bool{}
		if p := a.pathItem(r.URL.Path); p != nil { // a path without parameters: others that match it do not count
			known = map[string]bool{http.MethodDelete: p.Delete != nil, http.MethodGet: p.Get != nil, http.MethodPatch: p.Patch != nil, http.MethodPost: p.Post != nil, http.MethodPut: p.Put != nil}
		}
		var list []string
		for _, m := range []string{http.MethodDelete, http.MethodGet, http.MethodPatch, http.MethodPost, http.MethodPut} {
			if known[m] || len(known) == 0 && routes.Match(chi.NewRouteContext(), m, r.URL.Path) {
				list = append(list, m)
			}
		}
		w.Header().Set("Allow", strings.Join(list, ", "))
		a.write(w, r, newError(http.StatusMethodNotAllowed, codeNotFound, "the path does not know this method"))
	}
}

func (a *api) pathItem(path string) *huma.PathItem {
	if a.huma == nil {
		return nil
	}
	return a.huma.OpenAPI().Paths[path]
}

// closeGaps refuses the methods that a path of its own does not know and a path with a parameter in its place does:
// GET /robots/status is no robot of the name status.
func (a *api) closeGaps(r chi.Router, refuse http.HandlerFunc) {
	for path, p := range a.huma.OpenAPI().Paths {
		if strings.Contains(path, "{") {
			continue
		}
		for method, op := range map[string]*huma.Operation{http.MethodDelete: p.Delete, http.MethodGet: p.Get, http.MethodPatch: p.Patch, http.MethodPost: p.Post, http.MethodPut: p.Put} {
			if op == nil && r.Match(chi.NewRouteContext(), method, path) {
				r.Method(method, path, refuse)
			}
		}
	}
}

// uid is an id in a body, however its letters are written.
type uid string

// UnmarshalText implements encoding.TextUnmarshaler: an id in capitals is the same id.
func (u *uid) UnmarshalText(b []byte) error {
	*u = uid(strings.ToLower(string(b)))
	return nil
}

// whole is a whole number however JSON writes it: 3, 3.0, 3e0.
type whole int64

// UnmarshalJSON implements json.Unmarshaler.
func (w *whole) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(string(b), 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return errors.New("json: cannot unmarshal number")
		}
		n = int64(f)
	}
	*w = whole(n)
	return nil
}
