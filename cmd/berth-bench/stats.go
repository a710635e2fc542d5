package main

import (
	"math"
	"slices"
	"time"
)

// Quartiles are the median and the quartiles of a figure. The quartiles show how much noise the
// machine added.
type Quartiles struct {
	Q1     float64 `json:"q1"`
	Median float64 `json:"median"`
	Q3     float64 `json:"q3"`
}

// quartilesOf returns the quartiles of values, with linear interpolation. They are zero for no
// values.
func quartilesOf(values []float64) Quartiles {
	sorted := slices.Sorted(slices.Values(values))
	return Quartiles{Q1: quantile(sorted, 0.25), Median: quantile(sorted, 0.5), Q3: quantile(sorted, 0.75)}
}

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	below := int(at)
	if below+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	part := at - float64(below)
	return sorted[below]*(1-part) + sorted[below+1]*part
}

// percentile returns the smallest latency that a fraction p (0 < p ≤ 1) of the latencies do not
// exceed. It sorts latencies. It returns zero for none.
func percentile(latencies []time.Duration, p float64) time.Duration {
	if len(latencies) == 0 {
		return 0
	}
	slices.Sort(latencies)
	rank := int(math.Ceil(p * float64(len(latencies))))
	return latencies[max(rank, 1)-1]
}
