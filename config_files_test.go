package main

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestFilesOfAnyContentAreFaultsAndNeverEchoed is for the files that the configuration names what a fuzz target is for
// other readers: instrumenting all that this package is linked of would take longer than the fuzzing.
func TestFilesOfAnyContentAreFaultsAndNeverEchoed(t *testing.T) {
	t.Parallel()
	pieces := []string{
		"HTTP_PORT: 8080\n", "TRUSTED_PROXIES: [10.0.0.0/8, '::1']\n", "TRUSTED_PROXIES: 0.0.0.0/0\n", "LINK_TRUST_DOMAIN: A/B\n", "A: &a [*a]\n", "{{{", "- ",
		"DATABASE_URL: postgres://u:Zq7mark@h/d\n", "REDIS_URL: Zq7mark\n", "REDIS_URL_FILE: issuers\n", "LINK_TLS_CERT_FILE: issuers\n", "LINK_TLS_KEY_FILE: issuers\n",
		"LINK_TLS_CLIENT_CA_FILE: issuers\n", "issuers:\n", "- issuer: https://id.example.com\n", "  audiences: [starling]\n", "  tenants: []\n", "  Zq7mark: 1\n",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "redis://:Zq7mark@h:1/0\n",
	}
	text := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(pieces), rapid.String()), 0, 6).Draw(t, "pieces"), "")
	})
	rapid.Check(t, func(t *rapid.T) {
		file, issuers := text.Draw(t, "file"), text.Draw(t, "issuers")
		c, faults := LoadConfig(env("OIDC_ISSUERS_FILE", "issuers", "DEV_ISSUER_ENABLED", "false"), files("deploy/config/dev.yaml", file, "issuers", issuers))
		keys := strings.Count(file, "Zq7mark: ") // as a key of the file it is named
		if keys == 0 && strings.Contains(fmt.Sprint(faults), "Zq7mark") {
			t.Fatalf("a value is echoed: %v", faults)
		}
		for _, p := range c.TrustedProxies {
			if p.Bits() <= 0 {
				t.Fatalf("everybody is a trusted proxy: %v", c.TrustedProxies)
			}
		}
		if strings.Contains(fmt.Sprint(c.DatabaseURL, c.RedisURL), "://") {
			t.Fatal("a secret prints")
		}
	})
}
