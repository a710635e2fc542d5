package main

import (
	"math"
	"testing"
	"time"
)

func TestQuartiles(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		want   Quartiles
	}{
		{"none", nil, Quartiles{}},
		{"one", []float64{7}, Quartiles{7, 7, 7}},
		{"two", []float64{4, 2}, Quartiles{2.5, 3, 3.5}},
		{"odd", []float64{5, 1, 4, 2, 3}, Quartiles{2, 3, 4}},
		{"eleven, with one that is far off", []float64{11, 3, 1, 2, 1000, 4, 5, 6, 7, 8, 9}, Quartiles{3.5, 6, 8.5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := quartilesOf(tt.values)
			for _, d := range []float64{got.Q1 - tt.want.Q1, got.Median - tt.want.Median, got.Q3 - tt.want.Q3} {
				if math.Abs(d) > 1e-9 {
					t.Fatalf("%v: got %v, want %v", tt.values, got, tt.want)
				}
			}
		})
	}
}

func TestQuartilesDoNotSortInput(t *testing.T) {
	values := []float64{3, 1, 2}
	quartilesOf(values)
	if values[0] != 3 || values[1] != 1 || values[2] != 2 {
		t.Errorf("the caller's values became %v", values)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[99-i] = time.Duration(i + 1)
	}
	tests := []struct {
		latencies []time.Duration
		p         float64
		want      time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{3}, 0.99, 3},
		{[]time.Duration{9, 1, 5}, 0.5, 5},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
	}
	for _, tt := range tests {
		if got := percentile(tt.latencies, tt.p); got != tt.want {
			t.Errorf("p%v of %d: got %v, want %v", tt.p*100, len(tt.latencies), got, tt.want)
		}
	}
}
