package testserver

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

var gcsServer process

// GCS returns the URL of a new bucket on a fake-gcs-server. An endpoint that is not HTTPS gets no
// credentials, so none are looked for.
func GCS(t testing.TB) (bucketURL string) {
	t.Helper()
	gcsServer.start(t, nil, "/_internal/healthcheck", func(addr, dir string) []string {
		host, port := splitAddr(t, addr)
		return []string{goTool(t, "fake-gcs-server"), "-scheme", "http", "-host", host, "-port", port,
			"-backend", "filesystem",
			"-filesystem-root", dir, "-external-url", "http://" + addr, "-public-host", addr}
	})
	name, url := newBucketName(), "http://"+gcsServer.addr
	resp, err := http.Post(url+"/storage/v1/b?project=test", "application/json", strings.NewReader(`{"name":"`+name+`"}`))
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("making a bucket: %v, %v", resp, err)
	}
	return fmt.Sprintf("gs://%s?endpoint=%s", name, url)
}
