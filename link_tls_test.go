package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/gateway/auth"
	"starling/gateway/link"
	linkv1 "starling/proto/gen/starling/link/v1"
)

const (
	oneTenant   = "11111111-1111-4111-8111-111111111111"
	otherTenant = "99999999-9999-4999-8999-999999999999"
	oneRobot    = "22222222-2222-4222-8222-222222222222"
	otherRobot  = "33333333-3333-4333-8333-333333333333"
	goneRobot   = "44444444-4444-4444-8444-444444444444"
)

// linkHouse has two robots, both of the fleet f of one tenant.
type linkHouse struct {
	robots map[fleet.RobotID]fleet.TenantID
}

func (h linkHouse) FindRobot(_ context.Context, tenant fleet.TenantID, id fleet.RobotID, _ string) (link.Found, error) {
	if h.robots[id] != tenant {
		return link.Found{}, fmt.Errorf("find: %w", fact.ErrNotFound)
	}
	return link.Found{Shard: fleet.Shard{Tenant: tenant, Warehouse: "w"}, ID: id, Fleet: "f"}, nil
}

func (linkHouse) OpenLink(context.Context, fleet.Shard, fleet.RobotID, robot.LinkOpened) (a struct{ ProgressNumber uint64 }, err error) {
	return a, nil
}
func (linkHouse) CloseLink(fleet.Shard, fleet.RobotID, uint64) {}
func (h linkHouse) Mailbox(context.Context, fleet.Shard, fleet.RobotID) (interface {
	Status(s *robot.StatusReported)
	Tell(m robot.Msg) bool
}, error,
) {
	return h, nil
}
func (linkHouse) ActiveGraph(context.Context, fleet.Shard) (*roadmap.Graph, error) { return nil, nil }
func (linkHouse) Status(*robot.StatusReported)                                     {}
func (linkHouse) Tell(robot.Msg) bool                                              { return true }

// secureLink is a robot link behind TLS that takes certificates of one authority, and tokens.
type secureLink struct {
	addr    string
	ca      *authority
	caFile  string
	issuer  *auth.DevIssuer
	trusted *x509.CertPool
}

func startSecureLink(t *testing.T) *secureLink {
	t.Helper()
	s, dir := &secureLink{ca: newAuthority(t), trusted: x509.NewCertPool()}, t.TempDir()
	s.caFile = filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(s.caFile, s.ca.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	s.trusted.AddCert(s.ca.cert)
	cert, key := s.ca.sign(t, 2, nil).write(t, dir, "link")
	log := slog.New(slog.DiscardHandler)
	secure, err := newTLS(tlsFiles{cert: cert, key: key, clientCA: s.caFile}, "link", log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	private, err := auth.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if s.issuer, err = auth.NewDevIssuer(private, "http://issuer", "starling"); err != nil {
		t.Fatal(err)
	}
	h := linkHouse{map[fleet.RobotID]fleet.TenantID{oneRobot: oneTenant, otherRobot: oneTenant}}
	server := link.New(link.Options{Auth: newTestLinkAuth(s.issuer), Directory: h, Engine: h, Log: log, TLS: secure})
	l, err := listen(t.Context(), "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }() // ends with Stop
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Stop(ctx)
		<-served
	})
	return s
}

// newTestLinkAuth is the program's own check of who opens a link, with an issuer of the test.
func newTestLinkAuth(issuer *auth.DevIssuer) link.Authenticator {
	return linkAuth{guard: auth.NewGuard(auth.New(auth.Options{Issuer: "http://issuer", Audience: "starling", Keys: issuer}), nil), trustDomain: "starling"}
}

// open says hello for a robot with these credentials: the code the stream ends with (OK = it does not), and how the robot
// was refused.
func (s *secureLink) open(t *testing.T, c *leaf, token, tenant, id string) (codes.Code, string, linkv1.Link_ConnectClient) {
	t.Helper()
	config := &tls.Config{RootCAs: s.trusted, MinVersion: tls.VersionTLS12}
	if c != nil {
		pair, err := tls.X509KeyPair(c.cert, c.key)
		if err != nil {
			t.Fatal(err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil } // whoever the server trusts
	}
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	if tenant != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-tenant-id", tenant)
	}
	ss, err := linkv1.NewLinkClient(conn).Connect(ctx)
	if err != nil {
		return status.Code(err), err.Error(), nil
	}
	h := &linkv1.Hello{ProtocolVersion: 1, Robots: []*linkv1.RobotHello{{RobotId: id, BootId: "b"}}}
	_ = ss.Send(&linkv1.Uplink{Frame: &linkv1.Uplink_Hello{Hello: h}}) // an ended stream answers Recv below
	m, err := ss.Recv()
	if err != nil {
		return status.Code(err), err.Error(), nil
	}
	return codes.OK, m.GetWelcome().GetRobots()[0].GetRefused(), ss
}

func TestRobotsAreKnownByTheirCertificates(t *testing.T) {
	t.Parallel()
	s := startSecureLink(t)
	const tenant = "spiffe://starling/tenant/" + oneTenant
	certificate := func(ca *authority, more func(*x509.Certificate), uris ...string) *leaf {
		l := ca.robotLeaf(t, more, uris...)
		return &l
	}
	token := func(g auth.Grant) string {
		text, _, err := s.issuer.Issue(g, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	mine := certificate(s.ca, nil, tenant+"/robot/"+oneRobot)
	own := token(auth.Grant{Tenant: oneTenant, Role: auth.RobotRole, Robot: oneRobot})
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	early := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }
	serverOnly := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	for name, x := range map[string]struct {
		certificate          *leaf
		token, tenant, robot string
		want                 codes.Code
		refused              string
	}{
		"its own":                              {mine, "", "", oneRobot, codes.OK, ""},
		"its own, the tenant named":            {mine, "", oneTenant, oneRobot, codes.OK, ""},
		"its own, and its token":               {mine, own, "", oneRobot, codes.OK, ""},
		"its fleet's":                          {certificate(s.ca, nil, tenant+"/fleet/f"), "", "", otherRobot, codes.OK, ""},
		"no certificate, a token":              {nil, own, "", oneRobot, codes.OK, ""},
		"neither":                              {nil, "", "", oneRobot, codes.Unauthenticated, ""},
		"another robot of the tenant":          {mine, "", "", otherRobot, codes.OK, "FORBIDDEN"},
		"another fleet's":                      {certificate(s.ca, nil, tenant+"/fleet/g"), "", "", oneRobot, codes.OK, "FORBIDDEN"},
		"another tenant's robot":               {certificate(s.ca, nil, "spiffe://starling/tenant/"+otherTenant+"/robot/"+oneRobot), "", "", oneRobot, codes.OK, "NOT_FOUND"},
		"another tenant named":                 {mine, "", otherTenant, oneRobot, codes.PermissionDenied, ""},
		"a robot that was removed":             {certificate(s.ca, nil, tenant+"/robot/"+goneRobot), "", "", goneRobot, codes.OK, "NOT_FOUND"},
		"another authority":                    {certificate(newAuthority(t), nil, tenant+"/robot/"+oneRobot), "", "", oneRobot, codes.Unavailable, ""},
		"another authority, with a good token": {certificate(newAuthority(t), nil, tenant+"/robot/"+oneRobot), own, "", oneRobot, codes.Unavailable, ""},
		"expired":                              {certificate(s.ca, expired, tenant+"/robot/"+oneRobot), own, "", oneRobot, codes.Unavailable, ""},
		"not yet":                              {certificate(s.ca, early, tenant+"/robot/"+oneRobot), "", "", oneRobot, codes.Unavailable, ""},
		"a server's":                           {certificate(s.ca, serverOnly, tenant+"/robot/"+oneRobot), "", "", oneRobot, codes.Unavailable, ""},
		"another trust domain":                 {certificate(s.ca, nil, "spiffe://else/tenant/"+oneTenant+"/robot/"+oneRobot), "", "", oneRobot, codes.Unauthenticated, ""},
		"no name":                              {certificate(s.ca, nil), "", "", oneRobot, codes.Unauthenticated, ""},
		"no name, with a good token":           {certificate(s.ca, nil), own, "", oneRobot, codes.Unauthenticated, ""},
		"two names":                            {certificate(s.ca, nil, tenant+"/robot/"+oneRobot, tenant+"/robot/"+otherRobot), "", "", oneRobot, codes.Unauthenticated, ""},
		"another robot's token":                {mine, token(auth.Grant{Tenant: oneTenant, Role: auth.RobotRole, Robot: otherRobot}), "", oneRobot, codes.PermissionDenied, ""},
		"another tenant's token":               {mine, token(auth.Grant{Tenant: otherTenant, Role: auth.RobotRole, Robot: oneRobot}), "", oneRobot, codes.PermissionDenied, ""},
		"a viewer's token":                     {mine, token(auth.Grant{Tenant: oneTenant, Role: auth.Viewer}), "", oneRobot, codes.PermissionDenied, ""},
		"a bad token":                          {mine, "bad", "", oneRobot, codes.Unauthenticated, ""},
		"an admin's token lends nothing more":  {mine, token(auth.Grant{Tenant: oneTenant, Role: auth.Admin}), "", otherRobot, codes.OK, "FORBIDDEN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, text, _ := s.open(t, x.certificate, x.token, x.tenant, x.robot)
			if code != x.want || code == codes.OK && text != x.refused {
				t.Errorf("%v %q, want %v %q", code, text, x.want, x.refused)
			}
		})
	}
}

func TestALinkEndsWithItsCertificateOrToken(t *testing.T) {
	t.Parallel()
	s := startSecureLink(t)
	soon := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(3 * time.Second) } // whole seconds: 2 to 3
	const uri = "spiffe://starling/tenant/" + oneTenant + "/robot/" + oneRobot
	lasting := s.ca.robotLeaf(t, nil, uri)
	for name, x := range map[string]struct{ brief, lasting, token bool }{"certificate": {brief: true}, "token": {token: true}, "the shorter of both": {lasting: true, token: true}} {
		t.Run(name, func(t *testing.T) { // one after the other: what is brief begins here
			var certificate *leaf
			token := ""
			if x.lasting {
				certificate = &lasting
			}
			if x.brief {
				l := s.ca.robotLeaf(t, soon, uri)
				certificate = &l
			}
			if x.token {
				var err error
				if token, _, err = s.issuer.Issue(auth.Grant{Tenant: oneTenant, Role: auth.RobotRole, Robot: oneRobot, TTL: 3 * time.Second}, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			code, text, ss := s.open(t, certificate, token, "", oneRobot)
			if ss == nil || text != "" {
				t.Fatal(code, text)
			}
			m, err := ss.Recv()
			if err != nil || m.GetClosing().GetReason() == "" {
				t.Fatalf("want a word before the end, got %v %v", m, err)
			}
			if _, err := ss.Recv(); status.Code(err) != codes.Unauthenticated {
				t.Errorf("ends with %v", err)
			}
		})
	}
}

func TestAuthoritiesOfRobotsAreRenewedToo(t *testing.T) {
	t.Parallel()
	s := startSecureLink(t)
	next := newAuthority(t)
	theirs := next.robotLeaf(t, nil, "spiffe://starling/tenant/"+oneTenant+"/robot/"+oneRobot)
	mine := s.ca.robotLeaf(t, nil, "spiffe://starling/tenant/"+oneTenant+"/robot/"+oneRobot)
	if code, _, _ := s.open(t, &theirs, "", "", oneRobot); code != codes.Unavailable {
		t.Fatalf("before: %v", code)
	}
	if err := os.WriteFile(s.caFile, next.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		code, text, _ := s.open(t, &theirs, "", "", oneRobot)
		if code == codes.OK {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after: %v %s", code, text)
		}
	}
	if code, _, _ := s.open(t, &mine, "", "", oneRobot); code != codes.Unavailable {
		t.Errorf("the old authority's: %v", code)
	}
}
