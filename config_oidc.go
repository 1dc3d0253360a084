package main

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"starling/engine/fleet"
	"starling/gateway/auth"
)

// The bounds of OIDC_ISSUERS_FILE.
const (
	mostIssuers   = 50
	mostAudiences = 20
	mostTenants   = 1000
	longestName   = 256
)

// OIDCIssuer is one whose tokens are taken.
type OIDCIssuer struct {
	Issuer    string
	JWKSURL   string // "" = from the issuer's discovery document
	Audiences []string
	ClientIDs []string         // whose roles in resource_access are ours, besides the audiences
	Tenants   []fleet.TenantID // that it may name; empty = every one
	Roles     map[string]string
	Platform  bool // whether it may name platform administrators
}

const wantIssuerURL = "want a URL https://host… (http:// leads no further than this machine)"

func wantRoles() string {
	return "want theirs=ours, separated by commas; ours is one of " + strings.Join(auth.Roles(), ", ")
}

// setRoleMap reads OIDC_ROLE_MAP.
func setRoleMap(c *Config, value string) string {
	roles := map[string]string{}
	for part := range strings.SplitSeq(value, ",") {
		theirs, ours, ok := strings.Cut(part, "=")
		theirs, ours = strings.TrimSpace(theirs), strings.TrimSpace(ours)
		if _, twice := roles[theirs]; !ok || twice || !printable(theirs) || strings.ContainsAny(theirs, " \t") || !slices.Contains(auth.Roles(), ours) {
			return wantRoles()
		}
		roles[theirs] = ours
	}
	c.OIDCRoleMap = roles
	return ""
}

// printable says that a text is there, of bounded length and without control characters.
func printable(s string) bool {
	return s != "" && len(s) <= longestName && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// safeURL says that keys may be fetched from there: without HTTPS from this machine alone, but during development.
func (c *Config) safeURL(raw string) bool {
	return auth.Trusted(raw) || c.Env == envDev && webURL(func(*Config) *string { return new(string) })(c, raw) == ""
}

// checkOIDC finds out whose tokens are taken, and what is wrong with that.
func (c *Config) checkOIDC(faults *Faults, read func(string) ([]byte, error), require func(key, value string)) {
	switch {
	case c.DevIssuerEnabled && c.Env != envDev:
		faults.invalid("DEV_ISSUER_ENABLED", "the development issuer is refused outside ENV=dev")
		return
	case c.DevIssuerEnabled && (c.OIDCIssuer != "" || c.OIDCIssuersFile != ""):
		faults.invalid("DEV_ISSUER_ENABLED", "either OIDC_ISSUER, OIDC_ISSUERS_FILE or the development issuer")
		return
	case c.DevIssuerEnabled:
		if c.OIDCAudience == "" {
			c.OIDCAudience = "starling"
		}
		return
	case c.OIDCIssuersFile == "":
		require("OIDC_ISSUER", c.OIDCIssuer)
		require("OIDC_AUDIENCE", c.OIDCAudience)
		for _, u := range [][2]string{{"OIDC_ISSUER", c.OIDCIssuer}, {"OIDC_JWKS_URL", c.OIDCJWKSURL}} {
			if u[1] != "" && !c.safeURL(u[1]) {
				faults.invalid(u[0], wantIssuerURL)
			}
		}
		i := OIDCIssuer{Issuer: c.OIDCIssuer, JWKSURL: c.OIDCJWKSURL, Audiences: []string{c.OIDCAudience}, Roles: c.OIDCRoleMap, Platform: true}
		if c.OIDCClientID != "" {
			i.ClientIDs = []string{c.OIDCClientID}
		}
		c.Issuers = []OIDCIssuer{i}
		return
	case c.OIDCIssuer != "":
		faults.invalid("OIDC_ISSUERS_FILE", "either OIDC_ISSUER or OIDC_ISSUERS_FILE")
		return
	}
	for key, set := range map[string]bool{"OIDC_AUDIENCE": c.OIDCAudience != "", "OIDC_JWKS_URL": c.OIDCJWKSURL != "", "OIDC_ROLE_MAP": c.OIDCRoleMap != nil} {
		if set {
			faults.invalid(key, "stands in the file that OIDC_ISSUERS_FILE names, for each issuer")
		}
	}
	body, err := read(c.OIDCIssuersFile)
	if err != nil {
		faults.invalid("OIDC_ISSUERS_FILE", "the file cannot be read")
		return
	}
	f := issuersFile{config: c, problem: func(p string) { faults.invalid("OIDC_ISSUERS_FILE", p) }}
	c.Issuers = f.read(body)
}

// issuersFile reads OIDC_ISSUERS_FILE and tells every problem, by its place and never with what stands there.
type issuersFile struct {
	config  *Config
	problem func(string)
}

func (f *issuersFile) read(body []byte) []OIDCIssuer {
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil {
		f.problem("the file is not YAML" + lineOf(err))
		return nil
	}
	const want = "want issuers: a list of 1 to 50 issuers"
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		f.problem(want)
		return nil
	}
	top := f.members(doc.Content[0], "issuers")
	list := top["issuers"]
	if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 || len(list.Content) > mostIssuers {
		f.problem(want)
		return nil
	}
	issuers := make([]OIDCIssuer, 0, len(list.Content))
	for n, node := range list.Content {
		at := fmt.Sprintf("issuers[%d]", n)
		if node.Kind != yaml.MappingNode {
			f.problem(at + ": want a mapping")
			continue
		}
		i := f.issuer(node, at)
		if same := slices.IndexFunc(issuers, func(o OIDCIssuer) bool { return o.Issuer == i.Issuer }); same >= 0 && i.Issuer != "" {
			f.problem(fmt.Sprintf("%s.issuer: the same as another one's", at))
		}
		issuers = append(issuers, i)
	}
	return issuers
}

func (f *issuersFile) issuer(node *yaml.Node, at string) OIDCIssuer {
	m := f.members(node, "issuer", "jwks_url", "audiences", "client_ids", "tenants", "roles", "platform_admin")
	var i OIDCIssuer
	for _, u := range []struct {
		name string
		to   *string
	}{{"issuer", &i.Issuer}, {"jwks_url", &i.JWKSURL}} {
		if m[u.name] == nil && u.to == &i.JWKSURL {
			continue
		}
		if s, ok := scalar(m[u.name]); ok && printable(s) && f.config.safeURL(s) {
			*u.to = s
			continue
		}
		f.problem(at + "." + u.name + ": " + wantIssuerURL)
	}
	i.Audiences = f.names(m["audiences"], at+".audiences", mostAudiences, true)
	i.ClientIDs = f.names(m["client_ids"], at+".client_ids", mostAudiences, false)
	for _, t := range f.names(m["tenants"], at+".tenants", mostTenants, false) {
		if !auth.IsTenant(strings.ToLower(t)) {
			f.problem(at + ".tenants: want UUIDs")
			break
		}
		i.Tenants = append(i.Tenants, fleet.TenantID(strings.ToLower(t)))
	}
	if roles := m["roles"]; roles != nil {
		i.Roles = f.roles(roles, at+".roles")
	}
	if p := m["platform_admin"]; p != nil {
		s, ok := scalar(p)
		if i.Platform = s == "true"; !ok || s != "true" && s != "false" {
			f.problem(at + ".platform_admin: want true or false")
		}
	}
	return i
}

// members are the values of a mapping, which has no key but the given ones, and none twice.
func (f *issuersFile) members(node *yaml.Node, allowed ...string) map[string]*yaml.Node {
	m := map[string]*yaml.Node{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch _, twice := m[key.Value]; {
		case key.Kind != yaml.ScalarNode || !slices.Contains(allowed, key.Value):
			f.problem(fmt.Sprintf("line %d: unknown key", key.Line))
		case twice:
			f.problem(fmt.Sprintf("line %d: a key comes twice", key.Line))
		default:
			m[key.Value] = value
		}
	}
	return m
}

// names reads a list of texts; one that is there has at least one.
func (f *issuersFile) names(node *yaml.Node, at string, most int, needed bool) []string {
	if node == nil && !needed {
		return nil
	}
	var out []string
	ok := node != nil && node.Kind == yaml.SequenceNode && len(node.Content) > 0 && len(node.Content) <= most
	for i := 0; ok && i < len(node.Content); i++ {
		s, is := scalar(node.Content[i])
		ok = is && printable(s)
		out = append(out, s)
	}
	if !ok {
		f.problem(fmt.Sprintf("%s: want a list of 1 to %d texts", at, most))
		return nil
	}
	return out
}

func (f *issuersFile) roles(node *yaml.Node, at string) map[string]string {
	out := map[string]string{}
	for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		theirs, isText := scalar(node.Content[i])
		ours, known := scalar(node.Content[i+1])
		if _, twice := out[theirs]; twice || !isText || !known || !printable(theirs) || !slices.Contains(auth.Roles(), ours) {
			break
		}
		out[theirs] = ours
	}
	if len(out) == 0 || len(out) != len(node.Content)/2 {
		f.problem(at + ": want theirs: ours; ours is one of " + strings.Join(auth.Roles(), ", "))
		return nil
	}
	return out
}

// scalar is the text of a single value.
func scalar(node *yaml.Node) (string, bool) {
	if node == nil || node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		return "", false
	}
	return node.Value, true
}
