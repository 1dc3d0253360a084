package stack_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"starling/deploy/stack"
)

func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What people with Docker start is what the scripts start: the same versions of what is pinned, on loopback alone, and
// compose.env says of every server what Up says.
func TestComposeSaysWhatTheScriptsSay(t *testing.T) {
	var compose struct {
		Services map[string]struct {
			Image       string
			Ports       []string
			Healthcheck struct{ Test []string }
		}
	}
	if err := yaml.Unmarshal([]byte(text(t, "compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	if len(compose.Services) != 6 {
		t.Errorf("%d services, want 6", len(compose.Services))
	}
	env := text(t, "compose.env")
	for name, s := range compose.Services {
		_, tag, _ := strings.Cut(s.Image, ":")
		if !regexp.MustCompile(`^\d`).MatchString(tag) {
			t.Errorf("%s: the image %q is not pinned", name, s.Image)
		}
		if len(s.Healthcheck.Test) < 2 || len(s.Ports) != 1 || !strings.HasPrefix(s.Ports[0], "127.0.0.1:") {
			t.Errorf("%s: %d words of a health check, ports %v", name, len(s.Healthcheck.Test), s.Ports)
			continue
		}
		if port := strings.Split(s.Ports[0], ":")[1]; !strings.Contains(env, "127.0.0.1:"+port) {
			t.Errorf("%s: compose.env does not name its port %s", name, port)
		}
	}
	for name, version := range map[string]string{"kafka": stack.KafkaVersion, "influx": stack.InfluxVersion, "keycloak": stack.KeycloakVersion} {
		if image := compose.Services[name].Image; !strings.Contains(image, ":"+version) {
			t.Errorf("%s: the image is %s, the scripts take %s", name, image, version)
		}
	}
	var keys []string
	for _, m := range regexp.MustCompile(`(?m)^([A-Z_]+)='[^']+'$`).FindAllStringSubmatch(env, -1) {
		keys = append(keys, m[1])
	}
	if want := stack.EnvKeys(); !slices.Equal(keys, want) {
		t.Errorf("compose.env has %v, Up writes %v", keys, want)
	}
}

func TestWhatIsFetchedIsOfTheVersionThatTheConstantsSay(t *testing.T) {
	if !strings.Contains(text(t, "kafka/pom.xml"), "<version>"+stack.KafkaVersion+"</version>") || !strings.Contains(text(t, "kafka/jars.sha256"), "  kafka_2.13-"+stack.KafkaVersion+".jar") {
		t.Error("kafka/ is of another version")
	}
	if !strings.Contains(text(t, "influx/go.mod.txt"), "github.com/influxdata/influxdb/v2 v"+stack.InfluxVersion+"\n") {
		t.Error("influx/ is of another version")
	}
}
