package main

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

// TestServeObjectStores pushes an image to a registry in each kind of object store, restarts it,
// and pulls the image and a range of its layer.
func TestServeObjectStores(t *testing.T) {
	for name, server := range map[string]func(testing.TB) string{
		"s3": testserver.S3, "gcs": testserver.GCS, "azure": testserver.Azure,
	} {
		t.Run(name, func(t *testing.T) {
			data, env := newData(t), []string{"BERTH_STORAGE_BUCKET=" + server(t) + "&prefix=a/"}
			layer := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
			p := serve(t, data, env)
			manifest, err := pushImage(p.url, "team/app", "1", layer)
			if err != nil {
				t.Fatal(err)
			}
			p.stop()
			if !strings.Contains(p.log.String(), "the bucket passed its self-test") {
				t.Errorf("no self-test in the log: %s", p.log)
			}

			p = serve(t, data, env)
			if err := pullImage(p.url, "team/app", "1", manifest, layer); err != nil {
				t.Error(err)
			}
			status, header, part := p.request("GET", "/v2/team/app/blobs/"+digestOf(layer), nil, "Range", "bytes=16777200-16777300")
			if status != http.StatusPartialContent || string(part) != "0123456789abcdef" {
				t.Errorf("a range: %d %v %q", status, header, part)
			}
			p.stop()

			r := berth(t, env, "serve", "--data", newData(t), "--addr", "127.0.0.1:0")
			if r.code != 1 || !strings.Contains(r.stderr, "the bucket belongs to registry") {
				t.Errorf("a second registry on the bucket: %d %s", r.code, r.stderr)
			}
		})
	}
}
