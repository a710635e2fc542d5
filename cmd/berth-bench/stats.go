package main

import (
	"math"
	"slices"
	"time"
)

// Quartiles are a figure's median and the quartiles around it. The median says
// what is typical, the quartiles how far the machine's noise reached.
type Quartiles struct {
	Q1     float64 `json:"q1"`
	Median float64 `json:"median"`
	Q3     float64 `json:"q3"`
}

// quartilesOf interpolates between neighbours where a quartile falls between
// two values. It is zero for no values.
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

// percentile is the smallest of latencies that p of them (0 < p ≤ 1) do not
// exceed; it sorts latencies. It is zero for none.
func percentile(latencies []time.Duration, p float64) time.Duration {
	if len(latencies) == 0 {
		return 0
	}
	slices.Sort(latencies)
	rank := int(math.Ceil(p * float64(len(latencies))))
	return latencies[max(rank, 1)-1]
}
