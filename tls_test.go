package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// authority signs certificates of tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newKeyOf(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newKeyOf(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tests"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// leaf is a signed certificate and its key, as PEM.
type leaf struct{ cert, key []byte }

// sign makes a certificate for 127.0.0.1, or for a client of the names; more changes it.
func (a *authority) sign(t *testing.T, serial int64, more func(*x509.Certificate)) leaf {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if more != nil {
		more(template)
	}
	key := newKeyOf(t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return leaf{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})}
}

// robotLeaf signs a client certificate with these URIs.
func (a *authority) robotLeaf(t *testing.T, more func(*x509.Certificate), uris ...string) leaf {
	t.Helper()
	return a.sign(t, 7, func(c *x509.Certificate) {
		c.IPAddresses, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		for _, u := range uris {
			parsed, err := url.Parse(u)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, parsed)
		}
		if more != nil {
			more(c)
		}
	})
}

// write puts PEM into a folder and returns the paths.
func (l leaf) write(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for path, body := range map[string][]byte{cert: l.cert, key: l.key} {
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestWhatIsWrongWithTheFilesOfTLSIsAPreciseFault(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	good, other := ca.sign(t, 2, nil), ca.sign(t, 3, nil)
	old := ca.sign(t, 4, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	read := files("a.crt", string(good.cert), "a.key", string(good.key), "b.key", string(other.key), "old.crt", string(old.cert), "old.key", string(old.key),
		"ca", string(ca.pem), "text", planted, "chain", string(good.cert)+string(ca.pem), "mixed", string(ca.pem)+string(good.key))
	for name, x := range map[string]struct {
		env  []string
		want string
	}{
		"good":                       {[]string{"HTTP_TLS_CERT_FILE", "a.crt", "HTTP_TLS_KEY_FILE", "a.key", "LINK_TLS_CERT_FILE", "chain", "LINK_TLS_KEY_FILE", "a.key", "LINK_TLS_CLIENT_CA_FILE", "ca"}, ""},
		"expired is told, not fatal": {[]string{"HTTP_TLS_CERT_FILE", "old.crt", "HTTP_TLS_KEY_FILE", "old.key"}, ""},
		"no such certificate":        {[]string{"HTTP_TLS_CERT_FILE", "nowhere", "HTTP_TLS_KEY_FILE", "a.key"}, "HTTP_TLS_CERT_FILE: " + problemUnreadable},
		"no such key":                {[]string{"HTTP_TLS_CERT_FILE", "a.crt", "HTTP_TLS_KEY_FILE", "nowhere"}, "HTTP_TLS_KEY_FILE: " + problemUnreadable},
		"no certificate in it":       {[]string{"LINK_TLS_CERT_FILE", "text", "LINK_TLS_KEY_FILE", "a.key"}, "LINK_TLS_CERT_FILE: " + problemNoCert},
		"no key in it":               {[]string{"LINK_TLS_CERT_FILE", "a.crt", "LINK_TLS_KEY_FILE", "text"}, "LINK_TLS_KEY_FILE: " + problemNoKey},
		"another's key":              {[]string{"HTTP_TLS_CERT_FILE", "a.crt", "HTTP_TLS_KEY_FILE", "b.key"}, "HTTP_TLS_KEY_FILE: " + problemOtherKey},
		"a certificate alone":        {[]string{"HTTP_TLS_CERT_FILE", "a.crt"}, "HTTP_TLS_KEY_FILE: missing"},
		"authorities without TLS":    {[]string{"LINK_TLS_CLIENT_CA_FILE", "ca"}, "LINK_TLS_CERT_FILE: missing"},
		"no authorities in it":       {[]string{"LINK_TLS_CERT_FILE", "a.crt", "LINK_TLS_KEY_FILE", "a.key", "LINK_TLS_CLIENT_CA_FILE", "text"}, "LINK_TLS_CLIENT_CA_FILE: " + problemNoCA},
		"a key among authorities":    {[]string{"LINK_TLS_CERT_FILE", "a.crt", "LINK_TLS_KEY_FILE", "a.key", "LINK_TLS_CLIENT_CA_FILE", "mixed"}, "LINK_TLS_CLIENT_CA_FILE: " + problemNoCA},
		"a trust domain with a path": {[]string{"LINK_TRUST_DOMAIN", "a/b"}, "LINK_TRUST_DOMAIN: want a name of at most 255 small letters, digits and .-_"},
	} {
		_, faults := LoadConfig(env(x.env...), read)
		got := ""
		if err := faults.Err(); err != nil {
			got = err.Error()
		}
		if got != x.want {
			t.Errorf("%s: got %q, want %q", name, got, x.want)
		}
	}
}

// serveTLS serves an HTTP handler by the files and returns its address, how to look at renewals, and the registry.
func serveTLS(t *testing.T, f tlsFiles, log *slog.Logger) (string, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	c, err := newTLS(f, "http", log, registry)
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen(t.Context(), "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{httpTLS: c, failed: make(chan error, 1)}
	s := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Proto)) }), log)
	go a.serve(s, l) // ends with Close
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String(), registry
}

func handshake(t *testing.T, addr string, c *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	d := tls.Dialer{Config: c}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState(), nil
}

// gathered is the value of a metric whose only label has this value; -1 where there is none.
func gathered(t *testing.T, r *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return -1
}

func TestRenewedCertificatesAreServedWithoutARestart(t *testing.T) {
	t.Parallel()
	ca, dir := newAuthority(t), t.TempDir()
	cert, key := ca.sign(t, 2, nil).write(t, dir, "a")
	addr, registry := serveTLS(t, tlsFiles{cert: cert, key: key}, slog.New(slog.DiscardHandler))
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	serial := func() int64 {
		s, err := handshake(t, addr, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
		if err != nil {
			t.Fatal(err)
		}
		return s.PeerCertificates[0].SerialNumber.Int64()
	}
	eventually := func(want int64) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if serial() == want {
				return
			}
		}
		t.Fatalf("certificate %d is not served, but %d", want, serial())
	}
	if serial() != 2 {
		t.Fatal("not the first certificate")
	}
	next := ca.sign(t, 3, nil)
	if err := os.WriteFile(cert, next.cert, 0o600); err != nil { // before its key: the old pair stays
		t.Fatal(err)
	}
	time.Sleep(lookEvery + lookEvery/2)
	if serial() != 2 {
		t.Fatal("a certificate without its key is served")
	}
	if err := os.WriteFile(key, next.key, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(3)
	if got := gathered(t, registry, "starling_tls_not_after_seconds", "http"); got < float64(time.Now().Unix()) {
		t.Errorf("the certificate ends at %v", got)
	}
}

func TestOldVersionsAndWeakSuitesAreRefusedAndHTTP2IsSpoken(t *testing.T) {
	t.Parallel()
	ca, dir := newAuthority(t), t.TempDir()
	cert, key := ca.sign(t, 2, nil).write(t, dir, "a")
	addr, _ := serveTLS(t, tlsFiles{cert: cert, key: key}, slog.New(slog.DiscardHandler))
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	for name, x := range map[string]struct {
		c    *tls.Config
		fine bool
	}{
		"TLS 1.1":              {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		"CBC":                  {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		"without forward key":  {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, false},
		"TLS 1.2":              {&tls.Config{MaxVersion: tls.VersionTLS12}, true},
		"TLS 1.3":              {&tls.Config{MinVersion: tls.VersionTLS13}, true},
		"a client of no trust": {&tls.Config{RootCAs: x509.NewCertPool()}, false},
	} {
		c := x.c
		if c.RootCAs == nil {
			c.RootCAs = roots
		}
		if _, err := handshake(t, addr, c); (err == nil) != x.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.ProtoMajor != 2 {
		t.Errorf("speaks %s", res.Proto)
	}
}

func TestAnExpiredCertificateIsTold(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.sign(t, 2, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }).write(t, t.TempDir(), "a")
	var out strings.Builder
	if _, err := newTLS(tlsFiles{cert: cert, key: key}, "http", newLogger(&out, LogOptions{}), prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"event":"tls.expiry"`) || !strings.Contains(out.String(), `"level":"warn"`) {
		t.Errorf("the log says %q", out.String())
	}
}

func TestConnectionsAreBoundedInAllAndByAddress(t *testing.T) {
	t.Parallel()
	l, err := listen(t.Context(), "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	dropped := newDroppedConns(registry)
	b := newBounded(l, "http", 4, 2, nil, dropped)
	taken := make(chan net.Conn, 10)
	go func() { // ends with Close
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			taken <- c
		}
	}()
	defer func() { _ = b.Close() }()
	dial := func(from byte) (closed bool) {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		gone := make(chan bool, 1)
		go func() { // ends when the connection does
			_, err := c.Read(make([]byte, 1))
			gone <- err != nil
		}()
		select {
		case closed = <-gone:
		case k := <-taken:
			taken <- k
		}
		return closed
	}
	next := func() net.Conn { return <-taken }
	for i, x := range []struct {
		from   byte
		closed bool
	}{{1, false}, {1, false}, {1, true}, {2, false}, {2, false}, {3, true}} {
		before := len(taken)
		if got := dial(x.from); got != x.closed {
			t.Fatalf("connection %d: closed %v, want %v (%d taken before)", i, got, x.closed, before)
		}
		if !x.closed {
			defer func(c net.Conn) { _ = c.Close() }(next())
		}
	}
	const name = "starling_connections_dropped_total"
	if a, all := gathered(t, registry, name, "http_per_ip"), gathered(t, registry, name, "http"); a != 1 || all != 1 {
		t.Errorf("counted %v by address and %v in all", a, all)
	}
}
