package chart_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"

	"starling/bench/chart"
)

func TestBarsDrawEachHeight(t *testing.T) {
	t.Parallel()
	c := chart.Bars{
		Title: "a < b", Y: "tasks", Groups: []string{"one", "two"},
		Series: []chart.Heights{{Name: "ours", Of: []float64{10, 20}}, {Name: "theirs", Of: []float64{5, 0}}}, Marks: []chart.Mark{{Y: 8, Name: "aim"}},
	}
	svg := c.SVG()
	if n := bytes.Count(svg, []byte("<rect")); n != 1+4+2 { // the ground, the bars, the legend
		t.Errorf("%d rectangles", n)
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if empty := (&chart.Bars{}).SVG(); bytes.Contains(empty, []byte("NaN")) {
		t.Error("no bars make numbers that are none")
	}
}
