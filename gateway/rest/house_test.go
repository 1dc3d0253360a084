package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/engine/task"
)

// house is a small engine and store of facts in memory: enough behaviour for the door to be held to its contract.
type house struct {
	mu         sync.Mutex
	tenants    []fact.Tenant
	warehouses []fact.Warehouse
	maps       []*fact.Map
	versions   []*version
	zones      []*fact.Zone
	lanes      map[fleet.LaneID]dispatch.LaneState
	robots     []*Robot
	boots      map[fleet.RobotID]robot.StatusReported
	tasks      []*task.View
	commands   []fact.Command
	answers    map[string]*fact.Idempotency
	// before runs ahead of every call of GetTenant: it may wait, fail or panic.
	before func(ctx context.Context) error
	// beforeWarehouse runs ahead of every call of GetWarehouse.
	beforeWarehouse func()
	keptOut         []fleet.Vertex
	audit           []fact.AuditEntry // as they were added
	signIns         []fact.AuditEntry
	letters         map[fleet.TenantID][]*fact.DeadLetter
	alerts          []*fact.Alert
	deliveries      []*fact.Delivery
}

type version struct {
	fact.MapVersion
	content []byte
	graph   *roadmap.Graph
}

func newHouse() *house {
	return &house{
		lanes: map[fleet.LaneID]dispatch.LaneState{}, boots: map[fleet.RobotID]robot.StatusReported{}, answers: map[string]*fact.Idempotency{},
		before: func(context.Context) error { return nil }, beforeWarehouse: func() {},
	}
}

func page[T any](items []T, p fact.Page) (fact.List[T], error) {
	at := 0
	if p.Cursor != "" {
		var err error
		if at, err = strconv.Atoi(p.Cursor); err != nil || at < 1 || at > len(items) {
			return fact.List[T]{}, fact.ErrBadCursor
		}
	}
	end := min(at+p.Limit, len(items))
	l := fact.List[T]{Items: items[at:end]}
	if end < len(items) {
		l.Next = strconv.Itoa(end)
	}
	return l, nil
}

// pick copies what keep likes.
func pick[T any](all []*T, keep func(*T) bool) []T {
	var out []T
	for _, x := range all {
		if keep(x) {
			out = append(out, *x)
		}
	}
	return out
}

func find[T any](all []*T, is func(*T) bool) (*T, error) {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], nil
	}
	return nil, fact.ErrNotFound
}

// sameID compares as a database does that knows what a uuid is.
func sameID[T ~string](a, b T) bool { return strings.EqualFold(string(a), string(b)) }

// keep records a key with what it creates; mu is held.
func (h *house) keep(tenant fleet.TenantID, i *fact.Idempotency) error {
	if i == nil {
		return nil
	}
	k := string(tenant) + "|" + i.Route + "|" + i.Key
	if old := h.answers[k]; old != nil {
		same := bytes.Equal(old.Fingerprint, i.Fingerprint)
		return &fact.ConflictError{Key: "idempotency_key", SameFingerprint: same, Answer: &old.Answer}
	}
	h.answers[k] = i
	return nil
}

func (h *house) FirstAnswer(_ context.Context, tenant fleet.TenantID, route, key string) ([]byte, *fact.Answer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.answers[string(tenant)+"|"+route+"|"+key]
	if i == nil {
		return nil, nil, nil
	}
	return i.Fingerprint, &i.Answer, nil
}

func (h *house) RememberAnswer(_ context.Context, tenant fleet.TenantID, i *fact.Idempotency) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.keep(tenant, i)
}

func (h *house) CreateTenant(_ context.Context, t fact.Tenant, i *fact.Idempotency) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.tenants {
		if o.Slug == t.Slug {
			return &fact.ConflictError{Key: "slug", Existing: string(o.ID)}
		}
	}
	if err := h.keep("", i); err != nil {
		return err
	}
	t.Version = 1
	h.tenants = append(h.tenants, t)
	return nil
}

func (h *house) GetTenant(ctx context.Context, id fleet.TenantID) (fact.Tenant, error) {
	if err := h.before(ctx); err != nil {
		return fact.Tenant{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tenants {
		if t.ID == id {
			return t, nil
		}
	}
	return fact.Tenant{}, fact.ErrNotFound
}

func (h *house) GetTenantBySlug(_ context.Context, slug string) (fact.Tenant, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tenants {
		if t.Slug == slug {
			return t, nil
		}
	}
	return fact.Tenant{}, fact.ErrNotFound
}

func (h *house) idBySlug(ctx context.Context, slug string) (fleet.TenantID, error) {
	t, err := h.GetTenantBySlug(ctx, slug)
	return t.ID, err
}

func (h *house) ListTenants(_ context.Context, p fact.Page) (fact.List[fact.Tenant], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return page(slices.Clone(h.tenants), p)
}

func (h *house) PatchSettings(_ context.Context, id fleet.TenantID, patch json.RawMessage, ifVersion int64) (fact.Tenant, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.tenants {
		t := &h.tenants[i]
		if t.ID != id {
			continue
		}
		if ifVersion >= 0 && ifVersion != t.Version {
			return fact.Tenant{}, &fact.ConflictError{Key: "version"}
		}
		t.Settings = patch
		t.Version++
		return *t, nil
	}
	return fact.Tenant{}, fact.ErrNotFound
}

func (h *house) CreateWarehouse(_ context.Context, w fact.Warehouse, i *fact.Idempotency) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.warehouses {
		if o.Tenant == w.Tenant && o.Code == w.Code {
			return &fact.ConflictError{Key: "warehouse_code", Existing: string(o.ID)}
		}
	}
	if err := h.keep(w.Tenant, i); err != nil {
		return err
	}
	h.warehouses = append(h.warehouses, w)
	return nil
}

func (h *house) GetWarehouse(_ context.Context, tenant fleet.TenantID, id fleet.WarehouseID) (fact.Warehouse, error) {
	h.beforeWarehouse()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.warehouses {
		if w.Tenant == tenant && sameID(w.ID, id) {
			return w, nil
		}
	}
	return fact.Warehouse{}, fact.ErrNotFound
}

func (h *house) ListWarehouses(_ context.Context, tenant fleet.TenantID, p fact.Page) (fact.List[fact.Warehouse], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return page(slices.DeleteFunc(slices.Clone(h.warehouses), func(w fact.Warehouse) bool { return w.Tenant != tenant }), p)
}

// Engine.

func (h *house) CreateTask(_ context.Context, s task.Spec, _ fleet.Actor, _ fleet.Trace, i *fact.Idempotency) (task.View, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.keep(s.Shard.Tenant, i); err != nil {
		return task.View{}, err
	}
	v := task.View{Spec: s, Version: 1}
	h.tasks = append(h.tasks, &v)
	return v, nil
}

func (h *house) CreateTasks(_ context.Context, shard fleet.Shard, specs []task.Spec, _ fleet.Actor, _ fleet.Trace, i *fact.Idempotency) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.keep(shard.Tenant, i); err != nil {
		return err
	}
	for _, s := range specs {
		h.tasks = append(h.tasks, &task.View{Spec: s, Version: 1})
	}
	return nil
}

func (h *house) CancelTask(_ context.Context, shard fleet.Shard, id fleet.TaskID, reason string, _ fleet.Actor, _ fleet.Trace) (task.View, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, err := find(h.tasks, func(t *task.View) bool { return t.Spec.Shard == shard && t.Spec.ID == id })
	if err != nil {
		return task.View{}, err
	}
	if t.Status == fleet.TaskSucceeded || t.Status == fleet.TaskFailed {
		c := *t
		return c, &fact.ConflictError{Key: "state", Task: &c}
	}
	t.Status, t.Reason = fleet.TaskCancelled, reason
	t.Version++
	return *t, nil
}

func (h *house) RegisterRobot(_ context.Context, s robot.Spec, ifVersion int64, _ fleet.Actor, _ fleet.Trace, i *fact.Idempotency) (robot.View, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.keep(s.Tenant, i); err != nil {
		return robot.View{}, err
	}
	r, err := find(h.robots, func(r *Robot) bool { return r.Spec.ID == s.ID })
	if err != nil {
		if o, err := find(h.robots, func(r *Robot) bool { return r.Spec.Tenant == s.Tenant && r.Spec.Code == s.Code }); err == nil {
			return robot.View{}, &fact.ConflictError{Key: "robot_code", Existing: string(o.Spec.ID)}
		}
		h.robots = append(h.robots, &Robot{Spec: s, Version: 1})
		return robot.View{}, nil
	}
	if ifVersion != r.Version {
		return robot.View{}, &fact.ConflictError{Key: "version"}
	}
	r.Spec = s
	r.Version++
	return robot.View{}, nil
}

func (h *house) RemoveRobot(_ context.Context, _ fleet.Shard, id fleet.RobotID, ifVersion int64, _ fleet.Actor, _ fleet.Trace) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, err := find(h.robots, func(r *Robot) bool { return r.Spec.ID == id })
	if err == nil && ifVersion >= 0 && ifVersion != r.Version {
		err = &fact.ConflictError{Key: "version"}
	}
	if err == nil {
		h.robots = slices.DeleteFunc(h.robots, func(r *Robot) bool { return r.Spec.ID == id })
	}
	return err
}

func (h *house) CommandRobot(_ context.Context, shard fleet.Shard, c robot.Command, _ fleet.Actor, _ fleet.Trace, i *fact.Idempotency) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.keep(shard.Tenant, i); err != nil {
		return err
	}
	h.commands = append(h.commands, fact.Command{
		ID: c.ID, Robot: c.Robot, Kind: c.Kind, Place: c.Place, ExpiresAt: c.ExpiresAt, Stages: []fact.CommandStage{{Stage: fleet.StageAccepted, At: c.At}},
	})
	return nil
}

func (h *house) ReportStatus(_ context.Context, _ fleet.Shard, id fleet.RobotID, s robot.StatusReported) (bool, string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, seen := h.boots[id]
	switch {
	case s.At.Sub(s.ReceivedAt).Abs() > 5*time.Minute:
		return false, "clock_skew", nil
	case s.Pose.X > 1000:
		return false, "off_map", nil
	case seen && old.BootID == s.BootID && s.Seq <= old.Seq:
		return false, "stale_seq", nil
	}
	h.boots[id] = s
	return true, "", nil
}

func (h *house) ActivateMap(_ context.Context, g *roadmap.Graph, shard fleet.Shard, _ fleet.Actor, _ fleet.Trace) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.versions {
		if v.Tenant == shard.Tenant && v.Warehouse == shard.Warehouse && v.Status == "ACTIVE" {
			v.Status = "RETIRED"
		}
		if v.Map == g.MapID && v.Version == g.Version {
			v.Status, v.ActivatedAt = "ACTIVE", time.Now()
		}
	}
	for _, m := range h.maps {
		if m.ID == g.MapID {
			m.Active = g.Version
			m.Revision++
		}
	}
	return nil
}

func (h *house) ChangeLane(_ context.Context, _ fleet.Shard, m dispatch.LaneRequested) (dispatch.LaneState, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.lanes[m.Lane]
	s.Lane, s.Reason = m.Lane, m.Reason
	if m.Closed != nil {
		s.Closed = *m.Closed
	}
	if m.SpeedMPS != nil {
		s.SpeedMPS = *m.SpeedMPS
	}
	h.lanes[m.Lane] = s
	return s, nil
}

func (h *house) ChangeOverlays(_ context.Context, _ fleet.Shard, keepOut []fleet.Vertex) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keptOut = keepOut
	return nil
}

func (h *house) ActiveGraph(_ context.Context, shard fleet.Shard) (*roadmap.Graph, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, err := find(h.versions, func(v *version) bool {
		return v.Tenant == shard.Tenant && v.Warehouse == shard.Warehouse && v.Status == "ACTIVE"
	})
	if err != nil {
		return nil, nil
	}
	return v.graph, nil
}

func (h *house) Ground(ctx context.Context, shard fleet.Shard) (dispatch.Ground, error) {
	g, err := h.ActiveGraph(ctx, shard)
	if g == nil {
		return dispatch.Ground{}, err
	}
	return dispatch.Ground{Graph: g, Tables: roadmap.NewTableMap(g, 64)}, err
}

// Rows.

func (h *house) GetRobot(_ context.Context, tenant fleet.TenantID, id fleet.RobotID) (Robot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, err := find(h.robots, func(r *Robot) bool { return r.Spec.Tenant == tenant && sameID(r.Spec.ID, id) })
	if err != nil {
		return Robot{}, err
	}
	return *r, nil
}

func (h *house) ListRobots(_ context.Context, tenant fleet.TenantID, f fact.RobotFilter, p fact.Page) (fact.List[Robot], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return page(pick(h.robots, func(r *Robot) bool {
		return r.Spec.Tenant == tenant && cmp.Or(f.Warehouse, r.Spec.Warehouse) == r.Spec.Warehouse && cmp.Or(f.Fleet, r.Spec.Fleet) == r.Spec.Fleet && cmp.Or(f.Code, r.Spec.Code) == r.Spec.Code
	}), p)
}

func (h *house) GetCommand(ctx context.Context, tenant fleet.TenantID, r fleet.RobotID, id fleet.CommandID) (fact.Command, error) {
	if _, err := h.GetRobot(ctx, tenant, r); err != nil {
		return fact.Command{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.commands {
		if c.Robot == r && c.ID == id {
			return c, nil
		}
	}
	return fact.Command{}, fact.ErrNotFound
}

func (h *house) GetTask(_ context.Context, tenant fleet.TenantID, id fleet.TaskID) (task.View, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, err := find(h.tasks, func(t *task.View) bool { return t.Spec.Shard.Tenant == tenant && sameID(t.Spec.ID, id) })
	if err != nil {
		return task.View{}, err
	}
	return *t, nil
}

func (h *house) ListTasks(_ context.Context, tenant fleet.TenantID, f fact.TaskFilter, p fact.Page) (fact.List[task.View], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return page(pick(h.tasks, func(t *task.View) bool {
		return t.Spec.Shard.Tenant == tenant && cmp.Or(f.Status, t.Status.String()) == t.Status.String() && cmp.Or(f.Robot, t.Robot) == t.Robot
	}), p)
}

func (h *house) GetTiming(_ context.Context, tenant fleet.TenantID, id fleet.TaskID) (task.Timing, error) {
	var x task.Timing
	t, err := h.GetTask(context.Background(), tenant, id)
	if err != nil {
		return x, err
	}
	x.Apply(t.Spec.CreatedAt, 1, task.Created{Spec: t.Spec})
	return x, nil
}

func (h *house) ListTaskEvents(_ context.Context, _ fleet.TenantID, id fleet.TaskID, p fact.Page) (fact.List[fact.TaskEvent], error) {
	return page([]fact.TaskEvent{{ID: fleet.EventID(id), Task: id, Seq: 1, Type: "created", To: "CREATED", At: time.Now(), By: fleet.Actor{Part: "api"}}}, p)
}

func (h *house) ListDecisions(_ context.Context, _ fleet.TenantID, _ fact.DecisionFilter, p fact.Page) (fact.List[fact.Decision], error) {
	return page([]fact.Decision(nil), p)
}
