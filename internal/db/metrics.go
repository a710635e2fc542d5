package db

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the metrics that every engine has.
type Metrics struct {
	Read        prometheus.Observer // seconds of a query
	Transaction prometheus.Observer // seconds of a write transaction with its waiting
	Commit      prometheus.Observer // seconds of a commit
	Retries     prometheus.Counter  // transactions that ran again

	collectors []prometheus.Collector
}

// NewMetrics returns metrics that have counted nothing.
func NewMetrics() *Metrics {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "berth_sql_seconds",
		Help: "Time of SQL by kind: a query (read), a write transaction with its waiting (transaction), " +
			"a commit, which transactions of SQLite share (commit).",
		Buckets: prometheus.ExponentialBuckets(10e-6, 4, 10), // 10 µs to 2.6 s
	}, []string{"kind"})
	retries := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "berth_sql_retries_total",
		Help: "Write transactions that were run again because of others.",
	})
	return &Metrics{
		Read:        seconds.WithLabelValues("read"),
		Transaction: seconds.WithLabelValues("transaction"),
		Commit:      seconds.WithLabelValues("commit"),
		Retries:     retries,
		collectors:  []prometheus.Collector{seconds, retries},
	}
}

// Collectors returns the metrics for New.
func (m *Metrics) Collectors() []prometheus.Collector { return m.collectors }
