package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const planted = "hunter2-very-secret"

func TestASecretPrintsRedactedInEveryVerbAndFormat(t *testing.T) {
	t.Parallel()
	type inner struct {
		Shown  Secret
		hidden Secret
	}
	s := NewSecret(planted)
	nested := inner{Shown: s, hidden: s}
	outputs := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t", "%T", "%10.3s"} {
		outputs["fmt "+verb] = fmt.Sprintf(verb, s)
		outputs["fmt pointer "+verb] = fmt.Sprintf(verb, &s)
		outputs["fmt nested "+verb] = fmt.Sprintf(verb, nested)
		outputs["fmt map "+verb] = fmt.Sprintf(verb, map[string]any{"k": s})
	}
	outputs["print"] = fmt.Sprint(s)
	for name, marshal := range map[string]func(any) ([]byte, error){"json": json.Marshal, "yaml": yaml.Marshal} {
		for kind, v := range map[string]any{"alone": s, "nested": nested, "pointer": &s, "key": map[string]Secret{"k": s}} {
			out, err := marshal(v)
			if err != nil {
				t.Fatalf("%s %s: %v", name, kind, err)
			}
			outputs[name+" "+kind] = string(out)
		}
	}
	var logged bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&logged, nil), slog.NewTextHandler(&logged, nil)} {
		slog.New(h).Info("m", "secret", s, "nested", nested, slog.Any("group", slog.GroupValue(slog.Any("s", s))))
	}
	outputs["slog"] = logged.String()
	for how, out := range outputs {
		if strings.Contains(out, planted) || strings.Contains(out, fmt.Sprintf("%x", planted)) || strings.Contains(out, fmt.Sprintf("%X", planted)) {
			t.Errorf("%s shows the secret: %s", how, out)
		}
	}
	for _, how := range []string{"fmt %v", "fmt %+v", "fmt %#v", "fmt %s", "fmt %q", "print", "json alone", "yaml alone", "slog"} {
		if !strings.Contains(outputs[how], redacted) {
			t.Errorf("%s prints %q, want %s in it", how, outputs[how], redacted)
		}
	}
	if s.Reveal() != planted {
		t.Errorf("Reveal() = %q", s.Reveal())
	}
}

func TestAnEmptySecretLooksLikeASetOne(t *testing.T) {
	t.Parallel()
	var s Secret
	if got := fmt.Sprint(s); got != redacted || s.Reveal() != "" {
		t.Errorf("prints %q, reveals %q", got, s.Reveal())
	}
}
