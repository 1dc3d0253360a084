package stack

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// InfluxVersion is what influx/go.mod.txt names.
	InfluxVersion = "2.7.12"

	fluxModule = "github.com/influxdata/flux@v0.196.1" // of that version of InfluxDB
	fluxSum    = "h1:RZypfrrAZeIixD/2As+qoyrwfs6Gx7VcnTRNGNjBfUA="
	influxd    = "influxd"
	oldestGo   = "1.26" // influx/go.mod.txt
	oldestRust = "1.72" // Flux's Cargo.toml
	influxTags = "sqlite_foreign_keys,sqlite_json"
	// Building gives way to what else the machine does.
	buildNiceness = "10"
)

// ErrNoInflux says what is missing to build InfluxDB; the text around it says what to install.
var ErrNoInflux = errors.New("InfluxDB cannot be built")

// What our build adds to the sources of InfluxDB: see influx/README.md.
//
//go:embed influx
var influxFiles embed.FS

// influxPlaces says where the files of influx/ go in the folder of the build; those of Flux replace a whole package.
func influxPlaces() map[string]string {
	return map[string]string{
		"go.mod.txt":        "tool/go.mod",
		"go.sum.txt":        "tool/go.sum",
		"main.go.txt":       "tool/main.go",
		"jsonnet.mod.txt":   "jsonnet/go.mod",
		"jsonnet.go.txt":    "jsonnet/jsonnet.go",
		"sql.go.txt":        "flux/stdlib/sql/sql.go",
		"from_table.go.txt": "flux/stdlib/experimental/bigtable/from.go",
		"bigtable.go.txt":   "flux/dependencies/bigtable/bigtable.go",
	}
}

// findInflux returns the program as the cache holds it, and builds it first where it does not.
func findInflux(ctx context.Context, log *slog.Logger) (string, error) {
	recipe := bytes.NewBufferString(InfluxVersion + fluxModule + influxTags + strings.Join(libraryProfile(), " "))
	for _, name := range slices.Sorted(maps.Keys(influxPlaces())) {
		b, err := influxFiles.ReadFile("influx/" + name)
		if err != nil {
			return "", fmt.Errorf("build InfluxDB: %w", err)
		}
		recipe.Write(b)
	}
	dir, err := cached(ctx, "influxd-"+InfluxVersion, recipe.Bytes(), func(ctx context.Context, fresh string) error {
		b, err := newInfluxBuild(ctx, filepath.Join(fresh, "work"), log)
		if err != nil {
			return err
		}
		log.LogAttrs(ctx, slog.LevelInfo, "building InfluxDB (once; minutes)", slog.String("version", InfluxVersion))
		if err := b.make(ctx, filepath.Join(fresh, influxd)); err != nil {
			return fmt.Errorf("build InfluxDB %s: %w", InfluxVersion, err)
		}
		return os.RemoveAll(b.dir)
	})
	return filepath.Join(dir, influxd), err
}

// influxBuild is one build of InfluxDB from its Go module and from the Rust sources in Flux's.
type influxBuild struct {
	dir    string
	goTool string
	cargo  cargo
	log    *slog.Logger
}

func newInfluxBuild(ctx context.Context, dir string, log *slog.Logger) (*influxBuild, error) {
	b := &influxBuild{dir: dir, log: log}
	var err error
	if b.goTool, err = exec.LookPath("go"); err != nil {
		return nil, fmt.Errorf("%w: no Go found; install Go %s or newer (https://go.dev/dl)", ErrNoInflux, oldestGo)
	}
	if b.cargo, err = findCargo(ctx); err != nil {
		return nil, err
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		return nil, fmt.Errorf("%w: no C compiler found; install gcc (Debian: `apt-get install gcc libc6-dev`)", ErrNoInflux)
	}
	return b, nil
}

func (b *influxBuild) path(name string) string { return filepath.Join(b.dir, filepath.FromSlash(name)) }

// make lays the sources out, builds Flux's library with cargo while Go fetches its modules, and links the program.
func (b *influxBuild) make(ctx context.Context, out string) error {
	if err := b.layOut(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fetched := make(chan error, 1)
	go func() { fetched <- b.goRun(ctx, "list", "-deps", "-tags", influxTags, ".") }() // ends with ctx
	err := b.library(ctx)
	if err != nil {
		cancel()
	}
	if err := errors.Join(err, <-fetched); err != nil {
		return err
	}
	b.log.LogAttrs(ctx, slog.LevelInfo, "its Rust half is built")
	return b.goRun(ctx, "build", "-tags", influxTags, "-ldflags", "-s -w -X main.version=v"+InfluxVersion, "-o", out, ".")
}

func (b *influxBuild) layOut(ctx context.Context) error {
	get := exec.CommandContext(ctx, b.goTool, "mod", "download", "-json", fluxModule)
	get.Dir, get.Env = "/", append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GO111MODULE=on")
	answer, err := get.Output()
	var module struct{ Dir, Sum, Error string }
	if err := errors.Join(err, json.Unmarshal(answer, &module)); err != nil || module.Sum != fluxSum {
		return fmt.Errorf("get %s: %w", fluxModule, errors.Join(err, fmt.Errorf("its checksum is %q, want %q: %s", module.Sum, fluxSum, module.Error)))
	}
	if err := os.MkdirAll(b.dir, privateFolder); err != nil {
		return err
	}
	// The module's files are read-only, and stay so in a copy of os.CopyFS.
	if err := said(exec.CommandContext(ctx, "cp", "-R", module.Dir, b.path("flux"))); err != nil {
		return fmt.Errorf("copy Flux: %w", err)
	}
	if err := said(exec.CommandContext(ctx, "chmod", "-R", "u+w", b.path("flux"))); err != nil {
		return fmt.Errorf("copy Flux: %w", err)
	}
	// They name an old compiler that would be fetched; any newer one will do.
	for _, name := range []string{"flux/rust-toolchain.toml", "flux/rust-toolchain"} {
		if err := os.RemoveAll(b.path(name)); err != nil {
			return err
		}
	}
	return b.replace()
}

// replace puts the files of influx/ in their places.
func (b *influxBuild) replace() error {
	for name, place := range influxPlaces() {
		content, err := influxFiles.ReadFile("influx/" + name)
		if err != nil {
			return err
		}
		dir := filepath.Dir(b.path(place))
		if strings.HasPrefix(place, "flux/") {
			old, err := filepath.Glob(filepath.Join(dir, "*.go"))
			if err != nil || len(old) == 0 {
				return fmt.Errorf("nothing to replace in %s: %w", dir, err)
			}
			for _, file := range old {
				if err := os.Remove(file); err != nil {
					return err
				}
			}
		}
		if err := errors.Join(os.MkdirAll(dir, privateFolder), os.WriteFile(b.path(place), content, 0o600)); err != nil {
			return err
		}
	}
	// What cgo asks for the flags of the library: no pkg-config has to be installed.
	const script = `#!/bin/sh
for arg in "$@"; do
	case $arg in
	--cflags) echo "-I$FLUX_DIR/libflux/include" ;;
	--libs) echo "-L$FLUX_DIR/libflux/target/release -lflux -ldl -lm -lpthread" ;;
	esac
done
`
	return os.WriteFile(b.path("pkg-config"), []byte(script), 0o700)
}

// libraryProfile are cargo's settings. Not to optimise costs a query 1 ms and saves 100 of 150 CPU-seconds. The settings
// for what runs during the build are the same, so that Flux's core is compiled once for both.
func libraryProfile() []string {
	return []string{
		"RUSTFLAGS=--cap-lints allow", "CARGO_INCREMENTAL=0", "CARGO_PROFILE_RELEASE_LTO=off", "CARGO_PROFILE_RELEASE_DEBUG=0",
		"CARGO_PROFILE_RELEASE_OPT_LEVEL=0", "CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_OPT_LEVEL=0",
		"CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16", "CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_CODEGEN_UNITS=16",
	}
}

// library builds libflux.a.
func (b *influxBuild) library(ctx context.Context) error {
	cmd := b.command(ctx, b.cargo.path, "rustc", "--release", "--locked", "--quiet", "-p", "flux", "--lib", "--crate-type", "staticlib")
	cmd.Dir = b.path("flux/libflux")
	cmd.Env = append(append(b.cargo.environ(), "CARGO_TARGET_DIR="+b.path("flux/libflux/target"), "RUST_BACKTRACE=0"), libraryProfile()...)
	if err := said(cmd); err != nil {
		return fmt.Errorf("build libflux: %w", err)
	}
	return nil
}

func (b *influxBuild) goRun(ctx context.Context, args ...string) error {
	cmd := b.command(ctx, b.goTool, args...)
	cmd.Dir = b.path("tool")
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off", "GO111MODULE=on", "CGO_ENABLED=1", "CGO_CFLAGS=-O1 -g0",
		"PKG_CONFIG="+b.path("pkg-config"), "FLUX_DIR="+b.path("flux"))
	if err := said(cmd); err != nil {
		return fmt.Errorf("go %s: %w", args[0], err)
	}
	return nil
}

func (b *influxBuild) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if nice, err := exec.LookPath("nice"); err == nil {
		program, args = nice, append([]string{"-n", buildNiceness, program}, args...)
	}
	return exec.CommandContext(ctx, program, args...)
}

// EnsureInflux makes InfluxDB ready to start: it builds it where the cache does not hold it, with Go, cargo and gcc,
// which it installs where it is missing and the caller is root on a system with apt-get. Else what is missing is
// ErrNoInflux with what to install.
func EnsureInflux(ctx context.Context, w io.Writer) error {
	log := slog.New(slog.NewTextHandler(w, nil))
	_, err := findInflux(ctx, log)
	if !errors.Is(err, ErrNoInflux) || !canInstall() {
		return err
	}
	if err := install(ctx, w, "gcc", "libc6-dev"); err != nil {
		return err
	}
	_, err = findInflux(ctx, log)
	return err
}
