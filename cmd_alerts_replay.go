package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"starling/bench/alerts"
	"starling/engine/alert"
	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/persistence/kafka"
	"starling/persistence/postgres"
	eventsv1 "starling/proto/gen/starling/events/v1"
)

// calibrateFlags are what `starling alerts replay` can be told.
type calibrateFlags struct {
	tenant, warehouse, from, to string
	settings, truth             string
	file, mapFile, mapFormat    string
	chart                       string
	asJSON                      bool
}

// idLength is how long an id is; a slug is shorter or longer, or names no tenant.
const idLength = 36

func newAlertsReplayCmd() *cobra.Command {
	var f calibrateFlags
	cmd := &cobra.Command{
		Use:   "replay --tenant T --warehouse W --from WHEN --settings FILE",
		Short: "Hold what settings of congestion would have alerted against what came of it, on recorded statuses",
		Long: `Replay scores the statuses of a window of robot.status again, by the settings in FILE (the value of "congestion" in a tenant's settings;
none = the usual ones), and tells for the alerts from each level on: precision, recall, false alarms per zone and day, and how long before a jam they came.
Then the same for other thresholds of level 1. A jam is measured delay (two fifths of the robot time in a zone lost for two minutes, three robots' worth at
least), or with --truth level3 what comes to level 3 by the usual settings. Alerts that people marked as false or missed count as they say.

Statuses come from KAFKA_BROKERS, the map and people's verdicts from DATABASE_URL. With --file they come from a file that
"starling replay --topic robot.status" wrote (.gz too), and with --map from a map of it: then no server is needed.`,
		Example: "  starling alerts replay --tenant acme --warehouse 6f0c… --from 24h --settings strict.json --chart sweep.svg\n" +
			"  starling alerts replay --file monday.jsonl.gz --map floor.map --settings strict.json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return calibrate(cmd.Context(), &f, cmd.OutOrStdout()) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.tenant, "tenant", "", "tenant id or slug")
	fs.StringVar(&f.warehouse, "warehouse", "", "warehouse id")
	fs.StringVar(&f.from, "from", "", "where the window begins: a time, or how long ago (24h)")
	fs.StringVar(&f.to, "to", "0s", "where it ends")
	fs.StringVar(&f.settings, "settings", "", "JSON file of settings of congestion; none = the usual ones")
	fs.StringVar(&f.truth, "truth", "delay", "what a jam is: delay or level3")
	fs.StringVar(&f.file, "file", "", "recorded statuses instead of Kafka")
	fs.StringVar(&f.mapFile, "map", "", "map instead of the warehouse's active one")
	fs.StringVar(&f.mapFormat, "map-format", "movingai", "of --map: movingai, lorr, starling")
	fs.StringVar(&f.chart, "chart", "", "file for a chart of precision and recall over the threshold (SVG)")
	fs.BoolVar(&f.asJSON, "json", false, "print the report as JSON")
	return cmd
}

// calibrate does it and prints.
func calibrate(ctx context.Context, f *calibrateFlags, out io.Writer) error {
	o, err := f.options(time.Now())
	if err != nil {
		return err
	}
	in := statusSource{flags: f, o: o}
	marks, err := in.survey(ctx)
	if err != nil {
		return err
	}
	c := alerts.New(in.o)
	if err := in.read(ctx, c); err != nil {
		return err
	}
	r := c.Report(marks)
	if r.Statuses == 0 {
		return errors.New("the window has no status of that warehouse")
	}
	if f.chart != "" {
		if err := os.WriteFile(f.chart, r.Chart("Alerts of level 1: precision and recall").SVG(), 0o644); err != nil {
			return fmt.Errorf("write the chart: %w", err)
		}
	}
	if f.asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "\t")
		return e.Encode(r)
	}
	return r.Write(out)
}

// options reads what needs no server.
func (f *calibrateFlags) options(now time.Time) (o alerts.Options, err error) {
	if err := f.read(&o); err != nil {
		return o, err
	}
	if f.from != "" {
		if o.From, err = when("from", f.from, now); err != nil {
			return o, err
		}
	}
	if o.To, err = when("to", f.to, now); err != nil {
		return o, err
	}
	switch {
	case f.file == "" && f.from == "":
		return o, usageError{errors.New("--from: where the window begins is missing")}
	case f.mapFile != "" && f.file == "":
		return o, usageError{errors.New("--map: want --file too: statuses of Kafka are of the warehouse's own map")}
	case f.mapFile != "" && f.tenant != "" && len(f.tenant) != idLength:
		return o, usageError{errors.New("--tenant: want its id: with --file and --map there is no server that knows the slug")}
	case (f.file == "" || f.mapFile == "") && (f.tenant == "" || f.warehouse == ""):
		return o, usageError{errors.New("--tenant, --warehouse: want both, but for --file with --map")}
	case !o.From.Before(o.To):
		return o, usageError{errors.New("--from: want a time before --to")}
	}
	return o, nil
}

// read reads what is tried, and by what it is judged.
func (f *calibrateFlags) read(o *alerts.Options) error {
	if err := oneOfFlag("truth", f.truth, []string{"delay", "level3"}); err != nil {
		return err
	}
	o.Truth.Level3 = f.truth == "level3"
	if o.Settings = congestion.Usual(); f.settings == "" {
		return nil
	}
	raw, err := os.ReadFile(f.settings)
	if err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	if faults := congestion.CheckSettings(raw); len(faults) > 0 {
		var all []error
		for _, x := range faults {
			all = append(all, fmt.Errorf("%s: %s: %s", f.settings, x.Field, x.Problem))
		}
		return usageError{errors.Join(all...)}
	}
	o.Settings = congestion.ReadSettings(raw, f.warehouse)
	return nil
}

// statusSource is where statuses, map and verdicts come from.
type statusSource struct {
	flags *calibrateFlags
	o     alerts.Options
	shard fleet.Shard
	m     congestion.Sample
}

// survey finds the map, from the store unless there is a file, and there people's verdicts too.
func (s *statusSource) survey(ctx context.Context) ([]congestion.Marked, error) {
	s.shard = fleet.Shard{Tenant: fleet.TenantID(strings.ToLower(s.flags.tenant)), Warehouse: fleet.WarehouseID(strings.ToLower(s.flags.warehouse))}
	if s.flags.mapFile != "" {
		id, version, err := s.firstMap()
		if err != nil {
			return nil, err
		}
		s.o.Graph, err = readMap(s.flags.mapFile, s.flags.mapFormat, id, version)
		return nil, err
	}
	c, faults := LoadConfig(os.Getenv, os.ReadFile)
	if err := faults.Only("DATABASE_URL", "DATABASE_URL"+fileSuffix, "CONFIG_PATH", "ENV").Err(); err != nil {
		return nil, err
	}
	store, err := postgres.Open(ctx, postgres.Options{URL: c.DatabaseURL.Reveal(), MaxConns: 2})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	if len(s.flags.tenant) != idLength {
		t, err := store.Tenants.GetTenantBySlug(ctx, s.flags.tenant)
		if err != nil {
			return nil, err
		}
		s.shard.Tenant = t.ID
	}
	w, err := store.LoadWarehouse(ctx, s.shard)
	if err != nil {
		return nil, err
	}
	if s.o.Graph = w.Graph; w.Graph == nil {
		return nil, errors.New("the warehouse has no active map")
	}
	list, err := store.Alerts.ListMarks(ctx, s.shard.Tenant, s.o.From, s.o.To)
	if err != nil {
		return nil, err
	}
	return marksOf(list, s.shard), nil
}

// marksOf are the verdicts that judge alerts of congestion of zones.
func marksOf(list []fact.AlertMark, shard fleet.Shard) (out []congestion.Marked) {
	for i := range list {
		m := &list[i]
		if m.Shard != shard || m.Cause != alert.Congestion || m.Subject.Type != congestion.OfZone.String() || m.Mark == alert.Right {
			continue
		}
		out = append(out, congestion.Marked{
			Subject: congestion.Subject{Of: congestion.OfZone, ID: m.Subject.ID}, At: m.OpenedAt, Missed: m.Mark == alert.Missed,
		})
	}
	return out
}

// readMap builds the graph of a map file as the engine does.
func readMap(path, format string, id fleet.MapID, version int) (*roadmap.Graph, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the map: %w", err)
	}
	d, report := roadmap.Import(format, raw, 1)
	if d == nil || !report.OK() {
		return nil, fmt.Errorf("read the map %s: it has %d faults", path, len(report.Errors))
	}
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: id, Version: version})
	if err != nil {
		return nil, fmt.Errorf("build the map %s: %w", path, err)
	}
	return g, nil
}

// read hands the statuses of the warehouse to the calibration. Those of a minute before the window let the robots be where they are.
func (s *statusSource) read(ctx context.Context, c *alerts.Calibration) error {
	if s.flags.file != "" {
		return eachStatus(s.flags.file, func(st *fact.Status) bool {
			s.add(c, st)
			return ctx.Err() == nil
		})
	}
	o, err := replayFrom(os.Getenv, os.ReadFile)
	if err != nil {
		return err
	}
	_, err = kafka.Replay(ctx, o, kafka.ReplayOptions{
		Topic: kafka.TopicRobotStatus, From: s.o.From.Add(-time.Minute), To: s.o.To,
		Emit: func(_ context.Context, m *kafka.Message) error {
			if st, err := kafka.Status(m); err == nil { // what cannot be read is another's to complain of
				s.add(c, &st)
			}
			return nil
		},
	})
	return err
}

func (s *statusSource) add(c *alerts.Calibration, st *fact.Status) {
	if !s.mine(st) {
		return
	}
	fact.SampleOf(st, &s.m)
	c.Add(&s.m)
}

// mine says that a status is of the tenant and the warehouse that were named.
func (s *statusSource) mine(st *fact.Status) bool {
	return (s.shard.Tenant == "" || st.Shard.Tenant == s.shard.Tenant) && (s.shard.Warehouse == "" || st.Shard.Warehouse == s.shard.Warehouse)
}

// firstMap is the map of the file's first status of the warehouse: ids of zones and lanes follow from it.
func (s *statusSource) firstMap() (id fleet.MapID, version int, err error) {
	err = eachStatus(s.flags.file, func(st *fact.Status) bool {
		if !s.mine(st) {
			return true
		}
		id, version = st.Map, st.MapVersion
		return false
	})
	return id, version, err
}

// eachStatus reads the statuses of a file, until do says no.
func eachStatus(path string, do func(*fact.Status) bool) error {
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("read statuses: %w", err)
	}
	defer func() { _ = file.Close() }()
	var in io.Reader = file
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(file); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<16), 1<<22)
	for n := 1; lines.Scan(); n++ {
		var l replayedLine
		var e eventsv1.Envelope
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("read %s, line %d: %w", path, n, err)
		}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(l.Event, &e); err != nil {
			return fmt.Errorf("read %s, line %d: %w", path, n, err)
		}
		st, err := kafka.StatusOf(&e)
		if err != nil {
			continue // another topic's
		}
		if !do(&st) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
