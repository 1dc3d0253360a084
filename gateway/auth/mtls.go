package auth

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"starling/engine/fleet"
)

// FromCertificate reads who a client certificate names. Whoever calls has verified its chain; here its one URI is read:
//
//	spiffe://<trust domain>/tenant/<uuid>/robot/<uuid>
//	spiffe://<trust domain>/tenant/<uuid>/fleet/<name>
//
// The identity has the role robot, bound to that robot or fleet, and ends with the certificate. Errors wrap
// ErrUnauthenticated and say what is wrong with the certificate. Shape and strictness: X509-SVID of SPIFFE, that is
// exactly one URI, no authority's certificate, made for clients.
func FromCertificate(c *x509.Certificate, trustDomain string) (*Identity, error) {
	bad := func(why string) (*Identity, error) {
		return nil, fmt.Errorf("%w: the client certificate %s", ErrUnauthenticated, why)
	}
	switch {
	case c.IsCA:
		return bad("is an authority's")
	case !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return bad("is not for clients")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return bad("may not sign")
	case len(c.URIs) != 1:
		return bad("has not exactly one URI")
	}
	name := c.URIs[0].String()
	path, ok := strings.CutPrefix(name, "spiffe://"+trustDomain+"/tenant/")
	if !ok || trustDomain == "" {
		return bad("is not of our trust domain")
	}
	parts := strings.Split(path, "/")
	if len(parts) != 3 || !plainUUID(parts[0]) {
		return bad("names no tenant")
	}
	i := &Identity{
		Subject: name, Issuer: "spiffe://" + trustDomain, Roles: []string{RobotRole}, Expires: c.NotAfter, Claims: map[string]any{},
		TokenID: TokenID(string(c.Raw)),
		Tenants: []fleet.TenantID{fleet.TenantID(parts[0])}, Tenant: fleet.TenantID(parts[0]),
	}
	switch {
	case parts[1] == "robot" && plainUUID(parts[2]):
		i.RobotID = fleet.RobotID(parts[2])
	case parts[1] == "fleet" && fleetName(parts[2]):
		i.Fleet = parts[2]
	default:
		return bad("names no robot and no fleet")
	}
	return i, nil
}

// Bind holds a token's identity, its tenant chosen, to the certificate's of the same caller and returns who it is: never
// more than the certificate, never longer than either. The token is of the same tenant and, where its role is robot, of
// the same robot or fleet; else ErrForbidden.
func Bind(certificate, token *Identity) (*Identity, error) {
	same := certificate.RobotID != "" && certificate.RobotID == token.RobotID || certificate.Fleet != "" && certificate.Fleet == token.Fleet
	if certificate.Tenant != token.Tenant || !token.Has(Admin, Service) && !(token.Has(RobotRole) && same) {
		return nil, fmt.Errorf("%w: certificate and token name two callers", ErrForbidden)
	}
	both := *token
	both.Roles, both.Tenants = certificate.Roles, certificate.Tenants
	both.RobotID, both.Fleet = certificate.RobotID, certificate.Fleet
	if certificate.Expires.Before(both.Expires) {
		both.Expires = certificate.Expires
	}
	return &both, nil
}

// plainUUID says that an id is written as we write ids: 8-4-4-4-12, in small letters.
func plainUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f'
		if dash && s[i] != '-' || !dash && !hex {
			return false
		}
	}
	return true
}

// fleetName says that a name may stand in a SPIFFE path.
func fleetName(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > 64 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._", r))
	})
}
