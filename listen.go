package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/gateway/stream"
)

// The bounds of one HTTP connection. Bodies and answers have theirs by the route, in gateway/rest.
const (
	headerWithin = 10 * time.Second // the TLS handshake, and each request's header
	idleWithin   = 2 * time.Minute
	headerBytes  = 64 << 10
	h2Streams    = 100              // of one HTTP/2 connection at once
	h2Silence    = 30 * time.Second // then it is pinged, and ended where it does not answer
)

// newHTTPServer returns the server of a port. What it has to say of single connections is of no interest by day.
func newHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerWithin, IdleTimeout: idleWithin, MaxHeaderBytes: headerBytes,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), ConnContext: stream.WithConn,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: h2Streams, SendPingTimeout: h2Silence, PingTimeout: h2Silence / 2, WriteByteTimeout: h2Silence,
		},
	}
}

// listen opens a port.
func listen(ctx context.Context, host string, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listen on port %d: %w", port, err)
	}
	return l, nil
}

// bounded is a listener that closes at once the connections which are more than it may have in all, or from one address.
// One that is not taken costs its peer a handshake and us a file descriptor for an instant.
type bounded struct {
	net.Listener
	most, perIP int
	proxies     []netip.Prefix // who stands for many
	dropped     *prometheus.CounterVec
	name        string

	mu   sync.Mutex
	open int
	by   map[netip.Addr]int
}

func newBounded(l net.Listener, name string, most, perIP int, proxies []netip.Prefix, dropped *prometheus.CounterVec) *bounded {
	return &bounded{Listener: l, most: most, perIP: perIP, proxies: proxies, dropped: dropped, name: name, by: map[netip.Addr]int{}}
}

// newDroppedConns counts connections that were refused.
func newDroppedConns(r prometheus.Registerer) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_connections_dropped_total", Help: "Connections closed because too many were open, by port: in all, or from one address."}, []string{"queue"})
	r.MustRegister(c)
	return c
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		t, ok := c.(*net.TCPConn)
		if !ok {
			return c, nil // it listens on TCP alone
		}
		from := b.counted(t.RemoteAddr())
		if queue := b.enter(from); queue != "" {
			b.dropped.WithLabelValues(queue).Inc()
			_ = t.Close()
			continue
		}
		return &boundedConn{TCPConn: t, leave: sync.OnceFunc(func() { b.leave(from) })}, nil
	}
}

// counted is what an address is counted under: zero = under none.
func (b *bounded) counted(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := t.AddrPort().Addr().Unmap().WithZone("")
	if slices.ContainsFunc(b.proxies, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return netip.Addr{}
	}
	if ip.Is6() {
		p, _ := ip.Prefix(64) // one customer has so many
		return p.Addr()
	}
	return ip
}

// enter counts a connection in, or says which bound keeps it out.
func (b *bounded) enter(from netip.Addr) (queue string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.open >= b.most:
		return b.name
	case from.IsValid() && b.by[from] >= b.perIP:
		return b.name + "_per_ip"
	}
	b.open++
	if from.IsValid() {
		b.by[from]++
	}
	return ""
}

func (b *bounded) leave(from netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
	if !from.IsValid() {
		return
	}
	if b.by[from]--; b.by[from] == 0 {
		delete(b.by, from)
	}
}

// boundedConn is counted until it is closed. It stays a TCP connection for whoever sets its options.
type boundedConn struct {
	*net.TCPConn
	leave func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.leave()
	return c.TCPConn.Close()
}
