package rest

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// polish completes the document with what no operation's types say: the answers that are errors stand in it once,
// as do the headers that every request may and every answer does carry.
func polish(o *huma.OpenAPI) {
	text := func(max int) *huma.Schema { return &huma.Schema{Type: huma.TypeString, MaxLength: &max} }
	o.Components.Headers = map[string]*huma.Header{
		"X-Request-ID":        {Description: "Names the request in the log; the request's own where it has one", Schema: text(128)},
		"Retry-After":         {Description: "Seconds", Schema: &huma.Schema{Type: huma.TypeInteger}},
		"WWW-Authenticate":    {Schema: text(200)},
		"Idempotent-Replayed": {Description: "true: the answer is the first one to this Idempotency-Key", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"true"}}},
	}
	o.Components.Parameters = map[string]*huma.Param{
		"X-Tenant-ID":   {Name: "X-Tenant-ID", In: "header", Description: "Which of the token's tenants; needed where it names several", Schema: &huma.Schema{Type: huma.TypeString, Format: "uuid"}},
		"X-Tenant-Slug": {Name: "X-Tenant-Slug", In: "header", Description: "As X-Tenant-ID, by slug", Schema: text(63)},
		"X-Request-ID":  {Name: "X-Request-ID", In: "header", Description: "Taken where it has this shape, else made", Schema: &huma.Schema{Type: huma.TypeString, Pattern: idShape.String()}},
	}
	o.Components.Responses = map[string]*huma.Response{}
	for _, path := range slices.Sorted(maps.Keys(o.Paths)) {
		p := o.Paths[path]
		for _, op := range []*huma.Operation{p.Get, p.Put, p.Post, p.Patch, p.Delete} {
			if op != nil {
				polishOne(o, op)
			}
		}
	}
	for _, s := range o.Components.Schemas.Map() {
		for _, f := range s.Properties {
			if f.Nullable && len(f.Enum) > 0 {
				f.Enum = append(f.Enum, nil)
			}
		}
	}
}

func polishOne(o *huma.OpenAPI, op *huma.Operation) {
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

// allow says which methods a path knows, for an answer of 405.
func allow(match func(method string) bool) string {
	var known []string
	for _, m := range []string{http.MethodDelete, http.MethodGet, http.MethodPatch, http.MethodPost, http.MethodPut} {
		if match(m) {
			known = append(known, m)
		}
	}
	return strings.Join(known, ", ")
}
