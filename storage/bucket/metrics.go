package bucket

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of one bucket.
type metrics struct {
	seconds *prometheus.HistogramVec

	put, get, del outcomes
}

// outcomes are the histograms of one operation, looked up once.
type outcomes struct {
	ok      prometheus.Observer
	failed  prometheus.Observer // by the bucket
	aborted prometheus.Observer // by the caller: its reader failed, or its context ended
}

func newMetrics() *metrics {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "berth_bucket_operation_seconds",
		Help: "Time of the bucket's operations. That of put leaves out waiting for the client's bytes; " +
			"that of get ends when the object is open.",
		Buckets: prometheus.ExponentialBuckets(16e-6, 4, 11), // 16 µs to 17 s
	}, []string{"operation", "result"})
	of := func(operation string) outcomes {
		return outcomes{
			ok:      seconds.WithLabelValues(operation, "ok"),
			failed:  seconds.WithLabelValues(operation, "error"),
			aborted: seconds.WithLabelValues(operation, "aborted"),
		}
	}
	return &metrics{seconds: seconds, put: of("put"), get: of("get"), del: of("delete")}
}

// observe counts an operation of the bucket's own doing.
func (o outcomes) observe(d time.Duration, err error) {
	if err != nil {
		o.failed.Observe(d.Seconds())
		return
	}
	o.ok.Observe(d.Seconds())
}
