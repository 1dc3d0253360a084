// Package web is the operators' page: what gateway/web's TypeScript builds into dist, carried in the program. It serves
// files and decides nothing.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed all:dist
var dist embed.FS

// unbuilt is shown where the program was built without the page.
const unbuilt = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Starling</title><h1>Starling</h1>
<p>This program was built without its page: build it with <code>make build</code>.</p><p><a href="/docs/">API documents</a></p></html>
`

// file is one file as it is sent.
type file struct {
	body, packed []byte // packed = gzip, nil where it does not pay
	kind, tag    string
}

// Page serves the page's files, and the page itself for every path of its own.
type Page struct {
	files  map[string]*file
	index  *file
	policy string
}

// New reads what was built.
func New(o Options) (*Page, error) {
	p := &Page{files: map[string]*file{}, policy: o.policy()}
	err := fs.WalkDir(dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		b, err := dist.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		p.files["/"+strings.TrimPrefix(name, "dist/")] = newFile(name, b)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the page: %w", err)
	}
	if p.files[signInPath], err = o.signIn(); err != nil {
		return nil, err
	}
	if p.index = p.files["/index.html"]; p.index == nil {
		p.index = newFile("index.html", []byte(unbuilt))
	}
	return p, nil
}

func newFile(name string, b []byte) *file {
	f := &file{body: b, kind: mime.TypeByExtension(path.Ext(name)), tag: fmt.Sprintf(`"%x"`, sha256.Sum256(b))[:18] + `"`}
	if f.kind == "" {
		f.kind = "application/octet-stream"
	}
	if strings.HasPrefix(f.kind, "text/") || strings.Contains(f.kind, "javascript") || strings.Contains(f.kind, "json") || strings.Contains(f.kind, "svg") {
		var z bytes.Buffer
		w, _ := gzip.NewWriterLevel(&z, gzip.BestCompression)
		_, _ = w.Write(b)
		if w.Close() == nil && z.Len() < len(b)*9/10 {
			f.packed = z.Bytes()
		}
	}
	return f
}

// Has says whether a request is for the page: one of its files, or a path of its own that a browser asks for.
func (p *Page) Has(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if r.URL.Path == "/" || p.files[r.URL.Path] != nil {
		return true
	}
	return !strings.HasPrefix(r.URL.Path, "/api") && !strings.HasPrefix(r.URL.Path, "/rmf") && !strings.HasPrefix(r.URL.Path, "/assets/") &&
		strings.Contains(r.Header.Get("Accept"), "text/html")
}

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, h := p.files[r.URL.Path], w.Header()
	if f == nil {
		f = p.index
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("ETag", f.tag)
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(r.URL.Path, "/assets/") { // their names change with what is in them
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body := f.body
	if f.packed != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.packed
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
