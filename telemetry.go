package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/actors"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/robot"
	"starling/engine/task"
	"starling/gateway/history"
	"starling/gateway/rest"
	"starling/persistence/influx"
	"starling/persistence/kafka"
)

// telemetryParts is what this process has of the way of what is measured: to memory in any case, to Kafka and InfluxDB
// where they are configured.
type telemetryParts struct {
	book     *history.Book
	influx   *influx.Client        // nil = there is none
	kafka    *kafka.StatusProducer // nil = there is none
	writer   *actors.TelemetryWriter
	scorer   *actors.Scorer                // nil = no engine
	remedies *actors.Remedies              // likewise
	system   atomic.Pointer[actors.System] // nil = not there yet
	end      context.CancelFunc
	timings  sync.WaitGroup
	ended    chan fact.Timing
	lost     prometheus.Counter
}

// The pace and bounds of what is not a robot's.
const (
	timingsQueue = 4096 // tasks that have ended and are not written yet
	timingsEvery = time.Second
)

// startTelemetry starts what takes measurements. It waits for no server.
func (a *app) startTelemetry(ctx context.Context, registry prometheus.Registerer) error {
	c, t := &a.Config, &a.telemetry
	engine := slices.Contains(a.Roles, roleEngine)
	if !engine && !slices.Contains(a.Roles, roleGateway) {
		return nil
	}
	o := history.Options{}
	if c.InfluxURL != "" {
		dir := c.InfluxDir
		if !engine { // nothing is measured here, so nothing waits
			dir = ""
		}
		var err error
		if t.influx, err = influx.Open(ctx, influx.Options{
			URL: c.InfluxURL, Org: c.InfluxOrg, Token: c.InfluxToken.Reveal(), Bucket: c.InfluxBucket, Dir: dir, SpoolBytes: int64(c.InfluxSpool) << 20,
			Log: a.Log, Registerer: registry,
		}); err != nil {
			return err
		}
		o.Store = t.influx
	}
	t.book = history.New(o)
	if !engine {
		return nil
	}
	sinks := map[string]actors.StatusSink{}
	if t.influx != nil {
		sinks["influx"] = t.influx
	}
	if len(c.KafkaBrokers) > 0 {
		var err error
		if t.kafka, err = kafka.OpenStatuses(a.kafkaOptions(registry)); err != nil {
			return err
		}
		sinks["kafka"] = t.kafka
	}
	t.remedies = a.newRemedies(registry)
	t.scorer = a.newScorer(registry)
	sinks["congestion"] = t.scorer
	t.writer = actors.NewTelemetryWriter(actors.TelemetryOptions{Sinks: sinks, Registerer: registry})
	t.ended = make(chan fact.Timing, timingsQueue)
	t.lost = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "starling_telemetry_timings_dropped_total", Help: "Ended tasks whose durations were not written: too many at once.",
	})
	return registry.Register(t.lost)
}

// watchTimings writes how long tasks took, until stopTelemetry.
func (a *app) watchTimings() {
	t := &a.telemetry
	var ctx context.Context
	ctx, t.end = context.WithCancel(context.Background())
	t.timings.Go(func() {
		tick := time.NewTicker(timingsEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				t.writeTimings()
				return
			case <-tick.C:
				t.writeTimings()
			}
		}
	})
}

func (t *telemetryParts) writeTimings() {
	var batch []fact.Timing
	for {
		select {
		case x := <-t.ended:
			batch = append(batch, x)
			continue
		default:
		}
		break
	}
	if t.influx != nil {
		t.influx.WriteTimings(batch)
	}
}

// stopTelemetry hands on what waits, as far as ctx lets it; what InfluxDB has not taken waits on disk.
func (a *app) stopTelemetry(ctx context.Context) error {
	t := &a.telemetry
	if t.end != nil {
		t.end()
		t.timings.Wait()
	}
	if t.writer != nil {
		t.writer.Stop(ctx)
	}
	if t.scorer != nil {
		t.scorer.Stop(ctx)
		t.remedies.Stop(ctx)
	}
	if t.kafka != nil {
		t.kafka.Close()
	}
	if t.influx != nil {
		t.influx.Close()
	}
	return nil
}

// telemetryChecks are what the state of health tells of InfluxDB: away, it degrades the process and no more.
func (a *app) telemetryChecks() []rest.Check {
	if a.telemetry.influx == nil {
		return nil
	}
	return []rest.Check{{Name: "influxdb", Probe: a.telemetry.influx.Ping}}
}

// histories is what the HTTP door tells of the past; nil = this process knows nothing of it.
func (a *app) histories() rest.History {
	if a.telemetry.book == nil {
		return nil
	}
	return a.telemetry.book
}

// Measure implements actors.Telemetry.
func (t *telemetryParts) Measure(shard fleet.Shard, v *robot.View) {
	t.writer.Measure(shard, v)
	t.book.Measure(shard, v)
}

// TaskEnded implements actors.Telemetry.
func (t *telemetryParts) TaskEnded(v *task.View) {
	if v.Status == fleet.TaskSucceeded { // one that failed or was cancelled speaks for no remedy
		t.remedies.TaskEnded(v.Spec.Shard)
	}
	if t.influx == nil {
		return
	}
	select {
	case t.ended <- fact.TimingOf(v):
	default:
		t.lost.Inc()
	}
}

// watching gives the rates at which a warehouse's robots are watched.
func (a *app) watching(ctx context.Context, s fleet.Shard) robot.Sampling {
	settings := a.quotas.Settings(ctx, s.Tenant)
	return settings.Sampling(s.Warehouse)
}
