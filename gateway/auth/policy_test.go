package auth_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"starling/gateway/auth"
)

//go:generate go test -count=1 -run ^TestTheCommittedTableOfRolesIsThePolicy$ . -update

var update = flag.Bool("update", false, "rewrite docs/roles.md")

func TestEachDoorHasOneRuleThatHolds(t *testing.T) {
	t.Parallel()
	p := auth.NewPolicy()
	seen := map[string]bool{}
	for _, r := range p.Rules() {
		if seen[r.Door] {
			t.Errorf("%s has two rules", r.Door)
		}
		seen[r.Door] = true
		if got := p.Rule(r.Door); got == nil || got.Door != r.Door {
			t.Errorf("%s is not found", r.Door)
		}
		for _, role := range r.Roles {
			if !slices.Contains(auth.Roles(), role) {
				t.Errorf("%s: unknown role %s", r.Door, role)
			}
		}
		writes := !strings.HasPrefix(r.Door, "GET ") && !strings.HasPrefix(r.Door, "CHANNEL ")
		switch {
		case r.Open && (r.Roles != nil || r.Why == ""):
			t.Errorf("%s is open: it names no roles and says why", r.Door)
		case writes && r.Kind != auth.Write && r.Why == "":
			t.Errorf("%s writes, is not recorded and does not say why", r.Door)
		case !writes && r.Kind == auth.Write:
			t.Errorf("%s reads and counts as a write", r.Door)
		case (r.Kind == auth.Untold) != (r.Action == ""), (r.Kind == auth.Untold) != (r.Resource == ""):
			t.Errorf("%s: an act on record has a name and a kind of object, one that is not has none", r.Door)
		case !r.Open && r.Scope != auth.NoTenant && r.Roles == nil:
			t.Errorf("%s lets every role into a tenant", r.Door)
		case slices.Contains(r.Roles, auth.PlatformAdmin) && r.Scope == auth.OneTenant:
			t.Errorf("%s: a platform administrator has no tenant", r.Door)
		}
	}
	if p.Rule("GET /api/v1/nothing") != nil {
		t.Error("a door that is not there has a rule")
	}
}

func TestTheCommittedTableOfRolesIsThePolicy(t *testing.T) {
	t.Parallel()
	const file = "../../docs/roles.md"
	page := rolesPage(auth.NewPolicy())
	if *update {
		if err := os.WriteFile(file, page, 0o644); err != nil { //nolint:gosec // a committed document
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, page) {
		t.Fatal("docs/roles.md differs from the policy: run go generate ./gateway/auth")
	}
}

// rolesPage is docs/roles.md.
func rolesPage(p *auth.Policy) []byte {
	var b bytes.Buffer
	b.WriteString("# Who may do what\n\nMade from the table in `gateway/auth/policy.go` (`go generate ./gateway/auth`), which every door asks. " +
		"`admin` implies `operator` and `viewer`, `operator` implies `viewer`. A `robot` is held to its own `robot_id` or `fleet` besides. " +
		"On record: the action that an audit entry carries; *reads* are recorded where `AUDIT_READS` is on, refusals and sign-ins always.\n\n")
	roles := auth.Roles()
	fmt.Fprintf(&b, "| door | tenant | %s | on record |\n|---|---|%s---|\n", strings.Join(roles, " | "), strings.Repeat(":-:|", len(roles)))
	scopes := map[auth.Scope]string{auth.OneTenant: "one", auth.NoTenant: "none", auth.TenantOrPlatform: "one, or the platform"}
	for _, r := range p.Rules() {
		if r.Open {
			continue
		}
		record := r.Action
		switch {
		case record == "":
			record = r.Why
		case r.Kind == auth.Read:
			record = "*" + record + "*"
		}
		fmt.Fprintf(&b, "| `%s` | %s |", r.Door, scopes[r.Scope])
		for _, role := range roles {
			mark := ""
			if r.Allows(&auth.Identity{Roles: []string{role}}) {
				mark = "x"
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		fmt.Fprintf(&b, " %s |\n", record)
	}
	b.WriteString("\n## Without a token\n\n| door | why |\n|---|---|\n")
	for _, r := range p.Rules() {
		if r.Open {
			fmt.Fprintf(&b, "| `%s` | %s |\n", r.Door, r.Why)
		}
	}
	b.WriteString("| every other GET outside `/api` and `/rmf` | the page and its files |\n")
	return b.Bytes()
}
