package stacktest

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"starling/deploy/stack"
)

const (
	adminTimeout = time.Minute
	keyProvider  = "org.keycloak.keys.KeyProvider"
	signingKeys  = "rsa-generated"
)

// User finds a person of the realm by name.
func User(tb testing.TB, name string) stack.KeycloakUser {
	tb.Helper()
	users, err := stack.KeycloakUsers()
	if err != nil {
		tb.Fatal(err)
	}
	for _, u := range users {
		if u.Name == name {
			return u
		}
	}
	tb.Fatalf("the realm has no user %q", name)
	return stack.KeycloakUser{}
}

// Token signs a person of the realm in.
func Token(tb testing.TB, k *stack.Keycloak, name string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), adminTimeout)
	defer cancel()
	token, err := k.PasswordToken(ctx, name, User(tb, name).Password)
	if err != nil {
		tb.Fatalf("sign %s in: %v", name, err)
	}
	return token
}

// SetRealm changes settings of the realm, such as enabled or accessTokenLifespan (seconds).
func SetRealm(tb testing.TB, k *stack.Keycloak, settings map[string]any) {
	tb.Helper()
	admin(tb, k, http.MethodPut, stack.KeycloakRealm, settings, nil)
}

// RemoveRealm deletes the realm with all in it; nothing brings it back.
func RemoveRealm(tb testing.TB, k *stack.Keycloak) {
	tb.Helper()
	admin(tb, k, http.MethodDelete, stack.KeycloakRealm, nil, nil)
}

// key is a provider of keys as Keycloak's administration has it.
type key struct {
	ID           string              `json:"id,omitempty"`
	Name         string              `json:"name"`
	ProviderID   string              `json:"providerId"`
	ProviderType string              `json:"providerType"`
	ParentID     string              `json:"parentId"`
	Config       map[string][]string `json:"config"`
}

// RotateKey gives the realm a new signing key; the old ones stay published.
func RotateKey(tb testing.TB, k *stack.Keycloak) {
	tb.Helper()
	var realm struct {
		ID string `json:"id"`
	}
	admin(tb, k, http.MethodGet, stack.KeycloakRealm, nil, &realm)
	priority := strconv.FormatInt(time.Now().UnixMilli(), 10) // above all before it
	admin(tb, k, http.MethodPost, stack.KeycloakRealm+"/components", key{
		Name: "test-" + priority, ProviderID: signingKeys, ProviderType: keyProvider, ParentID: realm.ID,
		Config: map[string][]string{"priority": {priority}, "enabled": {"true"}, "active": {"true"}, "algorithm": {"RS256"}, "keySize": {"2048"}},
	}, nil)
}

// RetireKeys withdraws all signing keys but the newest: they are no longer published.
func RetireKeys(tb testing.TB, k *stack.Keycloak) {
	tb.Helper()
	var all []key
	admin(tb, k, http.MethodGet, stack.KeycloakRealm+"/components?type="+url.QueryEscape(keyProvider), nil, &all)
	priority := func(c *key) (n int64) {
		if p := c.Config["priority"]; len(p) == 1 {
			n, _ = strconv.ParseInt(p[0], 10, 64)
		}
		return n
	}
	newest := int64(0)
	for i := range all {
		if all[i].ProviderID == signingKeys {
			newest = max(newest, priority(&all[i]))
		}
	}
	for i := range all {
		if c := &all[i]; c.ProviderID == signingKeys && priority(c) < newest {
			c.Config["enabled"], c.Config["active"] = []string{"false"}, []string{"false"}
			admin(tb, k, http.MethodPut, stack.KeycloakRealm+"/components/"+c.ID, c, nil)
		}
	}
}

func admin(tb testing.TB, k *stack.Keycloak, method, path string, body, answer any) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), adminTimeout)
	defer cancel()
	if err := k.Admin(ctx, method, path, body, answer); err != nil {
		tb.Fatalf("administer Keycloak: %v", err)
	}
}
