package main

import (
	"time"
)

// Result is the result of one scenario. Durations are in nanoseconds, memory is in bytes.
type Result struct {
	Name    string     `json:"name"`
	Title   string     `json:"title"`
	Unit    string     `json:"unit"`           // the unit of CPU and rate
	Base    *Side      `json:"base,omitempty"` // what the subject is compared with
	Subject Side       `json:"subject"`
	Ratios  []float64  `json:"ratios,omitempty"` // subject / base of each pair: of CPU per unit, unless the title names a latency
	Ratio   *Quartiles `json:"ratio,omitempty"`
	Limit   *Limit     `json:"limit,omitempty"`
	Figure  float64    `json:"figure,omitempty"` // the figure that Limit limits
	OK      bool       `json:"ok"`               // true where there is no Limit
}

// Side is the measurement of one server, or of one of the two things that a server did. P50 and P99
// are those of all operations in all batches.
type Side struct {
	Name        string    `json:"name"`
	Wall        Quartiles `json:"wall"`           // of a batch
	CPU         Quartiles `json:"cpu_per_unit"`   // of the server
	Rate        float64   `json:"units_a_second"` // median
	BytesRate   float64   `json:"bytes_a_second,omitempty"`
	P50         float64   `json:"p50"`
	P99         float64   `json:"p99"`
	PeakMemory  int64     `json:"peak_memory"` // maximum of all batches
	CPUPerBatch []float64 `json:"cpu_per_unit_by_batch"`
}

// Limit is the target of a scenario.
type Limit struct {
	Kind string  `json:"kind"`
	Max  float64 `json:"max"`
}

// The kinds of limits.
const (
	limitRatio  = "ratio"          // median of the pairs
	limitCPU    = "CPU"            // nanoseconds per unit, median
	limitMemory = "peak memory"    // bytes, maximum of all runs
	limitTime   = "time to answer" // nanoseconds, median
)

// tally collects the samples of one side.
type tally struct {
	name    string
	samples []sample
	peak    int64
}

func (t *tally) add(s sample, peak int64) {
	t.samples = append(t.samples, s)
	t.peak = max(t.peak, peak)
}

func (t *tally) side() Side {
	var wall, rate, bytesRate, cpu []float64
	var latencies []time.Duration
	for _, s := range t.samples {
		wall = append(wall, float64(s.wall))
		rate = append(rate, float64(s.units)/s.wall.Seconds())
		bytesRate = append(bytesRate, float64(s.bytes)/s.wall.Seconds())
		cpu = append(cpu, s.cpuPerUnit())
		latencies = append(latencies, s.latencies...)
	}
	return Side{
		Name:        t.name,
		Wall:        quartilesOf(wall),
		CPU:         quartilesOf(cpu),
		Rate:        quartilesOf(rate).Median,
		BytesRate:   quartilesOf(bytesRate).Median,
		P50:         float64(percentile(latencies, 0.50)),
		P99:         float64(percentile(latencies, 0.99)),
		PeakMemory:  t.peak,
		CPUPerBatch: cpu,
	}
}

// pairResult returns the result of a scenario with two sides, whose samples are pairs.
func pairResult(sc scenario, base, subject tally) Result {
	r := singleResult(sc, subject)
	b := base.side()
	r.Base = &b
	metric := sc.metric
	if metric == nil {
		metric = sample.cpuPerUnit
	}
	for i, s := range subject.samples {
		r.Ratios = append(r.Ratios, metric(s)/metric(base.samples[i]))
	}
	q := quartilesOf(r.Ratios)
	r.Ratio = &q
	return r.withVerdict()
}

// singleResult returns the result of a scenario with one side.
func singleResult(sc scenario, subject tally) Result {
	r := Result{Name: sc.name, Title: sc.title, Unit: sc.unit, Limit: sc.limit, Subject: subject.side()}
	return r.withVerdict()
}

// withVerdict returns the result with Figure and OK set.
func (r Result) withVerdict() Result {
	if r.Limit == nil {
		r.OK = true
		return r
	}
	switch r.Limit.Kind {
	case limitRatio:
		if r.Ratio != nil {
			r.Figure = r.Ratio.Median
		}
	case limitCPU:
		r.Figure = r.Subject.CPU.Median
	case limitMemory:
		r.Figure = float64(r.Subject.PeakMemory)
	case limitTime:
		r.Figure = r.Subject.Wall.Median
	}
	r.OK = r.Figure > 0 && r.Figure <= r.Limit.Max
	return r
}
