//go:build integration

package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// fault is a proxy before a real server, which breaks the connection as a test says.
type fault struct {
	server *toxiproxy.ApiServer
	proxy  *toxiproxy.Proxy
}

// newFault puts a proxy before host:port, at an address of its own.
func newFault(t *testing.T, name, upstream string) *fault {
	t.Helper()
	s := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(s, name, "127.0.0.1:0", upstream)
	if err := s.Collection.Add(p, true); err != nil {
		t.Fatal(err)
	}
	f := &fault{server: s, proxy: p}
	t.Cleanup(p.Stop)
	return f
}

// addr is where clients go.
func (f *fault) addr() string { return f.proxy.Listen }

// toxic adds a toxic by its description.
func (f *fault) toxic(t *testing.T, format string, args ...any) {
	t.Helper()
	if _, err := f.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(format, args...))); err != nil {
		t.Fatal(err)
	}
}

// hang lets nothing through in either direction, and says nothing: what a network that drops packets looks like.
func (f *fault) hang(t *testing.T) {
	t.Helper()
	for _, way := range []string{"upstream", "downstream"} {
		f.toxic(t, "{\"name\":\"hang-%s\",\"type\":\"timeout\",\"stream\":\"%s\",\"attributes\":{\"timeout\":0}}", way, way)
	}
}

// heal takes all toxics away and listens again.
func (f *fault) heal(t *testing.T) {
	t.Helper()
	f.proxy.Toxics.ResetToxics(context.Background())
	if !f.proxy.Enabled {
		if err := f.proxy.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

// through is a URL with its host replaced.
func through(t *testing.T, raw, addr string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = addr
	return u.String()
}

// hostOf is the host and port of a URL.
func hostOf(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "5432")
	}
	return u.Host
}
