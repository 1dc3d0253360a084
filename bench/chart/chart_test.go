package chart_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"starling/bench/chart"
)

func TestAChartIsXMLWithEveryPointInsideThePicture(t *testing.T) {
	t.Parallel()
	c := chart.Chart{
		Title: "Flow & <density>", X: "robots", Y: "tasks",
		Series: []chart.Series{{Name: "a", Points: []chart.Point{{X: 0, Y: 0}, {X: 655, Y: 2.1}}}, {Name: "b", Dashed: true, Points: []chart.Point{{X: 100, Y: 1}}}},
		Bands:  []chart.Band{{From: 100, To: 200, Name: "x"}}, Marks: []chart.Mark{{Y: 1.9, Name: "aim"}},
	}
	svg := string(c.SVG())
	d := xml.NewDecoder(strings.NewReader(svg))
	lines := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, svg)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != 2 {
		t.Errorf("%d lines, want 2", lines)
	}
	// The last point of a: 655 of 800 on an axis of 506 pixels from 64 on, 2.1 of 2.5 on one of 344 up from 388.
	if want := `cx="478.3" cy="99.0"`; !strings.Contains(svg, want) {
		t.Errorf("no point at %s:\n%s", want, svg)
	}
	if again := string(c.SVG()); again != svg {
		t.Error("the same figures gave other bytes")
	}
}

func TestAnEmptyChartIsDrawn(t *testing.T) {
	t.Parallel()
	if svg := string((&chart.Chart{}).SVG()); strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Error(svg)
	}
}
