package metrics

import (
	"math"
	"strconv"
	"strings"
)

// TextType is the Content-Type of Text.
const TextType = "text/plain; version=0.0.4; charset=utf-8"

// Text appends the page in Prometheus' text form. Families without a sample are left out.
func (p *Page) Text(b []byte) []byte {
	for i, f := range Families {
		list := p.samples[i]
		if len(list) == 0 {
			continue
		}
		b = append(append(append(append(b, "# HELP "...), f.Name...), ' '), escapeHelp.Replace(f.Help)...)
		b = append(append(append(append(append(b, "\n# TYPE "...), f.Name...), ' '), f.Type.String()...), '\n')
		for _, s := range list {
			if s.State != nil {
				b = textHistogram(b, f, &s)
				continue
			}
			b = appendSeries(b, f.Name, "", f.Labels, s.Values, "")
			b = append(appendFloat(append(b, ' '), s.Number), '\n')
		}
	}
	return b
}

func textHistogram(b []byte, f *Family, s *Sample) []byte {
	sum := uint64(0)
	for i, bound := range Bounds {
		sum += s.State.Fixed[i]
		b = appendSeries(b, f.Name, "_bucket", f.Labels, s.Values, strconv.FormatFloat(bound, 'g', -1, 64))
		b = append(strconv.AppendUint(append(b, ' '), sum, 10), '\n')
	}
	b = appendSeries(b, f.Name, "_bucket", f.Labels, s.Values, "+Inf")
	b = append(strconv.AppendUint(append(b, ' '), s.State.Count, 10), '\n')
	b = appendSeries(b, f.Name, "_sum", f.Labels, s.Values, "")
	b = append(appendFloat(append(b, ' '), s.State.Sum), '\n')
	b = appendSeries(b, f.Name, "_count", f.Labels, s.Values, "")
	return append(strconv.AppendUint(append(b, ' '), s.State.Count, 10), '\n')
}

// appendSeries appends a name with its labels, and le where it is not empty.
func appendSeries(b []byte, name, suffix string, labels, values []string, le string) []byte {
	b = append(append(b, name...), suffix...)
	if len(labels) == 0 && le == "" {
		return b
	}
	sep := byte('{')
	for i, l := range labels {
		b = append(append(append(b, sep), l...), '=', '"')
		b = append(append(b, escapeValue.Replace(values[i])...), '"')
		sep = ','
	}
	if le != "" {
		b = append(append(append(append(b, sep), `le="`...), le...), '"')
	}
	return append(b, '}')
}

func appendFloat(b []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case math.IsInf(v, -1):
		return append(b, "-Inf"...)
	case math.IsNaN(v):
		return append(b, "NaN"...)
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeValue = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)
