//go:build integration

package postgres_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/persistence/postgres/gen"
)

// big are the tables that grow with use or with the floor: no query may read one whole.
var big = []string{"tasks", "task_events", "decisions", "outbox_events", "dead_letters", "idempotency_keys", "audit_logs", "robots", "commands", "zone_roster", "lanes", "zones"}

// fill makes the tables of one tenant large, and gives another one a few rows.
func fill(t *testing.T, url string, shard fleet.Shard) (task, robot, mapID string) {
	t.Helper()
	conn := connect(t, url, "")
	mapID = uuid.NewString()
	for _, q := range []string{
		`INSERT INTO warehouses (warehouse_id, tenant_id, warehouse_code, name) VALUES (gen_random_uuid(), $1, 'other', $2::uuid::text)`,
		`INSERT INTO robots (robot_id, tenant_id, warehouse_id, robot_code, display_name, fleet, model, protocol, capabilities, priority, control,
			footprint_radius_m, max_speed_mps, version, created_at, updated_at)
		SELECT gen_random_uuid(), $1, CASE WHEN i <= 1000 THEN $2 ELSE (SELECT warehouse_id FROM warehouses WHERE tenant_id = $1 AND warehouse_code = 'other') END, 'r' || i, '', 'f', '', 'link', '{}', 0, 'engine', 1, 1, 1, now(), now() FROM generate_series(1, 20000) i`,
		`INSERT INTO tasks (task_id, tenant_id, warehouse_id, task_type, status, priority, idempotency_key, payload, errands, robot_id, fleet, source,
			created_at, updated_at, version)
		SELECT gen_random_uuid(), $1, $2, 'go_to', CASE WHEN i % 1000 = 0 THEN 'ASSIGNED' ELSE 'SUCCEEDED' END, 0, 'k' || i, '{}', '[]', r.robot_id, '', 'api',
			now() - i * interval '1 second', now(), 1 FROM generate_series(1, 20000) i
		JOIN (SELECT robot_id, row_number() OVER () AS n FROM robots WHERE tenant_id = $1) r ON r.n = i`,
		`INSERT INTO task_events (event_id, tenant_id, task_id, seq, event_type, to_status, occurred_at, payload)
		SELECT gen_random_uuid(), tenant_id, task_id, s, 'created', 'CREATED', created_at, '{}' FROM tasks, generate_series(1, 3) s WHERE tenant_id = $1 AND warehouse_id = $2`,
		`INSERT INTO decisions (decision_id, tenant_id, warehouse_id, decided_at, kind, task_id, robot_id, inputs_digest, assignments, alternatives, reason)
		SELECT gen_random_uuid(), tenant_id, warehouse_id, created_at, 'award', task_id, robot_id, '', '{}', '[]', '' FROM tasks WHERE tenant_id = $1 AND warehouse_id = $2`,
		`INSERT INTO outbox_events (event_id, tenant_id, aggregate_type, aggregate_id, topic, key, payload, status, shard)
		SELECT gen_random_uuid(), tenant_id, 'task', task_id, 't', '', '', CASE WHEN random() < 0.01 THEN 'PENDING' ELSE 'SENT' END, (random() * 15)::int FROM tasks
		WHERE tenant_id = $1 AND warehouse_id = $2`,
		`INSERT INTO dead_letters (event_id, tenant_id, shard, aggregate_type, aggregate_id, topic, key, event_type, cause, attempts, created_at, state)
		SELECT event_id, tenant_id, shard, aggregate_type, aggregate_id, topic, key, '', '', 1, created_at, CASE WHEN random() < 0.01 THEN 'open' ELSE 'retried' END
		FROM outbox_events WHERE tenant_id = $1 AND $2::uuid IS NOT NULL`,
		`INSERT INTO idempotency_keys (tenant_id, route, key, fingerprint, status, headers, body)
		SELECT $1, 'r', $2::uuid::text || i, '', 201, '{}', '' FROM generate_series(1, 20000) i`,
		`INSERT INTO commands (command_id, tenant_id, robot_id, command, args, expires_at, accepted_at, done_at)
		SELECT gen_random_uuid(), tenant_id, robot_id, 'pause', '{}', now(), now(), now() FROM robots WHERE tenant_id = $1 AND robot_code <> $2::uuid::text`,
		`INSERT INTO zone_roster (tenant_id, warehouse_id, zone_id, robot_id, entered_at, vertex, position_at, speed_mps, window_size)
		SELECT tenant_id, $2, gen_random_uuid(), robot_id, now(), 1, now(), 1, 1 FROM robots WHERE tenant_id = $1`,
		`INSERT INTO audit_logs (audit_id, occurred_at, tenant_id, subject, action, resource_type, resource_id, request_id, trace_id, method, path,
			status_code, duration_ms, user_agent)
		SELECT gen_random_uuid(), now() - i * interval '1 second', $1, '', '', '', '', $2::uuid::text || i, '', '', '', 200, 1, '' FROM generate_series(1, 20000) i`,
	} {
		if _, err := conn.Exec(t.Context(), q, shard.Tenant, shard.Warehouse); err != nil {
			t.Fatalf("%v in %s", err, q)
		}
	}
	for _, q := range []string{
		`INSERT INTO maps (map_id, tenant_id, warehouse_id, name, newest_version) VALUES ($3, $1, $2, 'm', 1)`,
		`INSERT INTO lanes (lane_id, map_id, tenant_id, from_version, from_vertex, to_vertex, length_m, speed_limit_mps, closed, geom)
		SELECT gen_random_uuid(), $3, $1, 1, i::text, $2::uuid::text, 1, 0, false, line_of(0, 0, 1, 1) FROM generate_series(1, 20000) i`,
		`INSERT INTO zones (zone_id, map_id, tenant_id, from_version, kind, capacity, geom)
		SELECT gen_random_uuid(), $3, $1, 1, 'traffic', length($2::uuid::text), polygon_of('{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}') FROM generate_series(1, 20000) i`,
	} {
		if _, err := conn.Exec(t.Context(), q, shard.Tenant, shard.Warehouse, mapID); err != nil {
			t.Fatalf("%v in %s", err, q)
		}
	}
	if _, err := conn.Exec(t.Context(), "ANALYZE"); err != nil {
		t.Fatal(err)
	}
	row := conn.QueryRow(t.Context(), "SELECT task_id::text, robot_id::text FROM tasks WHERE tenant_id = $1 LIMIT 1", shard.Tenant)
	if err := row.Scan(&task, &robot); err != nil {
		t.Fatal(err)
	}
	return task, robot, mapID
}

type plan struct {
	NodeType string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Alias    string `json:"Alias"`
	Plans    []plan `json:"Plans"`
}

// whole lists the tables that the plan reads from end to end.
func (p *plan) whole() (out []string) {
	if p.NodeType == "Seq Scan" {
		out = append(out, p.Relation)
	}
	for i := range p.Plans {
		out = append(out, p.Plans[i].whole()...)
	}
	return out
}

func TestNoQueryReadsABigTableWhole(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	shard := newShard(t, s)
	task, robot, mapID := fill(t, url, shard)
	tenant, warehouse, far, last, none := string(shard.Tenant), string(shard.Warehouse), fleet.Far, "ffffffff-ffff-ffff-ffff-ffffffffffff", uuid.Nil.String()
	conn := connect(t, url, "starling_app")
	if _, err := conn.Exec(t.Context(), "SELECT set_config('app.tenant_id', $1, false)", tenant); err != nil {
		t.Fatal(err)
	}
	tasks := func(status, kind, warehouse, robot, source string) []any {
		return []any{tenant, far, last, time.Time{}, status, kind, warehouse, robot, source, int32(51)}
	}
	for name, q := range map[string][]any{
		"tasks":              append([]any{gen.ListTasks}, tasks("", "", "", "", "")...),
		"tasks by status":    append([]any{gen.ListTasks}, tasks("ASSIGNED", "", "", "", "")...),
		"tasks of warehouse": append([]any{gen.ListTasks}, tasks("", "", warehouse, "", "")...),
		"tasks of robot":     append([]any{gen.ListTasks}, tasks("", "", "", robot, "")...),
		"task":               {gen.GetTask, tenant, task},
		"tasks by id":        {gen.GetTasks, tenant, []string{task, none}},
		"task by key":        {gen.TaskByKey, tenant, "k17"},
		"task events":        {gen.ListTaskEvents, tenant, task, int64(0), int32(51)},
		"load task events":   {gen.LoadTaskEvents, tenant, task},
		"load decisions":     {gen.LoadTaskDecisions, tenant, task},
		"decisions":          {gen.ListDecisions, tenant, far, last, "", "", "", int32(51)},
		"decisions of task":  {gen.ListDecisions, tenant, far, last, "", task, "", int32(51)},
		"decisions of robot": {gen.ListDecisions, tenant, far, last, "", "", robot, int32(51)},
		"decisions of house": {gen.ListDecisions, tenant, far, last, warehouse, "", "", int32(51)},
		"robots":             {gen.ListRobots, tenant, "", "", "", "", int32(51)},
		"robots of house":    {gen.ListRobots, tenant, "r5", warehouse, "", "", int32(51)},
		"robot":              {gen.GetRobot, tenant, robot},
		"robot by code":      {gen.GetRobotByCode, tenant, "r17"},
		"robot ids":          {gen.LoadRobotIDs, tenant, warehouse},
		"commands":           {gen.LoadCommands, tenant, robot, int32(32), ""},
		"command":            {gen.GetCommand, tenant, robot, task},
		"active task":        {gen.LoadActiveTask, tenant, robot},
		"roster":             {gen.LoadRoster, tenant, warehouse, none},
		"open tasks":         {gen.LoadOpenTasks, tenant, warehouse},
		"first answer":       {gen.FirstAnswer, tenant, "r", "17"},
		"recorded events":    {gen.RecordedEvents, []string{none}, tenant},
		"lanes":              {gen.ListLanes, tenant, mapID, none, int32(1), int32(51)},
		"lane":               {gen.GetLane, tenant, none},
		"changed lanes":      {gen.LoadChangedLanes, tenant, mapID, int32(1)},
		"zones":              {gen.ListZones, tenant, none, mapID, "", "", int32(51)},
		"zone":               {gen.GetZone, tenant, none},
		"lanes by place":     {gen.ListLanesAt, tenant, mapID, none, []float64{0, 0, 1, 0, 1, 1, 0, 0}, true, int32(1), int32(51)},
		"zones by place":     {gen.ListZonesAt, tenant, none, []float64{0, 0, 1, 0, 1, 1, 0, 0}, true, mapID, "", "", int32(51)},
	} {
		if whole := explain(t, conn, q[0].(string), q[1:]...); len(whole) > 0 {
			t.Errorf("%s reads whole: %v", name, whole)
		}
	}
	worker := connect(t, url, "starling_worker")
	mustExec(t, worker, "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_sort = off") // as Outbox does
	facts, shards := []string{"t", "u"}, []int16{3}
	for name, q := range map[string][]any{
		"claim":   {gen.ClaimOutbox, facts, int16(3), []string{none}, int32(500)},
		"sent":    {gen.MarkSent, time.Now().Add(-time.Hour), time.Now(), []string{none}, []time.Time{time.Now()}},
		"hold":    {gen.HoldOutbox, time.Now().Add(-time.Hour), time.Now(), []string{none}, []time.Time{time.Now()}, []string{none}},
		"refuse":  {gen.RefuseOutbox, int32(1), time.Now(), "why", none, time.Now()},
		"bury":    {gen.BuryOutbox, "type", "why", int32(1), none, time.Now()},
		"lock":    {gen.LockDead, int16(3), int32(5)},
		"handle":  {gen.HandleDead, []string{none}},
		"free":    {gen.FreeHeld, int32(5)},
		"waiting": {gen.WaitingOutbox, int16(3), int32(100)},
		"pending": {gen.PendingOutbox},
		"asked":   {gen.AskedOutbox},
		"lag":     {gen.LagOutbox, int32(100), shards, facts},
		"parked":  {gen.ParkedOutbox, shards},
	} {
		if whole := explain(t, worker, q[0].(string), q[1:]...); len(whole) > 0 {
			t.Errorf("the pump's %s reads whole: %v", name, whole)
		}
	}
	for name, q := range map[string][]any{
		"letters": {gen.ListDeadLetters, tenant, fleet.Far, last, "", "", int32(51)},
		"letter":  {gen.GetDeadLetter, tenant, none},
		"ask":     {gen.AskDeadLetter, "retrying", none, tenant, none},
	} {
		if whole := explain(t, conn, q[0].(string), q[1:]...); len(whole) > 0 {
			t.Errorf("%s reads whole: %v", name, whole)
		}
	}
	auditPlans(t, conn, tenant, warehouse)
	placePlans(t, url, tenant)
}

// placePlans sees that what lies somewhere is found by the index on geometry.
func placePlans(t *testing.T, url, tenant string) {
	t.Helper()
	conn := connect(t, url, "")
	for function, index := range map[string]string{"zones_at": "zones_geom", "lanes_at": "lanes_geom"} {
		var body string
		if err := conn.QueryRow(t.Context(), "SELECT prosrc FROM pg_proc WHERE proname = $1", function).Scan(&body); err != nil {
			t.Fatal(err)
		}
		body = strings.NewReplacer("area", "ST_MakeEnvelope(10, 10, 11, 11)", "inside", "true", "app_tenant()", "'"+tenant+"'").Replace(body)
		plan := strings.Join(names(t, conn, "EXPLAIN "+body), "\n")
		if !strings.Contains(plan, index) {
			t.Errorf("%s: want %s in\n%s", function, index, plan)
		}
	}
}

// auditPlans sees that pages of the audit log come in the order of the index that fits their filter, as ListAudit asks.
func auditPlans(t *testing.T, conn *pgx.Conn, tenant, id string) {
	t.Helper()
	if err := gen.New(conn).ScopeAudit(t.Context(), gen.ScopeAuditParams{TenantID: tenant, PatienceMs: 1000}); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, "SELECT set_config('app.tenant_id', '"+tenant+"', false), set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false)")
	none, last := uuid.Nil.String(), "ffffffff-ffff-ffff-ffff-ffffffffffff"
	for name, c := range map[string]struct {
		before                                   time.Time
		user, subject, action, resource, request string
		index                                    string
	}{
		"all":        {fleet.Far, none, "", "", "", "", "tenant_id_occurred_at_idx"},
		"further":    {time.Now().Add(-time.Hour), none, "", "", "", "", "tenant_id_occurred_at_idx"},
		"a subject":  {fleet.Far, none, "bob", "", "", "", "tenant_id_occurred_at_idx"},
		"an action":  {fleet.Far, none, "", "task", "", "", "tenant_id_occurred_at_idx"},
		"a user":     {fleet.Far, id, "", "", "", "", "tenant_id_actor_user_id_occurred_at_idx"},
		"a resource": {fleet.Far, none, "", "", id, "", "tenant_id_resource_id_occurred_at_idx"},
		"a request":  {fleet.Far, none, "", "", "", id + "17", "request_id_idx"},
	} {
		rows, err := conn.Query(t.Context(), "EXPLAIN "+gen.ListAudit, pgx.QueryExecModeCacheDescribe, tenant, c.before, last, time.Time{}, fleet.Far,
			c.subject, c.user, c.action, "", c.resource, c.request, int32(51))
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		plan := strings.Join(lines, "\n")
		if want := "audit_logs_" + time.Now().UTC().Format("200601") + "_" + c.index; !strings.Contains(plan, want) || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s: want %s in\n%s", name, want, plan)
		}
	}
}

// explain returns the big tables that the query reads whole when it is planned for these arguments.
func explain(t *testing.T, conn *pgx.Conn, query string, args ...any) []string {
	t.Helper()
	var raw []byte
	row := conn.QueryRow(t.Context(), "EXPLAIN (FORMAT JSON) "+query, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	if err := row.Scan(&raw); err != nil {
		t.Fatalf("explain: %v in %s", err, query)
	}
	var tops []struct{ Plan plan }
	if err := json.Unmarshal(raw, &tops); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range tops[0].Plan.whole() {
		if slices.ContainsFunc(big, func(b string) bool {
			return name == b || len(name) > len(b) && name[:len(b)+1] == b+"_" && !empty(t, conn, name)
		}) {
			out = append(out, name)
		}
	}
	return out
}

// empty says that the partition holds next to nothing: reading it whole is right.
func empty(t *testing.T, conn *pgx.Conn, name string) bool {
	t.Helper()
	var rows float64
	if err := conn.QueryRow(t.Context(), "SELECT reltuples FROM pg_class WHERE relname = $1", name).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	return rows < 1000
}

// Plans are kept by sessions, those of foreign keys too: one that was made while a table was empty must still do when
// it is full.
func TestEmptyTablesAreReadByTheirKeys(t *testing.T) {
	t.Parallel()
	_, url := freshAt(t)
	conn := connect(t, url, "")
	for _, set := range []string{"SET enable_seqscan = off", "SET plan_cache_mode = force_generic_plan"} {
		if _, err := conn.Exec(t.Context(), set); err != nil {
			t.Fatal(err)
		}
	}
	for table, key := range map[string]string{
		"tasks": "task_id", "robots": "robot_id", "warehouses": "warehouse_id", "decisions": "decision_id", "lanes": "lane_id",
		"commands": "command_id", "task_events": "event_id",
	} {
		query := "EXPLAIN (FORMAT JSON) SELECT 1 FROM ONLY " + table + " x WHERE tenant_id = $1::uuid AND " + key + " = $2::uuid FOR KEY SHARE OF x"
		var raw []byte
		if err := conn.QueryRow(t.Context(), query, uuid.Nil, uuid.Nil).Scan(&raw); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(raw), table+"_pkey") {
			t.Errorf("%s is read by another index than its key: %s", table, raw)
		}
	}
}

func TestPartitionsAreMadeAndKeysForgotten(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	shard := newShard(t, s)
	conn := connect(t, url, "")
	count := func(parent string) int {
		return len(names(t, conn, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass", parent))
	}
	for until := time.Now().Add(10 * time.Second); count("audit_logs") < 2 && time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		mustAppend(t, s, creation(newTask(shard, day))) // whoever writes meanwhile is not in the way
	}
	for parent, want := range map[string]int{"outbox_events": 6, "idempotency_keys": 6, "audit_logs": 2} {
		if n := count(parent); n < want {
			t.Errorf("%s has %d partitions, want %d", parent, n, want)
		}
	}
	old := "CREATE TABLE idempotency_keys_20200101 PARTITION OF idempotency_keys FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
	if _, err := connect(t, url, "starling_migrate").Exec(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	var gone int
	if err := conn.QueryRow(t.Context(), "SELECT forget_partitions()").Scan(&gone); err != nil || gone != 1 {
		t.Fatalf("%d partitions forgotten: %v", gone, err)
	}
	if n := names(t, conn, "SELECT relname::text FROM pg_class WHERE relname = 'idempotency_keys_20200101'"); len(n) > 0 {
		t.Fatalf("still there: %v", n)
	}
}

// A request is asked for again at the moment in which the first answer's row moves into the partition of a new day: it
// gets the first answer.
func TestAKeyIsFoundWhileItsRowMoves(t *testing.T) {
	t.Parallel()
	s, url := freshAt(t)
	conn := connect(t, url, "")
	today := "idempotency_keys_" + time.Now().UTC().Format("20060102")
	for until := time.Now().Add(10 * time.Second); len(names(t, conn, "SELECT relname::text FROM pg_class WHERE relname = $1", today)) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("no partition %s", today)
		}
	}
	// As on a database whose partitions nobody made in time. The lock is that of ensure_partitions: the store's upkeep makes
	// none meanwhile.
	admin := connect(t, url, "starling_migrate")
	mustExec(t, admin, "SELECT pg_advisory_lock(7264120260002)")
	if _, err := admin.Exec(t.Context(), "DROP TABLE "+today); err != nil {
		t.Fatal(err)
	}
	key := &fact.Idempotency{Key: "k", Route: "POST /tenants", Fingerprint: []byte("f"), Answer: fact.Answer{Status: 201, Location: "/l", Body: []byte("b")}}
	create := func(slug string) error {
		return s.Tenants.CreateTenant(t.Context(), fact.Tenant{ID: newID[fleet.TenantID](), Slug: slug, Name: slug, CreatedAt: day}, key)
	}
	if err := create("first"); err != nil {
		t.Fatal(err)
	}
	tx, err := admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE idempotency_keys_default IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- create("second") }()
	waiting := "SELECT 'x' FROM pg_locks WHERE relation = 'idempotency_keys_default'::regclass AND NOT granted"
	for until := time.Now().Add(20 * time.Second); len(names(t, conn, waiting)) == 0; time.Sleep(5 * time.Millisecond) { // it has chosen the partitions to read
		if time.Now().After(until) {
			t.Fatal("the second request does not look for its key")
		}
	}
	if _, err := tx.Exec(t.Context(), "SELECT ensure_partitions('idempotency_keys', 0)"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := asConflict(t, <-answered); c.Key != "idempotency_key" || c.Answer == nil || c.Answer.Location != "/l" {
		t.Fatalf("%+v", c)
	}
}
