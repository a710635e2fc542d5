package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the Prometheus metrics of one API.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	received prometheus.Counter
	sent     prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_http_requests_total",
			Help: "Requests answered, by route, method and status code. The code is 499 when the client left before the answer.",
		}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "berth_http_request_duration_seconds",
			Help:    "Time from the end of a request's header to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"route", "method"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "berth_http_requests_in_flight",
			Help: "Requests being answered.",
		}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_http_received_bytes_total",
			Help: "Bytes of request bodies read.",
		}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_http_sent_bytes_total",
			Help: "Bytes of response bodies written.",
		}),
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.duration, m.inFlight, m.received, m.sent}
}

// meter is the metrics of one route and method. It keeps the counters that were used: looking up a
// labelled counter costs more than the rest of a request's bookkeeping.
type meter struct {
	metrics       *metrics
	route, method string
	duration      prometheus.Observer
	codes         [500]atomic.Pointer[prometheus.Counter] // of the status codes 100 to 599
}

func (m *metrics) meter(route, method string) *meter {
	return &meter{metrics: m, route: route, method: method, duration: m.duration.WithLabelValues(route, method)}
}

func (t *meter) count(code int) {
	i := code - 100
	if i < 0 || i >= len(t.codes) {
		t.metrics.requests.WithLabelValues(t.route, t.method, "other").Inc()
		return
	}
	c := t.codes[i].Load()
	if c == nil {
		counter := t.metrics.requests.WithLabelValues(t.route, t.method, strconv.Itoa(code))
		c = &counter
		t.codes[i].Store(c)
	}
	(*c).Inc()
}

// observe counts a finished request.
func (m *metrics) observe(x *exchange, took time.Duration) {
	m.inFlight.Dec()
	if sent := x.Response.Sent(); sent > 0 {
		m.sent.Add(float64(sent))
	}
	if x.Body != nil {
		m.received.Add(float64(x.Body.Received()))
	}
	if x.meter != nil {
		x.meter.count(x.Response.Status())
		x.meter.duration.Observe(took.Seconds())
		return
	}
	// No operation was found. The method is the client's choice, so it must not become a label as
	// it is: each value makes a time series.
	route := x.r.route
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, knownMethod(x.r.Method), strconv.Itoa(x.Response.Status())).Inc()
}

func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}
