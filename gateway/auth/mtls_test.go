package auth_test

import (
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"starling/engine/fleet"
	"starling/gateway/auth"
)

const (
	certTenant = "11111111-1111-4111-8111-111111111111"
	certRobot  = "22222222-2222-4222-8222-222222222222"
)

// certificate is a client's with these URIs.
func certificate(t testing.TB, uris ...string) *x509.Certificate {
	t.Helper()
	c := &x509.Certificate{
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		Raw: []byte(strings.Join(uris, " ")),
	}
	for _, u := range uris {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatalf("%q: %v", u, err)
		}
		c.URIs = append(c.URIs, parsed)
	}
	return c
}

func TestACertificateNamesOneRobotOrOneFleetOfOneTenant(t *testing.T) {
	t.Parallel()
	const tenant = "spiffe://starling/tenant/" + certTenant
	for uri, want := range map[string][2]string{
		tenant + "/robot/" + certRobot: {certRobot, ""},
		tenant + "/fleet/forklifts_2":  {"", "forklifts_2"},
	} {
		c := certificate(t, uri)
		i, err := auth.FromCertificate(c, "starling")
		if err != nil {
			t.Fatalf("%s: %v", uri, err)
		}
		if i.RobotID != fleet.RobotID(want[0]) || i.Fleet != want[1] || i.Tenant != certTenant || len(i.Tenants) != 1 || i.Subject != uri ||
			!i.Has(auth.RobotRole) || i.Has(auth.Admin, auth.Service, auth.Viewer, auth.Operator, auth.PlatformAdmin) || !i.Expires.Equal(c.NotAfter) || i.TokenID == "" {
			t.Errorf("%s: %+v", uri, i)
		}
	}
	for _, uri := range []string{
		"", tenant, tenant + "/", tenant + "/robot", tenant + "/robot/", tenant + "/robot/" + certRobot + "/", tenant + "/robot/" + certRobot + "/x",
		tenant + "/robot/" + strings.ToUpper("abcdefab-2222-4222-8222-222222222222"), tenant + "/robot/r1", tenant + "//robot/" + certRobot,
		tenant + "/robot/" + certRobot + "?x=1", tenant + "/robot/" + certRobot + "?", tenant + "/robot/" + certRobot + "#x",
		tenant + "/fleet/", tenant + "/fleet/..", tenant + "/fleet/.", tenant + "/fleet/a%2fb", tenant + "/fleet/a b", tenant + "/fleet/" + strings.Repeat("x", 65), tenant + "/fleet/a/b",
		tenant + "/admin/x", tenant + "/Robot/" + certRobot, "spiffe://starling/tenant/x/robot/" + certRobot, "spiffe://starling/robot/" + certRobot,
		"spiffe://other/tenant/" + certTenant + "/robot/" + certRobot, "spiffe://starling.evil/tenant/" + certTenant + "/robot/" + certRobot,
		"spiffe://Starling/tenant/" + certTenant + "/robot/" + certRobot, "spiffe://starling:80/tenant/" + certTenant + "/robot/" + certRobot,
		"spiffe://u@starling/tenant/" + certTenant + "/robot/" + certRobot, "https://starling/tenant/" + certTenant + "/robot/" + certRobot,
		"spiffe://starling/Tenant/" + certTenant + "/robot/" + certRobot, "spiffe://starling/./tenant/" + certTenant + "/robot/" + certRobot,
		"spiffe://starling/tenant/%31" + certTenant[1:] + "/robot/" + certRobot,
	} {
		if i, err := auth.FromCertificate(certificate(t, uri), "starling"); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%q names %+v, %v", uri, i, err)
		}
	}
}

func TestACertificateOfTheWrongKindNamesNobody(t *testing.T) {
	t.Parallel()
	const uri = "spiffe://starling/tenant/" + certTenant + "/robot/" + certRobot
	for name, change := range map[string]func(*x509.Certificate){
		"none":                   func(c *x509.Certificate) { c.URIs = nil },
		"two names":              func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) },
		"an authority":           func(c *x509.Certificate) { c.IsCA = true },
		"a server's":             func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"for anything":           func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} },
		"for nothing in special": func(c *x509.Certificate) { c.ExtKeyUsage = nil },
		"not for signing":        func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment },
	} {
		c := certificate(t, uri)
		change(c)
		if i, err := auth.FromCertificate(c, "starling"); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%s: %+v, %v", name, i, err)
		}
	}
	if _, err := auth.FromCertificate(certificate(t, "spiffe:///tenant/"+certTenant+"/robot/"+certRobot), ""); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Error("no trust domain trusts somebody")
	}
}

func TestTokenAndCertificateAreOfTheSameCallerOrRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	robot := &auth.Identity{Tenant: certTenant, Tenants: []fleet.TenantID{certTenant}, Roles: []string{auth.RobotRole}, RobotID: certRobot, Expires: now.Add(time.Hour)}
	fleetOf := &auth.Identity{Tenant: certTenant, Tenants: []fleet.TenantID{certTenant}, Roles: []string{auth.RobotRole}, Fleet: "f", Expires: now.Add(time.Hour)}
	token := func(tenant fleet.TenantID, role string, id fleet.RobotID, f string) *auth.Identity {
		return &auth.Identity{Subject: "s", Tenant: tenant, Tenants: []fleet.TenantID{tenant, "other"}, Roles: []string{role}, RobotID: id, Fleet: f, Expires: now.Add(time.Minute)}
	}
	for name, x := range map[string]struct {
		certificate, token *auth.Identity
		fine               bool
	}{
		"its own token":                    {robot, token(certTenant, auth.RobotRole, certRobot, ""), true},
		"a service of the tenant":          {robot, token(certTenant, auth.Service, "", ""), true},
		"an admin of the tenant":           {fleetOf, token(certTenant, auth.Admin, "", ""), true},
		"its fleet's token":                {fleetOf, token(certTenant, auth.RobotRole, "", "f"), true},
		"another robot's":                  {robot, token(certTenant, auth.RobotRole, "33333333-3333-4333-8333-333333333333", ""), false},
		"another fleet's":                  {fleetOf, token(certTenant, auth.RobotRole, "", "g"), false},
		"a robot's for a fleet":            {fleetOf, token(certTenant, auth.RobotRole, certRobot, ""), false},
		"of a robot that names none":       {robot, token(certTenant, auth.RobotRole, "", ""), false},
		"another tenant's, same robot":     {robot, token("t2", auth.RobotRole, certRobot, ""), false},
		"another tenant's administrator":   {robot, token("t2", auth.Admin, "", ""), false},
		"a viewer's":                       {robot, token(certTenant, auth.Viewer, certRobot, ""), false},
		"no tenant chosen":                 {robot, token("", auth.Service, "", ""), false},
		"the platform's, without a tenant": {robot, token("", auth.PlatformAdmin, "", ""), false},
	} {
		both, err := auth.Bind(x.certificate, x.token)
		if (err == nil) != x.fine || err != nil && !errors.Is(err, auth.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (both.Has(auth.Admin, auth.Service) || both.RobotID != x.certificate.RobotID || both.Fleet != x.certificate.Fleet ||
			len(both.Tenants) != 1 || !both.Expires.Equal(now.Add(time.Minute))) {
			t.Errorf("%s: %+v may more than the certificate", name, both)
		}
	}
}

func FuzzFromCertificate(f *testing.F) {
	const tenant = "spiffe://starling/tenant/" + certTenant
	for _, s := range []string{tenant + "/robot/" + certRobot, tenant + "/fleet/f", tenant + "/fleet/..", "spiffe://starling/tenant//robot/", "spiffe://starling?/tenant"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		u, err := url.Parse(uri)
		if err != nil {
			return // no certificate has it
		}
		c := certificate(t)
		c.URIs = []*url.URL{u}
		i, err := auth.FromCertificate(c, "starling")
		if err != nil {
			return
		}
		again := "spiffe://starling/tenant/" + string(i.Tenant) + "/robot/" + string(i.RobotID)
		if i.Fleet != "" {
			again = "spiffe://starling/tenant/" + string(i.Tenant) + "/fleet/" + i.Fleet
		}
		if again != u.String() || (i.RobotID == "") == (i.Fleet == "") {
			t.Fatalf("%q names %+v", uri, i)
		}
	})
}
