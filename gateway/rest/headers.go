package rest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The bounds of one request beside those of its route.
const (
	bodyWithin   = 15 * time.Second // a body that nobody reads, or that a route gives no time of its own
	answerWithin = 30 * time.Second // from its first byte to its last, for a client that reads slowly
	maxHeaders   = 100              // lines
	maxHops      = 32               // of X-Forwarded-For, from the right
)

// apiPolicy lets a browser do nothing with an answer but hand it to the script that asked. The page and the document
// of the API have policies of their own.
const apiPolicy = "default-src 'none'; frame-ancestors 'none'"

// permissions are what nothing here needs.
const permissions = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=()"

// yearOfTLS is how long a browser that came by TLS comes by nothing else.
const yearOfTLS = "max-age=31536000"

type callerKey struct{}

// armour stands before everything else: it finds out who calls, bounds the time of body and answer, and gives every
// answer the headers that keep browsers from misusing it. What follows may replace those.
func (a *api) armour(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ip, secure := callerOf(r, a.TrustedProxies)
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", apiPolicy)
		h.Set("Permissions-Policy", permissions)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if secure {
			h.Set("Strict-Transport-Security", yearOfTLS)
		}
		if len(r.TransferEncoding) > 0 && r.ProtoMajor == 1 {
			// Where it ends is a matter of opinion if a length came along, and the server does not tell us: what is left
			// on the connection is not taken for a request.
			h.Set("Connection", "close")
		}
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Time{}) // an earlier request's
		if !live(r.URL.Path) {
			if r.Body != nil && r.Body != http.NoBody {
				_ = control.SetReadDeadline(time.Now().Add(a.bodyWithin()))
			}
			w = &timely{ResponseWriter: w, control: control, within: a.answerWithin()}
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, ip)))
	})
}

func (a *api) bodyWithin() time.Duration {
	if a.BodyWithin > 0 {
		return a.BodyWithin
	}
	return bodyWithin
}

func (a *api) answerWithin() time.Duration {
	if a.AnswerWithin > 0 {
		return a.AnswerWithin
	}
	return answerWithin
}

// timely bounds how long an answer may take to leave.
type timely struct {
	http.ResponseWriter
	control *http.ResponseController
	within  time.Duration
	begun   bool
}

func (w *timely) WriteHeader(status int) {
	w.begin()
	w.ResponseWriter.WriteHeader(status)
}

func (w *timely) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

func (w *timely) begin() {
	if !w.begun {
		w.begun = true
		_ = w.control.SetWriteDeadline(time.Now().Add(w.within))
	}
}

// Unwrap gives http.ResponseController the writer below.
func (w *timely) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// plain refuses what two programs on the way could read in two ways: paths that name another path once they are decoded
// or cleaned, and headers without end.
func (a *api) plain(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines := 0
		for _, values := range r.Header {
			lines += len(values)
		}
		switch {
		case lines > maxHeaders:
			a.write(w, r, newError(http.StatusRequestHeaderFieldsTooLarge, codeInvalid, "too many headers"))
		case !plainPath(r.URL.Path, r.URL.EscapedPath()):
			a.write(w, r, newError(http.StatusBadRequest, codeInvalid, "the path is ambiguous").with("fields", []Field{{"path", "want no dot segments, no backslashes, no control characters and no encoded slashes"}}))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// plainPath says that a path means the same to everybody, encoded as it came or decoded.
func plainPath(path, escaped string) bool {
	if strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }) {
		return false
	}
	lower := strings.ToLower(escaped)
	if strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") {
		return false
	}
	for s := range strings.SplitSeq(path, "/") {
		if s == "." || s == ".." {
			return false
		}
	}
	return true
}

// callerOf says from which address a request comes and whether it left its client by TLS. Only what a trusted proxy says
// of it is believed: of X-Forwarded-For the right-most address that is no trusted proxy's, since whatever stands left of
// it the client may have written itself.
func callerOf(r *http.Request, trusted []netip.Prefix) (ip string, secure bool) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	peer, err := netip.ParseAddr(host)
	if err != nil {
		return host, r.TLS != nil
	}
	peer = peer.Unmap().WithZone("")
	if !contains(trusted, peer) {
		return peer.String(), r.TLS != nil
	}
	return rightmost(peer, r.Header.Values("X-Forwarded-For"), trusted).String(), r.TLS != nil || last(r.Header.Values("X-Forwarded-Proto")) == "https"
}

func contains(all []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// rightmost walks from the peer through the proxies that are trusted, and returns the first that is not: the one whom
// the last trusted proxy saw. What is no address ends the walk.
func rightmost(peer netip.Addr, forwarded []string, trusted []netip.Prefix) netip.Addr {
	for i, hops := len(forwarded)-1, 0; i >= 0; i-- {
		rest := forwarded[i]
		for more := true; more && hops < maxHops; hops++ {
			hop := rest
			if cut := strings.LastIndexByte(rest, ','); cut >= 0 {
				rest, hop = rest[:cut], rest[cut+1:]
			} else {
				more = false
			}
			ip, ok := hopOf(strings.TrimSpace(hop))
			if !ok {
				return peer
			}
			if peer = ip; !contains(trusted, ip) {
				return peer
			}
		}
	}
	return peer
}

// hopOf reads an address as proxies write it, some with a port.
func hopOf(s string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		ip = withPort.Addr()
	}
	return ip.Unmap().WithZone(""), true
}

// last is the last of a header's values, which the nearest proxy wrote.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	parts := strings.Split(values[len(values)-1], ",")
	return strings.ToLower(strings.TrimSpace(parts[len(parts)-1]))
}

// inline finds what a document carries in itself.
var inline = regexp.MustCompile(`(?s)<(script|style)>(.*?)</(?:script|style)>`)

// documented serves the API's document under a policy that lets its own scripts run and no others: those that stand in
// it are named by their hashes.
func documented(docs http.Handler, base string) http.Handler {
	shown := &shownPage{header: http.Header{}}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, base, nil)
	if err == nil {
		docs.ServeHTTP(shown, r)
	}
	sources := map[string]string{"script": "'self'", "style": "'self'"}
	for _, m := range inline.FindAllSubmatch(shown.body.Bytes(), -1) {
		sum := sha256.Sum256(m[2])
		sources[string(m[1])] += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	policy := "default-src 'none'; script-src " + sources["script"] + "; style-src " + sources["style"] +
		"; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Cache-Control", "no-cache")
		docs.ServeHTTP(w, r)
	})
}

// shownPage keeps a page that is made at start.
type shownPage struct {
	header http.Header
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (p *shownPage) Header() http.Header { return p.header }

// Write implements http.ResponseWriter.
func (p *shownPage) Write(b []byte) (int, error) { return p.body.Write(b) }

// WriteHeader implements http.ResponseWriter.
func (*shownPage) WriteHeader(int) {}
