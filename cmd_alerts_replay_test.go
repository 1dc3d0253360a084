package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"starling/bench/alerts"
	"starling/engine/alert"
	"starling/engine/congestion"
	"starling/engine/fact"
	"starling/engine/fleet"
	"starling/engine/roadmap"
	"starling/persistence/kafka"
)

// recorded writes half an hour of twenty robots, of which all wait from minute 10 to 20, as `starling replay` does, and the map.
func recorded(t *testing.T) (statuses, floor string) {
	t.Helper()
	dir := t.TempDir()
	text := "type octile\nheight 20\nwidth 20\nmap\n" + strings.Repeat(strings.Repeat(".", 20)+"\n", 20)
	statuses, floor = filepath.Join(dir, "statuses.jsonl.gz"), filepath.Join(dir, "floor.map")
	if err := os.WriteFile(floor, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const id = fleet.MapID("44444444-4444-4444-8444-444444444444")
	d, _ := roadmap.Import("movingai", []byte(text), 1)
	g, err := roadmap.Build(d, roadmap.BuildOptions{MapID: id, Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(statuses)
	if err != nil {
		t.Fatal(err)
	}
	out := gzip.NewWriter(file)
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for second := 0; second < 1800; second += 2 {
		now := began.Add(time.Duration(second) * time.Second)
		for i := range 20 {
			v := g.Zones[0].Vertices[i]
			at := &g.Vertices[v]
			s := fact.Status{
				Shard: fleet.Shard{Tenant: "11111111-1111-4111-8111-111111111111", Warehouse: "22222222-2222-4222-8222-222222222222"},
				Robot: fleet.RobotID(fmt.Sprintf("33333333-3333-4333-8333-%012d", i)), Boot: "b", Seq: uint64(second + 1), At: now, ReceivedAt: now,
				Map: id, MapVersion: 1, Vertex: v, Zone: g.Zones[0].ID, GoalZone: g.Zones[0].ID, Pose: fleet.Pose{X: at.X + float64(second%4), Y: at.Y}, Located: true,
				VelocityMPS: 1, State: fleet.Moving, SamplingHz: 0.5,
			}
			if second >= 600 && second < 1200 {
				s.State, s.WaitingFor, s.VelocityMPS, s.Pose.X = fleet.Waiting, fleet.CauseOccupied, 0, at.X
			}
			m := kafka.Message{Topic: kafka.TopicRobotStatus, Key: string(s.Robot), At: now, Value: kafka.EncodeStatuses([]fact.Status{s})}
			if err := writeMessage(out, &m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(out.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return statuses, floor
}

func TestAlertsAreCalibratedOnARecording(t *testing.T) {
	t.Parallel()
	statuses, floor := recorded(t)
	strict := filepath.Join(t.TempDir(), "strict.json")
	if err := os.WriteFile(strict, []byte(`{"l1":{"index":0.2,"after_s":0}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	chart := filepath.Join(t.TempDir(), "sweep.svg")
	report := func(settings string) (r alerts.Report) {
		var out bytes.Buffer
		f := calibrateFlags{file: statuses, mapFile: floor, mapFormat: "movingai", truth: "delay", to: "0s", settings: settings, chart: chart, asJSON: true}
		if err := calibrate(t.Context(), &f, &out); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	usual, tried := report(""), report(strict)
	for _, r := range []alerts.Report{usual, tried} {
		if v := r.Levels[0]; r.Statuses != 20*900 || v.Jams != 1 || v.Caught != 1 || v.Precision != 1 {
			t.Errorf("%+v", r)
		}
	}
	if tried.Levels[0].Lead <= usual.Levels[0].Lead {
		t.Errorf("with a low threshold an alert comes %v before the jam, else %v", tried.Levels[0].Lead, usual.Levels[0].Lead)
	}
	if svg, err := os.ReadFile(chart); err != nil || !bytes.Contains(svg, []byte("<svg")) {
		t.Errorf("%v, drawn %s", err, svg)
	}
}

func TestARecordingIsReadForTheWarehouseThatIsNamed(t *testing.T) {
	t.Parallel()
	statuses, floor := recorded(t)
	f := calibrateFlags{file: statuses, mapFile: floor, mapFormat: "movingai", truth: "delay", to: "0s", asJSON: true}
	f.tenant, f.warehouse = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	if err := calibrate(t.Context(), &f, &bytes.Buffer{}); err != nil {
		t.Error(err)
	}
	f.warehouse = "22222222-2222-4222-8222-222222222223"
	if err := calibrate(t.Context(), &f, &bytes.Buffer{}); err == nil {
		t.Error("statuses of another warehouse are taken for its own")
	}
	for flag, f := range map[string]calibrateFlags{
		"--map":    {mapFile: floor, mapFormat: "movingai", truth: "delay", from: "1h", to: "0s", tenant: f.tenant, warehouse: f.warehouse},
		"--tenant": {file: statuses, mapFile: floor, mapFormat: "movingai", truth: "delay", to: "0s", tenant: "acme", warehouse: f.warehouse},
	} {
		var usage usageError
		if err := calibrate(t.Context(), &f, &bytes.Buffer{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func TestCalibrationSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	statuses, floor := recorded(t)
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"l1":{"index":7},"l9":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		flags calibrateFlags
		says  []string
	}{
		"faults of settings": {calibrateFlags{file: statuses, mapFile: floor, mapFormat: "movingai", truth: "delay", to: "0s", settings: bad}, []string{"l1.index", "l9"}},
		"no window":          {calibrateFlags{truth: "delay", to: "0s", tenant: "t", warehouse: "w"}, []string{"--from"}},
		"no warehouse":       {calibrateFlags{truth: "delay", to: "0s", from: "1h"}, []string{"--tenant"}},
		"no truth":           {calibrateFlags{truth: "hope", to: "0s", from: "1h"}, []string{"--truth"}},
		"a window backwards": {calibrateFlags{truth: "delay", to: "2h", from: "1h", tenant: "t", warehouse: "w"}, []string{"--from"}},
	} {
		err := calibrate(t.Context(), &c.flags, new(bytes.Buffer))
		var usage usageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %q does not say %s", name, err, s)
			}
		}
	}
}

func TestMarksOfPeopleAreThoseOfZones(t *testing.T) {
	t.Parallel()
	shard := fleet.Shard{Tenant: "t", Warehouse: "w"}
	zone := alert.Subject{Type: "zone", ID: "z"}
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	got := marksOf([]fact.AlertMark{
		{Shard: shard, Subject: zone, Cause: alert.Congestion, Mark: alert.False, OpenedAt: at},
		{Shard: shard, Subject: zone, Cause: alert.Congestion, Mark: alert.Missed, OpenedAt: at},
		{Shard: shard, Subject: zone, Cause: alert.Congestion, Mark: alert.Right, OpenedAt: at},
		{Shard: shard, Subject: zone, Cause: alert.RobotStuck, Mark: alert.False, OpenedAt: at},
		{Shard: shard, Subject: alert.Subject{Type: "lane", ID: "l"}, Cause: alert.Congestion, Mark: alert.False, OpenedAt: at},
		{Shard: fleet.Shard{Tenant: "t", Warehouse: "v"}, Subject: zone, Cause: alert.Congestion, Mark: alert.False, OpenedAt: at},
	}, shard)
	want := congestion.Subject{Of: congestion.OfZone, ID: "z"}
	if len(got) != 2 || got[0] != (congestion.Marked{Subject: want, At: at}) || got[1] != (congestion.Marked{Subject: want, At: at, Missed: true}) {
		t.Errorf("%+v", got)
	}
}
