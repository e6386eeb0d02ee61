package metrics

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
)

// The form in which native histograms can be told: messages io.prometheus.client.MetricFamily, each
// behind its length. The numbers of fields are those of Prometheus' metrics.proto.

// ProtoType is the Content-Type of Proto.
const ProtoType = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

// Proto appends the page as protocol buffers.
func (p *Page) Proto(b []byte) []byte {
	var family, metric, part, sub []byte // used again and again
	for i, f := range Families {
		list := p.samples[i]
		if len(list) == 0 {
			continue
		}
		family = protoText(family[:0], 1, f.Name)
		family = protoText(family, 2, f.Help)
		family = protoNumber(family, 3, uint64(f.Type))
		for _, s := range list {
			metric = metric[:0]
			for n, l := range f.Labels {
				part = protoText(protoText(part[:0], 1, l), 2, s.Values[n])
				metric = protoBytes(metric, 1, part)
			}
			switch f.Type {
			case Gauge:
				metric = protoBytes(metric, 2, protoFloat(part[:0], 1, s.Number))
			case Counter:
				metric = protoBytes(metric, 3, protoFloat(part[:0], 1, s.Number))
			case HistogramType:
				part, sub = protoHistogram(part[:0], sub, s.State)
				metric = protoBytes(metric, 7, part)
			}
			family = protoBytes(family, 4, metric)
		}
		b = append(binary.AppendUvarint(b, uint64(len(family))), family...)
	}
	return b
}

func protoHistogram(b, sub []byte, s *State) (out, spare []byte) {
	b = protoNumber(b, 1, s.Count)
	b = protoFloat(b, 2, s.Sum)
	sum := uint64(0)
	for i, bound := range Bounds {
		sum += s.Fixed[i]
		sub = protoFloat(protoNumber(sub[:0], 1, sum), 2, bound)
		b = protoBytes(b, 3, sub)
	}
	b = protoNumber(b, 5, zigzag(Schema))
	b = protoFloat(b, 6, zeroMost)
	b = protoNumber(b, 7, s.Zero)
	// Spans of buckets that are not empty, each with how many are left out before it.
	next, told := 0, false
	for i := 0; i < len(s.Native); i++ {
		if s.Native[i] == 0 {
			continue
		}
		end := i
		for end < len(s.Native) && s.Native[end] != 0 {
			end++
		}
		offset := int64(i - next)
		if !told {
			offset, told = int64(i+nativeFirst), true
		}
		sub = protoNumber(protoNumber(sub[:0], 1, zigzag(offset)), 2, uint64(end-i))
		b = protoBytes(b, 12, sub)
		next, i = end, end
	}
	if !told { // by a span a reader sees that it is a native one
		b = protoBytes(b, 12, protoNumber(protoNumber(sub[:0], 1, 0), 2, 0))
	}
	before := int64(0)
	for _, n := range s.Native {
		if n != 0 {
			b = protoNumber(b, 13, zigzag(int64(n)-before))
			before = int64(n)
		}
	}
	return b, sub
}

func zigzag(n int64) uint64 { return uint64(n)<<1 ^ uint64(n>>63) }

func protoNumber(b []byte, field int, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3), n)
}

func protoFloat(b []byte, field int, v float64) []byte {
	return binary.LittleEndian.AppendUint64(binary.AppendUvarint(b, uint64(field)<<3|1), math.Float64bits(v))
}

func protoBytes(b []byte, field int, part []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3|2), uint64(len(part)))
	return append(b, part...)
}

func protoText(b []byte, field int, text string) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3|2), uint64(len(text)))
	return append(b, text...)
}

// WantsProto reports whether who sends this header Accept would rather have protocol buffers than
// text: Prometheus would, where it keeps native histograms.
func WantsProto(accept string) bool {
	proto, text := 0.0, 0.0
	for part := range strings.SplitSeq(accept, ",") {
		fields := strings.Split(part, ";")
		q, rest := 1.0, map[string]string{}
		for _, f := range fields[1:] {
			key, v, _ := strings.Cut(strings.TrimSpace(f), "=")
			if rest[key] = strings.Trim(v, `"`); key == "q" {
				if n, err := strconv.ParseFloat(v, 64); err == nil {
					q = n
				}
			}
		}
		switch strings.ToLower(strings.TrimSpace(fields[0])) {
		case "application/vnd.google.protobuf":
			if rest["proto"] == "io.prometheus.client.MetricFamily" && rest["encoding"] == "delimited" {
				proto = max(proto, q)
			}
		case "text/plain", "text/*":
			text = max(text, q)
		}
	}
	return proto > text
}
