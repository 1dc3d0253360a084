// Package webhook sends signed messages to receivers that tenants name: what reaches them, and how they know that it
// comes from here. It must not reach what a tenant has no business with: addresses inside the operator's networks are
// refused when the connection is made, whatever a name resolves to by then.
//
// Messages are signed as Standard Webhooks says: webhook-id, webhook-timestamp (seconds since 1970) and webhook-signature,
// which is "v1," and the base64 of HMAC-SHA256 over id.timestamp.body. Receivers refuse old timestamps and remember ids.
//
// Size: a message costs about 0.2 ms of CPU with the handshake; one is under way at a time and receiver, a few in all
// (persistence/jobs bounds them).
package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// Options say how to send. The zero value of a field is its stated default.
type Options struct {
	// Networks are those inside which receivers may stand besides the public ones; a receiver within them may do without TLS.
	Networks []netip.Prefix
	Timeout  time.Duration // of one message; 0 = 5 s
	Version  string        // of the program, told to receivers
	Roots    *x509.CertPool
	Now      func() time.Time // nil = time.Now
}

// Sender sends messages. It is safe for concurrent use.
type Sender struct {
	o      Options
	secure *http.Client
	plain  *http.Client // reaches Options.Networks alone
}

// maxAnswer bounds what is read of an answer: nothing in it is used.
const maxAnswer = 4 << 10

// New returns a sender.
func New(o Options) *Sender {
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Sender{o: o}
	s.secure = s.client(func(a netip.Addr) bool { return public(a) || within(o.Networks, a) })
	s.plain = s.client(func(a netip.Addr) bool { return within(o.Networks, a) })
	return s
}

// The errors of Send besides those of the network.
var (
	// ErrAddress says that the receiver stands where messages may not go: no later try will do better.
	ErrAddress = errors.New("the address is not one that webhooks may reach")
	// ErrGone says that the receiver wants no more messages (410).
	ErrGone = errors.New("the receiver wants no more")
	// ErrName says that the receiver's name is not found.
	ErrName = errors.New("its name is not found")
	// ErrCertificate says that the receiver's certificate is not one for its name by a known authority.
	ErrCertificate = errors.New("its certificate is not valid")
	// ErrUnreached says that no connection was made, or that it broke.
	ErrUnreached = errors.New("it cannot be reached")
	// ErrRefused says that the receiver has answered otherwise than 2xx.
	ErrRefused = errors.New("the receiver has not taken it")
)

// client makes connections to addresses that may says alone. It asks at the last moment: a name may resolve to something
// else than when it was looked at. Redirections are not followed, and no proxy of the environment is used.
func (s *Sender) client(may func(netip.Addr) bool) *http.Client {
	dialer := &net.Dialer{Timeout: s.o.Timeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !may(at.Addr().Unmap().WithZone("")) {
			return ErrAddress
		}
		return nil
	}}
	return &http.Client{
		Timeout: s.o.Timeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.o.Roots},
			TLSHandshakeTimeout: s.o.Timeout, MaxResponseHeaderBytes: 16 << 10, MaxIdleConns: 32, MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second,
			ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close ends connections that wait.
func (s *Sender) Close() {
	s.secure.CloseIdleConnections()
	s.plain.CloseIdleConnections()
}

// Sign returns the value of webhook-signature.
func Sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.", id, at.Unix()) // a hash takes all that is written
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// outer is as much of an error as a tenant may see: neither the URL nor the names and addresses of the operator's networks,
// which a receiver's name may have been pointed at to find out.
func outer(err error) error {
	var name *net.DNSError
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	var shown *url.Error
	switch {
	case errors.Is(err, ErrAddress):
		return ErrAddress
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(err, &name):
		return ErrName
	case errors.As(err, &certificate): // it lists the names that it is for
		return ErrCertificate
	case errors.As(err, &network):
		return ErrUnreached
	case errors.As(err, &shown): // it repeats the URL
		return shown.Err
	}
	return err
}

// Send sends a message and returns the status of the answer, 0 where there is none. Errors wrap one of those
// above where they can; they never show the URL, which may be a secret, nor what names resolve to.
func (s *Sender) Send(ctx context.Context, to string, key []byte, id string, body []byte) (status int, err error) {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" {
		return 0, fmt.Errorf("send a webhook: its URL cannot be read: %w", ErrAddress)
	}
	client := s.secure
	switch u.Scheme {
	case "https":
	case "http":
		client = s.plain
	default:
		return 0, fmt.Errorf("send a webhook: want https: %w", ErrAddress)
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("send a webhook: its URL cannot be used: %w", ErrAddress)
	}
	now := s.o.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Starling/"+cmp.Or(s.o.Version, "dev"))
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", Sign(key, id, now, body))
	res, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("send a webhook: %w", outer(err))
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // so that the connection may serve again
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return res.StatusCode, nil
	case res.StatusCode == http.StatusGone:
		return res.StatusCode, fmt.Errorf("send a webhook: %w", ErrGone)
	}
	return res.StatusCode, fmt.Errorf("send a webhook: status %d: %w", res.StatusCode, ErrRefused)
}
