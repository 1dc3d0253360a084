package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"starling/engine/fleet"
)

// What is wrong with issuers, testdata/manners/config.json tells for Go and Python alike.
func TestIssuersComeFromTheKeysOrFromAFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  []string
		file string
		want []OIDCIssuer
	}{
		"the development issuer": {},
		"one by its keys": {
			[]string{"OIDC_ISSUER", "https://i", "OIDC_AUDIENCE", "a", "OIDC_JWKS_URL", "https://i/k", "OIDC_ROLE_MAP", "boss=admin, lager-leiter = operator"},
			"",
			[]OIDCIssuer{{Issuer: "https://i", JWKSURL: "https://i/k", Audiences: []string{"a"}, ClientIDs: []string{"starling-page"}, Roles: map[string]string{"boss": "admin", "lager-leiter": "operator"}, Platform: true}},
		},
		"one on this machine": {
			[]string{"ENV", "prod", "OIDC_ISSUER", "http://127.0.0.1:8080/realms/x", "OIDC_AUDIENCE", "a", "OIDC_CLIENT_ID", "p"},
			"",
			[]OIDCIssuer{{Issuer: "http://127.0.0.1:8080/realms/x", Audiences: []string{"a"}, ClientIDs: []string{"p"}, Platform: true}},
		},
		"two in a file": {
			[]string{"ENV", "prod", "OIDC_ISSUERS_FILE", "/i"},
			"issuers:\n- issuer: https://a/\n  audiences: [x, y]\n  tenants: [AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA]\n- issuer: https://b\n  audiences: [x]\n  client_ids: [p]\n  roles: {boss: admin}\n  platform_admin: true\n",
			[]OIDCIssuer{
				{Issuer: "https://a/", Audiences: []string{"x", "y"}, Tenants: []fleet.TenantID{"aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"}},
				{Issuer: "https://b", Audiences: []string{"x"}, ClientIDs: []string{"p"}, Roles: map[string]string{"boss": "admin"}, Platform: true},
			},
		},
	} {
		got, faults := LoadConfig(env(c.env...), files("/i", c.file))
		if diff := cmp.Diff(c.want, got.Issuers); faults.Any() || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, faults.Err(), diff)
		}
	}
}

func TestARoleMapIsReadWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"a", "a=", "=admin", "a=boss", "a=admin,", "a=admin,a=viewer", "a b=admin", "a=admin;b=viewer", "a=Admin", "a\x00=admin"} {
		c, faults := LoadConfig(env("OIDC_ROLE_MAP", bad), files())
		if !slices.ContainsFunc(faults.Invalid, func(i InvalidKey) bool { return i.Key == "OIDC_ROLE_MAP" }) || c.OIDCRoleMap != nil {
			t.Errorf("%q is taken: %v", bad, c.OIDCRoleMap)
		}
	}
}

func TestNoTextOfAFileOfIssuersBringsItDownOrIsEchoed(t *testing.T) {
	t.Parallel()
	const mark = "Zq7"
	piece := rapid.SampledFrom([]string{
		mark, "issuers:\n", "- issuer: https://" + mark + "\n", "  audiences: [" + mark + "]\n", "  roles: {a: " + mark + "}\n", "  tenants: [" + mark + "]\n",
		"  " + mark + ": 1\n", "  jwks_url: " + mark + "\n", "  platform_admin: " + mark + "\n", "- " + mark + "\n", "&a [*a]\n", "\t", "{", "]", "null\n", "!!binary x\n",
	})
	rapid.Check(t, func(t *rapid.T) {
		body := strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "") + rapid.String().Draw(t, "more")
		c, faults := LoadConfig(env("ENV", "prod", "OIDC_ISSUERS_FILE", "/i"), files("/i", body))
		if strings.Contains(fmt.Sprint(faults), mark) {
			t.Fatalf("a value is echoed: %v", faults)
		}
		for _, i := range c.Issuers {
			if !faults.Any() && (i.Issuer == "" || len(i.Audiences) == 0) {
				t.Fatalf("%+v of %q", i, body)
			}
		}
	})
}

func TestTheExampleOfIssuersIsValid(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile(filepath.Join("deploy", "config", "issuers.example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c, faults := LoadConfig(env("ENV", "prod", "OIDC_ISSUERS_FILE", "/i"), files("/i", string(body)))
	if faults.Any() || len(c.Issuers) != 2 {
		t.Errorf("%v %+v", faults.Err(), c.Issuers)
	}
}
