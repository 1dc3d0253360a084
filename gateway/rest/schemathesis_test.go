//go:build schemathesis

package rest

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"starling/gateway/auth"
)

// ids names one of each thing that the rig has.
func (g *rig) ids() string {
	g.t.Helper()
	admin := g.token(auth.Admin)
	task := g.post("/api/v1/tasks", admin, `{"task_type":"go_to","warehouse_id":"`+g.warehouse+`","payload":{"dropoff":"0"}}`).want(201)
	command := g.post("/api/v1/robots/"+g.bot+"/commands", admin, `{"command":"stop"}`).want(202)
	lanes, _ := g.get("/api/v1/lanes?map_id="+g.floor, admin).want(200).object()["items"].([]any)
	lane, _ := lanes[0].(map[string]any)
	b, err := json.Marshal(map[string]any{
		"tenant_id": ours, "warehouse_id": g.warehouse, "map_id": g.floor, "robot_id": g.bot, "task_id": task.text("task_id"),
		"command_id": command.text("command_id"), "lane_id": lane["lane_id"], "zone_id": nobody, "place": "0",
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return string(b)
}

// TestTheAPIKeepsToItsDocument throws good and bad requests at every operation:
//
//	go test -tags schemathesis -run Document ./gateway/rest
func TestTheAPIKeepsToItsDocument(t *testing.T) {
	for name, c := range map[string]struct {
		role string
		led  bool // to things that exist
		args []string
	}{
		"as it comes":    {auth.Admin, false, []string{"--exclude-path", "/api/v1/tenants"}},
		"on real things": {auth.Admin, true, []string{"--exclude-path", "/api/v1/tenants", "--exclude-operation-id", "delete-robot", "--phases", "coverage,fuzzing"}},
		"the platform":   {auth.PlatformAdmin, false, []string{"--include-path", "/api/v1/tenants"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil).furnish()
			grant := auth.Grant{Role: c.role, Tenant: ours}
			if c.role == auth.PlatformAdmin {
				grant.Tenant = ""
			}
			args := append([]string{g.url, g.grant(grant)}, c.args...)
			args = append(args, strings.Fields(os.Getenv("SCHEMATHESIS_ARGS"))...)
			cmd := exec.CommandContext(t.Context(), "../../scripts/schemathesis.sh", args...)
			if c.led {
				cmd.Env = append(os.Environ(), "STARLING_IDS="+g.ids())
			}
			out, err := cmd.CombinedOutput()
			if t.Logf("%s", out); err != nil {
				t.Fatal(err)
			}
		})
	}
}
