package control

import (
	"errors"
	"net/http"
	"strings"

	"bailiff/pkg/metrics"
)

// GET /metrics: the page for Prometheus, in the form that it asks for.

// Measured is a daemon that tells metrics.
type Measured interface {
	// Metrics returns a page of what is known at once; it waits for no jail, no disk and no kernel.
	Metrics() *metrics.Page
}

// document is an answer that is encoded already.
type document struct {
	kind string
	body []byte
}

func tellMetrics(d Daemon, r *http.Request, _ func(any) error) (any, error) {
	m, ok := d.(Measured)
	if !ok {
		return nil, errNoMetrics
	}
	return metricsFor(m, r), nil
}

var errNoMetrics = errors.New("this daemon serves no metrics")

func metricsFor(m Measured, r *http.Request) document {
	page := m.Metrics()
	if metrics.WantsProto(strings.Join(r.Header.Values("Accept"), ",")) {
		return document{metrics.ProtoType, page.Proto(nil)}
	}
	return document{metrics.TextType, page.Text(nil)}
}

// MetricsHandler answers GET with the page, for who listens elsewhere than on the socket. Whoever
// may ask it sees names of jails and of logs.
func MetricsHandler(m Measured) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "GET", http.StatusMethodNotAllowed)
			return
		}
		doc := metricsFor(m, r)
		w.Header().Set("Content-Type", doc.kind)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(doc.body)
	})
}

// Clients is how many are connected to the socket, and how often somebody was cut off or turned
// away.
func (s *Server) Clients() (now int, refused uint64) {
	if s == nil {
		return 0, 0
	}
	s.crowd.mu.Lock()
	defer s.crowd.mu.Unlock()
	return len(s.crowd.conns), s.crowd.refused
}
