package main

import (
	"fmt"
	"strings"
	"testing"
)

// FuzzConfigFile reads configuration files, and the file of issuers, of any content: every fault is named, no value is
// echoed.
func FuzzConfigFile(f *testing.F) {
	f.Add("HTTP_PORT: 8080\nTRUSTED_PROXIES: [10.0.0.0/8, '::1']\n", "issuers: []")
	f.Add("- a\n", "- issuer: https://id.example.com\n  audience: starling\n  tenants: []\n")
	f.Add("A: &a [*a]\n", "{{{")
	f.Add("TRUSTED_PROXIES: 0.0.0.0/0\nLINK_TRUST_DOMAIN: A/B\n", "")
	f.Add("DATABASE_URL_FILE: issuers\nHTTP_TLS_CERT_FILE: issuers\nHTTP_TLS_KEY_FILE: issuers\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	f.Fuzz(func(t *testing.T, file, issuers string) {
		const mark = "Zq7mark"
		read := files("deploy/config/dev.yaml", file, "issuers", issuers)
		c, faults := LoadConfig(env("OIDC_ISSUERS_FILE", "issuers", "DEV_ISSUER_ENABLED", "false"), read)
		if text := fmt.Sprint(faults); strings.Contains(file+issuers, mark) && strings.Contains(text, mark) {
			t.Fatalf("a value is echoed: %s", text)
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
