package influx

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options say how to connect. The zero value of a setting is its stated default.
type Options struct {
	URL    string // http(s)://host:port
	Org    string
	Token  string // may read and write the org's buckets, and make buckets and tasks
	Bucket string // "" = starling

	Timeout    time.Duration // of a write or query; 0 = 10 s
	Dir        string        // where what could not be written waits; "" = it is dropped
	SpoolBytes int64         // there, at most; 0 = 256 MiB
	Retry      time.Duration // after a failure, at first; it doubles up to 64 times that; 0 = 250 ms
	Log        *slog.Logger  // nil = silence
	Registerer prometheus.Registerer
}

// The retention of the buckets, and what one of them is made of.
const (
	rawFor     = 7 * 24 * time.Hour
	minutesFor = 90 * 24 * time.Hour
	quarterFor = 2 * 365 * 24 * time.Hour

	maxAnswer = 64 << 20 // bytes of an answer that are read
)

// ErrAway: the server does not answer, or not now.
var ErrAway = errors.New("influxdb is away")

// statusError is an answer that is no success.
type statusError struct {
	code  int
	text  string
	after time.Duration // Retry-After
}

func (e *statusError) Error() string { return fmt.Sprintf("influxdb answers %d: %s", e.code, e.text) }

// lasting says that the same request would fail again.
func (e *statusError) lasting() bool {
	return e.code == http.StatusBadRequest || e.code == http.StatusUnprocessableEntity || e.code == http.StatusRequestEntityTooLarge
}

// busy says that the server cannot now, whatever is asked.
func (e *statusError) busy() bool {
	switch e.code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// ofTheBlock says that what was sent may be the reason: not the server's state, nor what the token or bucket is.
func (e *statusError) ofTheBlock() bool {
	switch e.code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return false
	}
	return !e.busy()
}

// Client is safe for concurrent use.
type Client struct {
	o       Options
	base    *url.URL
	http    *http.Client
	asking  *http.Client // of what is read: it takes no connection from what is written
	turns   *turns
	log     *slog.Logger
	metrics *metrics
	plain   bool // batches leave uncompressed: the server is on this machine
	out     outbox
	keeps   [3]atomic.Int64 // seconds that each bucket keeps, the finest first, as far as the server has been asked; 0 = for ever
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// Open prepares the client and, in the background, makes the buckets and tasks that are missing and writes. It does not
// wait for the server. Errors: options, the directory.
func Open(ctx context.Context, o Options) (*Client, error) {
	o.Bucket, o.Timeout = cmp.Or(o.Bucket, "starling"), cmp.Or(o.Timeout, 10*time.Second)
	o.SpoolBytes, o.Retry = cmp.Or(o.SpoolBytes, 256<<20), cmp.Or(o.Retry, 250*time.Millisecond)
	base, err := url.Parse(o.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, errors.New("read the URL of influxdb: want http(s)://host:port")
	}
	c := &Client{o: o, base: base, log: o.Log, metrics: newMetrics(o.Registerer)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	ip := net.ParseIP(base.Hostname())
	c.plain = base.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	c.http, c.asking, c.turns = newHTTP(16), newHTTP(questions+1), newTurns() // and what makes up for what came late
	if c.out.spool, err = openSpool(o.Dir, o.SpoolBytes, c.metrics); err != nil {
		return nil, err
	}
	for i, d := range [...]time.Duration{rawFor, minutesFor, quarterFor} {
		c.keeps[i].Store(int64(d.Seconds()))
	}
	c.out.queue = make(chan *block, queued)
	c.out.free = make(chan *block, queued)
	c.out.due = make(chan struct{}, 1)
	if t := c.out.spool.owed; t != (span{}) {
		c.out.owe(time.UnixMilli(t[0]), time.UnixMilli(t[1]))
	}
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.done.Go(func() { c.setUp(ctx) })
	c.done.Go(func() { c.send(ctx) })
	c.done.Go(func() { c.makeUp(ctx) })
	return c, nil
}

// Close puts what waits to disk and ends the client. Nothing is written to it afterwards.
func (c *Client) Close() {
	c.stop()
	c.done.Wait()
	c.out.spool.close()
	c.http.CloseIdleConnections()
	c.asking.CloseIdleConnections()
}

func newHTTP(conns int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		TLSHandshakeTimeout: 2 * time.Second, MaxIdleConnsPerHost: 8, MaxConnsPerHost: conns, IdleConnTimeout: time.Minute,
	}}
}

// faultsFor is how long a write that failed speaks for the next ones, where none comes.
const faultsFor = 5 * time.Minute

// Ping asks the server for a sign of life, whether it knows the token, and tells why it does not take what is written.
func (c *Client) Ping(ctx context.Context) error {
	if _, err := c.ask(ctx, http.MethodGet, "/health", nil, nil); err != nil {
		return err
	}
	var none *statusError
	_, err := c.ask(ctx, http.MethodGet, "/api/v2/buckets", url.Values{"name": {c.o.Bucket}, "limit": {"1"}}, nil)
	if err != nil && (!errors.As(err, &none) || none.code != http.StatusNotFound) { // who makes it, or finds it missing, says so
		return err
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for _, f := range c.out.fault {
		if f.err != nil && time.Since(f.at) < faultsFor {
			return fmt.Errorf("the last write failed: %w", f.err)
		}
	}
	return nil
}

// ask sends a JSON request and returns the answer's body.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, body any) ([]byte, error) {
	return c.askBy(ctx, c.http, method, path, query, body)
}

func (c *Client) askBy(ctx context.Context, by *http.Client, method, path string, query url.Values, body any) ([]byte, error) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("write the request %s: %w", path, err)
		}
	}
	res, err := c.do(ctx, by, method, path, query, raw, http.Header{"Content-Type": {"application/json"}})
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w: %w", path, ErrAway, err)
	}
	return answer, nil
}

// do sends a request; whoever gets an answer closes its body. Errors are *statusError, or wrap ErrAway.
func (c *Client) do(ctx context.Context, by *http.Client, method, path string, query url.Values, body []byte, header http.Header) (*http.Response, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make the request %s: %w", path, err)
	}
	req.Header = header
	req.Header.Set("Authorization", "Token "+c.o.Token)
	res, err := by.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return nil, fmt.Errorf("ask influxdb %s: %w: %w", path, ErrAway, err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	e := &statusError{code: res.StatusCode, text: complaint(res.Body)}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 && s < 3600 {
		e.after = time.Duration(s) * time.Second
	}
	if !e.lasting() {
		return nil, fmt.Errorf("ask influxdb %s: %w: %w", path, ErrAway, e)
	}
	return nil, fmt.Errorf("ask influxdb %s: %w", path, e)
}

// complaint is what an answer says of itself, as far as it may stand in a log.
func complaint(r io.Reader) string {
	raw, _ := io.ReadAll(io.LimitReader(r, 4096))
	var doc struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(raw, &doc) == nil && doc.Message != "" {
		raw = []byte(doc.Message)
	}
	return strings.ToValidUTF8(string(raw[:min(len(raw), 400)]), "")
}

type metrics struct {
	points  *prometheus.CounterVec
	dropped *prometheus.CounterVec
	errors  *prometheus.CounterVec
	spool   prometheus.Gauge
	waiting prometheus.Gauge
	write   prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		points: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_influx_points_total", Help: "Points that the server has taken, at once or from disk.",
		}, []string{"from"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_influx_dropped_total", Help: "Points given up: the disk's bound or fault, or the server refuses them.",
		}, []string{"queue"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "starling_influx_errors_total", Help: "Requests that failed, by what they were for.",
		}, []string{"what"}),
		spool:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "starling_influx_spool_bytes", Help: "What waits on disk for the server."}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "starling_influx_spool_points", Help: "Points that wait on disk for the server."}),
		write: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "starling_influx_write_seconds", Help: "Duration of a write that the server took.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
	}
	if r != nil {
		r.MustRegister(m.points, m.dropped, m.errors, m.spool, m.waiting, m.write)
	}
	return m
}
