package storage

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/storage/meta"
)

// stats are the metrics of one registry.
type stats struct {
	uploads prometheus.Collector
}

func newStats(db *meta.DB, pool *sessionPool) stats {
	return stats{uploads: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "berth_uploads_open", Help: "Upload sessions that are open.",
	}, func() float64 {
		taken := len(pool.takenSessions())
		n, err := db.CountOpenUploads(context.Background())
		if err != nil {
			return -1
		}
		return float64(n) + float64(taken)
	})}
}

// Collectors returns the registry's metrics, to be registered once.
func (r *Registry) Collectors() []prometheus.Collector {
	return []prometheus.Collector{r.stats.uploads}
}
