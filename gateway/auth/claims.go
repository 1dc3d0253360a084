package auth

import (
	"slices"
	"strings"
	"time"

	"starling/engine/fleet"
)

// The bounds of what claims say.
const (
	maxText  = 255  // characters' bytes of a subject, a name, an address, a role
	maxNamed = 1000 // roles or tenants of one claim
)

// hold checks what every access token must say: for whom it is, from when to when, and that it is one. An ID token, a
// refresh token or a logout token of the same issuer is signed by the same key and must not open anything.
func (v *Verifier) hold(c map[string]any, i *Issuer, now time.Time) (expires time.Time, reason string) {
	at, there, ok := seconds(c, "exp")
	if !there || !ok {
		return expires, reasonExpiry
	}
	expires = time.Unix(at, 0)
	if !now.Before(expires.Add(v.o.Skew)) {
		return expires, reasonExpired
	}
	for _, name := range []string{"nbf", "iat"} {
		at, there, ok := seconds(c, name)
		switch from := time.Unix(at, 0); {
		case !ok:
			return expires, reasonTimes
		case there && from.After(now.Add(v.o.Skew)):
			return expires, reasonEarly
		}
	}
	if aud, ok := names(c["aud"], false); !ok || !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(i.Audiences, a) }) {
		return expires, reasonAudience
	}
	switch typ, is := text(c, "typ", maxText); {
	case !is || typ != "" && !strings.EqualFold(typ, "Bearer"):
		return expires, reasonType
	case c["at_hash"] != nil || c["c_hash"] != nil || c["s_hash"] != nil || c["events"] != nil:
		return expires, reasonType
	case c["cnf"] != nil: // bound to a key that its holder would have to prove, which nobody here asks for
		return expires, reasonBound
	}
	return expires, ""
}

// identityOf reads who somebody is from claims that hold.
func identityOf(c map[string]any, from *Issuer) (*Identity, string) {
	i := &Identity{Issuer: from.URL, Claims: c}
	var ok [6]bool
	var robot, other string
	i.Subject, ok[0] = text(c, "sub", maxText)
	i.Email, ok[1] = shown(c, "email")
	i.Name, ok[2] = shown(c, "name")
	other, ok[3] = shown(c, "preferred_username")
	robot, ok[4] = text(c, "robot_id", 36)
	i.Fleet, ok[5] = text(c, "fleet", maxText)
	if i.Subject == "" || slices.Contains(ok[:], false) {
		return nil, reasonClaims
	}
	if i.Name == "" {
		i.Name = other
	}
	i.RobotID = fleet.RobotID(strings.ToLower(robot))
	if i.Roles, ok[0] = rolesOf(c, from); !ok[0] {
		return nil, reasonRoles
	}
	if i.Tenants, ok[0] = tenantsOf(c, from); !ok[0] {
		return nil, reasonTenants
	}
	return i, ""
}

// names reads a claim that is a list of strings, or one string (split: with blanks between several). A claim that is not
// there, or null, names nobody; of another type, it is no claim that can be trusted to mean anything.
func names(claim any, split bool) (out []string, ok bool) {
	switch c := claim.(type) {
	case nil:
		return nil, true
	case string:
		if !split {
			return []string{c}, len(c) <= maxToken
		}
		out = strings.Fields(c)
	case []any:
		for _, x := range c {
			s, is := x.(string)
			if !is {
				return nil, false
			}
			out = append(out, s)
		}
	default:
		return nil, false
	}
	return out, len(out) <= maxNamed
}

// rolesOf reads the roles from where issuers put them: `roles`, `scope`, Keycloak's `realm_access.roles` and
// `resource_access.<client>.roles`, of the clients that stand for us alone: whoever is admin of some other application of
// the realm is none here.
func rolesOf(c map[string]any, from *Issuer) ([]string, bool) {
	roles := []string{}
	take := func(claim any) bool {
		list, ok := names(claim, true)
		for _, theirs := range list {
			ours, mapped := from.Roles[theirs]
			if !mapped {
				ours = theirs
			}
			if slices.Contains(known[:], ours) && !slices.Contains(roles, ours) && (ours != PlatformAdmin || from.Platform) {
				roles = append(roles, ours)
			}
		}
		return ok
	}
	member := func(of any) (any, bool) {
		m, ok := of.(map[string]any)
		return m["roles"], ok || of == nil
	}
	realm, ok := member(c["realm_access"])
	if !ok || !take(c["roles"]) || !take(c["scope"]) || !take(realm) {
		return nil, false
	}
	clients, ok := c["resource_access"].(map[string]any)
	if !ok && c["resource_access"] != nil {
		return nil, false
	}
	for client, access := range clients {
		if !slices.Contains(from.Audiences, client) && !slices.Contains(from.Clients, client) {
			continue
		}
		list, ok := member(access)
		if !ok || !take(list) {
			return nil, false
		}
	}
	slices.Sort(roles)
	return roles, true
}

// tenantsOf reads the tenants that a token names, as far as its issuer may name them.
func tenantsOf(c map[string]any, from *Issuer) ([]fleet.TenantID, bool) {
	var out []fleet.TenantID
	for _, name := range []string{"tenant_id", "tenants"} {
		list, ok := names(c[name], true)
		if !ok {
			return nil, false
		}
		for _, id := range list {
			t := fleet.TenantID(strings.ToLower(id))
			switch {
			case !IsTenant(string(t)):
				return nil, false
			case len(from.Tenants) > 0 && !slices.Contains(from.Tenants, t), slices.Contains(out, t):
			default:
				out = append(out, t)
			}
		}
	}
	return out, len(out) <= maxNamed
}

// IsTenant says that a text is written as tenants' ids are: a UUID in small letters.
func IsTenant(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}
