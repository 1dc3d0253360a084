// Package script runs a core through a text: messages in, effects out. A script is documentation that cannot go stale;
// tests compare what a core does with what its script says, or write it down anew.
//
//	# The first lines say what is shown.
//	map ...@...              rows of a grid, before the first message ("map", then one row a line until a blank one)
//	+1.5s Asked {"Robot":"a","At":3}
//	    => RecordEntry {"Entry":{"Robot":"a","Vertex":3}}
//	    = {"At":3}           the core's state after it, where that has changed
//
// Times are seconds since the beginning, "@12.5s"; zero values are left out of what comes out.
package script

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Epoch is the time at which a script begins.
func Epoch() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// Core is what a script drives. Decide takes a message by its type's name and gives the effects; State is what of the
// core's state the script shows, nil = nothing.
type Core struct {
	Decide func(now time.Time, message any) (effects []any)
	State  func() any
	// Messages are the zero values of all messages, by the name of their type.
	Messages []any
}

// Files plays the scripts in testdata, each with a core of its own, and holds what the core does against what they say; with
// update it writes that down instead.
func Files(t *testing.T, update bool, open func(t *testing.T, rows []string) Core) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 3 {
		t.Fatalf("scripts %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Run(string(want), func(rows []string) Core { return open(t, rows) })
			if err != nil {
				t.Fatal(err)
			}
			if update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("the core does otherwise (-update writes it down):\n%s", got)
			}
		})
	}
}

// Run plays a script with the core that open makes of its map, and returns the script with what the core did.
func Run(text string, open func(rows []string) Core) (string, error) {
	head, rows, lines := split(text)
	core := open(rows)
	out := new(strings.Builder)
	out.WriteString(head)
	now, shown := Epoch(), ""
	for n, line := range lines {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "=") {
			continue // what it did before
		}
		out.WriteString(line + "\n")
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		offset, m, err := parse(trimmed, core.Messages)
		if err != nil {
			return "", fmt.Errorf("message %d, %q: %w", n+1, line, err)
		}
		now = now.Add(offset)
		for _, e := range core.Decide(now, m) {
			fmt.Fprintf(out, "    => %s\n", effect(e))
		}
		if core.State == nil {
			continue
		}
		if s := show(core.State()); s != shown {
			shown = s
			fmt.Fprintf(out, "    = %s\n", s)
		}
	}
	return strings.TrimRight(out.String(), "\n") + "\n", nil
}

// effect is an effect's name and content; of one that records an event, that event's.
func effect(e any) string {
	if f := reflect.ValueOf(e).FieldByName("Event"); f.IsValid() && f.Kind() == reflect.Interface && !f.IsNil() {
		return name(e) + " " + name(f.Elem().Interface()) + " " + show(f.Elem().Interface())
	}
	return name(e) + " " + show(e)
}

// split takes the head with the map's rows off the messages.
func split(text string) (head string, rows, lines []string) {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, l := range all {
		if l == "map" {
			for j := i + 1; j < len(all) && all[j] != ""; j++ {
				rows = append(rows, all[j])
			}
			end := min(i+1+len(rows), len(all))
			return strings.Join(all[:end], "\n") + "\n", rows, all[end:]
		}
	}
	return "", nil, all
}

var times = regexp.MustCompile(`"@(-?[0-9.]+m?s)"`)

// parse reads "+1s Name {…}".
func parse(line string, messages []any) (time.Duration, any, error) {
	at, rest, _ := strings.Cut(line, " ")
	offset, err := time.ParseDuration(strings.TrimPrefix(at, "+"))
	if err != nil {
		return 0, nil, fmt.Errorf("begin with an offset as +1s: %w", err)
	}
	kind, body, _ := strings.Cut(rest, " ")
	for _, m := range messages {
		if name(m) != kind {
			continue
		}
		body = times.ReplaceAllStringFunc(body, func(s string) string {
			d, _ := time.ParseDuration(s[2 : len(s)-1])
			return `"` + Epoch().Add(d).Format(time.RFC3339Nano) + `"`
		})
		t := reflect.TypeOf(m)
		pointed := t.Kind() == reflect.Pointer
		if pointed {
			t = t.Elem()
		}
		v := reflect.New(t)
		if body != "" {
			d := json.NewDecoder(strings.NewReader(body))
			d.DisallowUnknownFields()
			if err := d.Decode(v.Interface()); err != nil {
				return 0, nil, err
			}
		}
		if pointed {
			return offset, v.Interface(), nil
		}
		return offset, v.Elem().Interface(), nil
	}
	return 0, nil, fmt.Errorf("no message %q", kind)
}

func name(v any) string {
	t := reflect.TypeOf(v)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

// show is v as JSON without zero values, enumerations by name, times as seconds since the epoch.
func show(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	t := tree(reflect.ValueOf(v))
	if t == nil {
		return "{}"
	}
	if err := e.Encode(t); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

// tree is what JSON is made of; nil = a zero value.
func tree(v reflect.Value) any {
	if !v.IsValid() || v.IsZero() {
		return nil
	}
	switch x := v.Interface().(type) {
	case time.Time:
		if x.Sub(Epoch()).Abs() > 10*365*24*time.Hour {
			return "far"
		}
		return "@" + x.Sub(Epoch()).String()
	case time.Duration:
		return x.String()
	case fmt.Stringer:
		if v.CanInt() || v.CanUint() {
			return x.String()
		}
	}
	switch v.Kind() { //nolint:exhaustive // the rest is as JSON has it
	case reflect.Pointer, reflect.Interface:
		return tree(v.Elem())
	case reflect.Struct:
		m := map[string]any{}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				if t := tree(v.Field(i)); t != nil {
					m[f.Name] = t
				}
			}
		}
		if len(m) == 0 {
			return nil
		}
		return m
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return string(v.Bytes())
		}
		list := make([]any, v.Len())
		for i := range list {
			if list[i] = tree(v.Index(i)); list[i] == nil {
				list[i] = v.Index(i).Interface()
			}
		}
		if len(list) == 0 {
			return nil
		}
		return list
	}
	return v.Interface()
}
