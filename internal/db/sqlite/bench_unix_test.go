//go:build unix

package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/db"
)

// cpu adds a metric to a benchmark: the processor time of the process per operation. The duration
// of an operation is mostly the wait for fsync.
func cpu(b *testing.B) {
	used := func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	before := used()
	b.ResetTimer()
	b.Cleanup(func() { b.ReportMetric(float64((used()-before).Microseconds())/float64(b.N), "cpu-µs/op") })
}

// benchmarkDB returns a database with n items of 700 bytes, the size of a small manifest.
func benchmarkDB(b *testing.B, n int) *testDB {
	d := openTest(b, fileURL(b), Options{})
	d.maxBatchTime = maxBatchTime
	err := d.Tx(context.Background(), func(tx *db.Tx) error {
		for i := range n {
			_, err := tx.Exec(`INSERT INTO items (name, data) VALUES ($1, $2)`, fmt.Sprintf("team/app%d", i), make([]byte, 700))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func BenchmarkPointQuery(b *testing.B) {
	for _, n := range []int{10, 50_000} {
		for _, parallel := range []int{1, 8} {
			b.Run(fmt.Sprintf("rows=%d/clients=%d", n, parallel), func(b *testing.B) {
				d := benchmarkDB(b, n)
				list := make([]string, n)
				for i := range list {
					list[i] = fmt.Sprintf("team/app%d", i)
				}
				b.ReportAllocs()
				b.SetParallelism(max(1, parallel/2))
				cpu(b)
				query := func() {
					var id int64
					var data []byte
					err := d.queryRow(`SELECT id, data FROM items WHERE name = $1`, list[rand.IntN(n)]).Scan(&id, &data)
					if err != nil {
						b.Error(err)
					}
				}
				if parallel == 1 {
					for range b.N {
						query()
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						query()
					}
				})
			})
		}
	}
}

func BenchmarkTx(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			d := benchmarkDB(b, 1000)
			var commits, worst atomic.Int64
			d.fault = func(step string) error {
				if step == "commit" {
					commits.Add(1)
				}
				return nil
			}
			b.ReportAllocs()
			b.SetParallelism(max(1, clients/2))
			cpu(b)
			tx := func() {
				start := time.Now()
				err := d.Tx(context.Background(), func(tx *db.Tx) error {
					_, err := tx.Exec(`UPDATE items SET deferred = NULL, data = $1 WHERE name = $2`, rand.Int64(), fmt.Sprintf("team/app%d", rand.IntN(1000)))
					return err
				})
				if err != nil {
					b.Error(err)
				}
				for took := int64(time.Since(start)); ; {
					if old := worst.Load(); took <= old || worst.CompareAndSwap(old, took) {
						break
					}
				}
			}
			if clients == 1 {
				for range b.N {
					tx()
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						tx()
					}
				})
			}
			b.ReportMetric(float64(b.N)/float64(commits.Load()), "tx/commit")
			b.ReportMetric(float64(worst.Load())/1e6, "worst-ms")
		})
	}
}
