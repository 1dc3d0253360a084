//go:build integration

package stack_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"starling/deploy/stack"
	"starling/deploy/stack/stacktest"
)

// askInflux returns status and text of an answer.
func askInflux(t *testing.T, i *stack.Influx, token, path, kind, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Token "+token)
	req.Header.Set("Content-Type", kind)
	req.Close = true // it is killed in between
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func queryInflux(t *testing.T, i *stack.Influx, flux string) (int, string) {
	t.Helper()
	return askInflux(t, i, i.Token(), "/api/v2/query?org="+i.Org(), "application/vnd.flux", flux)
}

func TestInfluxKeepsWhatItAcknowledgedOverStopAndKill(t *testing.T) {
	dir := folder(t)
	o := stack.InfluxOptions{Dir: dir}
	i, err := stack.StartInflux(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Kill() })
	address, token, written := i.URL(), i.Token(), 0
	for name, end := range map[string]func() error{"Stop": i.Stop, "Kill": i.Kill} {
		var lines strings.Builder
		for range 500 {
			written++
			fmt.Fprintf(&lines, "kept,robot=r value=%d %d\n", written, 1_700_000_000_000_000_000+written)
		}
		write := "/api/v2/write?org=" + i.Org() + "&bucket=" + url.QueryEscape(i.Bucket())
		if status, text := askInflux(t, i, token, write, "text/plain", lines.String()); status != http.StatusNoContent {
			t.Fatalf("write: %d %s", status, text)
		}
		if err := end(); err != nil || i.PID() != 0 {
			t.Fatalf("%s: %v, process %d", name, err, i.PID())
		}
		if err := i.StartAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i.URL() != address || i.Token() != token {
			t.Errorf("after %s it is at %s, before at %s, or its token is another", name, i.URL(), address)
		}
		status, text := queryInflux(t, i, fmt.Sprintf(`from(bucket: %q) |> range(start: 2023-01-01T00:00:00Z) |> count() |> keep(columns: ["_value"])`, i.Bucket()))
		if status != http.StatusOK || !strings.Contains(text, fmt.Sprintf(",%d\r\n", written)) {
			t.Errorf("after %s: %d %q, want a count of %d", name, status, text, written)
		}
	}
	if _, err := stack.StartInflux(t.Context(), o); err == nil {
		t.Error("a second InfluxDB started in one folder")
	}
	if err := i.Remove(); err != nil || i.PID() != 0 {
		t.Errorf("after Remove: %v, process %d", err, i.PID())
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("Remove left %s: %v", dir, err)
	}
}

func TestInfluxAsksForItsTokenAndSaysWhatItsBuildHasNot(t *testing.T) {
	i := stacktest.Influx(t)
	if status, text := askInflux(t, i, "another", "/api/v2/query?org="+i.Org(), "application/vnd.flux", "buckets()"); status != http.StatusUnauthorized {
		t.Errorf("with another token: %d %s", status, text)
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(i.PID()), "cmdline"))
	if err != nil || !bytes.Contains(b, []byte("influxd")) || bytes.Contains(b, []byte(i.Token())) {
		t.Errorf("the token stands in a command line: %v", err)
	}
	for _, flux := range []string{
		`import "sql" sql.from(driverName: "postgres", dataSourceName: "x", query: "y")`,
		`import "experimental/bigtable" bigtable.from(token: "t", project: "p", instance: "i", table: "b")`,
	} {
		if _, text := queryInflux(t, i, flux); !strings.Contains(text, "this build of InfluxDB has no package") {
			t.Errorf("%s: %s", flux, text)
		}
	}
	// What is left is whole: text, windows, joins, mathematics.
	status, text := queryInflux(t, i, `import "math" import "array" import "strings"
array.from(rows: [{_time: 2026-01-01T00:00:00Z, _value: 3.0}, {_time: 2026-01-01T00:00:30Z, _value: 5.0}])
	|> range(start: 2026-01-01T00:00:00Z, stop: 2026-01-01T00:01:00Z) |> aggregateWindow(every: 1m, fn: mean)
	|> map(fn: (r) => ({r with up: strings.toUpper(v: "k"), root: math.sqrt(x: r._value)}))`)
	if status != http.StatusOK || !strings.Contains(text, "K") || !strings.Contains(text, ",2,") {
		t.Errorf("%d %s", status, text)
	}
}
