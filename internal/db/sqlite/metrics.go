package sqlite

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/internal/db"
)

// metrics are the metrics of one database.
type metrics struct {
	*db.Metrics
	batch prometheus.Histogram
}

func newMetrics() *metrics {
	return &metrics{db.NewMetrics(), prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "berth_sql_batch_transactions",
		Help:    "Write transactions that shared a commit.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 9), // 1 to 256
	})}
}

func (m *metrics) collectors() []prometheus.Collector { return append(m.Collectors(), m.batch) }
