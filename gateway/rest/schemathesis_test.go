//go:build schemathesis

package rest

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"starling/gateway/auth"
)

// TestTheAPIKeepsToItsDocument throws good and bad requests at every operation:
//
//	go test -tags schemathesis -run Document ./gateway/rest
func TestTheAPIKeepsToItsDocument(t *testing.T) {
	for _, c := range []struct {
		role string
		args []string
	}{
		{auth.Admin, []string{"--exclude-path", "/api/v1/tenants"}},
		{auth.PlatformAdmin, []string{"--include-path", "/api/v1/tenants"}},
	} {
		t.Run(c.role, func(t *testing.T) {
			g := newRig(t, nil).furnish()
			grant := auth.Grant{Role: c.role, Tenant: ours}
			if c.role == auth.PlatformAdmin {
				grant.Tenant = ""
			}
			args := append([]string{g.url, g.grant(grant)}, c.args...)
			args = append(args, strings.Fields(os.Getenv("SCHEMATHESIS_ARGS"))...)
			cmd := exec.Command("../../scripts/schemathesis.sh", args...)
			out, err := cmd.CombinedOutput()
			if t.Logf("%s", out); err != nil {
				t.Fatal(err)
			}
		})
	}
}
