package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"starling/gateway/auth"
	"starling/gateway/rest"
)

// door is the program's own HTTP server and handler on a port, and what requests the handler has seen.
type door struct {
	addr string
	mu   sync.Mutex
	seen []string
}

func (d *door) saw() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seen)
}

// openDoor serves the real handler with the real server; change may shorten its bounds.
func openDoor(t *testing.T, o rest.Options, change func(*http.Server)) *door {
	t.Helper()
	private, err := auth.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := auth.NewDevIssuer(private, "http://issuer", "starling")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	o.Facts, o.Log, o.Dev = struct{ rest.Facts }{}, log, issuer
	o.Auth = auth.NewGuard(auth.New(auth.Options{Issuer: "http://issuer", Audience: "starling", Keys: issuer}), nil)
	d, h := &door{}, rest.New(o)
	s := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.seen = append(d.seen, r.Method+" "+r.RequestURI)
		d.mu.Unlock()
		if r.URL.Path == "/big" { // more than the system buffers
			control := http.NewResponseController(w)
			_ = control.SetWriteDeadline(time.Now().Add(o.AnswerWithin))
			for block := make([]byte, 1<<20); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}
		h.ServeHTTP(w, r)
	}), log)
	if change != nil {
		change(s)
	}
	l, err := listen(t.Context(), "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	d.addr = l.Addr().String()
	a := &app{failed: make(chan error, 1)}
	go a.serve(s, l) // ends with Close
	t.Cleanup(func() { _ = s.Close() })
	return d
}

// exchange sends bytes and reads until the server ends the connection or is silent for a while.
func (d *door) exchange(t *testing.T, sent string) (answers []int, closed bool) {
	t.Helper()
	c := d.dial(t)
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
	for {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			var timeout net.Error
			return answers, !errors.As(err, &timeout) || !timeout.Timeout()
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		answers = append(answers, res.StatusCode)
		_ = c.SetReadDeadline(time.Now().Add(700 * time.Millisecond))
	}
}

func (d *door) dial(t *testing.T) net.Conn {
	t.Helper()
	var dialer net.Dialer
	c, err := dialer.DialContext(t.Context(), "tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestNoByteOfOneRequestIsTakenForAnother sends what programs on the way might cut up in other places than we do. Each is
// refused, or answered once and the connection closed; what is hidden in it is never seen as a request.
func TestNoByteOfOneRequestIsTakenForAnother(t *testing.T) {
	t.Parallel()
	const hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
	post := func(headers, rest string) string {
		return "POST /dev/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + headers + "\r\n" + rest
	}
	for name, x := range map[string]struct {
		sent string
		want int // the one answer
		open bool
	}{
		"an honest request":                  {post("Content-Length: 2\r\n", "{}"), 422, true},
		"length and chunks":                  {post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+hidden), 400, false},
		"chunks and length":                  {post("Transfer-Encoding: chunked\r\nContent-Length: 60\r\n", "0\r\n\r\n"+hidden), 400, false},
		"chunks alone, and more":             {post("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"+hidden), 422, false},
		"two lengths":                        {post("Content-Length: 2\r\nContent-Length: 40\r\n", "{}"+hidden), 400, false},
		"two lengths in one line":            {post("Content-Length: 2, 40\r\n", "{}"+hidden), 400, false},
		"a length with a sign":               {post("Content-Length: +2\r\n", "{}"+hidden), 400, false},
		"a negative length":                  {post("Content-Length: -1\r\n", hidden), 400, false},
		"a length in hex":                    {post("Content-Length: 0x2\r\n", "{}"+hidden), 400, false},
		"a length that no number holds":      {post("Content-Length: 99999999999999999999\r\n", hidden), 400, false},
		"an empty length":                    {post("Content-Length: \r\n", hidden), 400, false},
		"an encoding that is not there":      {post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"+hidden), 501, false},
		"two encodings":                      {post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"+hidden), 501, false},
		"chunked twice":                      {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+hidden), 501, false},
		"chunked and identity":               {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"+hidden), 501, false},
		"an encoding behind a tab":           {post("Transfer-Encoding:\tchunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"+hidden), 400, false},
		"a blank before the colon":           {post("Transfer-Encoding : chunked\r\nContent-Length: 2\r\n", "{}"+hidden), 400, false},
		"a header line without colon":        {post("Transfer-Encoding chunked\r\nContent-Length: 2\r\n", "{}"+hidden), 400, false},
		"a folded first line":                {"POST /dev/token HTTP/1.1\r\n Host: x\r\n\r\n" + hidden, 400, false},
		"a zero byte in a header":            {post("X-A: a\x00b\r\nContent-Length: 2\r\n", "{}"+hidden), 400, false},
		"a bare carriage return":             {post("X-A: a\rContent-Length: 2\r\n", "{}"+hidden), 400, false},
		"a chunk with a sign":                {post("Transfer-Encoding: chunked\r\n", "+2\r\n{}\r\n0\r\n\r\n"+hidden), 400, false},
		"a chunk of no size":                 {post("Transfer-Encoding: chunked\r\n", "\r\n{}\r\n0\r\n\r\n"+hidden), 400, false},
		"a chunk that ends early":            {post("Transfer-Encoding: chunked\r\n", "1\r\n{}\r\n0\r\n\r\n"+hidden), 400, false},
		"a chunk with a bare line feed":      {post("Transfer-Encoding: chunked\r\n", "2\n{}\r\n0\r\n\r\n"+hidden), 400, false},
		"a chunk size that wraps":            {post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff2\r\n{}\r\n0\r\n\r\n"+hidden), 400, false},
		"chunks in HTTP/1.0":                 {strings.Replace(post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"+hidden), "HTTP/1.1", "HTTP/1.0", 1), 400, false},
		"no host":                            {"GET /healthz HTTP/1.1\r\n\r\n", 400, false},
		"two hosts":                          {"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, false},
		"a host that is none":                {"GET /healthz HTTP/1.1\r\nHost: a/../b\r\n\r\n", 400, false},
		"HTTP/0.9":                           {"GET /healthz\r\n\r\n", 400, false},
		"HTTP/3.0":                           {"GET /healthz HTTP/3.0\r\nHost: x\r\n\r\n", 505, false},
		"a blank in the target":              {"GET /healthz x HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
		"a method that is none":              {"GE(T /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
		"HTTP/2's first words":               {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405, false},
		"an upgrade to HTTP/2":               {"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n", 200, true},
		"another method named":               {"GET /healthz HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\n\r\n", 200, true},
		"a whole URL, its host another":      {"GET http://other/healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200, true},
		"a way through":                      {"CONNECT other:80 HTTP/1.1\r\nHost: other:80\r\n\r\n", 404, true},
		"a path of dots":                     {"GET /docs/../healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
		"a path of encoded dots":             {"GET /docs/%2e%2e/healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400, true},
		"a body that a GET has":              {"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789", 200, true},
		"a body that is larger than it may":  {post("Content-Length: 100000000\r\n", strings.Repeat("x", 300<<10)), 400, false},
		"a header of 100 KB":                 {"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 100<<10) + "\r\n\r\n", 431, false},
		"200 headers":                        {"GET /healthz HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: b\r\n", 200) + "\r\n", 431, true},
		"an expectation that nobody fulfils": {post("Expect: 200-maybe\r\nContent-Length: 2\r\n", "{}"), 417, false},
		"TLS where none is spoken":           {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("a", 600), 400, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := openDoor(t, rest.Options{}, func(s *http.Server) { s.ReadHeaderTimeout = time.Second })
			answers, closed := d.exchange(t, x.sent)
			if !slices.Equal(answers, []int{x.want}) || closed == x.open {
				t.Errorf("answers %v, closed %v; want %d, closed %v", answers, closed, x.want, !x.open)
			}
			if slices.ContainsFunc(d.saw(), func(s string) bool { return strings.Contains(s, "hidden") || strings.HasPrefix(s, "DELETE") }) || len(d.saw()) > 1 {
				t.Errorf("seen as requests: %q", d.saw())
			}
		})
	}
}

// cut says how long a connection lasts; what the peer does meanwhile is up to it.
func cut(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	_ = c.SetReadDeadline(began.Add(time.Minute))
	_, err := io.Copy(io.Discard, c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("it is never cut off")
	}
	return time.Since(began)
}

// drip sends a byte every so often until the connection ends.
func drip(c net.Conn, every time.Duration) {
	for {
		time.Sleep(every)
		if _, err := c.Write([]byte("x")); err != nil {
			return
		}
	}
}

func TestSlowClientsAreCutOffAndStarveNobody(t *testing.T) {
	t.Parallel()
	const bound = time.Second
	d := openDoor(t, rest.Options{BodyWithin: bound, AnswerWithin: bound}, func(s *http.Server) { s.ReadHeaderTimeout, s.IdleTimeout = bound, bound })
	slow := map[string]string{
		"says nothing":                  "",
		"a header without end":          "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ",
		"a body that nobody reads":      "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
		"a body of the refused":         "POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
		"a body that is read":           "POST /dev/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
		"a chunked body without end":    "POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"a body that a GET has":         "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"an answer, and then nothing":   "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"a second header without end":   "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\n",
		"an answer that it never reads": "GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
	}
	const each = 20
	var all sync.WaitGroup
	for name, sent := range slow {
		for range each {
			c := d.dial(t)
			if _, err := io.WriteString(c, sent); err != nil {
				t.Fatal(err)
			}
			if name != "says nothing" && name != "an answer, and then nothing" && !strings.Contains(sent, "/big") {
				go drip(c, 50*time.Millisecond) // ends with the connection
			}
			all.Go(func() {
				if strings.Contains(sent, "/big") {
					time.Sleep(2 * bound)
				}
				if took := cut(t, c); took > 20*bound {
					t.Errorf("%s: cut off after %v", name, took)
				}
			})
		}
	}
	quick := &http.Client{Timeout: 10 * time.Second}
	defer quick.CloseIdleConnections()
	for range 50 { // meanwhile
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.addr+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := quick.Do(req)
		if err != nil {
			t.Fatalf("somebody else is starved: %v", err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("somebody else gets %d", res.StatusCode)
		}
	}
	all.Wait()
}

func TestWhatIsSentWholeIsReadWholeHoweverItIsCut(t *testing.T) {
	t.Parallel()
	d := openDoor(t, rest.Options{}, nil)
	body := `{"role":"viewer","tenant":"11111111-1111-4111-8111-111111111111"}`
	var whole bytes.Buffer
	fmt.Fprintf(&whole, "POST /dev/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	fmt.Fprintf(&whole, "POST /dev/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
	for i := 0; i < len(body); i += 7 {
		part := body[i:min(i+7, len(body))]
		fmt.Fprintf(&whole, "%x;ext=1\r\n%s\r\n", len(part), part)
	}
	whole.WriteString("0\r\nX-Trailer: 1\r\n\r\n")
	answers, closed := d.exchange(t, whole.String())
	if !slices.Equal(answers, []int{200, 200}) || !closed {
		t.Errorf("answers %v, closed %v: want both, and the end after the chunked one", answers, closed)
	}
}
