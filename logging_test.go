package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func logSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("docs/log.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// logged runs f with a logger and returns its lines, each checked against the schema.
func logged(t *testing.T, o LogOptions, f func(*slog.Logger)) []map[string]any {
	t.Helper()
	schema := logSchema(t)
	var out bytes.Buffer
	f(newLogger(&out, o))
	var lines []map[string]any
	for line := range strings.Lines(out.String()) {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatalf("%q is no JSON: %v", line, err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s does not fit the schema: %v", line, err)
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fields)
	}
	return lines
}

func TestEveryLineFitsTheSchemaWhateverTheLoggerWasGiven(t *testing.T) {
	t.Parallel()
	for _, o := range []LogOptions{{Level: slog.LevelDebug, Service: "starling", Env: "dev", Version: "v1"}, {Service: "s", Env: "prod", Version: "devel"}} {
		lines := logged(t, o, func(log *slog.Logger) {
			log.Debug("a detail")
			log.Info("plain")
			log.Info("named", "event", "robot.lost", "robot_id", "r1", "silent_for", 1500*time.Millisecond)
			log.With("event", "a.b").Warn("named by the logger")
			log.WithGroup("g").Error("grouped", "k", 1, "event", "inner", "level", "x")
			log.With("event", "c").WithGroup("g").With("x", time.Unix(0, 0)).Info("named, then grouped")
			log.WithGroup("").Log(t.Context(), slog.LevelInfo+1, "between levels")
			log.Error("request failed", "error", errors.New("boom"), "stack", "main.go:1", "error_code", "INTERNAL_ERROR", "status_code", 500, "duration_ms", 1.25)
			logStarted(t.Context(), log, 8080)
			logFaults(t.Context(), log, Faults{Missing: []string{"DATABASE_URL"}, Invalid: []InvalidKey{{"HTTP_PORT", "want a whole number 0..65535"}}})
		})
		want := 11
		if o.Level == nil {
			want-- // no debug line
		}
		if len(lines) != want {
			t.Errorf("%d lines, want %d", len(lines), want)
		}
	}
}

func TestTheSchemaRefusesWhatItShould(t *testing.T) {
	t.Parallel()
	schema := logSchema(t)
	whole := func() map[string]any {
		return map[string]any{
			"ts": "2026-01-02T03:04:05.678Z", "level": "info", "service": "s", "env": "prod", "version": "1", "event": "log", "msg": "m",
		}
	}
	if err := schema.Validate(whole()); err != nil {
		t.Fatalf("a whole line is refused: %v", err)
	}
	for key := range whole() {
		line := whole()
		delete(line, key)
		if schema.Validate(line) == nil {
			t.Errorf("a line without %s passes", key)
		}
	}
	for key, bad := range map[string]any{
		"ts": "2026-01-02T03:04:05Z", "level": "INFO", "env": "production", "event": "Robot Lost", "status_code": 99.0, "stack": "in prod", "port": -1.0,
	} {
		line := whole()
		line[key] = bad
		if schema.Validate(line) == nil {
			t.Errorf("%s = %v passes", key, bad)
		}
	}
}

func TestTheStartLineHasServiceEnvPortAndVersion(t *testing.T) {
	t.Parallel()
	lines := logged(t, LogOptions{Service: "gate", Env: "staging", Version: "v2"}, func(log *slog.Logger) { logStarted(t.Context(), log, 4711) })
	if len(lines) != 1 {
		t.Fatalf("%d lines", len(lines))
	}
	for key, want := range map[string]any{"service": "gate", "env": "staging", "version": "v2", "port": 4711.0, "event": "process.started", "level": "info"} {
		if lines[0][key] != want {
			t.Errorf("%s = %v, want %v", key, lines[0][key], want)
		}
	}
	at, err := time.Parse(time.RFC3339, lines[0]["ts"].(string))
	if err != nil || time.Since(at) > time.Minute || time.Since(at) < -time.Second {
		t.Errorf("ts = %v, %v", lines[0]["ts"], err)
	}
}

func TestStacksShowOutsideProdOnly(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]bool{"dev": true, "staging": true, "prod": false} {
		lines := logged(t, LogOptions{Service: "s", Env: env, Version: "v"}, func(log *slog.Logger) {
			log.Error("m", "stack", "main.go:1", "error", errors.New("boom"))
		})
		if _, got := lines[0]["stack"]; got != want {
			t.Errorf("%s: stack shown %v, want %v", env, got, want)
		}
		if lines[0]["error"] != "boom" {
			t.Errorf("%s: error = %v", env, lines[0]["error"])
		}
	}
}

func TestTheEventOfALineIsItsOwnElseTheLoggersElseLog(t *testing.T) {
	t.Parallel()
	lines := logged(t, LogOptions{Service: "s", Env: "dev", Version: "v"}, func(log *slog.Logger) {
		log.Info("m")
		log.Info("m", "event", "own")
		log.With("event", "loggers").Info("m")
		log.WithGroup("g").Info("m", "event", "inner")
	})
	for i, want := range []string{"log", "own", "loggers", "log"} {
		if got := lines[i]["event"]; got != want {
			t.Errorf("line %d: event %v, want %s", i, got, want)
		}
	}
	if group, ok := lines[3]["g"].(map[string]any); !ok || group["event"] != "inner" {
		t.Errorf("the group of line 3: %v", lines[3]["g"])
	}
}
