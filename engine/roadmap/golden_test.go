package roadmap_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"starling/engine/roadmap"
)

var update = flag.Bool("update", false, "rewrite what testdata/*.txt expect")

// TestScripts runs testdata/*.txt: a remark, "import FORMAT RESOLUTION", the source, "----", then what Import says of it.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			script, want, ok := strings.Cut(string(text), "\n----\n")
			if !ok {
				t.Fatal("no line of dashes")
			}
			got := runScript(t, script)
			if *update {
				if err := os.WriteFile(file, []byte(script+"\n----\n"+got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func runScript(t *testing.T, script string) string {
	_, script, _ = strings.Cut(script, "import ")
	head, source, _ := strings.Cut(script, "\n")
	var format, res string
	if _, err := fmt.Sscan(head, &format, &res); err != nil {
		t.Fatalf("line %q: %v", head, err)
	}
	resM, err := strconv.ParseFloat(res, 64)
	if err != nil {
		t.Fatal(err)
	}
	d, r := roadmap.Import(format, []byte(source), resM)
	var b strings.Builder
	if d == nil {
		b.WriteString("nothing\n")
	} else {
		fmt.Fprintf(&b, "%d vertices, %d lanes, %d areas\n", len(d.Vertices), len(d.Lanes), len(d.Areas))
	}
	for _, f := range r.Errors {
		fmt.Fprintf(&b, "error %s %q: %s\n", f.Code, f.VertexIDs, f.Message)
	}
	for _, f := range r.Warnings {
		fmt.Fprintf(&b, "warning %s %q: %s\n", f.Code, f.VertexIDs, f.Message)
	}
	return b.String()
}
