package metrics

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "write the table of docs/metrics.md anew")

// nasty are values that a label may have.
var nasty = []string{"sshd", `a"b\c`, "two\nlines", "", "ü–日本", "a\xffb", strings.Repeat("x", 300), strings.Repeat("ü", 200)}

// everything is a page that has all families, with several samples each.
func everything() *Page {
	p := NewPage()
	for n, f := range Families {
		for i, v := range nasty {
			values := make([]string, len(f.Labels))
			for k := range values {
				values[k] = v
			}
			if f.Type == HistogramType {
				h := &Histogram{}
				for k := range n * 10 {
					h.Observe(time.Duration(k*k+i) * 37 * time.Microsecond)
				}
				p.AddHistogram(f, h.State(), values...)
			} else {
				p.Add(f, []float64{0, 1, -1, 1.5, 1e18, math.Inf(1), 1.7e9 + 0.25, 1 << 52}[i], values...)
			}
			if len(values) == 0 {
				break
			}
		}
	}
	return p
}

// TestForms: both forms of a page are read by Prometheus' own readers, and say the same.
func TestForms(t *testing.T) {
	p := everything()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	text, err := parser.TextToMetricFamilies(bytes.NewReader(p.Text(nil)))
	if err != nil {
		t.Fatal(err)
	}
	if len(text) != len(Families) {
		t.Errorf("%d families in the text, there are %d", len(text), len(Families))
	}
	in := bytes.NewReader(p.Proto(nil))
	count := 0
	for ; ; count++ {
		var got dto.MetricFamily
		err := protodelim.UnmarshalFrom(in, &got)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f := Families[count]
		if got.GetName() != f.Name || got.GetHelp() != f.Help {
			t.Errorf("family %d is %v", count, got.GetName())
		}
		for i, m := range got.Metric { // the text has no native buckets
			if h := m.Histogram; h != nil {
				s := p.Samples(f)[i].State
				if h.GetSampleCount() != s.Count || h.GetZeroCount() != s.Zero || nativeOf(t, h) != s.Native {
					t.Errorf("%s: native buckets come out otherwise: %v", f.Name, h)
				}
				h.Schema, h.ZeroThreshold, h.ZeroCount, h.PositiveSpan, h.PositiveDelta = nil, nil, nil, nil, nil
				h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: h.SampleCount, UpperBound: proto.Float64(math.Inf(1))})
			}
		}
		if want := text[f.Name]; !proto.Equal(want, &got) {
			t.Errorf("%s: text says\n%v\nprotocol buffers say\n%v", f.Name, want, &got)
		}
	}
	if count != len(Families) {
		t.Errorf("%d families in the protocol buffers, there are %d", count, len(Families))
	}
}

// nativeOf reads native buckets.
func nativeOf(t *testing.T, h *dto.Histogram) (out [nativeLast - nativeFirst + 1]uint64) {
	t.Helper()
	at, delta, count := int32(0), 0, int64(0)
	for _, span := range h.PositiveSpan {
		at += span.GetOffset()
		for range span.GetLength() {
			count += h.PositiveDelta[delta]
			out[at-nativeFirst] = uint64(count)
			at++
			delta++
		}
	}
	if delta != len(h.PositiveDelta) {
		t.Error("more deltas than the spans have buckets")
	}
	return out
}

// TestHistogram: what times are counted as is what Prometheus' own library makes of them.
func TestHistogram(t *testing.T) {
	reference := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "x", Help: "x.", Buckets: Bounds[:], NativeHistogramBucketFactor: math.Exp2(0.25) + 1e-9, NativeHistogramZeroThreshold: zeroMost, NativeHistogramMaxBucketNumber: 1000,
	})
	var h Histogram
	random := rand.New(rand.NewPCG(1, 2))
	times := []time.Duration{0, 2 * time.Microsecond, time.Second / 2, time.Second, 2 * time.Second, 512 * time.Second, time.Second / 4, time.Second / 1024, 250 * time.Millisecond}
	for range 20_000 {
		times = append(times, time.Duration(math.Exp(random.Float64()*19)*2000))
	}
	for _, d := range times {
		h.Observe(d)
		reference.Observe(d.Seconds())
	}
	var m dto.Metric
	if err := reference.Write(&m); err != nil {
		t.Fatal(err)
	}
	s := h.State()
	if got := m.Histogram; got.GetSampleCount() != s.Count || got.GetZeroCount() != s.Zero || got.GetSchema() != Schema || math.Abs(got.GetSampleSum()-s.Sum) > 1e-6*s.Sum || nativeOf(t, got) != s.Native {
		t.Errorf("count %d sum %v zero %d, want count %d sum %v zero %d schema %d, native the same: %v", s.Count, s.Sum, s.Zero, got.GetSampleCount(), got.GetSampleSum(), got.GetZeroCount(), got.GetSchema(), nativeOf(t, got) == s.Native)
	}
	sum := uint64(0)
	for i, b := range m.Histogram.Bucket {
		if sum += s.Fixed[i]; sum != b.GetCumulativeCount() {
			t.Errorf("up to %v: %d, want %d", b.GetUpperBound(), sum, b.GetCumulativeCount())
		}
	}
	var long Histogram
	long.Observe(100 * time.Hour)
	long.Observe(-time.Hour)
	if s := long.State(); s.Count != 2 || s.Native[len(s.Native)-1] != 1 || s.Zero != 1 {
		t.Errorf("what is beyond the buckets: %+v", s)
	}
	(*Histogram)(nil).Observe(time.Second)
}

// TestNames: names and units are as Prometheus' own rules want them, but for those that exporters of
// fail2ban have had for years.
func TestNames(t *testing.T) {
	problems, err := promlint.New(bytes.NewReader(everything().Text(nil))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "f2b_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	seen := map[string]bool{}
	for _, f := range Families {
		if seen[f.Name] || !strings.HasSuffix(f.Help, ".") {
			t.Errorf("%s stands there twice, or its help is no sentence", f.Name)
		}
		seen[f.Name] = true
		if (f.Type == Counter) != strings.HasSuffix(f.Name, "_total") && f != F2bErrors {
			t.Errorf("%s is a %v", f.Name, f.Type)
		}
	}
}

func TestCut(t *testing.T) {
	p := NewPage()
	for i := range 10 {
		p.Add(JailUp, 1, fmt.Sprint(i))
	}
	if left := p.Cut(4); left != 6 || len(p.Samples(JailUp)) != 4 || p.Len() != 4 {
		t.Errorf("%d left out, %d there", left, p.Len())
	}
}

func TestWantsProto(t *testing.T) {
	const form = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "text/plain": false, form: true, form + ";q=0.1,text/plain;q=0.2": false,
		form + ";q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2": true,
		"application/openmetrics-text;version=1.0.0;q=0.5," + form + ";q=0.4,text/plain;version=0.0.4;q=0.3":      true,
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text":                   false,
		"application/vnd.google.protobuf;q=x;;=,,":                                                                false,
	} {
		if got := WantsProto(accept); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

// TestDocs: docs/metrics.md has all metrics, with what they say of themselves.
func TestDocs(t *testing.T) {
	const file, begin, end = "../../docs/metrics.md", "<!-- metrics -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| metric | labels | what |\n| --- | --- | --- |\n")
	for _, f := range Families {
		fmt.Fprintf(&b, "| `%s` (%v) | %s | %s |\n", f.Name, f.Type, strings.Join(f.Labels, ", "), f.Help)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	have, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", file)
	}
	if have == b.String() {
		return
	}
	if !*update {
		t.Fatalf("the table of %s is another one: go test ./pkg/metrics -update", file)
	}
	hosttest.Write(t, file, head+begin+b.String()+end+tail)
}

// TestExamples: the dashboard and the rules of examples/prometheus ask for nothing that isn't told, and the
// board for labels that there are.
func TestExamples(t *testing.T) {
	known := map[string]bool{}
	for _, f := range Families {
		known[f.Name] = true
		if f.Type == HistogramType {
			for _, s := range []string{"_bucket", "_sum", "_count"} {
				known[f.Name+s] = true
			}
		}
	}
	name := regexp.MustCompile(`\b(?:f2b|bailiff)_[a-z0-9_]+`)
	for _, file := range []string{"grafana.json", "rules.yml", "rules_test.yml"} {
		text, err := os.ReadFile("../../examples/prometheus/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := name.FindAllString(string(text), -1)
		slices.Sort(found)
		if found = slices.Compact(found); len(found) < 5 {
			t.Errorf("%s asks for %d metrics", file, len(found))
		}
		for _, n := range found {
			if !known[n] {
				t.Errorf("%s: there is no metric %s", file, n)
			}
		}
	}
}
