package chart

import (
	"bytes"
	"fmt"
	"html"
)

// Bars is a picture of groups of bars, such as ours and a peer's for each problem.
type Bars struct {
	Title, Y string
	Groups   []string
	Series   []Heights
	Marks    []Mark
}

// Heights are the bars of one colour, one for each group.
type Heights struct {
	Name string
	Of   []float64
}

// SVG renders the bars. The axis begins at zero.
func (c *Bars) SVG() []byte {
	var b bytes.Buffer
	most := 0.0
	for _, s := range c.Series {
		for _, v := range s.Of {
			most = max(most, v)
		}
	}
	for _, m := range c.Marks {
		most = max(most, m.Y)
	}
	if most <= 0 {
		most = 1
	}
	most *= 1.08
	y := func(v float64) float64 { return top + plotHeight - v/most*plotHeight }
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="%d" fill="#222">`+"\n", width, height, fontSize)
	fmt.Fprintf(&b, `<title>%s</title><rect width="%d" height="%d" fill="#fff"/>`+"\n", html.EscapeString(c.Title), width, height)
	text(&b, left, 24, "start", "font-size=\"15\" font-weight=\"600\"", c.Title)
	for v, d := 0.0, step(most); v <= most; v += d {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/>`+"\n", left, y(v), left+plotWidth)
		text(&b, left-8, y(v)+4, "end", "", number(v))
	}
	fmt.Fprintf(&b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", top+plotHeight/2, html.EscapeString(c.Y))
	group := float64(plotWidth) / float64(max(1, len(c.Groups)))
	bar := group * 0.8 / float64(max(1, len(c.Series)))
	for n, s := range c.Series {
		for i, v := range s.Of {
			x := left + group*float64(i) + group*0.1 + bar*float64(n)
			fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x+1, y(v), bar-2, y(0)-y(v), colour(n))
			text(&b, x+bar/2, y(v)-4, "middle", `font-size="11"`, number(v))
		}
		row := float64(top + 8 + n*legendRow)
		fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="12" height="12" fill="%s"/>`+"\n", left+plotWidth+14, row-6, colour(n))
		text(&b, left+plotWidth+34, row+4, "start", "", s.Name)
	}
	for i, g := range c.Groups {
		text(&b, left+group*(float64(i)+0.5), top+plotHeight+18, "middle", "", g)
	}
	for _, m := range c.Marks {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#888" stroke-dasharray="2 3"/>`+"\n", left, y(m.Y), left+plotWidth)
		text(&b, left+plotWidth+6, y(m.Y)+4, "start", `fill="#666"`, m.Name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
