//go:build integration

package postgres_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A filled database: each table of the schema, whatever its version, has rows of each of the given customers. The rows are
// made from the catalogue, so that a table or column added later is filled by itself, or says here what it wants.

// customer is the name of a tenant of a filled database.
type customer string

// id is the customer's only object of a kind.
func (c customer) id(kind string) string {
	sum := sha256.Sum256([]byte(string(c) + " " + kind))
	id, _ := uuid.FromBytes(sum[:16])
	return id.String()
}

func (c customer) tenant() string { return c.id("tenant_id") }

// alike are columns that hold the id of an object under another name.
func alike(column string) string {
	switch column {
	case "created_by_user_id", "actor_user_id", "changed_by_user_id":
		return "user_id"
	case "wanted_robot_id":
		return "robot_id"
	case "aggregate_id":
		return "task_id"
	}
	return column
}

// wants are the values that a type alone does not tell; "NULL" and the like are SQL.
func (c customer) wants(table, column string) (sql string, ok bool) {
	switch table + "." + column {
	case "tenants.slug":
		return "'t-" + c.tenant()[:30] + "'", true
	case "tenants.settings":
		return `'{"cors": {"allowed_origins": ["https://` + c.tenant() + `.example"]}, "webhooks": {"hook": {}}}'`, true
	case "map_versions.status":
		return "'ACTIVE'", true
	case "map_versions.version", "lanes.from_version", "zones.from_version":
		return "2", true
	case "zones.kind":
		return "'traffic'", true
	case "robots.control":
		return "'engine'", true
	case "robots.connection":
		return "'ONLINE'", true
	case "robots.protocol":
		return "'link'", true
	case "robots.status":
		return "'IDLE'", true
	case "tasks.task_type":
		return "'patrol'", true
	case "tasks.status":
		return "'ASSIGNED'", true
	case "alerts.status":
		return "'OPEN'", true
	case "alerts.resolution", "alerts.mark":
		return "''", true
	case "webhook_deliveries.state":
		return "'pending'", true
	case "alerts.cleared_at", "webhook_hooks.disabled_at":
		return "NULL", true
	case "decisions.kind":
		return "'award'", true
	case "outbox_events.status":
		return "'PENDING'", true
	case "outbox_events.shard", "dead_letters.shard":
		if c == owner {
			return "1", true
		}
		return "2", true
	case "outbox_events.held":
		return "false", true
	case "outbox_events.created_at", "dead_letters.created_at":
		return "date_trunc('day', now(), 'UTC')", true
	case "outbox_events.next_retry_at":
		return "now() + interval '1 hour'", true
	case "dead_letters.state":
		return "'retrying'", true
	case "commands.command":
		return "'pause'", true
	case "audit_logs.occurred_at":
		return "date_trunc('month', now(), 'UTC')", true
	case "audit_logs.status_code":
		return "0", true // an intent
	case "tasks.errands", "decisions.alternatives", "alerts.remedies":
		return "'[]'", true
	}
	switch column {
	case "removed_at", "to_version", "done_at", "failed_at", "expired_at", "finished_at":
		return "NULL", true // what has not ended
	}
	return "", false
}

// value is what the customer's row has in a column.
func (c customer) value(table, column, kind string) (sql string, ok bool) {
	if v, ok := c.wants(table, column); ok {
		return v, true
	}
	switch kind {
	case "uuid":
		return "'" + c.id(alike(column)) + "'", true
	case "text":
		return "'" + column + "'", true
	case "smallint", "integer", "bigint", "double precision":
		return "1", true
	case "boolean":
		return "true", true
	case "timestamp with time zone":
		return "now()", true
	case "date":
		return "(now() AT TIME ZONE 'UTC')::date", true
	case "json", "jsonb":
		return "'{}'", true
	case "bytea":
		return `'\x01'`, true
	case "inet":
		return "'127.0.0.1'", true
	case "text[]":
		return "ARRAY['" + column + "']", true
	case "uuid[]":
		return "ARRAY['" + c.id(alike(column)) + "']::uuid[]", true
	case "geometry(Polygon)":
		return "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 1,0 0))')", true
	case "geometry(LineString)":
		return "ST_GeomFromText('LINESTRING(0 0,1 1)')", true
	}
	return "", false
}

// parents are the tables that rows are written to and read from, those that others refer to first.
func parents(t testing.TB, conn *pgx.Conn) []string {
	t.Helper()
	all := names(t, conn, ours+" AND NOT c.relispartition ORDER BY c.relname")
	var out []string
	for len(out) < len(all) {
		before := len(out)
		for _, table := range all {
			needs := names(t, conn, `SELECT confrelid::regclass::text FROM pg_constraint
				WHERE contype = 'f' AND conrelid = $1::text::regclass AND confrelid <> conrelid`, table)
			ready := !slices.ContainsFunc(needs, func(n string) bool { return !slices.Contains(out, n) })
			if ready && !slices.Contains(out, table) {
				out = append(out, table)
			}
		}
		if len(out) == before {
			t.Fatalf("foreign keys go in a circle: %v, done %v", all, out)
		}
	}
	return out
}

// populate writes a row of each customer into each table that has none of it yet; conn is a superuser's.
func populate(t testing.TB, conn *pgx.Conn, who ...customer) {
	t.Helper()
	for _, table := range parents(t, conn) {
		rows, err := conn.Query(t.Context(), `SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
			WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = '' AND attgenerated = ''
			ORDER BY attnum`, table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Name, Type string }])
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range who {
			var into, values []string
			for _, column := range columns {
				v, ok := c.value(table, column.Name, column.Type)
				if !ok {
					t.Fatalf("column %s.%s is a %s: say in fill_test.go what it holds", table, column.Name, column.Type)
				}
				into, values = append(into, column.Name), append(values, v)
			}
			insert := fmt.Sprintf("INSERT INTO %s (%s) SELECT %s WHERE NOT EXISTS (SELECT FROM %[1]s WHERE tenant_id = '%[4]s')",
				table, strings.Join(into, ", "), strings.Join(values, ", "), c.tenant())
			if _, err := conn.Exec(t.Context(), insert); err != nil {
				t.Fatalf("fill %s: %v (say in fill_test.go what its columns hold): %s", table, err, insert)
			}
		}
	}
}

// contents are all rows of all tables as text, by table and sorted; conn is a superuser's. columns, where given, are those
// of an older schema: others are left out.
func contents(t testing.TB, conn *pgx.Conn, columns map[string][]string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, table := range parents(t, conn) {
		what := "x::text"
		if columns != nil {
			if what = "ROW(" + strings.Join(columns[table], ", ") + ")::text"; len(columns[table]) == 0 {
				continue
			}
		}
		out[table] = names(t, conn, "SELECT "+what+" FROM "+table+" x ORDER BY 1")
	}
	return out
}
