package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// keptLogs is the variable that names the folder where the suite keeps what its processes printed, and the secrets they
// were given, until TestMain has held one against the other.
const keptLogs = "STARLING_TEST_KEPT_LOGS"

// TestMain runs the suite, and then searches the logs of all processes that it has started for secrets: a test cannot
// look at what others make a process say.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "starling-logs-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := os.Setenv(keptLogs, dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		logs, secrets, found := searchKept(dir)
		for _, f := range found {
			fmt.Fprintln(os.Stderr, "a log shows a secret:", f)
			code = 1
		}
		if logs > 0 {
			fmt.Fprintf(os.Stderr, "%d logs of processes, searched for %d secrets and all that looks like one\n", logs, secrets)
		}
		return code
	}())
}

// searchKept searches the kept logs for the kept secrets.
func searchKept(dir string) (logs, secrets int, found []string) {
	text, _ := os.ReadFile(filepath.Join(dir, "secrets"))
	all := strings.Fields(string(text))
	slices.Sort(all)
	all = slices.Compact(all)
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			found = append(found, err.Error())
		}
		for _, leak := range leaks(body, all) {
			found = append(found, filepath.Base(f)+": "+leak)
		}
	}
	return len(files), len(all), found
}

// leaks lists the lines that show one of the secrets, or what looks like one whoever made it, cut short.
func leaks(body []byte, secrets []string) []string {
	shapes := []*regexp.Regexp{
		regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`),                 // a token, or its claims
		regexp.MustCompile(`(?i)bearer[ .+]+[A-Za-z0-9_-]{16,}`),                      // another kind of token
		regexp.MustCompile(`[a-z]{3,}://[^:/@\s"\\]*:[^@/\s"\\]+@`),                   // a password in a URL
		regexp.MustCompile(`(?i)password\\?["']?\s*[:=]\s*\\?["']?[^\s"'\\\[,;]{4,}`), // a password beside its name
		regexp.MustCompile(`PRIVATE KEY`),
	}
	var out []string
	for line := range bytes.Lines(body) {
		if bytes.HasPrefix(line, []byte("token ")) || bytes.HasPrefix(line, []byte("signed in ")) {
			continue // no line of a log: what `starling dev` tells whoever has started it
		}
		line := bytes.ReplaceAll(line, []byte("user:password@host"), nil) // how to write one
		hit := slices.ContainsFunc(shapes, func(r *regexp.Regexp) bool { return r.Match(line) }) ||
			slices.ContainsFunc(secrets, func(s string) bool { return bytes.Contains(line, []byte(s)) })
		if hit {
			out = append(out, strings.TrimSpace(string(line[:min(len(line), 300)])))
		}
	}
	return out
}

// keepSecrets remembers what no log may show. What is shorter than twelve characters is a name for tests, and stands in
// logs by chance.
func keepSecrets(values ...string) {
	f, err := os.OpenFile(filepath.Join(os.Getenv(keptLogs), "secrets"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return // searchKept then finds fewer: TestTheSearchForSecretsFindsThem sees that it works
	}
	defer func() { _ = f.Close() }()
	for _, v := range values {
		if strings.Count(v, ".") == 2 { // of a token its signature
			v = v[strings.LastIndexByte(v, '.')+1:]
		}
		if v = strings.TrimSpace(v); len(v) >= 12 && !strings.ContainsAny(v, " \n") {
			fmt.Fprintln(f, v)
		}
	}
}

// keepSettings remembers the secrets of a process's environment.
func keepSettings(env []string) {
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if name != "DATABASE_URL" && name != "REDIS_URL" {
			continue
		}
		if u, err := url.Parse(value); err == nil && u.User != nil {
			password, _ := u.User.Password()
			keepSecrets(password)
		}
	}
}

// keepLogs keeps the logs of a process's folder, which is about to be removed, and the secrets that lie there.
func keepLogs(t *testing.T, dir string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // what cannot be read is none of the process's logs
		}
		switch {
		case d.Name() == "password":
			if b, err := os.ReadFile(path); err == nil {
				keepSecrets(string(b))
			}
		case d.Name() == "dev-issuer.pem":
			if b, err := os.ReadFile(path); err == nil {
				keepSecrets(strings.Split(string(b), "\n")...)
			}
		case d.Name() == "output" || d.Name() == "starling.log" || strings.HasSuffix(d.Name(), ".jsonl"):
			keepLog(t, path)
		}
		return nil
	})
}

// keepLog keeps one log.
func keepLog(t *testing.T, path string) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		return // the process did not come so far
	}
	f, err := os.CreateTemp(os.Getenv(keptLogs), strings.NewReplacer("/", "-", "*", "-").Replace(t.Name())+"-*.log")
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := f.Write(body); err != nil {
		t.Error(err)
	}
	_ = f.Close()
}

func TestTheSearchForSecretsFindsThem(t *testing.T) {
	t.Parallel()
	secrets := []string{"0123456789abcdef-signature"}
	for _, line := range []string{
		`{"msg":"x","error":"cannot connect to postgres://starling:pw@db/starling"}`, `redis://:pw@127.0.0.1:1/0`,
		`{"header":"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl"}`, `Authorization: Bearer abcdefghijklmnopqrst`, `"sub":"bearer.abcdefghijklmnopqrst"`,
		`password=hunter22`, `{"password":"hunter22"}`, `{"error":"{\"password\": \"hunter22\"}"}`, `-----BEGIN EC PRIVATE KEY-----`,
		`{"x":"0123456789abcdef-signature"}`,
	} {
		if got := leaks([]byte("{}\n"+line+"\n"), secrets); len(got) != 1 {
			t.Errorf("%q: %q", line, got)
		}
	}
	for _, line := range []string{
		`{"url":"postgres://db/starling"}`, `{"token":"[redacted]"}`, `{"error":"password authentication failed for user \"starling\""}`,
		`{"path":"/api/v1/robots","trace_id":"0af7651916cd43dd8448eb211c80319c"}`, `{"error":"want metadata authorization: Bearer <token>"}`,
		`token      eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl`, `signed in  http://127.0.0.1:1/#token=eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl`,
		`{"time":"2026-01-01T00:00:00Z","addr":"127.0.0.1:80"}`, `DATABASE_URL: want a URL postgres://user:password@host:port/database`,
	} {
		if got := leaks([]byte(line), secrets); len(got) != 0 {
			t.Errorf("%q is taken for a secret", line)
		}
	}
}
