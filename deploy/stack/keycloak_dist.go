package stack

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed" // the realm
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// KeycloakVersion is the one that is fetched.
	KeycloakVersion = "26.7.3"

	keycloakSHA256 = "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47"
	keycloakFile   = "keycloak-quarkus-dist-" + KeycloakVersion + ".tar.gz"
	keptTemplates  = 8
	templateData   = "h2"
	templateAdmin  = "admin-password"
)

//go:embed realm/starling-realm.json
var realmJSON []byte

// distribution is Keycloak, unpacked and built for our settings, in a cache outside the checkout.
type distribution struct {
	java  string
	dir   string
	cache string
}

// findDistribution returns Keycloak as the cache holds it, and gets it first where it does not.
func findDistribution(ctx context.Context, log *slog.Logger) (distribution, error) {
	java, err := findJava(ctx)
	if err != nil {
		return distribution{}, err
	}
	cache, err := cacheDir()
	if err != nil {
		return distribution{}, err
	}
	d := distribution{java: java, dir: filepath.Join(cache, "keycloak-"+KeycloakVersion), cache: cache}
	if d.built() {
		return d, nil
	}
	unlock, err := lockCache(cache, "keycloak")
	if err != nil {
		return distribution{}, err
	}
	defer unlock()
	if d.built() { // another process made it meanwhile
		return d, nil
	}
	return d, d.get(ctx, log)
}

func (d distribution) built() bool {
	_, err := os.Stat(filepath.Join(d.dir, "lib", "quarkus", "build-system.properties"))
	return err == nil
}

// get fetches, checks, unpacks and builds into a folder beside the final one and renames it.
func (d distribution) get(ctx context.Context, log *slog.Logger) error {
	maven, err := findMaven()
	if err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(d.cache, "keycloak-new-")
	if err != nil {
		return fmt.Errorf("make a folder for Keycloak: %w", err)
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	log.LogAttrs(ctx, slog.LevelInfo, "getting Keycloak (once)", slog.String("version", KeycloakVersion), slog.String("dir", d.dir))
	if err := said(exec.CommandContext(ctx, maven, "-q", "-B", "-ntp", "dependency:copy",
		"-Dartifact=org.keycloak:keycloak-quarkus-dist:"+KeycloakVersion+":tar.gz", "-DoutputDirectory="+fresh)); err != nil {
		return fmt.Errorf("get Keycloak %s from Maven Central: %w", KeycloakVersion, err)
	}
	archive := filepath.Join(fresh, keycloakFile)
	if err := checkSum(archive, keycloakSHA256); err != nil {
		return err
	}
	if err := said(exec.CommandContext(ctx, "tar", "-xzf", archive, "-C", fresh)); err != nil {
		return fmt.Errorf("unpack Keycloak: %w", err)
	}
	home := filepath.Join(fresh, "keycloak-"+KeycloakVersion)
	build := exec.CommandContext(ctx, filepath.Join(home, "bin", "kc.sh"), "build", "--db=dev-file", "--health-enabled=true", "--metrics-enabled=true")
	build.Env = append(os.Environ(), "JAVA="+d.java)
	if err := said(build); err != nil {
		return fmt.Errorf("build Keycloak: %w", err)
	}
	if err := errors.Join(os.RemoveAll(d.dir), os.Rename(home, d.dir)); err != nil {
		return fmt.Errorf("keep Keycloak: %w", err)
	}
	return nil
}

// template returns a folder with the database of a Keycloak that has our realm, made once per realm: a copy of it
// starts three times as fast as an import. Its administrator's password is in it.
func (d distribution) template(ctx context.Context, log *slog.Logger) (string, error) {
	sum := sha256.Sum256(realmJSON)
	dir := d.dir + "-realm-" + hex.EncodeToString(sum[:8])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	unlock, err := lockCache(d.cache, "keycloak")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	log.LogAttrs(ctx, slog.LevelInfo, "importing the realm (once)", slog.String("dir", dir))
	if err := d.makeTemplate(ctx, dir, log); err != nil {
		return "", fmt.Errorf("import the realm: %w", err)
	}
	return dir, d.prune()
}

// makeTemplate runs a Keycloak that imports the realm, and keeps its database.
func (d distribution) makeTemplate(ctx context.Context, dir string, log *slog.Logger) (err error) {
	fresh, err := os.MkdirTemp(d.cache, "realm-new-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	k, err := newKeycloak(ctx, d, KeycloakOptions{Dir: fresh, Guarded: true, Log: log})
	if err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	defer func() { err = errors.Join(err, k.Remove()) }()
	password, folder, kept := rand.Text(), k.path("data/import"), k.path("kept")
	if err := errors.Join(
		os.MkdirAll(folder, privateFolder), os.WriteFile(filepath.Join(folder, "starling-realm.json"), realmJSON, 0o600),
		os.Mkdir(kept, privateFolder), os.WriteFile(filepath.Join(kept, templateAdmin), []byte(password), 0o600),
	); err != nil {
		return err
	}
	env := []string{"KC_BOOTSTRAP_ADMIN_USERNAME=" + keycloakAdmin, "KC_BOOTSTRAP_ADMIN_PASSWORD=" + password}
	if err := k.run(ctx, env, "--import-realm"); err != nil {
		return err
	}
	if err := k.Stop(); err != nil { // in order, so that the database is whole
		return err
	}
	return errors.Join(os.Rename(k.path("data/"+templateData), filepath.Join(kept, templateData)), os.Rename(kept, dir))
}

// prune keeps the newest templates: each change of the realm makes one.
func (d distribution) prune() error {
	all, err := filepath.Glob(d.dir + "-realm-*")
	if err != nil {
		return fmt.Errorf("look for old realms: %w", err)
	}
	age := func(dir string) time.Time {
		info, err := os.Stat(dir)
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(age(b).Compare(age(a)), strings.Compare(a, b)) })
	for _, dir := range all[min(len(all), keptTemplates):] {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove an old realm: %w", err)
		}
	}
	return nil
}

// EnsureKeycloak makes Keycloak ready to start: it installs Java and Maven where they are missing and the caller is
// root on a system with apt-get, gets Keycloak from Maven Central, builds it and imports the realm, each once. Else
// what is missing is ErrNoJava with what to install.
func EnsureKeycloak(ctx context.Context, w io.Writer) error {
	log := slog.New(slog.NewTextHandler(w, nil))
	return withJava(ctx, w, func() error {
		d, err := findDistribution(ctx, log)
		if err != nil {
			return err
		}
		_, err = d.template(ctx, log)
		return err
	})
}
