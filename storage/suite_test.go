package storage_test

import (
	"net/url"
	"path/filepath"
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/internal/testserver"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/bucket/testbucket"
	"github.com/berth-registry/berth/storage/meta"
	"github.com/berth-registry/berth/storage/storagetest"
)

func TestRegistry(t *testing.T) {
	run := func(name string, cacheBytes int64, urls func(t testing.TB) (bucket, db string)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // mostly they wait for their servers
			storagetest.Run(t, func(t testing.TB) storagetest.Registry {
				b, d := urls(t)
				r, err := storage.Open(t.Context(), meta.New(dbtest.Open(t, d)), testbucket.Open(t, b), storage.Options{CacheBytes: cacheBytes})
				if err != nil {
					t.Fatal(err)
				}
				return r
			})
		})
	}
	mem := func(testing.TB) (string, string) { return "mem://", dbtest.Memory }
	run("mem", 1<<20, mem)
	run("mem without cache", 0, mem)
	run("postgres", 1<<20, func(t testing.TB) (string, string) { return "mem://", dbtest.Postgres(t) })
	for name, server := range map[string]func(testing.TB) string{
		"s3": testserver.S3, "gcs": testserver.GCS, "azure": testserver.Azure,
	} {
		run(name, 1<<20, func(t testing.TB) (string, string) { return server(t), dbtest.Memory })
	}
	run("file", 1<<20, func(t testing.TB) (string, string) {
		dir := t.TempDir()
		return "file://" + (&url.URL{Path: dir + "/blobs"}).EscapedPath(), "sqlite:" + filepath.Join(dir, "berth.db")
	})
}
