// Package chart draws line charts as SVG for the documents: axes, a legend, one line for each series. Nothing else, and no
// dependency; the same figures give the same bytes.
package chart

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strconv"
)

// Chart is one picture.
type Chart struct {
	Title, X, Y string // of the picture and its axes
	Series      []Series
	Bands       []Band // behind the lines
	Marks       []Mark
}

// Series is one line; its points are drawn in the order given.
type Series struct {
	Name   string
	Points []Point
	Dashed bool
}

// Point is in units of the axes.
type Point struct{ X, Y float64 }

// Band shades the picture between two values of X.
type Band struct {
	From, To float64
	Name     string
}

// Mark is a horizontal line, such as an aim.
type Mark struct {
	Y    float64
	Name string
}

// The picture's measures, in pixels.
const (
	width, height                          = 760, 440
	left, right, top, bottom               = 64, 190, 44, 52
	plotWidth, plotHeight                  = width - left - right, height - top - bottom
	fontSize, legendRow, tickLength, ticks = 12, 20, 4, 6
)

// colour is of the n-th series: colours that are told apart in every kind of sight (Okabe and Ito 2008).
func colour(n int) string {
	colours := [...]string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"}
	return colours[n%len(colours)]
}

// SVG renders the chart. Axes begin at zero.
func (c *Chart) SVG() []byte {
	var b bytes.Buffer
	maxX, maxY := c.extent()
	stepX, stepY := step(maxX), step(maxY)
	maxX, maxY = math.Ceil(maxX/stepX)*stepX, math.Ceil(maxY/stepY)*stepY
	x := func(v float64) float64 { return left + v/maxX*plotWidth }
	y := func(v float64) float64 { return top + plotHeight - v/maxY*plotHeight }
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="%d" fill="#222">`+"\n", width, height, fontSize)
	fmt.Fprintf(&b, `<title>%s</title><rect width="%d" height="%d" fill="#fff"/>`+"\n", html.EscapeString(c.Title), width, height)
	text(&b, left, 24, "start", "font-size=\"15\" font-weight=\"600\"", c.Title)
	for _, d := range c.Bands {
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#eee"/>`+"\n", x(d.From), top, x(d.To)-x(d.From), plotHeight)
		text(&b, x(d.From)+4, top+14, "start", `fill="#666"`, d.Name)
	}
	for v := 0.0; v <= maxY+stepY/2; v += stepY {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/>`+"\n", left, y(v), left+plotWidth)
		text(&b, left-8, y(v)+4, "end", "", number(v))
	}
	for v := 0.0; v <= maxX+stepX/2; v += stepX {
		fmt.Fprintf(&b, `<path d="M%.1f %dv%d" stroke="#666"/>`+"\n", x(v), top+plotHeight, tickLength)
		text(&b, x(v), top+plotHeight+18, "middle", "", number(v))
	}
	fmt.Fprintf(&b, `<path d="M%d %dV%dH%d" fill="none" stroke="#666"/>`+"\n", left, top, top+plotHeight, left+plotWidth)
	text(&b, left+plotWidth/2, height-12, "middle", "", c.X)
	fmt.Fprintf(&b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", top+plotHeight/2, html.EscapeString(c.Y))
	for _, m := range c.Marks {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#888" stroke-dasharray="2 3"/>`+"\n", left, y(m.Y), left+plotWidth)
		text(&b, left+plotWidth+6, y(m.Y)+4, "start", `fill="#666"`, m.Name)
	}
	for n := range c.Series {
		c.Series[n].draw(&b, n, x, y)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (s *Series) draw(b *bytes.Buffer, n int, x, y func(float64) float64) {
	dash := ""
	if s.Dashed {
		dash = ` stroke-dasharray="6 4"`
	}
	fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="2"%s points="`, colour(n), dash)
	for i, p := range s.Points {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(b, "%.1f,%.1f", x(p.X), y(p.Y))
	}
	b.WriteString("\"/>\n")
	for _, p := range s.Points {
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"/>`+"\n", x(p.X), y(p.Y), colour(n))
	}
	row := float64(top + 8 + n*legendRow)
	fmt.Fprintf(b, `<path d="M%d %.1fh18" stroke="%s" stroke-width="2"%s/>`+"\n", left+plotWidth+14, row, colour(n), dash)
	text(b, left+plotWidth+38, row+4, "start", "", s.Name)
}

func (c *Chart) extent() (maxX, maxY float64) {
	for i := range c.Series {
		for _, p := range c.Series[i].Points {
			maxX, maxY = max(maxX, p.X), max(maxY, p.Y)
		}
	}
	for _, m := range c.Marks {
		maxY = max(maxY, m.Y)
	}
	if maxX <= 0 {
		maxX = 1
	}
	if maxY <= 0 {
		maxY = 1
	}
	return maxX, maxY
}

// step is a round distance of ticks: 1, 2 or 5 times a power of ten.
func step(most float64) float64 {
	raw := most / ticks
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range [...]float64{1, 2, 5} {
		if raw <= m*power {
			return m * power
		}
	}
	return 10 * power
}

func text(b *bytes.Buffer, x, y float64, anchor, style, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, style, html.EscapeString(s))
}

func number(v float64) string { return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64) }
