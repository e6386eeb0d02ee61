// Command worldmap makes the map of the page: pkg/web/assets/world.svg, an outline for each country by its code of
// ISO 3166-1, and a dot for each that is too small for one. It is made of Natural Earth's countries, which are in
// the public domain, in the form that the npm package world-atlas has them in (TopoJSON; its licence is ISC):
//
//	npm install --prefix DIR --ignore-scripts world-atlas@2.0.2
//	go run ./scripts/worldmap DIR/node_modules/world-atlas > pkg/web/assets/world.svg
//
// What it writes is drawn in the Equal Earth projection (Šavrič, Patterson and Jenny, 2018), in whole units, a
// thousand of them from west to east, without Antarctica.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/language"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: worldmap DIRECTORY-OF-WORLD-ATLAS")
		os.Exit(2)
	}
	if err := write(os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "worldmap:", err)
		os.Exit(1)
	}
}

// topology is what is used of a file of TopoJSON.
type topology struct {
	Transform struct{ Scale, Translate [2]float64 }
	Arcs      [][][2]float64
	Objects   struct {
		Countries struct {
			Geometries []struct {
				Type       string
				ID         string
				Arcs       json.RawMessage
				Properties struct{ Name string }
			}
		}
	}
}

// country is one of them, on the map.
type country struct {
	name  string
	rings [][]point
}

type point struct{ x, y float64 }

const (
	width = 1000
	// reach is how far x goes from the middle to the edge, top and bottom the latitudes that the map ends at.
	reach       = 2.7066299
	top, bottom = 83.7, -56.0
	// small is the area, in units of the map, below which a country is a dot.
	small = 4
)

var (
	scale  = width / (2 * reach)
	offset = equalEarth(0, top).y
	height = int(math.Ceil((offset - equalEarth(0, bottom).y) * scale))
)

// equalEarth is where a place is, in units of the globe's radius.
func equalEarth(lon, lat float64) point {
	const a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
	t := math.Asin(math.Sqrt(3) / 2 * math.Sin(lat*math.Pi/180))
	t2 := t * t
	t6 := t2 * t2 * t2
	x := 2 * math.Sqrt(3) * lon * math.Pi / 180 * math.Cos(t) / (3 * (9*a4*t6*t2 + 7*a3*t6 + 3*a2*t2 + a1))
	return point{x, t * (a4*t6*t2 + a3*t6 + a2*t2 + a1)}
}

// without are those that world-atlas has no code of.
var without = map[string]string{"Kosovo": "XK", "N. Cyprus": "CY", "Somaliland": "SO"}

func read(path string) (map[string]*country, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var t topology
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	arcs := make([][]point, len(t.Arcs))
	for i, a := range t.Arcs {
		var x, y float64 // each point is told from the one before it
		for _, d := range a {
			x, y = x+d[0], y+d[1]
			arcs[i] = append(arcs[i], point{x*t.Transform.Scale[0] + t.Transform.Translate[0], y*t.Transform.Scale[1] + t.Transform.Translate[1]})
		}
	}
	out := map[string]*country{}
	for _, g := range t.Objects.Countries.Geometries {
		code := without[g.Properties.Name]
		if n, err := strconv.Atoi(g.ID); err == nil {
			if r, err := language.EncodeM49(n); err == nil {
				code = r.String()
			}
		}
		if len(code) != 2 || code == "AQ" {
			continue // a reef, a base, Antarctica
		}
		var polygons [][][]int
		if g.Type == "Polygon" {
			polygons = make([][][]int, 1)
			err = json.Unmarshal(g.Arcs, &polygons[0])
		} else {
			err = json.Unmarshal(g.Arcs, &polygons)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, g.Properties.Name, err)
		}
		c := out[code]
		if c == nil {
			c = &country{name: g.Properties.Name}
			out[code] = c
		}
		for _, rings := range polygons {
			for _, ring := range rings {
				for _, part := range cut(join(arcs, ring)) {
					c.rings = append(c.rings, drawn(part))
				}
			}
		}
	}
	return out, nil
}

// join makes a ring of arcs; one below zero is ^arc, from its end.
func join(arcs [][]point, ring []int) (out []point) {
	for _, n := range ring {
		a := arcs[max(n, ^n)]
		if n < 0 {
			a = slices.Clone(a)
			slices.Reverse(a)
		}
		out = append(out, a...)
	}
	return slices.Compact(out)
}

// cut cuts a ring, in degrees, where it goes over the antimeridian: a part on the other side of it would be drawn from edge to
// edge.
func cut(ring []point) (parts [][]point) {
	whole := slices.Clone(ring)
	least, most := 180.0, -180.0
	for i := range whole {
		for i > 0 && whole[i].x-whole[i-1].x > 180 {
			whole[i].x -= 360
		}
		for i > 0 && whole[i].x-whole[i-1].x < -180 {
			whole[i].x += 360
		}
		least, most = min(least, whole[i].x), max(most, whole[i].x)
	}
	for shift := -360.0; shift <= 360; shift += 360 {
		if most+shift <= -180 || least+shift >= 180 {
			continue
		}
		part := make([]point, len(whole))
		for i, p := range whole {
			part[i] = point{p.x + shift, p.y}
		}
		part = half(half(part, -180, 1), 180, -1)
		if len(part) > 2 {
			parts = append(parts, part)
		}
	}
	return parts
}

// half is what of a ring is on one side of a meridian: east of it if side is 1, west if it is -1.
func half(ring []point, lon, side float64) (out []point) {
	for i, p := range ring {
		q := ring[(i+1)%len(ring)]
		in, next := (p.x-lon)*side >= 0, (q.x-lon)*side >= 0
		if in {
			out = append(out, p)
		}
		if in != next {
			out = append(out, point{lon, p.y + (q.y-p.y)*(lon-p.x)/(q.x-p.x)})
		}
	}
	return out
}

// drawn is a ring in units of the map.
func drawn(ring []point) (out []point) {
	for _, d := range ring {
		p := equalEarth(d.x, d.y)
		out = append(out, point{math.Round((p.x + reach) * scale), math.Round((offset - p.y) * scale)})
	}
	return slices.Compact(out)
}

// area is that of a ring, without its sign.
func area(ring []point) (sum float64) {
	for i, p := range ring {
		q := ring[(i+1)%len(ring)]
		sum += p.x*q.y - q.x*p.y
	}
	return math.Abs(sum) / 2
}

// path is what of a country is to be seen; empty: nothing.
func (c *country) path() string {
	var b strings.Builder
	var all float64
	for _, ring := range c.rings {
		a := area(ring)
		if all += a; a < 1 {
			continue
		}
		fmt.Fprintf(&b, "M%g %gl", ring[0].x, ring[0].y)
		for i := 1; i < len(ring) && ring[i] != ring[0]; i++ {
			for n, d := range []float64{ring[i].x - ring[i-1].x, ring[i].y - ring[i-1].y} {
				if d >= 0 && (i > 1 || n > 0) {
					b.WriteByte(' ')
				}
				fmt.Fprintf(&b, "%g", d)
			}
		}
		b.WriteByte('z')
	}
	if all < small {
		return ""
	}
	return b.String()
}

// middle is that of a country's largest ring.
func (c *country) middle() (p point) {
	ring := slices.MaxFunc(c.rings, func(a, b []point) int { return int(area(a) - area(b)) })
	for _, q := range ring {
		p.x, p.y = p.x+q.x, p.y+q.y
	}
	n := float64(len(ring))
	return point{math.Round(p.x / n), math.Round(p.y / n)}
}

func write(to io.Writer, dir string) error {
	large, err := read(filepath.Join(dir, "countries-110m.json"))
	if err != nil {
		return err
	}
	all, err := read(filepath.Join(dir, "countries-50m.json"))
	if err != nil {
		return err
	}
	var codes []string
	for code := range all {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	w := bufio.NewWriter(to)
	fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\">\n<!-- Natural Earth's countries (public domain), by scripts/worldmap. -->\n<g id=\"land\">\n", width, height)
	var dots []string
	for _, code := range codes {
		c := large[code]
		if c == nil {
			dots = append(dots, code)
			continue
		}
		if d := c.path(); d != "" {
			fmt.Fprintf(w, "<path id=%q d=%q/>\n", code, d)
		} else {
			dots = append(dots, code)
		}
	}
	fmt.Fprint(w, "</g>\n<defs>\n")
	for _, code := range dots {
		p := all[code].middle()
		fmt.Fprintf(w, "<circle id=%q cx=\"%g\" cy=\"%g\" r=\"4\"/>\n", code, p.x, p.y)
	}
	fmt.Fprint(w, "</defs>\n</svg>\n")
	return w.Flush()
}
