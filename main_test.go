package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestExitCodesAndWhereTheTextGoes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args           []string
		want           int
		stdout, stderr string // a part of it; "" = nothing at all
	}{
		"no command prints help":        {nil, exitDone, "Available Commands", ""},
		"help":                          {[]string{"--help"}, exitDone, "Available Commands", ""},
		"help of a command":             {[]string{"version", "--help"}, exitDone, "Print the version", ""},
		"version":                       {[]string{"version"}, exitDone, "starling ", ""},
		"version as a flag":             {[]string{"--version"}, exitDone, "starling version ", ""},
		"a command that fails":          {[]string{"fail"}, exitFailed, "", "the disk is full"},
		"a command that is done":        {[]string{"ok", "--need", "x"}, exitDone, "", ""},
		"an unknown command":            {[]string{"serv"}, exitUsage, "", "unknown command"},
		"an unknown flag":               {[]string{"version", "--nope"}, exitUsage, "", "unknown flag"},
		"an argument too many":          {[]string{"version", "x"}, exitUsage, "", "unknown command"},
		"a required flag left out":      {[]string{"ok"}, exitUsage, "", "required flag"},
		"usage found by the command":    {[]string{"usage"}, exitUsage, "", "want up or down"},
		"an unknown command of a group": {[]string{"group", "nope"}, exitUsage, "", "starling group: want one of its commands: sub"},
		"a group alone":                 {[]string{"group"}, exitUsage, "", "starling group: want one of its commands: sub"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), test.args, &stdout, &stderr, append(commands(), testCommands()...)...)
			if code != test.want {
				t.Errorf("exit code %d, want %d", code, test.want)
			}
			for _, out := range []struct{ name, got, want string }{{"stdout", stdout.String(), test.stdout}, {"stderr", stderr.String(), test.stderr}} {
				if !strings.Contains(out.got, out.want) || out.want == "" && out.got != "" {
					t.Errorf("%s = %q, want %q in it", out.name, out.got, out.want)
				}
			}
		})
	}
}

func testCommands() []*cobra.Command {
	ok := &cobra.Command{Use: "ok", RunE: func(*cobra.Command, []string) error { return nil }}
	ok.Flags().String("need", "", "")
	if err := ok.MarkFlagRequired("need"); err != nil {
		panic(err)
	}
	group := &cobra.Command{Use: "group"}
	group.AddCommand(&cobra.Command{Use: "sub", RunE: func(*cobra.Command, []string) error { return nil }})
	return []*cobra.Command{
		ok,
		group,
		{Use: "fail", RunE: func(*cobra.Command, []string) error { return errors.New("the disk is full") }},
		{Use: "usage", RunE: func(*cobra.Command, []string) error { return usageError{errors.New("want up or down")} }},
	}
}
