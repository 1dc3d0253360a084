//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
	"starling/gateway/auth"
)

// The program in front of a real Keycloak: who the people of its realm are, what they may do, and a new key while
// requests flow. The parts build upon one another: the last one changes the realm.
func TestPeopleOfARealKeycloak(t *testing.T) {
	t.Parallel()
	k := stacktest.Keycloak(t)
	r := newKeycloakRig(t, k, 300*time.Second)
	tokens := map[string]string{}
	users, err := stack.KeycloakUsers()
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		tokens[u.Name] = stacktest.Token(t, k, u.Name)
		keepSecrets(tokens[u.Name], u.Password)
	}
	if tokens[stack.KeycloakService], err = k.ServiceToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	keepSecrets(tokens[stack.KeycloakService], stack.KeycloakServiceSecret)
	t.Run("are who the realm says", func(t *testing.T) { r.whoTheyAre(t, users, tokens) })
	t.Run("may do what their roles say", func(t *testing.T) { r.whatTheyMay(t, tokens) })
	t.Run("stay within their tenants", func(t *testing.T) { r.theirTenants(t, tokens) })
	t.Run("are refused with a token of another kind", func(t *testing.T) { r.wrongTokens(t, tokens) })
	t.Run("notice nothing of new keys", func(t *testing.T) { r.newKeys(t, tokens) })
}

func (r *keycloakRig) whoTheyAre(t *testing.T, users []stack.KeycloakUser, tokens map[string]string) {
	type person struct {
		Subject   string   `json:"subject"`
		Email     *string  `json:"email"`
		Name      *string  `json:"name"`
		Roles     []string `json:"roles"`
		TenantIDs []string `json:"tenant_ids"`
	}
	users = append(slices.Clone(users), stack.KeycloakUser{
		Name: stack.KeycloakService, FullName: "service-account-starling-service", Roles: []string{"service"}, Tenants: []string{tenantNorth},
	})
	seen := map[string]string{}
	for _, u := range users {
		a := r.send(t, http.MethodGet, "/api/v1/me", tokens[u.Name], "")
		var me person
		if !a.fine() || json.Unmarshal(a.body, &me) != nil {
			t.Errorf("%s: %v", u.Name, a)
			continue
		}
		email, name := "", ""
		if me.Email != nil {
			email = *me.Email
		}
		if me.Name != nil {
			name = *me.Name
		}
		if email != u.Email || name != u.FullName || !slices.Equal(me.Roles, u.Roles) || !slices.Equal(me.TenantIDs, u.Tenants) || len(me.Subject) != 36 {
			t.Errorf("%s is %s, want %+v", u.Name, a.body, u)
		}
		if other := seen[me.Subject]; other != "" {
			t.Errorf("%s and %s have one subject", u.Name, other)
		}
		seen[me.Subject] = u.Name
	}
}

func (r *keycloakRig) whatTheyMay(t *testing.T, tokens map[string]string) {
	const viewer, operator, admin, robot, service, platform = "viewer-north", "operator-north", "admin-north", "robot-north", stack.KeycloakService, "platform-admin"
	a := r.send(t, http.MethodPost, "/api/v1/warehouses", tokens[admin], `{"warehouse_code":"north-1","name":"North","timezone":"UTC"}`)
	var house struct {
		ID string `json:"warehouse_id"`
	}
	if a.status != http.StatusCreated || json.Unmarshal(a.body, &house) != nil {
		t.Fatal(a)
	}
	ids := map[string]string{}
	for _, fleet := range []string{stacktest.User(t, robot).Fleet, "elsewhere"} {
		a := r.send(t, http.MethodPost, "/api/v1/robots", tokens[admin],
			fmt.Sprintf(`{"warehouse_id":%q,"robot_code":"r-%s","fleet":%q,"protocol":"rest"}`, house.ID, fleet, fleet))
		var made struct {
			ID string `json:"robot_id"`
		}
		if a.status != http.StatusCreated || json.Unmarshal(a.body, &made) != nil {
			t.Fatal(a)
		}
		ids[fleet] = made.ID
	}
	status := fmt.Sprintf(`{"boot_id":"1","seq":1,"ts":%q,"state":"IDLE","battery_soc":0.5,"pose":{"x":1,"y":1,"theta":0}}`, time.Now().UTC().Format(time.RFC3339))
	own, foreign := "/api/v1/robots/"+ids[stacktest.User(t, robot).Fleet]+"/status", "/api/v1/robots/"+ids["elsewhere"]+"/status"
	for _, c := range []struct {
		method, path, body string
		good               int // the status for those who may
		may                []string
	}{
		{"GET", "/api/v1/robots", "", 200, []string{viewer, operator, admin, service}},
		{"GET", "/api/v1/tenants/current", "", 200, []string{viewer, operator, admin, service}},
		{"POST", "/api/v1/tasks", "{}", 422, []string{operator, admin, service}},
		{"POST", "/api/v1/warehouses", "{}", 422, []string{admin}},
		{"GET", "/api/v1/tenants/current/settings", "", 200, []string{admin}},
		{"GET", "/api/v1/tenants", "", 200, []string{platform}},
		{"POST", "/api/v1/tenants", "{}", 422, []string{platform}},
		{"POST", own, status, 202, []string{robot, admin, service}},
		{"POST", foreign, status, 202, []string{admin, service}},
	} {
		for _, who := range []string{viewer, operator, admin, robot, service, platform} {
			a := r.send(t, c.method, c.path, tokens[who], c.body)
			if may := slices.Contains(c.may, who); may && a.status != c.good || !may && (a.status != http.StatusForbidden || a.code != "FORBIDDEN") {
				t.Errorf("%s, who may: %v: %v", who, may, a)
			}
		}
	}
}

func (r *keycloakRig) theirTenants(t *testing.T, tokens map[string]string) {
	const header = "X-Tenant-ID"
	for name, c := range map[string]struct {
		who     string
		headers []string
		status  int
		slug    string
	}{
		"one tenant needs no header":             {"viewer-north", nil, 200, "north"},
		"its own in the header":                  {"viewer-south", []string{header, tenantSouth}, 200, "south"},
		"its own by name":                        {"viewer-south", []string{"X-Tenant-Slug", "south"}, 200, "south"},
		"another's in the header":                {"admin-north", []string{header, tenantSouth}, 403, ""},
		"another's by name":                      {"admin-north", []string{"X-Tenant-Slug", "south"}, 403, ""},
		"one that is not there":                  {"admin-north", []string{header, "99999999-9999-4999-8999-999999999999"}, 403, ""},
		"several tenants, the first":             {"operator-both", []string{header, tenantNorth}, 200, "north"},
		"several tenants, the second":            {"operator-both", []string{header, tenantSouth}, 200, "south"},
		"several tenants, none chosen":           {"operator-both", nil, 422, "choose one"},
		"the service's":                          {stack.KeycloakService, nil, 200, "north"},
		"the service's, another's in the header": {stack.KeycloakService, []string{header, tenantSouth}, 403, ""},
	} {
		a := r.send(t, http.MethodGet, "/api/v1/tenants/current", tokens[c.who], "", c.headers...)
		if a.status != c.status || !strings.Contains(string(a.body), c.slug) || c.status == http.StatusForbidden && a.code != "FORBIDDEN" {
			t.Errorf("%s: %v, want %d %s", name, a, c.status, c.slug)
		}
	}
	// What the northern administrator made is not there for the southern one.
	a := r.send(t, http.MethodGet, "/api/v1/warehouses", tokens["admin-north"], "")
	var list struct {
		Items []struct {
			ID string `json:"warehouse_id"`
		}
	}
	if json.Unmarshal(a.body, &list) != nil || len(list.Items) != 1 {
		t.Fatal(a)
	}
	if a := r.send(t, http.MethodGet, "/api/v1/warehouses/"+list.Items[0].ID, tokens["admin-south"], ""); a.status != http.StatusNotFound {
		t.Errorf("another tenant's warehouse: %v", a)
	}
}

func (r *keycloakRig) wrongTokens(t *testing.T, tokens map[string]string) {
	var claims struct {
		Access string `json:"access_token"`
		ID     string `json:"id_token"`
	}
	// An ID token says who signed in; it is not for an API. Keycloak makes one out for the client, not for our audience.
	form := "grant_type=password&scope=openid&client_id=" + stack.KeycloakCLI + "&username=viewer-north&password=" + stacktest.User(t, "viewer-north").Password
	res, err := http.Post(r.k.Issuer()+"/protocol/openid-connect/token", "application/x-www-form-urlencoded", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	err = json.NewDecoder(res.Body).Decode(&claims)
	_ = res.Body.Close()
	if err != nil || claims.ID == "" {
		t.Fatalf("no ID token: %v", err)
	}
	good := tokens["viewer-north"]
	for name, token := range map[string]string{
		"none":            "",
		"an ID token":     claims.ID,
		"a changed claim": good[:len(good)/2] + "A" + good[len(good)/2+1:],
		"cut off":         good[:len(good)-20],
		"a stranger's":    stranger(t, r.k.Issuer()),
	} {
		if a := r.send(t, http.MethodGet, "/api/v1/me", token, ""); a.status != http.StatusUnauthorized || a.code != "UNAUTHENTICATED" {
			t.Errorf("%s: %v", name, a)
		}
	}
	if a := r.send(t, http.MethodGet, "/api/v1/me", claims.Access, ""); !a.fine() {
		t.Errorf("the access token beside it: %v", a)
	}
}

// stranger makes a token in the realm's name with a key that the realm does not have.
func stranger(t *testing.T, issuer string) string {
	t.Helper()
	key, err := auth.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	d, err := auth.NewDevIssuer(key, issuer, stack.KeycloakAudience)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := d.Issue(auth.Grant{Tenant: tenantNorth, Role: auth.Admin}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// newKeys: the realm turns its key while requests flow, and once more before the issuer may be asked again, while strangers
// make up ids of keys. Nobody with a good token may be refused, whichever key it is of.
func (r *keycloakRig) newKeys(t *testing.T, tokens map[string]string) {
	c := newCrowd(t, r)
	const settled = time.Second
	join := func(who, token string) { c.join(who, 200*time.Millisecond, func() string { return token }) }
	for _, who := range []string{"viewer-north", "operator-north", "admin-south"} {
		join("old "+who, tokens[who])
	}
	time.Sleep(settled)
	for turn := range 2 {
		if turn == 1 {
			for range 4 {
				c.join("stranger", 100*time.Millisecond, func() string { return stranger(t, r.k.Issuer()) })
			}
		}
		stacktest.RotateKey(t, r.k)
		for _, who := range []string{"viewer-south", "operator-both"} {
			token := stacktest.Token(t, r.k, who)
			if keyID(t, token) == keyID(t, tokens[who]) {
				t.Fatalf("turn %d: the token of %s is of the old key", turn, who)
			}
			tokens[who] = token
			keepSecrets(token)
			began := time.Now()
			if a := r.send(t, http.MethodGet, "/api/v1/me", token, ""); !a.fine() {
				t.Errorf("turn %d: the first request of %s with the new key: %v", turn, who, a)
			}
			t.Logf("turn %d: %s passed with the new key after %d ms", turn, who, time.Since(began).Milliseconds())
			join(fmt.Sprintf("new %d %s", turn, who), token)
		}
	}
	time.Sleep(2 * settled)
	good, refused := 0, 0
	var wrongly []answer
	for _, a := range c.leave() {
		switch {
		case a.who == "stranger" && a.status != http.StatusUnauthorized && !a.away():
			t.Errorf("a stranger was let in: %v", a)
		case a.who == "stranger":
			refused++
		case !a.fine():
			wrongly = append(wrongly, a)
		default:
			good++
		}
	}
	if len(wrongly) > 0 {
		t.Errorf("%d refused wrongly: %v", len(wrongly), wrongly[:min(len(wrongly), 3)])
	}
	t.Logf("%d requests with good tokens passed, %d of strangers were refused", good, refused)
	if good < 60 || refused < 8 {
		t.Errorf("%d good requests and %d of strangers are too few to tell anything", good, refused)
	}
}

// keyID reads the key's id from a token's header.
func keyID(t *testing.T, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	return head
}
