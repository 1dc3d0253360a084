package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const longestFile = 600 // lines

// sourceFile is a file of the checkout that people wrote, with slashes in its path.
type sourceFile struct {
	path, text string
}

// sourceFiles reads every text file of the checkout but generated ones, test data and what tools own.
func sourceFiles(t *testing.T) []sourceFile {
	t.Helper()
	var files []sourceFile
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != "." && (strings.HasPrefix(name, ".") && name != ".ci" || slices.Contains([]string{"node_modules", "testdata", "bin", "dist"}, name)) {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains([]string{".go", ".py", ".ts", ".tsx", ".sql", ".proto", ".sh", ".ps1", ".md", ".yaml", ".yml", ""}, filepath.Ext(name)) ||
			!d.Type().IsRegular() || slices.Contains([]string{"LICENSE", "uv.lock", "pnpm-lock.yaml"}, name) {
			return nil
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if text := string(body); !generated(text) {
			files = append(files, sourceFile{filepath.ToSlash(path), text})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found only %d files: this test looks at the wrong place", len(files))
	}
	return files
}

func generated(text string) bool {
	const head = 1000
	text = text[:min(head, len(text))]
	return strings.Contains(text, "Code generated") && strings.Contains(text, "DO NOT EDIT")
}

func TestNoFileIsLongerThanAPersonCanHoldInMind(t *testing.T) {
	t.Parallel()
	for _, f := range sourceFiles(t) {
		if !slices.Contains([]string{".go", ".py", ".ts", ".tsx"}, filepath.Ext(f.path)) {
			continue
		}
		if n := strings.Count(f.text, "\n"); n >= longestFile {
			t.Errorf("%s has %d lines, want fewer than %d", f.path, n, longestFile)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, f := range sourceFiles(t) {
		if !strings.HasSuffix(f.path, ".go") || strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.path, f.text, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("%s: %v", f.path, err)
			continue
		}
		dir := filepath.Dir(f.path)
		documented[dir] = documented[dir] || saysWhat(file)
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no file has a package comment", dir)
		}
	}
}

func saysWhat(file *ast.File) bool {
	doc := file.Doc.Text()
	return strings.HasPrefix(doc, "Package "+file.Name.Name+" ") || file.Name.Name == "main" && strings.HasPrefix(doc, "Command ")
}

func TestNoBannedWordsAndNoNakedToDo(t *testing.T) {
	t.Parallel()
	// In pieces, or this file would find itself.
	banned := regexp.MustCompile(`(?:^|[\s"'` + "`" + `(=:])/(?:wo` + `rk|ro` + `ot)/` +
		`|\.\./sha` + `red\b|proxy\.gol` + `ang\.org|py` + `pi\.org|registry\.np` + `mjs\.org|repo1\.ma` + `ven\.org`)
	toDo := regexp.MustCompile(`\b(?:TO` + `DO|FIX` + `ME|XX` + `X)\b(?:\(#\d+\))?`)
	for _, f := range sourceFiles(t) {
		for i, line := range strings.Split(f.text, "\n") {
			if word := banned.FindString(line); word != "" {
				t.Errorf("%s:%d: %q belongs to a machine, not to the project", f.path, i+1, word)
			}
			if filepath.Ext(f.path) == ".md" {
				continue
			}
			for _, mark := range toDo.FindAllString(line, -1) {
				if !strings.HasSuffix(mark, ")") {
					t.Errorf("%s:%d: %s without an issue number, such as %[3]s(#12)", f.path, i+1, mark)
				}
			}
		}
	}
}

func TestNoRoomIsALumberRoom(t *testing.T) {
	t.Parallel()
	for _, f := range sourceFiles(t) {
		for _, part := range strings.Split(filepath.ToSlash(filepath.Dir(f.path)), "/") {
			if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "models", "types", "misc"}, part) {
				t.Errorf("%s: no room is called %s; what is in it lives beside its caller", f.path, part)
			}
		}
	}
}

func TestEveryLinkOfTheDocumentsLeadsSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fence := regexp.MustCompile("(?s)```.*?```")
	for _, f := range sourceFiles(t) {
		if filepath.Ext(f.path) != ".md" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(f.text, ""), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(f.path), filepath.FromSlash(target))); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", f.path, target)
			}
		}
	}
}

// Every module that we import has a line that says what for and what leaving costs.
func TestEveryDependencyIsExplained(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	adr, err := os.ReadFile("docs/adr/0002-dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	require := regexp.MustCompile(`(?m)^\t([\w.-]+\.[a-z]+/\S+) v\S+$`)
	direct := require.FindAllStringSubmatch(string(mod), -1)
	page, err := os.ReadFile("gateway/web/package.json")
	if err != nil {
		t.Fatal(err)
	}
	packages := regexp.MustCompile(`(?m)^    "([@\w/-]+)": "\d\S+"`).FindAllStringSubmatch(string(page), -1)
	if len(direct) < 10 || len(packages) < 5 {
		t.Fatalf("found %d modules and %d packages: this test looks at the wrong place", len(direct), len(packages))
	}
	for _, m := range append(direct, packages...) {
		if !strings.Contains(string(adr), "`"+m[1]+"`") {
			t.Errorf("docs/adr/0002-dependencies.md has no line for %s", m[1])
		}
	}
}
