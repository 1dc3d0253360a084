//go:build integration

package postgres_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"starling/deploy/stack/stacktest"
	"starling/migrations"
	"starling/persistence/postgres"
)

// columns are the tables of the schema as it stands, with their columns; those that a new one may fill by itself are in it.
func columns(t *testing.T, conn *pgx.Conn) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, table := range parents(t, conn) {
		out[table] = names(t, conn, `SELECT attname::text FROM pg_attribute
			WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname`, table)
	}
	return out
}

// facts are all rows, by table.
func facts(t *testing.T, conn *pgx.Conn) map[string][]map[string]json.RawMessage {
	t.Helper()
	out := map[string][]map[string]json.RawMessage{}
	for _, table := range parents(t, conn) {
		for _, text := range names(t, conn, "SELECT to_jsonb(x)::text FROM "+table+" x") {
			var row map[string]json.RawMessage
			if err := json.Unmarshal([]byte(text), &row); err != nil {
				t.Fatal(err)
			}
			out[table] = append(out[table], row)
		}
	}
	return out
}

// only are the rows with no other columns than those, as text and in order.
func only(rows map[string][]map[string]json.RawMessage, columns map[string][]string) map[string][]string {
	out := map[string][]string{}
	for table, names := range columns {
		out[table] = []string{}
		for _, row := range rows[table] {
			var b strings.Builder
			for _, name := range names {
				b.WriteString(name + "=" + string(row[name]) + " ")
			}
			out[table] = append(out[table], b.String())
		}
		slices.Sort(out[table])
	}
	return out
}

// same compares rows of tables; each table has a row of each customer at least.
func same(t *testing.T, what string, before, after map[string][]string) {
	t.Helper()
	for _, table := range slices.Sorted(maps.Keys(before)) {
		if len(before[table]) < 2 {
			t.Errorf("%s: table %s was not filled", what, table)
		}
		if !slices.Equal(before[table], after[table]) {
			t.Errorf("%s: the rows of %s were\n%s\nand are\n%s", what, table, strings.Join(before[table], "\n"), strings.Join(after[table], "\n"))
		}
	}
}

// Each migration is taken back and applied again over filled tables: what it does not concern survives, both ways.
func TestEachMigrationGoesDownAndUpOnAFilledDatabase(t *testing.T) {
	t.Parallel()
	url := stacktest.Database(t)
	migrate := func(way string) postgres.SchemaStatus {
		st, err := postgres.Migrate(t.Context(), url, way)
		if err != nil {
			t.Fatalf("migrate %s: %v", way, err)
		}
		return st
	}
	st := migrate("up")
	conn := connect(t, url, "")
	populate(t, conn, owner, foreign)
	steps := 0
	for st.Version > 0 {
		above := facts(t, conn)
		st = migrate("down")
		level, kept := st.Version, columns(t, conn)
		before := only(facts(t, conn), kept)
		same(t, "down", only(above, kept), before)
		if st = migrate("up"); st.Check() != nil {
			t.Fatal(st.Check())
		}
		same(t, "up", before, only(facts(t, conn), kept))
		populate(t, conn, owner, foreign) // what had gone is there again
		full := columns(t, conn)
		now := only(facts(t, conn), full)
		same(t, "filled", now, now)
		for st.Version > level {
			st = migrate("down")
		}
		same(t, "down once more", before, only(facts(t, conn), kept))
		steps++
	}
	if files := mustNames(t, "*.up.sql"); steps != len(files) {
		t.Errorf("%d steps, %d migrations", steps, len(files))
	}
	t.Logf("%d migrations", steps)
}

func mustNames(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := fs.Glob(migrations.Files, pattern)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files
}

// What a migration may not do while the previous version of the program runs, unless it says on the line before why it is
// safe ("-- safe: …"): the rules of CONTRIBUTING.md.
func TestMigrationsAreSafeWhileThePreviousVersionRuns(t *testing.T) {
	t.Parallel()
	rules := map[string]*regexp.Regexp{
		"takes away what the previous version reads or writes": regexp.MustCompile(`(?i)\bDROP\s+(TABLE|COLUMN|FUNCTION|TYPE|SCHEMA|VIEW)\b`),
		"renames what the previous version names":              regexp.MustCompile(`(?i)\bRENAME\b`),
		"rewrites a table while it is shut":                    regexp.MustCompile(`(?i)\bALTER\s+(COLUMN\s+)?\w+\s+(SET\s+DATA\s+)?TYPE\b`),
		"reads a table whole while it is shut":                 regexp.MustCompile(`(?i)\bSET\s+NOT\s+NULL\b`),
		"wants of the previous version what it does not know":  regexp.MustCompile(`(?i)\bADD\s+COLUMN\s[^,;]*\bNOT\s+NULL\b(?:[^,;]*\bDEFAULT\b)?`),
		"shuts a table for as long as it reads it":             regexp.MustCompile(`(?i)\bADD\s+(CONSTRAINT\s+\w+\s+)?(FOREIGN\s+KEY|UNIQUE|PRIMARY\s+KEY|CHECK)\b|\bVACUUM\s+FULL\b|\bCLUSTER\b`),
	}
	for _, file := range mustNames(t, "*.sql") {
		b, err := fs.ReadFile(migrations.Files, file)
		if err != nil {
			t.Fatal(err)
		}
		young := map[string]bool{} // tables made here: nobody uses them yet
		for _, m := range regexp.MustCompile(`(?i)CREATE TABLE (\w+)`).FindAllStringSubmatch(string(b), -1) {
			young[m[1]] = true
		}
		if !strings.HasSuffix(file, ".up.sql") {
			continue
		}
		excused, table := false, ""
		for line := range strings.Lines(string(b)) {
			trimmed := strings.TrimSpace(line)
			if strings.HasPrefix(trimmed, "--") {
				excused = excused || strings.HasPrefix(trimmed, "-- safe: ")
				continue
			}
			if m := regexp.MustCompile(`(?i)ALTER TABLE (\w+)`).FindStringSubmatch(trimmed); m != nil {
				table = m[1]
			}
			code, _, _ := strings.Cut(trimmed, " --")
			for why, rule := range rules {
				found := rule.FindString(code)
				if strings.Contains(strings.ToUpper(found), "ADD COLUMN") && strings.Contains(strings.ToUpper(found), "DEFAULT") {
					continue
				}
				if found != "" && !excused && !young[table] && !strings.Contains(code, "EXECUTE format") {
					t.Errorf("%s %s: %q: say \"-- safe: …\" before it, or do it otherwise", file, why, trimmed)
				}
			}
			excused = false
		}
	}
}
