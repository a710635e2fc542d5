package postgres

import "github.com/prometheus/client_golang/prometheus"

// metrics are the metrics of one database.
type metrics struct {
	seconds *prometheus.HistogramVec
	retries prometheus.Counter

	// Elements of seconds.
	read, transaction, commit prometheus.Observer
}

func newMetrics() *metrics {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "berth_sql_seconds",
			Help: "Time of SQL by kind: a query with its waiting for a connection (read), a write transaction with its waiting " +
				"(transaction), its commit (commit).",
			Buckets: prometheus.ExponentialBuckets(10e-6, 4, 10), // 10 µs to 2.6 s
		}, []string{"kind"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_sql_retries_total",
			Help: "Write transactions that were run again because of others.",
		}),
	}
	m.read = m.seconds.WithLabelValues("read")
	m.transaction = m.seconds.WithLabelValues("transaction")
	m.commit = m.seconds.WithLabelValues("commit")
	return m
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.seconds, m.retries}
}
