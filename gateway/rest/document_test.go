package rest

import (
	"bytes"
	"flag"
	"log/slog"
	"os"
	"testing"
)

//go:generate go test -count=1 -run ^TestTheCommittedDocumentIsWhatTheAPIServes$ . -update

var update = flag.Bool("update", false, "rewrite openapi.yaml")

// document is the OpenAPI document of a door with every operation.
func document(t *testing.T) []byte {
	t.Helper()
	_, api := build(Options{Log: slog.New(slog.DiscardHandler)})
	doc, err := api.OpenAPI().YAML()
	if err != nil {
		t.Fatalf("write the document: %v", err)
	}
	return doc
}

func TestTheCommittedDocumentIsWhatTheAPIServes(t *testing.T) {
	t.Parallel()
	doc := document(t)
	if *update {
		if err := os.WriteFile("openapi.yaml", doc, 0o644); err != nil { //nolint:gosec // a committed document
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, doc) {
		t.Fatal("openapi.yaml differs from the API: run go generate ./gateway/rest")
	}
}
