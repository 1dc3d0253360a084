//go:build integration && schemathesis

package main

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"

	"starling/gateway/auth"
)

// TestTheProgramKeepsToItsDocumentForEveryRole throws good and bad requests at every operation of the real program, led to
// things that exist, with the token of each role: no fault of the server, no answer that the document does not have.
//
//	go test -tags integration,schemathesis -run Document -timeout 2h .
func TestTheProgramKeepsToItsDocumentForEveryRole(t *testing.T) {
	w := newTwoTenants(t)
	ids := maps.Clone(w.ids)
	delete(ids, "n")
	ids["place"] = "0"
	real, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range auth.Roles() {
		t.Run(role, func(t *testing.T) {
			grant := map[string]any{"role": role, "tenant": ids["tenant_id"], "robot": ids["robot_id"], "fleet": mark, "expires_in_s": 24 * 3600}
			if role == auth.PlatformAdmin {
				delete(grant, "tenant")
			}
			args := append([]string{w.URL, w.issue(t, grant), "--exclude-operation-id", "delete-robot"}, strings.Fields(os.Getenv("SCHEMATHESIS_ARGS"))...)
			cmd := exec.CommandContext(t.Context(), "scripts/schemathesis.sh", args...)
			if role != auth.PlatformAdmin { // who has no tenant to name
				cmd.Env = append(os.Environ(), "STARLING_IDS="+string(real))
			}
			out, err := cmd.CombinedOutput()
			if t.Logf("%s", out); err != nil {
				t.Error(err)
			}
		})
	}
}
