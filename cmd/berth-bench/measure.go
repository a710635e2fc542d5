package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxClients is the most connections that any scenario keeps open.
const maxClients = 128

// settle is how long the server may go on after its last answer, so that the
// end of an operation's work counts.
const settle = 10 * time.Millisecond

// work is what a scenario does to one registry. A batch is cycles times:
// prepare, then ops operations by clients at once, then cleanup; only the
// operations are measured. Functions may be nil, but for op.
type work struct {
	seed    func(ctx context.Context, c *client) error                 // once for each data directory, by a process of its own
	setup   func(ctx context.Context, c *client) error                 // once for each process
	prepare func(ctx context.Context, c *client, cycle, ops int) error // cycle counts through all batches, warmUp for the first
	op      func(ctx context.Context, c *client, i int) error          // 0 ≤ i < ops
	cleanup func(ctx context.Context, c *client, cycle, ops int) error

	ops, cycles, clients int

	units int   // of the scenario's unit in a batch; 0: cycles × ops
	bytes int64 // sent or fetched in a batch, 0 where that does not matter
	warm  int   // operations before a process's first batch, unmeasured
}

// warmUp is the cycle of a warm-up.
const warmUp = -1

// sample is one measured batch.
type sample struct {
	wall, cpu time.Duration
	units     int
	bytes     int64
	latencies []time.Duration // of each operation
}

func (s sample) cpuPerUnit() float64 { return float64(s.cpu) / float64(s.units) }

// begin makes a new process ready for measure.
func (w *work) begin(ctx context.Context, s *server) error {
	if w.setup != nil {
		if err := w.setup(ctx, s.client); err != nil {
			return fmt.Errorf("%s: setting up: %w", s.name, err)
		}
	}
	if w.warm == 0 {
		return nil
	}
	_, err := w.cycle(ctx, s, warmUp, w.warm)
	return err
}

// measure runs the batch of that number.
func (w *work) measure(ctx context.Context, s *server, batch int) (sample, error) {
	var total sample
	for i := range w.cycles {
		one, err := w.cycle(ctx, s, batch*w.cycles+i, w.ops)
		if err != nil {
			return sample{}, err
		}
		total.wall += one.wall
		total.cpu += one.cpu
		total.latencies = append(total.latencies, one.latencies...)
	}
	total.bytes = w.bytes
	total.units = w.units
	if total.units == 0 {
		total.units = w.cycles * w.ops
	}
	return total, nil
}

func (w *work) cycle(ctx context.Context, s *server, cycle, ops int) (sample, error) {
	if w.prepare != nil {
		if err := w.prepare(ctx, s.client, cycle, ops); err != nil {
			return sample{}, fmt.Errorf("%s: preparing: %w", s.name, err)
		}
	}
	time.Sleep(settle)
	before, err := cpuTime(s.pid)
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	latencies, err := inParallel(ctx, w.clients, ops, func(ctx context.Context, i int) error { return w.op(ctx, s.client, i) })
	wall := time.Since(began)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", s.name, err)
	}
	time.Sleep(settle)
	after, err := cpuTime(s.pid)
	if err != nil {
		return sample{}, err
	}
	if w.cleanup != nil {
		if err := w.cleanup(ctx, s.client, cycle, ops); err != nil {
			return sample{}, fmt.Errorf("%s: cleaning up: %w", s.name, err)
		}
	}
	return sample{wall: wall, cpu: after - before, latencies: latencies}, nil
}

// inParallel calls op with each of 0 … ops-1, clients at a time, and returns
// how long each call took, in no order.
func inParallel(ctx context.Context, clients, ops int, op func(ctx context.Context, i int) error) ([]time.Duration, error) {
	clients = min(clients, ops)
	taken := make([][]time.Duration, clients)
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for n := range clients {
		taken[n] = make([]time.Duration, 0, 2*ops/clients)
		group.Go(func() error {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= ops {
					return nil
				}
				began := time.Now()
				if err := op(ctx, i); err != nil {
					return err
				}
				taken[n] = append(taken[n], time.Since(began))
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := make([]time.Duration, 0, ops)
	for _, t := range taken {
		all = append(all, t...)
	}
	return all, nil
}
