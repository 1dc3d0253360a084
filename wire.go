package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"starling/actors"
	"starling/cluster"
	"starling/engine/alert"
	"starling/engine/dispatch"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/engine/robot"
	"starling/gateway/audit"
	"starling/gateway/auth"
	"starling/gateway/link"
	"starling/gateway/quota"
	"starling/gateway/rest"
	"starling/gateway/stream"
	"starling/gateway/view"
	"starling/gateway/web"
	"starling/persistence/jobs"
	"starling/persistence/kafka"
	"starling/persistence/postgres"
	"starling/persistence/redis"
)

// The roles of a process.
const (
	roleGateway = "gateway"
	roleEngine  = "engine"
	roleWorker  = "worker"
)

// wiring says what to build besides what the configuration says.
type wiring struct {
	Config Config
	Log    *slog.Logger
	Roles  []string
	// Alone: this process is the only one by an exclusive lock on its data directory (dev), so that it needs no lease.
	Alone bool
	// DevKey signs development tokens; nil = there is no development issuer.
	DevKey []byte
	// JobsEvery is how often jobs look for what wants care; 0 = as is usual.
	JobsEvery time.Duration
	// Views sees what actors show besides the store of views; nil = nobody.
	Views func(*view.Store) actors.Views
}

// app is a running process. Leaves are built first and closed last.
type app struct {
	wiring
	store     *postgres.Store
	views     *view.Store
	system    *actors.System
	link      *link.Server
	stream    *stream.Server
	issuer    *auth.DevIssuer
	keys      sync.WaitGroup // that fetch issuers' keys
	forget    func()         // ends them; nil = there are none
	guard     *auth.Guard
	audit     *audit.Recorder // nil = nothing is on record
	quotas    *quota.Quotas
	counter   *redis.Counter // nil = quotas are counted by this process alone
	mirror    *redis.Mirror  // nil = views stay in this process
	locks     *redis.Locks   // nil = there are none
	outbox    outboxParts
	telemetry telemetryParts
	jobs      *jobs.Runner // nil = none in this process
	hooks     hookParts
	feeds     alertFeeds
	wakes     atomic.Pointer[jobs.Runner]
	jobRows   *postgres.JobsRepo

	consumers []*kafka.Consumer
	http      *http.Server
	listener  net.Listener
	linkAt    net.Listener
	metrics   net.Listener
	httpTLS   *tls.Config // nil = plain
	dropped   *prometheus.CounterVec
	draining  atomic.Bool
	conns     atomic.Int64 // open HTTP connections
	failed    chan error
}

// lateLinks are the actors' way to the link's server, which is built after them.
type lateLinks struct{ server atomic.Pointer[link.Server] }

func (l *lateLinks) SendOrder(o robot.Order, g *roadmap.Graph) bool {
	s := l.server.Load()
	return s != nil && s.SendOrder(o, g)
}

func (l *lateLinks) SendCommand(c robot.Command) bool {
	s := l.server.Load()
	return s != nil && s.SendCommand(c)
}

func (l *lateLinks) ProgressDone(id fleet.RobotID, number uint64) {
	if s := l.server.Load(); s != nil {
		s.ProgressDone(id, number)
	}
}

func (l *lateLinks) AskRate(id fleet.RobotID, hz float64) {
	if s := l.server.Load(); s != nil {
		s.AskRate(id, hz)
	}
}

func (l *lateLinks) HangUp(id fleet.RobotID) {
	if s := l.server.Load(); s != nil {
		s.HangUp(id)
	}
}

// start builds the process and begins to serve. What it returns must be stopped, also with an error.
func start(ctx context.Context, w wiring) (*app, error) {
	a := &app{wiring: w, views: view.New(), failed: make(chan error, 3)}
	c := &w.Config
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.dropped = newDroppedConns(registry)
	var err error
	if a.httpTLS, err = newTLS(tlsFiles{cert: c.HTTPCertFile, key: c.HTTPKeyFile}, "http", a.Log, registry); err != nil {
		return a, err
	}
	if a.listener, err = listen(ctx, c.HTTPHost, c.HTTPPort); err != nil {
		return a, err
	}
	if a.store, err = postgres.Open(ctx, postgres.Options{
		URL: c.DatabaseURL.Reveal(), MaxConns: c.DBMaxConns, MinConns: c.DBMinConns, MaxIdle: c.DBConnMaxIdle, MaxLifetime: c.DBConnMaxLifetime,
		Lease: c.Lease, AuditMonths: c.AuditMonths, Outbox: a.factsCommitted, Log: w.Log, Registerer: registry,
	}); err != nil {
		return a, err
	}
	if err := a.identify(registry); err != nil {
		return a, err
	}
	if err := a.bound(registry); err != nil {
		return a, err
	}
	if err := a.startCache(registry); err != nil {
		return a, err
	}
	if err := a.startLocks(registry); err != nil {
		return a, err
	}
	if err := a.startAudit(registry); err != nil {
		return a, err
	}
	if err := a.startOutbox(ctx, registry); err != nil {
		return a, err
	}
	if err := a.startTelemetry(ctx, registry); err != nil {
		return a, err
	}
	a.startHooks()
	links := &lateLinks{}
	if slices.Contains(w.Roles, roleEngine) {
		if err := a.startEngine(links, registry); err != nil {
			return a, err
		}
		a.telemetry.system.Store(a.system)
		a.watchTimings()
		a.watchAlerts(a.checks())
	}
	if slices.Contains(w.Roles, roleEngine) && slices.Contains(w.Roles, roleGateway) {
		if err := a.startLink(ctx, links, registry); err != nil {
			return a, err
		}
	}
	if err := a.startJobs(ctx, registry); err != nil {
		return a, err
	}
	if err := a.startConsumers(registry); err != nil {
		return a, err
	}
	a.wakes.Store(a.jobs)
	return a, a.startHTTP(ctx, registry)
}

// identify prepares the check of tokens.
func (a *app) identify(registry prometheus.Registerer) error {
	c := &a.Config
	o := auth.Options{Skew: c.JWTClockSkew, Log: a.Log, Registerer: registry}
	if a.DevKey == nil {
		o.Issuers = a.issuers(registry)
	} else {
		d, err := auth.NewDevIssuer(a.DevKey, a.url(), c.OIDCAudience)
		if err != nil {
			return err
		}
		a.issuer = d
		o.Issuer, o.Audience, o.Keys = a.url(), c.OIDCAudience, d
	}
	if c.RoleOverride {
		o.Override = a.store.Users.GetUserRole
	}
	a.guard = auth.NewGuard(auth.New(o), func(ctx context.Context, slug string) (fleet.TenantID, error) {
		t, err := a.store.Tenants.GetTenantBySlug(ctx, slug)
		return t.ID, err
	})
	return nil
}

// url is where this process answers, as a client on this machine sees it.
func (a *app) url() string {
	_, port, _ := net.SplitHostPort(a.listener.Addr().String())
	if a.httpTLS != nil {
		return "https://127.0.0.1:" + port
	}
	return "http://127.0.0.1:" + port
}

func (a *app) startEngine(links actors.Links, registry prometheus.Registerer) error {
	c := &a.Config
	o := actors.Options{
		Journal: a.journal(), Token: a.tokens(), Store: a.store, Links: links, Views: a.views, Log: a.Log, Registerer: registry,
		Telemetry: &a.telemetry, Sampling: a.watching,
		Audit:    postgres.AuditOf,
		ZoneTick: c.ZoneTick, DispatchInterval: c.DispatchInterval, LeaseTTL: c.Lease, RenewEvery: c.LeaseRenew,
		Place: func(as *actor.ActorSystem, h actors.Host) (actors.Placement, error) { return cluster.Start(as, h) },
		Seed:  uint64(time.Now().UnixNano()),
	}
	o.Care = func(ctx context.Context, s fleet.Shard) dispatch.RulesChanged {
		settings := a.quotas.Settings(ctx, s.Tenant)
		return settings.Rules(s.Warehouse)
	}
	o.AlertRules = func(ctx context.Context, s fleet.Shard) alert.Rules {
		settings := a.quotas.Settings(ctx, s.Tenant)
		return settings.AlertRules()
	}
	o.UndoRemedy, o.HoldsRemedy = a.telemetry.remedies.UndoOf, a.telemetry.remedies.Holds
	if a.wiring.Views != nil {
		o.Views = a.wiring.Views(a.views)
	}
	if a.mirror != nil {
		o.Views = mirroredViews{o.Views, a.mirror}
	}
	o.Views = hookedViews{o.Views, &a.hooks}
	if !a.Alone {
		o.Ownership = a.ownership()
		o.Lost = func(s fleet.Shard) {
			a.Log.Warn("shard lost to a newer owner", slog.String(keyEvent, "shard.lost"), slog.String("shard", s.Key()))
			a.leaveShard(s)
		}
	}
	var err error
	a.system, err = actors.NewSystem(o)
	return err
}

func (a *app) startLink(ctx context.Context, links *lateLinks, registry prometheus.Registerer) error {
	c := &a.Config
	secure, err := newTLS(tlsFiles{cert: c.LinkCertFile, key: c.LinkKeyFile, clientCA: c.LinkClientCAFile}, "link", a.Log, registry)
	if err != nil {
		return err
	}
	if a.linkAt, err = listen(ctx, c.LinkHost, c.LinkPort); err != nil {
		return err
	}
	a.linkAt = newBounded(a.linkAt, "link", c.LinkMaxConns, c.MaxConnsPerIP, c.TrustedProxies, a.dropped)
	a.link = link.New(link.Options{Auth: linkAuth{guard: a.guard, trustDomain: a.Config.LinkTrustDomain, audit: a.acts()}, Directory: directory{a.store}, Engine: a.system, Quotas: linkQuotas{a.quotas}, Log: a.Log, Registerer: registry, TLS: secure})
	links.server.Store(a.link)
	go func() { // ends with link.Stop
		if err := a.link.Serve(a.linkAt); err != nil {
			a.failed <- fmt.Errorf("serve the robot link: %w", err)
		}
	}()
	return nil
}

func (a *app) startHTTP(ctx context.Context, registry *prometheus.Registry) error {
	c := &a.Config
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	o := rest.Options{
		Audit: a.acts(), AuditReads: c.AuditReads, Intent: postgres.WithAudit, Quotas: a.quotas,
		Views: a.views, History: a.histories(), Diagrams: a.diagrams(), Remedies: a.remedies(), Facts: a.facts(), Auth: a.guard, Dev: a.issuer, Log: a.Log, Metrics: metrics, Registr: registry,
		Checks:   a.checks(),
		Draining: a.draining.Load, Version: buildVersion(), Stacks: c.Env != envProd, Timeout: c.RequestTimeout, CORS: c.CORSAllowedOrigins, TrustedProxies: c.TrustedProxies,
	}
	o.Alerts, o.Hooks = alertDoors{a.store.Alerts, a.system}, hookDoors{a.store.Hooks, a}
	if a.system != nil && slices.Contains(a.Roles, roleGateway) {
		o.Engine = a.system
		a.stream = a.newStream(registry)
		o.Stream = a.stream
	}
	if slices.Contains(a.Roles, roleGateway) {
		page, err := web.New(signInOptions(c, a.issuer != nil))
		if err != nil {
			return err
		}
		o.Page = page
	}
	if c.MetricsPort != 0 {
		l, err := listen(ctx, c.HTTPHost, c.MetricsPort)
		if err != nil {
			return err
		}
		a.metrics, o.Metrics = l, nil
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", metrics)
		s := newHTTPServer(mux, a.Log)
		s.ReadTimeout, s.WriteTimeout = headerWithin, time.Minute
		go a.serve(s, l)
	}
	a.http = newHTTPServer(rest.New(o), a.Log)
	a.http.ConnState = a.count
	go a.serve(a.http, newBounded(a.listener, "http", c.HTTPMaxConns, c.MaxConnsPerIP, c.TrustedProxies, a.dropped))
	_, port, _ := net.SplitHostPort(a.listener.Addr().String())
	n, _ := strconv.Atoi(port)
	logStarted(ctx, a.Log, n)
	return nil
}

// checks are the servers that this process needs.
func (a *app) checks() []rest.Check {
	return append([]rest.Check{{Name: "postgres", Critical: true, Probe: a.store.Ping}}, slices.Concat(a.quotaChecks(), a.kafkaChecks(), a.telemetryChecks())...)
}

// signInOptions says where the page's people sign in.
func signInOptions(c *Config, development bool) web.Options {
	o := web.Options{Development: development}
	for _, i := range c.Issuers {
		o.Issuers = append(o.Issuers, web.Issuer{Issuer: i.Issuer, ClientID: slices.Concat(i.ClientIDs, []string{c.OIDCClientID})[0]})
	}
	return o
}

func (a *app) newStream(registry prometheus.Registerer) *stream.Server {
	return stream.New(stream.Options{
		OriginAllowed: a.originAllowed, Enter: a.enterClient, Renewed: a.renewed,
		Views: a.views, Auth: a.guard, Origins: a.Config.CORSAllowedOrigins, Log: a.Log, Registerer: registry,
		Task: rest.TaskBody, Heat: rest.HeatBody, FindTasks: a.store.Tasks.GetTasks, Alert: rest.AlertBody, OpenAlerts: a.openAlerts,
		Graph: func(s fleet.Shard) *roadmap.Graph {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			g, err := a.system.ActiveGraph(ctx, s)
			if err != nil {
				return nil
			}
			return g
		},
	})
}

func (a *app) serve(s *http.Server, l net.Listener) {
	serve := func() error { return s.Serve(l) }
	if a.httpTLS != nil {
		s.TLSConfig = a.httpTLS.Clone()
		serve = func() error { return s.ServeTLS(l, "", "") }
	}
	if err := serve(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		a.failed <- fmt.Errorf("serve HTTP: %w", err)
	}
}

// stop ends the process in order: no new requests, those under way finish, streams are told, actors flush, the store
// closes. Each part may take until its share of SHUTDOWN_TIMEOUT_MS has passed and is then left behind, so that whoever
// does not end its request leaves the actors the time to save what is under way.
func (a *app) stop() {
	began, bound := time.Now(), a.Config.ShutdownTimeout
	a.draining.Store(true)
	until := func(part string, percent time.Duration, end func(context.Context) error) {
		ctx, cancel := context.WithDeadline(context.Background(), began.Add(bound*percent/100))
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- end(ctx) }() // ends with its part, at the latest with the process
		var err error
		select {
		case err = <-done:
		case <-ctx.Done():
			select {
			case err = <-done: // it has kept to its time
			case <-time.After(bound / 100):
				err = context.Cause(ctx)
			}
		}
		if err != nil {
			a.Log.Warn("stopping was cut short", slog.String(keyEvent, "process.stop"), slog.String("part", part), slog.String("error", err.Error()))
		}
	}
	if a.stream != nil {
		until("stream", 20, func(ctx context.Context) error { a.stream.Stop(ctx); return ctx.Err() })
	}
	if a.http != nil {
		until("http", 65, a.drainHTTP)
	} else if a.listener != nil {
		_ = a.listener.Close()
	}
	if a.link != nil {
		until("link", 78, func(ctx context.Context) error { a.link.Stop(ctx); return ctx.Err() })
	} else if a.linkAt != nil {
		_ = a.linkAt.Close()
	}
	if a.metrics != nil {
		_ = a.metrics.Close()
	}
	until("consumers", 82, func(context.Context) error { a.stopConsumers(); return nil })
	until("jobs", 85, func(context.Context) error { a.stopJobs(); a.stopHooks(); return nil })
	a.stopAlerts()
	if a.system != nil {
		until("actors", 92, a.system.Stop)
	}
	until("telemetry", 93, a.stopTelemetry)
	until("outbox", 93, a.stopOutbox)
	a.stopLocks()
	a.stopCache()
	a.unbind()
	until("audit", 94, a.audit.Stop)
	if a.store != nil {
		until("store", 96, func(context.Context) error { a.store.Close(); return nil })
	}
	if a.forget != nil {
		a.forget()
	}
	a.Log.Info("stopped", slog.String(keyEvent, "process.stopped"))
}

// drainHTTP refuses new connections, lets requests under way finish and ends the connections. A client may be sending
// its next request on an idle one at this very moment: for a while whoever does is told to come back later (the door
// answers 503 and closes), instead of finding its connection cut without an answer.
func (a *app) drainHTTP(ctx context.Context) error {
	_ = a.listener.Close()
	for end := time.Now().Add(min(500*time.Millisecond, a.Config.ShutdownTimeout/10)); a.conns.Load() > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	err := a.http.Shutdown(ctx)
	if err == nil || errors.Is(err, net.ErrClosed) { // the listener, above
		return nil
	}
	_ = a.http.Close()
	return err
}

// count keeps the number of open connections.
func (a *app) count(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		a.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		a.conns.Add(-1)
	case http.StateActive, http.StateIdle:
	}
}

// directory finds robots in the store.
type directory struct{ store *postgres.Store }

// FindRobot implements link.Directory.
func (d directory) FindRobot(ctx context.Context, tenant fleet.TenantID, id fleet.RobotID, code string) (link.Found, error) {
	var v *robot.View
	var err error
	if id != "" {
		v, err = d.store.Robots.GetRobot(ctx, tenant, id)
	} else {
		v, err = d.store.Robots.GetRobotByCode(ctx, tenant, code)
	}
	if err != nil {
		return link.Found{}, err
	}
	return link.Found{Shard: fleet.Shard{Tenant: tenant, Warehouse: v.Spec.Warehouse}, ID: v.ID, Fleet: v.Spec.Fleet}, nil
}

// missing says that something was looked for and is not there.
func missing(err error) bool { return errors.Is(err, fact.ErrNotFound) }
