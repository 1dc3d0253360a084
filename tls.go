package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What is wrong with the files of a listener's TLS, as a fault of the configuration says it.
const (
	problemUnreadable = "the file cannot be read"
	problemNoCert     = "want PEM certificates, the server's own first"
	problemNoKey      = "want one PEM private key that is not encrypted"
	problemOtherKey   = "is not the key of the certificate"
	problemNoCA       = "want PEM certificates of authorities"
)

// pairProblem is what keeps a certificate and its key from being used; one of the two is set.
type pairProblem struct{ cert, key string }

func (p pairProblem) Error() string {
	if p.cert != "" {
		return "certificate: " + p.cert
	}
	return "key: " + p.key
}

// readPair reads a certificate with its chain, and its key. The error is a pairProblem.
func readPair(certFile, keyFile string, readFile func(string) ([]byte, error)) (*tls.Certificate, error) {
	cert, err := readFile(certFile)
	if err != nil {
		return nil, pairProblem{cert: problemUnreadable}
	}
	if _, err := authorities(cert); err != nil {
		return nil, pairProblem{cert: problemNoCert}
	}
	key, err := readFile(keyFile)
	if err != nil {
		return nil, pairProblem{key: problemUnreadable}
	}
	pair, err := tls.X509KeyPair(cert, key)
	switch {
	case err != nil && strings.Contains(err.Error(), "does not match"):
		return nil, pairProblem{key: problemOtherKey}
	case err != nil:
		return nil, pairProblem{key: problemNoKey}
	}
	return &pair, nil
}

// authorities reads PEM certificates, at least one, and nothing that is none.
func authorities(body []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, body = pem.Decode(body); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, errors.New(problemNoCA)
		}
		pool.AddCert(c)
		n++
	}
	if n == 0 {
		return nil, errors.New(problemNoCA)
	}
	return pool, nil
}

// checkTLS finds what is wrong with the files that the configuration names.
func (c *Config) checkTLS(readFile func(string) ([]byte, error), faults *Faults) {
	for _, pair := range [][4]string{
		{"HTTP_TLS_CERT_FILE", c.HTTPCertFile, "HTTP_TLS_KEY_FILE", c.HTTPKeyFile},
		{"LINK_TLS_CERT_FILE", c.LinkCertFile, "LINK_TLS_KEY_FILE", c.LinkKeyFile},
	} {
		if pair[1] == "" || pair[3] == "" {
			continue
		}
		_, err := readPair(pair[1], pair[3], readFile)
		if p := (pairProblem{}); errors.As(err, &p) && p.cert != "" {
			faults.invalid(pair[0], p.cert)
		} else if err != nil {
			faults.invalid(pair[2], p.key)
		}
	}
	if c.LinkClientCAFile == "" {
		return
	}
	body, err := readFile(c.LinkClientCAFile)
	if err == nil {
		_, err = authorities(body)
	} else {
		err = errors.New(problemUnreadable)
	}
	if err != nil {
		faults.invalid("LINK_TLS_CLIENT_CA_FILE", err.Error())
	}
}

// lookEvery is how often handshakes look whether the files have changed.
const lookEvery = time.Second

// renewed keeps what was read from files and reads it anew when their times or sizes change: asked at handshakes, at most
// every lookEvery. Files that cannot be used (half written, a certificate before its key) leave the old ones in force,
// are told once and are tried again.
type renewed[T any] struct {
	files []string
	read  func() (T, error)
	log   *slog.Logger
	every time.Duration // 0 = at each handshake

	mu      sync.Mutex
	now     T
	stamp   string // of what is in force
	refused string // of what could not be used
	looked  time.Time
}

func newRenewed[T any](log *slog.Logger, read func() (T, error), files ...string) (*renewed[T], error) {
	r := &renewed[T]{files: files, read: read, log: log, every: lookEvery, looked: time.Now()}
	r.stamp = r.stampOf()
	var err error
	r.now, err = read()
	return r, err
}

// get returns what is in force.
func (r *renewed[T]) get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) < r.every {
		return r.now
	}
	r.looked = time.Now()
	stamp := r.stampOf()
	if stamp == r.stamp {
		return r.now
	}
	fresh, err := r.read()
	switch {
	case err == nil:
		r.now, r.stamp, r.refused = fresh, stamp, ""
		r.log.Info("certificates were renewed", slog.String(keyEvent, "tls.renewed"), slog.String("file", r.files[0]))
	case stamp != r.refused:
		r.refused = stamp
		r.log.Error("renewed certificates cannot be used, the old ones stay", slog.String(keyEvent, "tls.renewed"),
			slog.String("file", r.files[0]), slog.String("error", err.Error()))
	}
	return r.now
}

func (r *renewed[T]) stampOf() string {
	var b strings.Builder
	for _, f := range r.files {
		if s, err := os.Stat(f); err == nil {
			fmt.Fprint(&b, s.ModTime().UnixNano(), s.Size())
		}
		b.WriteByte(';')
	}
	return b.String()
}

// tlsFiles are the files of one listener. ClientCA "" = no client certificates.
type tlsFiles struct{ cert, key, clientCA string }

// newTLS makes a listener's TLS; nil where no certificate is named. One that has expired, or will soon, is told; it is
// served all the same, since what follows it may come while we run.
func newTLS(f tlsFiles, listener string, log *slog.Logger, registry prometheus.Registerer) (*tls.Config, error) {
	if f.cert == "" {
		return nil, nil
	}
	pair, err := newRenewed(log, func() (*tls.Certificate, error) {
		p, err := readPair(f.cert, f.key, os.ReadFile)
		if err == nil && time.Until(p.Leaf.NotAfter) < 7*24*time.Hour {
			log.Warn("a certificate has expired or will within a week", slog.String(keyEvent, "tls.expiry"),
				slog.String("listener", listener), slog.Time("not_after", p.Leaf.NotAfter))
		}
		return p, err
	}, f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of %s: %w", listener, err)
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "starling_tls_not_after_seconds", Help: "When the listener's certificate ends, Unix time.", ConstLabels: prometheus.Labels{"listener": listener},
	}, func() float64 { return float64(pair.get().Leaf.NotAfter.Unix()) }))
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{ // of TLS 1.2; those of 1.3 are not ours to choose
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get(), nil },
	}
	if f.clientCA == "" {
		return c, nil
	}
	return withClients(c, f.clientCA, log)
}

// withClients lets callers show a certificate of the authorities in a file. One that they did not sign ends the
// handshake; none at all does not. Sessions are not resumed, so that each connection is held to the authorities of now.
func withClients(c *tls.Config, file string, log *slog.Logger) (*tls.Config, error) {
	c.NextProtos, c.SessionTicketsDisabled = []string{"h2"}, true
	configs, err := newRenewed(log, func() (*tls.Config, error) {
		body, err := os.ReadFile(file)
		if err != nil {
			return nil, errors.New(problemUnreadable)
		}
		own := c.Clone()
		own.GetConfigForClient, own.ClientAuth = nil, tls.VerifyClientCertIfGiven
		own.ClientCAs, err = authorities(body)
		return own, err
	}, file)
	if err != nil {
		return nil, fmt.Errorf("read the authorities of client certificates: %w", err)
	}
	outer := c.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return configs.get(), nil }
	return outer, nil
}

// clientTLS is how our own commands speak TLS: ca "" = the system's authorities; cert "" = no certificate of their own.
func clientTLS(ca, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		body, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		if c.RootCAs, err = authorities(body); err != nil {
			return nil, fmt.Errorf("%s: %w", ca, err)
		}
	}
	if slices.Contains([]string{cert, key}, "") {
		return c, nil
	}
	pair, err := readPair(cert, key, os.ReadFile)
	if err != nil {
		return nil, fmt.Errorf("read the client certificate: %w", err)
	}
	c.Certificates = []tls.Certificate{*pair}
	return c, nil
}
