package source

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"bailiff/pkg/syslog"
	"bailiff/pkg/transport"
)

// SyslogOptions say which messages of syslog are read, and what of them is believed.
type SyslogOptions struct {
	Listen []syslog.Address
	// Allow are the networks of who may send; nil: this host alone.
	Allow []netip.Prefix
	Match syslog.Match
	// TrustTime has a message be of the time that it tells, and TrustName be of the host. Else
	// it is of when it came, and of who sent it.
	TrustTime, TrustName bool
}

// Wants are what is asked of a hub.
func (o *SyslogOptions) Wants(notify func(syslog.Event)) syslog.Wants {
	return syslog.Wants{Listen: o.Listen, Allow: o.Allow, Match: o.Match, Apart: o.TrustTime, Notify: notify}
}

// Syslog delivers what a subscriber of a hub is given, as the lines of a syslog's file
// without their dates. A line can't be read again: each batch is to be taken (Batch.Take), and
// what isn't goes to the next source of the same subscriber.
type Syslog struct {
	SyslogOptions
	From *syslog.Subscriber
	// Encoding of the messages; nil: UTF-8.
	Encoding *Encoding
}

// SyslogName is the name of what is received among logs.
const SyslogName = "syslog"

// Run delivers batches until ctx ends.
func (s *Syslog) Run(ctx context.Context, out chan<- Batch) {
	defer s.From.GiveBack()
	for {
		d, err := s.From.Next(ctx)
		if err != nil {
			<-ctx.Done()
			return
		}
		select {
		case out <- s.batch(d):
		case <-ctx.Done():
			return
		}
	}
}

func (s *Syslog) batch(d *syslog.Delivery) Batch {
	n := len(d.Items)
	b := Batch{Path: SyslogName, Take: d.Take, Received: !s.TrustTime, Lines: make([][]byte, n), Times: make([]time.Time, n), Frames: make([]transport.Frame, n)}
	if s.TrustTime { // each has a clock of his own
		b.Path = SyslogName + " of " + d.Items[0].From
	}
	for i := range d.Items {
		it := &d.Items[i]
		host := it.From
		if s.TrustName && syslog.IsHost(it.Host) {
			host = string(it.Host)
		}
		line, head := it.Line(host)
		b.Lines[i], b.Frames[i].Head, b.Times[i] = s.Encoding.Decode(line), head, it.Received
		if s.TrustTime && !it.Time.IsZero() {
			b.Times[i] = it.Time
		}
	}
	return b
}

// Status tells of the listeners.
func (s *Syslog) Status() (out []Status) {
	all, errs := s.From.Listeners()
	for i, a := range all {
		of := Status{Path: a.String()}
		if errs[i] != nil {
			of.Error = errs[i].Error()
		}
		out = append(out, of)
	}
	return out
}

// Problems tells of what was lost.
func (s *Syslog) Problems() (out []string) {
	if n := s.From.Lost(); n > 0 {
		out = append(out, fmt.Sprintf("syslog: %d messages were dropped since the jail started, since they came faster than it takes them (the log says of whom; match says which of them it needs)", n))
	}
	return out
}
