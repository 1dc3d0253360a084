//go:build integration

package postgres_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"starling/deploy/stack/stacktest"
	"starling/persistence/postgres"
	"starling/persistence/postgres/gen"
)

// Row-level security is the second wall: these tests take the first one, the tenant in each query, away. They walk the
// catalogue and all generated queries, so that whatever is added later is tried too, or fails them.

const (
	owner   customer = "owner"   // whose rows are to be had
	foreign customer = "foreign" // who wants them, and has its own
)

const denied = "42501" // insufficient_privilege: a missing right, or a policy

// filledAt is a migrated database with rows of both customers in every table.
func filledAt(t *testing.T) string {
	t.Helper()
	url := stacktest.Database(t)
	if _, err := postgres.Migrate(t.Context(), url, "up"); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url, "")
	makePartitions(t, conn)
	populate(t, conn, owner, foreign)
	return url
}

func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// scope makes conn act for a tenant, "" = none.
func scope(t *testing.T, conn *pgx.Conn, tenant string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "SELECT set_config('app.tenant_id', $1, false)", tenant); err != nil {
		t.Fatal(err)
	}
}

func TestNoTableShowsOrTakesAnothersRow(t *testing.T) {
	t.Parallel()
	url := filledAt(t)
	root, app := connect(t, url, ""), connect(t, url, "starling_app")
	before := contents(t, root, nil)
	all := names(t, root, ours+" ORDER BY c.relname")
	whole := parents(t, root)
	if len(whole) < 18 || len(all) < len(whole)+3 {
		t.Fatalf("only %d tables, with partitions %v", len(whole), all)
	}
	for _, table := range all {
		rows := names(t, root, fmt.Sprintf("SELECT x::text FROM %s x WHERE tenant_id = $1", table), owner.tenant())
		for _, tenant := range []string{"", foreign.tenant()} {
			scope(t, app, tenant)
			tryTable(t, app, table, tenant, rows)
		}
		if !slices.Contains(whole, table) {
			continue
		}
		// The same reading finds the rows where it may: what was tried above could have found something.
		scope(t, app, owner.tenant())
		if seen := names(t, app, "SELECT DISTINCT tenant_id::text FROM "+table); !slices.Equal(seen, []string{owner.tenant()}) {
			t.Errorf("the owner sees %v in %s", seen, table)
		}
		for _, right := range []string{"TRUNCATE", "REFERENCES", "TRIGGER"} {
			var may bool
			if err := root.QueryRow(t.Context(), "SELECT has_table_privilege('starling_app', $1::text, $2)", table, right).Scan(&may); err != nil || may {
				t.Errorf("starling_app may %s %s: %v", right, table, err)
			}
		}
	}
	if after := contents(t, root, nil); !reflect.DeepEqual(before, after) {
		t.Error("rows have changed")
	}
}

// tryTable reads and writes the owner's rows of a table as somebody else. The program itself reaches no partition.
func tryTable(t *testing.T, app *pgx.Conn, table, as string, rows []string) {
	t.Helper()
	for _, try := range []string{
		"SELECT 1 FROM %s WHERE tenant_id = $1",
		"SELECT 1 FROM %s WHERE tenant_id = $1 FOR UPDATE",
		"UPDATE %s SET tenant_id = tenant_id WHERE tenant_id = $1",
		"DELETE FROM %s WHERE tenant_id = $1",
	} {
		tag, err := app.Exec(t.Context(), fmt.Sprintf(try, table), owner.tenant())
		if err != nil && code(err) != denied || tag.RowsAffected() != 0 {
			t.Errorf("as tenant %q %s: %d rows, %v", as, fmt.Sprintf(try, table), tag.RowsAffected(), err)
		}
	}
	for _, row := range rows {
		_, err := app.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s OVERRIDING SYSTEM VALUE SELECT ($1::text::%[1]s).*", table), row)
		if code(err) != denied {
			t.Errorf("as tenant %q a row of another one goes into %s: %v", as, table, err)
		}
	}
}

// The switch of platform administrators opens the list of customers and nothing else.
func TestThePlatformSwitchOpensTenantsAlone(t *testing.T) {
	t.Parallel()
	url := filledAt(t)
	root, app := connect(t, url, ""), connect(t, url, "starling_app")
	if _, err := app.Exec(t.Context(), "SELECT set_config('app.platform', 'on', false)"); err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, table := range parents(t, root) {
		if len(names(t, app, "SELECT tenant_id::text FROM "+table)) > 0 {
			open = append(open, table)
		}
	}
	if !slices.Equal(open, []string{"tenants"}) {
		t.Errorf("the switch opens %v", open)
	}
	// Nor does anything but a policy on rows stand in the way, or is passed by: no views, and of the functions that act as
	// their owner only those that keep partitions, which return numbers of tables, and those that find places, which look for
	// the transaction's tenant themselves (TestPlacesAreFoundForTheTenantAlone).
	if views := names(t, root, `SELECT c.relname::text FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
		WHERE r.rolname = 'starling_migrate' AND c.relkind IN ('v', 'm', 'f')`); len(views) > 0 {
		t.Errorf("views show what their owner sees: %v", views)
	}
	if strong := names(t, root, `SELECT p.proname::text FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace
		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') -- PostGIS's, that look at statistics
		AND has_function_privilege('starling_app', p.oid, 'EXECUTE') ORDER BY 1`); slices.ContainsFunc(strong, func(name string) bool { return !slices.Contains(slices.Concat(partitioners(), placeFinders()), name) }) {
		t.Errorf("functions that act as their owner: %v", strong)
	}
	if bare := names(t, root, `SELECT c.relname::text FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
		WHERE r.rolname = 'starling_migrate' AND c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid
			AND (p.polroles = '{0}' OR 'starling_app'::regrole = ANY (p.polroles)) AND coalesce(pg_get_expr(p.polqual, p.polrelid), '') || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') !~ 'app_tenant\(\)')`); len(bare) > 0 {
		t.Errorf("tables with a policy for the program that asks for no tenant: %v", bare)
	}
	for _, role := range []string{"starling_app", "starling_worker", "starling_migrate"} {
		if bad := names(t, root, "SELECT rolname::text FROM pg_roles WHERE rolname = $1 AND (rolbypassrls OR rolsuper OR rolcanlogin OR rolcreaterole)", role); len(bad) > 0 {
			t.Errorf("role %s may more than it should", role)
		}
	}
}

// partitioners are the functions that act as their owner: they make and drop partitions and return how many.
func partitioners() []string {
	return []string{"ensure_partitions", "forget_partitions"}
}

// placeFinders are the functions that look where row-level security lets no index be used.
func placeFinders() []string { return []string{"lanes_at", "zones_at"} }

// The functions that find places act as their owner, whom no policy holds: each shows the transaction's tenant its own, and
// nothing to somebody else or to nobody.
func TestPlacesAreFoundForTheTenantAlone(t *testing.T) {
	t.Parallel()
	app := connect(t, filledAt(t), "starling_app")
	for _, finder := range placeFinders() {
		for tenant, want := range map[string]string{owner.tenant(): owner.id(strings.TrimSuffix(finder, "s_at") + "_id"), "": "", foreign.id("nobody"): ""} {
			inTransaction(t, app, "rollback", func() {
				scope(t, app, tenant)
				found := names(t, app, "SELECT p::text FROM "+finder+"(ST_MakeEnvelope(-1e6, -1e6, 1e6, 1e6), false) AS p")
				if strings.Join(found, " ") != want {
					t.Errorf("%s as tenant %q: %v, want %q", finder, tenant, found, want)
				}
			})
		}
	}
}

// rowless are the queries that touch no customer's row, and why.
func rowless() map[string]string {
	return map[string]string{
		"WithTx":           "is no query",
		"TryLock":          "takes a lock",
		"Unlock":           "gives it back",
		"CountLockers":     "counts sessions",
		"RingOutbox":       "tells other processes",
		"ScopeAudit":       "says who asks",
		"LimitStatements":  "says how long a statement may take",
		"ActAsApp":         "says who asks",
		"SetTenant":        "says who asks",
		"SetPlatform":      "says who asks; see TestThePlatformSwitchOpensTenantsAlone",
		"OpenGroup":        "says who asks",
		"XactStatus":       "tells how a transaction ended, by its number",
		"LockKey":          "takes a lock",
		"EnsurePartitions": "makes tables",
		"ForgetPartitions": "drops tables",
		"ForgetAudit":      "drops tables",
		"ForgetSent":       "drops tables",
	}
}

// workers are the queries that write what starling_app may only read: they are denied to every tenant, the owner too.
func workers() []string {
	return []string{"BuryOutbox", "ForgetDead", "ForgetInbox", "FreeHeld", "HandleDead", "HoldOutbox", "MarkSent", "RefuseOutbox"}
}

// unasked are the queries that name no tenant and show whoever asks its own rows, by what only the owner's rows show.
func unasked() map[string]string {
	return map[string]string{
		"ListTenants": owner.tenant(), "TenantOrigins": owner.tenant(), "HookedTenants": owner.tenant(), "AskedOutbox": "[1", "PendingOutbox": "{Shard:1 ", "LockDead": owner.id("event_id"),
		"BusyShards": owner.tenant(), "IdleShards": owner.tenant(), "StaleRobots": owner.tenant(), "StuckTasks": owner.tenant(),
	}
}

// platform are the queries whose rows only a platform administrator's transaction sees or makes.
func platform() []string { return []string{"CreateTenant"} }

// argument is what a query of the owner would pass: its ids, by the name of the parameter.
func argument(query, name string, kind reflect.Type) (any, bool) {
	if v, ok := special(query, name); ok {
		return v, true
	}
	if kind.Kind() == reflect.Pointer {
		v, ok := argument(query, name, kind.Elem())
		if !ok {
			return nil, false
		}
		p := reflect.New(kind.Elem())
		p.Elem().Set(reflect.ValueOf(v).Convert(kind.Elem()))
		return p.Interface(), true
	}
	if kind.Kind() == reflect.Slice && kind.Elem().Kind() != reflect.Uint8 {
		one, ok := argument(query, singular(name), kind.Elem())
		if !ok {
			return nil, false
		}
		s := reflect.MakeSlice(kind, 1, 1)
		s.Index(0).Set(reflect.ValueOf(one).Convert(kind.Elem()))
		return s.Interface(), true
	}
	switch v := reflect.New(kind).Elem().Interface().(type) {
	case string:
		return text(name)
	case []byte:
		return []byte("{}"), true
	case bool:
		return true, true
	case time.Time:
		if name == "BeforeAt" || name == "ToAt" || strings.HasPrefix(name, "Reported") {
			return time.Now().Add(time.Hour), true
		}
		return v.Add(time.Duration(1) << 62), true // the year 147
	case int16, int32, int64, float64:
		return number(name), true
	}
	return nil, false
}

func singular(name string) string {
	if strings.HasSuffix(name, "Ids") {
		return strings.TrimSuffix(name, "s") // of an id
	}
	return strings.TrimSuffix(name, "s")
}

// text is a string that a parameter of this name wants.
func text(name string) (string, bool) {
	switch name {
	case "AfterID":
		return uuid.Nil.String(), true
	case "BeforeID":
		return "ffffffff-ffff-ffff-ffff-ffffffffffff", true
	case "AfterCode":
		return "", true
	case "Polygon":
		return `{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,1],[0,0]]]}`, true
	case "Payload", "Header", "Detail", "Errand", "Assignment", "Alternative":
		return "{}", true
	case "ClientIp":
		return "127.0.0.1", true
	case "Zone", "Robot", "Task", "User", "WantedRobot", "Warehouse":
		return owner.id(strings.ToLower(strings.TrimPrefix(name, "Wanted")) + "_id"), true
	case "Heir":
		return uuid.NewString(), true
	case "Stage":
		return "sent", true
	case "Statuse", "Status":
		return "ASSIGNED", true
	case "TaskType":
		return "patrol", true
	case "Control":
		return "engine", true
	case "Connection":
		return "ONLINE", true
	case "Kind":
		return "keep_out", true
	case "Slug":
		return "owner", true
	}
	if id := regexp.MustCompile(`^(\w+)I[dD]$`).FindStringSubmatch(name); id != nil {
		return owner.id(alike(snake(id[1]) + "_id")), true
	}
	return snake(name), true // what populate has written there
}

func snake(name string) string {
	return strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "${1}_${2}"))
}

func number(name string) int {
	switch name {
	case "Version", "ToVersion", "MapVersion":
		return 2
	case "PageSize", "Newest", "Before":
		return 100
	case "After":
		return 0
	case "IfVersion":
		return -1
	}
	return 1
}

// ask calls a generated query with the owner's values and says how many rows it showed or wrote.
func ask(t *testing.T, conn *pgx.Conn, query reflect.Method) (int64, error) {
	t.Helper()
	d := &tap{conn: conn}
	in := []reflect.Value{reflect.ValueOf(gen.New(d)), reflect.ValueOf(t.Context())}
	kind := query.Type
	for i := 2; i < kind.NumIn(); i++ {
		in = append(in, parameter(t, query.Name, kind.In(i)))
	}
	out := query.Func.Call(in)
	if len(d.sql) != 1 || !strings.HasPrefix(d.sql[0], "-- name: "+query.Name+" ") {
		t.Fatalf("%s ran %q", query.Name, d.sql)
	}
	if strings.HasPrefix(query.Name, "Count") {
		d.rows = out[0].Int() // the one row is always there
	}
	if mark := unasked()[query.Name]; mark != "" && !strings.Contains(fmt.Sprintf("%+v", out[0].Interface()), mark) {
		d.rows = 0
	}
	switch last := out[len(out)-1].Interface().(type) {
	case error:
		return d.rows, last
	case interface{ Close() error }:
		return d.rows, last.Close()
	}
	return d.rows, nil
}

func parameter(t *testing.T, query string, kind reflect.Type) reflect.Value {
	t.Helper()
	if kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Struct { // a pipeline
		s := reflect.MakeSlice(kind, 1, 1)
		s.Index(0).Set(parameter(t, query, kind.Elem()))
		return s
	}
	if kind.Kind() != reflect.Struct || !strings.HasSuffix(kind.Name(), "Params") {
		name := ""
		if query != "GetTenantBySlug" {
			name = "TenantID"
		}
		v, ok := argument(query, name, kind)
		if !ok {
			t.Fatalf("%s wants a %s: say in rls_test.go what it would be", query, kind)
		}
		return reflect.ValueOf(v).Convert(kind)
	}
	p := reflect.New(kind).Elem()
	for i := range kind.NumField() {
		f := kind.Field(i)
		v, ok := argument(query, f.Name, f.Type)
		if !ok {
			t.Fatalf("%s.%s is a %s: say in rls_test.go what it would be", query, f.Name, f.Type)
		}
		p.Field(i).Set(reflect.ValueOf(v).Convert(f.Type))
	}
	return p
}

// furtherRows are those that some queries need besides one per table.
const furtherRows = `
	INSERT INTO zones (zone_id, map_id, tenant_id, kind, capacity, geom)
	SELECT zone_id, map_id, tenant_id, 'keep_out', 1, geom FROM zones WHERE kind = 'traffic';
	INSERT INTO lanes (lane_id, map_id, tenant_id, from_version, to_version, from_vertex, to_vertex, length_m, speed_limit_mps, closed, geom, changed_at)
	SELECT lane_id, map_id, tenant_id, 1, 2, from_vertex, to_vertex, length_m, speed_limit_mps, closed, geom, now() FROM lanes;
	INSERT INTO warehouses (warehouse_id, tenant_id, warehouse_code, name) SELECT md5(tenant_id::text)::uuid, tenant_id, 'bare', 'Bare' FROM warehouses;
	UPDATE map_versions SET activated_at = NULL;
	UPDATE webhook_deliveries SET handling_id = NULL;
	INSERT INTO alerts (tenant_id, alert_id, warehouse_id, subject_kind, subject_id, cause, feed, level, peak, status, message, count, escalations, resolution,
		mark, remedies, unsettled, opened_at, seen_at, cleared_at, updated_at, version) SELECT tenant_id, md5(tenant_id::text)::uuid, warehouse_id, subject_kind,
		'resolved', cause, feed, 1, 1, 'RESOLVED', message, 1, 0, 'cleared', 'false', '[]', false, now(), now(), now(), now(), 1 FROM alerts;
	INSERT INTO webhook_deliveries (tenant_id, delivery_id, hook, event, body, state, done_at) SELECT tenant_id, md5(tenant_id::text)::uuid, hook, event, body, 'dead', now() FROM webhook_deliveries;
	UPDATE webhook_hooks SET since = now() - interval '1 hour', looked_at = now() - interval '1 hour';
	INSERT INTO webhook_hooks (tenant_id, hook, fingerprint, disabled_at) SELECT tenant_id, 'disabled', fingerprint, now() FROM webhook_hooks`

// Each generated query, given the owner's ids, shows and changes the owner's rows for the owner, and nothing for somebody
// else or for nobody: as if it had forgotten its tenant, only the policies are in the way.
func TestNoQueryPassesAnotherTenant(t *testing.T) {
	t.Parallel()
	url := filledAt(t)
	root, app := connect(t, url, ""), connect(t, url, "starling_app")
	if _, err := root.Exec(t.Context(), furtherRows); err != nil {
		t.Fatal(err)
	}
	before := contents(t, root, nil)
	tried := 0
	for query := range methods(t) {
		if rowless()[query.Name] != "" {
			continue
		}
		tried++
		inTransaction(t, app, "rollback", func() {
			scope(t, app, owner.tenant())
			if slices.Contains(platform(), query.Name) {
				if err := gen.New(app).SetPlatform(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			rows, err := ask(t, app, query)
			if slices.Contains(workers(), query.Name) {
				if code(err) != denied {
					t.Errorf("%s is not denied to the owner: %d rows, %v", query.Name, rows, err)
				}
				return
			}
			if err != nil || rows == 0 {
				t.Errorf("%s shows and changes nothing for the owner either (%v): say in rls_test.go what its parameters would be", query.Name, err)
			}
		})
		for _, tenant := range []string{"", foreign.tenant()} {
			inTransaction(t, app, "commit", func() {
				scope(t, app, tenant)
				rows, err := ask(t, app, query)
				if rows != 0 || err != nil && !errors.Is(err, pgx.ErrNoRows) && code(err) != denied {
					t.Errorf("as tenant %q %s: %d rows, %v", tenant, query.Name, rows, err)
				}
			})
			if after := contents(t, root, nil); !reflect.DeepEqual(before, after) {
				t.Fatalf("as tenant %q %s has changed rows", tenant, query.Name)
			}
		}
	}
	if tried < 80 {
		t.Errorf("only %d queries were tried", tried)
	}
	t.Logf("%d queries", tried)
}

func inTransaction(t *testing.T, conn *pgx.Conn, end string, fn func()) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "begin"); err != nil {
		t.Fatal(err)
	}
	fn()
	if _, err := conn.Exec(t.Context(), end); err != nil {
		t.Fatal(err)
	}
}

// methods are all of *gen.Queries.
func methods(t *testing.T) func(func(reflect.Method) bool) {
	t.Helper()
	kind := reflect.TypeFor[*gen.Queries]()
	return func(yield func(reflect.Method) bool) {
		for i := range kind.NumMethod() {
			if !yield(kind.Method(i)) {
				return
			}
		}
	}
}

// No SQL stands outside the generated queries: what pipelines send are the texts of those, which the test above tries.
func TestAllSQLIsGenerated(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	for m := range methods(t) {
		have[m.Name] = true
	}
	sources, err := filepath.Glob("gen/*.go")
	if err != nil {
		t.Fatal(err)
	}
	texts := 0
	for _, name := range literals(t, sources) {
		if m := regexp.MustCompile(`^-- name: (\w+) `).FindStringSubmatch(name); m != nil {
			texts++
			if !have[m[1]] {
				t.Errorf("query %s has no method", m[1])
			}
		}
	}
	if texts != len(have)-1 { // WithTx
		t.Errorf("%d texts of queries, %d methods", texts, len(have))
	}
	if sources, err = filepath.Glob("*.go"); err != nil {
		t.Fatal(err)
	}
	sources = slices.DeleteFunc(sources, func(s string) bool {
		return strings.HasSuffix(s, "_test.go") || s == "migrate.go" // it owns the tables
	})
	statement := regexp.MustCompile(`(?i)^\s*(select|insert|update|delete|with|merge|copy|call|truncate|do)\s`)
	for _, text := range literals(t, sources) {
		harmless := text == "SELECT 1" || strings.HasPrefix(text, "SELECT set_config('lock_timeout', ")
		if statement.MatchString(text) && !harmless {
			t.Errorf("SQL outside queries/: %q", text)
		}
	}
}

// literals are the strings of Go files.
func literals(t *testing.T, files []string) []string {
	t.Helper()
	var out []string
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if s, err := strconv.Unquote(l.Value); err == nil {
					out = append(out, s)
				}
			}
			return true
		})
	}
	return out
}
