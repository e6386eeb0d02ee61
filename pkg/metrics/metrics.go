// Package metrics tells numbers to Prometheus: what metrics there are, as a table ([Families]), a
// page of samples of them ([Page]), and the two forms in which a page is sent: text, and the
// protocol buffers that alone can hold native histograms.
//
//	p := metrics.NewPage()
//	p.Add(metrics.JailUp, 1, "sshd")
//	text := p.Text(nil)
//
// It keeps no registry, and nothing here waits: whoever has a number keeps it as an atomic or a
// [Histogram], and a page is made when somebody asks for it. Prometheus' own library does the same
// and much more, for 3.5 MB of program and 150 KB of memory; tests
// compare with it what is written here, and check every name by its rules.
package metrics

import (
	"strings"
	"unicode/utf8"
)

// Type is what kind of number a metric is.
type Type uint8

// The numbers are those of Prometheus' protocol.
const (
	Counter        Type = 0
	Gauge          Type = 1
	HistogramType  Type = 4
	labelValueMost      = 256 // bytes
)

func (t Type) String() string {
	switch t {
	case Counter:
		return "counter"
	case Gauge:
		return "gauge"
	}
	return "histogram"
}

// Family is a metric: all samples of one name.
type Family struct {
	Name string
	Type Type
	Help string
	// Labels are the names of its labels. Values come from the configuration, or are of a list
	// that is bounded: never from what a client sends.
	Labels []string
	at     int // in Families
}

// Sample is one number of a family.
type Sample struct {
	Values []string // of the labels
	Number float64
	State  *State // of a histogram
}

// Page is what one answer tells. It belongs to one goroutine.
type Page struct {
	samples [][]Sample // by the place of the family
	values  []string   // of which the samples' are parts
}

// NewPage makes an empty one.
func NewPage() *Page { return &Page{samples: make([][]Sample, len(Families))} }

// Add tells a number. There are as many values as the family has labels.
func (p *Page) Add(f *Family, number float64, values ...string) {
	p.add(f, Sample{Number: number}, values)
}

// AddHistogram tells what a histogram has seen.
func (p *Page) AddHistogram(f *Family, s State, values ...string) {
	p.add(f, Sample{State: &s}, values)
}

func (p *Page) add(f *Family, s Sample, values []string) {
	if len(values) != len(f.Labels) {
		panic("metrics: " + f.Name + " has other labels")
	}
	begin := len(p.values)
	for _, v := range values {
		p.values = append(p.values, clean(v))
	}
	s.Values = p.values[begin:len(p.values):len(p.values)]
	p.samples[f.at] = append(p.samples[f.at], s)
}

// Merge adds what stands on another page. Samples that both have are told twice: no family is of
// two parts of a daemon.
func (p *Page) Merge(o *Page) {
	for i, list := range o.samples {
		p.samples[i] = append(p.samples[i], list...)
	}
}

// Samples returns those of a family.
func (p *Page) Samples(f *Family) []Sample { return p.samples[f.at] }

// Len is how many series there are; a histogram counts as one.
func (p *Page) Len() (n int) {
	for _, list := range p.samples {
		n += len(list)
	}
	return n
}

// Cut leaves at most so many samples of each family, and returns how many were left out.
func (p *Page) Cut(most int) (left int) {
	for i, list := range p.samples {
		if len(list) > most {
			left += len(list) - most
			p.samples[i] = list[:most]
		}
	}
	return left
}

// clean is a label's value as Prometheus takes it.
func clean(v string) string {
	if len(v) > labelValueMost {
		for v = v[:labelValueMost]; len(v) > 0 && !utf8.ValidString(v[max(0, len(v)-utf8.UTFMax):]) && !utf8.RuneStart(v[len(v)-1]); {
			v = v[:len(v)-1]
		}
	}
	if utf8.ValidString(v) {
		return v
	}
	return strings.ToValidUTF8(v, "\uFFFD")
}

// Flag is a truth as a number.
func Flag(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
