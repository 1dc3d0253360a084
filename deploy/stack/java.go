package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

const (
	oldestJava   = 17
	javaPackages = "default-jre-headless maven"
)

// ErrNoJava says that Java or Maven is missing, so that Kafka and Keycloak cannot be had; the text says what to install.
var ErrNoJava = errors.New("no Java with Maven can be used")

var javaMajor = regexp.MustCompile(`version "(\d+)`)

// findJava looks at JAVA_HOME, PATH and Debian's folders.
func findJava(ctx context.Context) (string, error) {
	var all []string
	if home := os.Getenv("JAVA_HOME"); home != "" {
		all = append(all, filepath.Join(home, "bin", "java"))
	}
	if path, err := exec.LookPath("java"); err == nil {
		all = append(all, path)
	}
	found, err := filepath.Glob("/usr/lib/jvm/*/bin/java")
	if err != nil {
		return "", fmt.Errorf("look for Java: %w", err)
	}
	for _, java := range append(all, found...) {
		out, err := exec.CommandContext(ctx, java, "-version").CombinedOutput()
		m := javaMajor.FindSubmatch(out)
		if err != nil || m == nil {
			continue
		}
		if major, err := strconv.Atoi(string(m[1])); err == nil && major >= oldestJava {
			return java, nil
		}
	}
	return "", missingJava("no Java " + strconv.Itoa(oldestJava) + " or newer found")
}

func findMaven() (string, error) {
	maven, err := exec.LookPath("mvn")
	if err != nil {
		return "", missingJava("no Maven found")
	}
	return maven, nil
}

func missingJava(what string) error {
	return fmt.Errorf("%w: %s; install Java %d or newer and Maven (Debian: `apt-get install %s`)", ErrNoJava, what, oldestJava, javaPackages)
}

// withJava calls get and, where Java or Maven is missing and the caller is root on a system with apt-get, installs them
// and calls it again.
func withJava(ctx context.Context, w io.Writer, get func() error) error {
	err := get()
	if !errors.Is(err, ErrNoJava) || !canInstall() {
		return err
	}
	if err := install(ctx, w, strings.Fields(javaPackages)...); err != nil {
		return err
	}
	return get()
}
