package storage

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// bucketReadableFor is how long the bucket counts as readable after its marker was read.
const bucketReadableFor = 3 * readBucketEvery

// stats are the metrics of one registry.
type stats struct {
	uploads  prometheus.Collector
	readable prometheus.Collector
}

func newStats(r *Registry) stats {
	return stats{
		uploads: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "berth_uploads_open", Help: "Upload sessions that are open.",
		}, r.countUploads),
		readable: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "berth_bucket_readable",
			Help: "1 if the bucket's marker could be read within 30 seconds, else 0: the bucket is away, hangs, or is another one.",
		}, r.bucketReadable),
	}
}

// countUploads returns the number of open sessions, or -1 if the database cannot be read.
func (r *Registry) countUploads() float64 {
	taken := len(r.pool.takenSessions())
	n, err := r.db.CountOpenUploads(context.Background())
	if err != nil {
		return -1
	}
	return float64(n) + float64(taken)
}

// bucketReadable does not ask the bucket, which may hang.
func (r *Registry) bucketReadable() float64 {
	if r.nowMicro()-r.markerRead.Load() > bucketReadableFor.Microseconds() {
		return 0
	}
	return 1
}

// Collectors returns the registry's metrics, to be registered once.
func (r *Registry) Collectors() []prometheus.Collector {
	return []prometheus.Collector{r.stats.uploads, r.stats.readable}
}
