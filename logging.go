package main

import (
	"context"
	"io"
	"log/slog"
	"time"
)

const (
	logTime = "2006-01-02T15:04:05.000Z07:00"

	keyEvent = "event"
	keyStack = "stack"
)

// LogOptions says what every line of a process carries. The level may change while it runs (a slog.LevelVar).
type LogOptions struct {
	Level   slog.Leveler // nil = info
	Service string
	Env     string // under prod the attribute "stack" is left out
	Version string
}

// newLogger returns a logger that writes one JSON object per line to w with at least the fields ts, level,
// service, env, version, event and msg, as docs/log.schema.json has them. A line without an attribute "event" gets
// the event "log". w must take a line per Write, as a file does.
func newLogger(w io.Writer, o LogOptions) *slog.Logger {
	json := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: o.Level, ReplaceAttr: replaceAttr(o.Env != envProd)})
	with := json.WithAttrs([]slog.Attr{
		slog.String("service", o.Service), slog.String("env", o.Env), slog.String("version", o.Version),
	})
	return slog.New(eventHandler{Handler: with})
}

// logStarted writes the line that every process begins with.
func logStarted(ctx context.Context, log *slog.Logger, port int) {
	log.LogAttrs(ctx, slog.LevelInfo, "started", slog.String(keyEvent, "process.started"), slog.Int("port", port))
}

// logFaults writes one line per fault of the configuration.
func logFaults(ctx context.Context, log *slog.Logger, faults Faults) {
	for _, key := range faults.Missing {
		log.LogAttrs(ctx, slog.LevelError, "configuration key is missing", slog.String(keyEvent, "config.missing"), slog.String("key", key))
	}
	for _, i := range faults.Invalid {
		log.LogAttrs(ctx, slog.LevelError, "configuration key is invalid", slog.String(keyEvent, "config.invalid"),
			slog.String("key", i.Key), slog.String("problem", i.Problem))
	}
}

// eventHandler adds event=log to a record that names no event.
type eventHandler struct {
	slog.Handler
	named bool // an attribute of the logger itself names the event
}

// Handle implements slog.Handler.
func (h eventHandler) Handle(ctx context.Context, r slog.Record) error {
	if !h.named {
		named := false
		r.Attrs(func(a slog.Attr) bool {
			named = a.Key == keyEvent
			return !named
		})
		if !named {
			r = r.Clone()
			r.AddAttrs(slog.String(keyEvent, "log"))
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h eventHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.named = h.named || a.Key == keyEvent
	}
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

// WithGroup implements slog.Handler. Later attributes land in the group, so the event is settled now.
func (h eventHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	if !h.named {
		h.Handler, h.named = h.Handler.WithAttrs([]slog.Attr{slog.String(keyEvent, "log")}), true
	}
	h.Handler = h.Handler.WithGroup(name)
	return h
}

// replaceAttr gives slog's own fields our names and formats: times RFC 3339 UTC with milliseconds, levels in lower case,
// durations as text ("1.5s").
func replaceAttr(stacks bool) func(groups []string, a slog.Attr) slog.Attr {
	return func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == keyStack && !stacks {
			return slog.Attr{}
		}
		if len(groups) == 0 && a.Key == slog.LevelKey {
			if level, ok := a.Value.Any().(slog.Level); ok {
				return slog.String("level", levelName(level))
			}
		}
		if kind := a.Value.Kind(); kind == slog.KindTime {
			text := a.Value.Time().UTC().Format(logTime)
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.String("ts", text)
			}
			return slog.String(a.Key, text)
		} else if kind == slog.KindDuration {
			return slog.String(a.Key, a.Value.Duration().Round(time.Microsecond).String())
		}
		return a
	}
}

// levelName rounds a level down to one of the four of the schema.
func levelName(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "info"
	case level < slog.LevelError:
		return "warn"
	default:
		return "error"
	}
}
