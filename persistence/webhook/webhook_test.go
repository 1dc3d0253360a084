package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"starling/persistence/webhook"
)

func here() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// The reference is the example of the Standard Webhooks specification.
func TestASignatureIsThatOfTheSpecification(t *testing.T) {
	t.Parallel()
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := webhook.Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
}

func TestAReceiverCanTellWhoHasSentWhat(t *testing.T) {
	t.Parallel()
	var seen http.Header
	var body []byte
	r := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer r.Close()
	roots := x509.NewCertPool()
	roots.AddCert(r.Certificate())
	now := time.Unix(1_800_000_000, 0)
	s := webhook.New(webhook.Options{Networks: here(), Roots: roots, Version: "1.2", Now: func() time.Time { return now }})
	defer s.Close()
	status, err := s.Send(t.Context(), r.URL+"/x", []byte("a key"), "id-1", []byte(`{"a":1}`))
	if err != nil || status != http.StatusAccepted {
		t.Fatalf("%d, %v", status, err)
	}
	mac := hmac.New(sha256.New, []byte("a key"))
	mac.Write([]byte(`id-1.1800000000.{"a":1}`))
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for name, value := range map[string]string{"Webhook-Id": "id-1", "Webhook-Timestamp": "1800000000", "Webhook-Signature": want, "User-Agent": "Starling/1.2", "Content-Type": "application/json"} {
		if seen.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, seen.Get(name), value)
		}
	}
	if string(body) != `{"a":1}` {
		t.Errorf("the body is %s", body)
	}
}

func TestMessagesReachNoInnerAddress(t *testing.T) {
	t.Parallel()
	hit := false
	r := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit = true }))
	defer r.Close()
	port := r.URL[strings.LastIndex(r.URL, ":"):]
	s := webhook.New(webhook.Options{Timeout: 2 * time.Second})
	defer s.Close()
	for _, host := range []string{
		"127.0.0.1", "localhost", "127.8.8.8", "2130706433", "0x7f.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]", "10.0.0.1", "172.16.3.4",
		"192.168.1.1", "169.254.169.254", "100.64.0.1", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:0:1::1]", "[fec0::1]", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "[ff02::1]",
	} {
		for _, scheme := range []string{"https", "http"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			status, err := s.Send(ctx, scheme+"://"+host+port+"/", nil, "i", nil)
			cancel()
			if err != nil && (strings.Contains(err.Error(), strings.Trim(host, "[]")) || strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "tcp")) {
				t.Errorf("%s is told: %v", host, err)
			}
			// What is no address for the resolver is a name that does not exist: nothing was reached either way.
			if status != 0 || err == nil || !errors.Is(err, webhook.ErrAddress) && host != "2130706433" && host != "0x7f.1" {
				t.Errorf("%s://%s: %d, %v", scheme, host, status, err)
			}
		}
	}
	if hit {
		t.Error("an inner address was reached")
	}
	for _, u := range []string{"ftp://127.0.0.1/", "file:///etc/passwd", "gopher://x", "", "http:///x", "https://"} {
		if _, err := s.Send(t.Context(), u, nil, "i", nil); !errors.Is(err, webhook.ErrAddress) {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// A tenant sees why a message failed, and nothing of what is inside.
func TestCausesNameNoAddress(t *testing.T) {
	t.Parallel()
	r := httptest.NewServer(http.NotFoundHandler())
	closed := r.URL
	r.Close()
	s := webhook.New(webhook.Options{Networks: here(), Timeout: 2 * time.Second})
	defer s.Close()
	strange := httptest.NewTLSServer(http.NotFoundHandler())
	defer strange.Close()
	for to, want := range map[string]error{closed: webhook.ErrUnreached, strange.URL: webhook.ErrCertificate, "https://no-such-name.invalid/": webhook.ErrName} {
		_, err := s.Send(t.Context(), to, nil, "i", nil)
		if !errors.Is(err, want) && !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "no-such-name") {
			t.Errorf("%s: %v, want %v", to, err, want)
		}
	}
}

// Without TLS a message may go to the operator's own networks and nowhere else.
func TestPlainHTTPReachesOwnNetworksAlone(t *testing.T) {
	t.Parallel()
	r := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer r.Close()
	own := webhook.New(webhook.Options{Networks: here()})
	defer own.Close()
	if status, err := own.Send(t.Context(), r.URL, nil, "i", nil); err != nil || status != http.StatusOK {
		t.Errorf("%d, %v", status, err)
	}
	if _, err := own.Send(t.Context(), "http://93.184.216.34:81/", nil, "i", nil); !errors.Is(err, webhook.ErrAddress) {
		t.Errorf("a public address is reached without TLS: %v", err)
	}
}

func TestWhatAReceiverMayNotDo(t *testing.T) {
	t.Parallel()
	followed := false
	blocked := make(chan struct{})
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/followed", http.StatusTemporaryRedirect)
		case "/followed":
			followed = true
		case "/gone":
			w.WriteHeader(http.StatusGone)
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		case "/silent":
			select {
			case <-blocked:
			case <-r.Context().Done():
			}
		}
	}))
	defer r.Close()
	defer close(blocked)
	s := webhook.New(webhook.Options{Networks: here(), Timeout: time.Second})
	defer s.Close()
	if status, err := s.Send(t.Context(), r.URL+"/redirect", nil, "i", nil); status != http.StatusTemporaryRedirect || !errors.Is(err, webhook.ErrRefused) || followed {
		t.Errorf("a redirection: %d, %v, followed %t", status, err, followed)
	}
	if status, err := s.Send(t.Context(), r.URL+"/gone", nil, "i", nil); status != http.StatusGone || !errors.Is(err, webhook.ErrGone) {
		t.Errorf("410: %d, %v", status, err)
	}
	if status, err := s.Send(t.Context(), r.URL+"/endless", nil, "i", nil); status != http.StatusOK || err != nil {
		t.Errorf("an endless answer: %d, %v", status, err)
	}
	_, err := s.Send(t.Context(), r.URL+"/silent?token=secret", nil, "i", nil)
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "secret") {
		t.Errorf("a silent one: %v", err)
	}
}
