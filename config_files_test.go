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

func TestSecretsMayStandInFiles(t *testing.T) {
	t.Parallel()
	const database, redis = "postgres://u:" + planted + "@file/starling", "redis://:" + planted + "@file:6379/0"
	read := files("db", database+"\n", "redis", "\n "+redis+"\n", "empty", " \n", "large", strings.Repeat("x", maxSecret+1), "bad", "mysql://"+planted,
		"deploy/config/staging.yaml", "OIDC_ISSUER: https://i\nOIDC_AUDIENCE: a\nDATABASE_URL: postgres://u:p@yaml/x\nREDIS_URL_FILE: redis\n")
	c, faults := LoadConfig(env("DATABASE_URL", "", "DATABASE_URL_FILE", "db"), read)
	if faults.Any() || c.DatabaseURL.Reveal() != database {
		t.Errorf("%v %q", faults, c.DatabaseURL.Reveal())
	}
	c, faults = LoadConfig(env("ENV", "staging", "DATABASE_URL", "", "DATABASE_URL_FILE", "db"), read)
	if faults.Any() || c.DatabaseURL.Reveal() != database || c.RedisURL.Reveal() != redis {
		t.Errorf("the environment's file beats the configuration file: %v %q %q", faults, c.DatabaseURL.Reveal(), c.RedisURL.Reveal())
	}
	for want, vars := range map[string][]string{
		"DATABASE_URL_FILE: either DATABASE_URL or DATABASE_URL_FILE":                                                           {"DATABASE_URL_FILE", "db"},
		"REDIS_URL_FILE: the file cannot be read":                                                                               {"REDIS_URL_FILE", "nowhere"},
		"REDIS_URL_FILE: want a file with the value alone":                                                                      {"REDIS_URL_FILE", "empty"},
		"REDIS_URL: want a URL redis://user:password@host:port/number or rediss://…":                                            {"REDIS_URL_FILE", "bad"},
		"DATABASE_URL: want a URL postgres://user:password@host:port/database":                                                  {"DATABASE_URL", "", "DATABASE_URL_FILE", "bad"},
		"DATABASE_URL: missing\nDATABASE_URL_FILE: want a file with the value alone":                                            {"DATABASE_URL", "", "DATABASE_URL_FILE", "large"},
		"TRUSTED_PROXIES: want addresses and networks such as 10.0.0.0/8, separated by commas, and not all addresses there are": {"TRUSTED_PROXIES", "10.0.0.1, ::/0"},
	} {
		_, faults := LoadConfig(env(vars...), read)
		if err := faults.Err(); err == nil || err.Error() != want {
			t.Errorf("%v: %v, want %s", vars, err, want)
		}
	}
	c, faults = LoadConfig(env("TRUSTED_PROXIES", "10.1.2.3/8, 192.0.2.1,fd00::/8"), read)
	if got := fmt.Sprint(c.TrustedProxies); faults.Any() || got != "[10.0.0.0/8 192.0.2.1/32 fd00::/8]" {
		t.Errorf("%v %s", faults, got)
	}
}
