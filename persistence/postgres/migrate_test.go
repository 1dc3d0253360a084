//go:build integration

package postgres

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"starling/deploy/stack/stacktest"
	"starling/migrations"
)

func session(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func truth(t *testing.T, conn *pgx.Conn, query string) (yes bool) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query).Scan(&yes); err != nil {
		t.Fatal(err)
	}
	return yes
}

// waitFor waits until a query says yes.
func waitFor(t *testing.T, conn *pgx.Conn, query string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !truth(t, conn, query); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about: %s", query)
		}
	}
}

func TestMigrationsTakeTurns(t *testing.T) {
	t.Parallel()
	url := stacktest.Database(t)
	conn := session(t, url)
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock($1)", migrationLock); err != nil { // as one that is at work
		t.Fatal(err)
	}
	if st, err := Status(t.Context(), url); err != nil || !st.UnderWay || !errors.Is(st.Check(), ErrUnderWay) {
		t.Errorf("while somebody migrates: %+v %v", st, err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if st, err := Migrate(t.Context(), url, "up"); err != nil || st.Check() != nil || st.Pending != 0 {
				t.Errorf("one of four at once: %+v %v", st, err)
			}
		})
	}
	all.Go(func() {
		if err := CheckSchema(t.Context(), url); err != nil && !errors.Is(err, ErrOlder) { // it may look before the first begins
			t.Errorf("a program that starts meanwhile: %v", err)
		}
	})
	watch := session(t, url)
	waitFor(t, watch, `SELECT count(*) = 4 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
		WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted`)
	if truth(t, watch, "SELECT to_regclass('schema_migrations') IS NOT NULL") {
		t.Error("somebody did not wait")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := Migrate(ctx, url, "up"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that does not wait for long: %v", err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_unlock($1)", migrationLock); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if st, err := Status(t.Context(), url); err != nil || st.Check() != nil {
		t.Errorf("in the end: %+v %v", st, err)
	}
}

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func TestAMigrationThatFailsLeavesTheSchemaAsItWas(t *testing.T) {
	t.Parallel()
	url := stacktest.Database(t)
	conn := session(t, url)
	files := fstest.MapFS{
		"1_good.up.sql":   text("-- good\nBEGIN;\nCREATE TABLE a (n integer);\nCOMMIT;\n"),
		"1_good.down.sql": text("BEGIN;\nDROP TABLE a;\nDROP TABLE nowhere;\nCOMMIT;\n"),
		"2_bad.up.sql":    text("BEGIN;\nCREATE TABLE b (n integer);\nINSERT INTO b VALUES (1);\nINSERT INTO nowhere VALUES (1);\nCOMMIT;\n"),
		"2_bad.down.sql":  text("BEGIN;\nDROP TABLE b;\nCOMMIT;\n"),
	}
	st, err := migrateWith(t.Context(), url, "up", files)
	if err == nil || st.Version != 1 || st.Dirty || st.Pending != 1 || !errors.Is(st.Check(), ErrOlder) {
		t.Errorf("up: %+v %v", st, err)
	}
	for _, part := range []string{"version 2", "nothing of which was kept", "line 4", `relation "nowhere" does not exist`} {
		if err != nil && !strings.Contains(err.Error(), part) {
			t.Errorf("want %q in: %v", part, err)
		}
	}
	if !truth(t, conn, "SELECT to_regclass('a') IS NOT NULL AND to_regclass('b') IS NULL") {
		t.Error("want what the first one made, and nothing of the second")
	}
	if st, err = migrateWith(t.Context(), url, "down", files); err == nil || st.Version != 1 || st.Dirty {
		t.Errorf("down: %+v %v", st, err)
	}
	files["1_good.down.sql"] = text("BEGIN;\nDROP TABLE a;\nCOMMIT;\n")
	files["2_bad.up.sql"] = text("BEGIN;\nCREATE TABLE b (n integer);\nCOMMIT;\n") // mended
	for _, way := range []string{"up", "down", "down", "up"} {
		if st, err = migrateWith(t.Context(), url, way, files); err != nil || st.Dirty {
			t.Errorf("%s: %+v %v", way, st, err)
		}
	}
	if st.Version != 2 || st.Check() != nil {
		t.Errorf("in the end: %+v", st)
	}
	// A file that is no transaction, such as one that makes an index without shutting writers out, leaves doubt.
	files["3_loose.up.sql"] = text("CREATE TABLE c (n integer);\nCREATE INDEX CONCURRENTLY ON nowhere (n);\n")
	if st, err = migrateWith(t.Context(), url, "up", files); err == nil || !st.Dirty || !errors.Is(st.Check(), ErrDirty) {
		t.Errorf("no transaction: %+v %v", st, err)
	}
}

// A process that is killed while it migrates leaves the schema as it was before, or as it is after: never in doubt.
func TestAMigrationThatIsKilledLeavesNoDoubt(t *testing.T) {
	t.Parallel()
	url := stacktest.Database(t)
	conn := session(t, url)
	files := fstest.MapFS{
		"1_a.up.sql": text("BEGIN;\nCREATE TABLE a (n integer);\nCOMMIT;\n"),
		"2_b.up.sql": text("BEGIN;\nCREATE TABLE b (n integer);\nSELECT pg_sleep(60);\nCOMMIT;\n"),
	}
	done := make(chan error, 1)
	go func() { // ends with the session that is killed below
		_, err := migrateWith(t.Context(), url, "up", files)
		done <- err
	}()
	const asleep = `FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'starling migrate' AND wait_event = 'PgSleep'`
	waitFor(t, conn, "SELECT EXISTS (SELECT "+asleep+")")
	if st, err := Status(t.Context(), url); err != nil || !st.UnderWay {
		t.Errorf("meanwhile: %+v %v", st, err)
	}
	if !truth(t, conn, "SELECT pg_terminate_backend(pid) "+asleep) {
		t.Fatal("it was not killed")
	}
	if err := <-done; err == nil {
		t.Error("killed, and no error")
	}
	files["2_b.up.sql"] = text("BEGIN;\nCREATE TABLE b (n integer);\nCOMMIT;\n")
	st, err := migrateWith(t.Context(), url, "status", files)
	if err != nil || st.Version != 1 || st.Dirty {
		t.Errorf("after it: %+v %v", st, err)
	}
	if st, err = migrateWith(t.Context(), url, "up", files); err != nil || st.Version != 2 {
		t.Errorf("once more: %+v %v", st, err)
	}
}

// A migration that cannot have its tables gives up before those who queue behind it feel it, and changes nothing.
func TestAMigrationDoesNotWaitForLong(t *testing.T) {
	t.Parallel()
	url := stacktest.Database(t)
	if _, err := Migrate(t.Context(), url, "up"); err != nil {
		t.Fatal(err)
	}
	before, err := Migrate(t.Context(), url, "down")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, name := range mustGlob(t) {
		b, err := fs.ReadFile(migrations.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: b}
	}
	files["29991231000000_greedy.up.sql"] = text("BEGIN;\nSET LOCAL ROLE starling_migrate;\nCREATE TABLE before_it (n integer);\nALTER TABLE tasks ADD COLUMN greedy integer;\nCOMMIT;\n")
	if _, err := Migrate(t.Context(), url, "up"); err != nil {
		t.Fatal(err)
	}
	busy := session(t, url)
	if _, err := busy.Exec(t.Context(), "BEGIN; LOCK TABLE tasks IN ROW EXCLUSIVE MODE"); err != nil { // a long write
		t.Fatal(err)
	}
	st, err := migrateWith(t.Context(), url, "up", files)
	if err == nil || !strings.Contains(err.Error(), "lock timeout") || st.Dirty || st.Pending != 1 || st.Version <= before.Version {
		t.Errorf("behind a long write: %+v %v", st, err)
	}
	if _, err := busy.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if st, err = migrateWith(t.Context(), url, "up", files); err != nil || st.Check() != nil {
		t.Errorf("once more: %+v %v", st, err)
	}
}

func mustGlob(t *testing.T) []string {
	t.Helper()
	names, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil || len(names) < 18 {
		t.Fatal(names, err)
	}
	return names
}
