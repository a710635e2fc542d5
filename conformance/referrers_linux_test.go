package conformance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// keys returns annotations of about the given size with as many keys as possible.
func keys(bytes int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var b strings.Builder
	b.WriteString(`{"":""`)
	for i := 0; b.Len() < bytes-11; i++ {
		fmt.Fprintf(&b, `,"%c%c%c%c":""`, alphabet[i>>18&63], alphabet[i>>12&63], alphabet[i>>6&63], alphabet[i&63])
	}
	return b.String() + "}"
}

// TestD2ReferrersMemory has 80 clients that request lists of referrers, several on each connection,
// and never read. The artifacts are as large as possible. The server's memory for the lists must be
// bounded, and it must serve other clients.
func TestD2ReferrersMemory(t *testing.T) {
	const clients, pipelined, repo, bound = 80, 8, "public/app", 140 << 20
	const manifest = 4<<20 - 1000 // bytes of annotations in the largest manifest
	l := startLimited(t, "BERTH_RUNTIME_MEMORY_LIMIT=96MiB")
	floods := []struct {
		name        string
		artifacts   int
		annotations func(i int) string
	}{
		{"4 MiB to be escaped", 1, func(int) string { return `{"a":"` + strings.Repeat("<", manifest) + `"}` }},
		{"419,000 keys", 1, func(int) string { return keys(manifest) }},
		{"60 of 4 MiB", 60, func(i int) string { return fmt.Sprintf(`{"a":"%d%s"}`, i, strings.Repeat("x", manifest)) }},
		{"100 of 64 KiB", 100, func(i int) string { return fmt.Sprintf(`{"a":"%03d%s"}`, i, strings.Repeat("<", 64<<10-11)) }},
	}
	for _, f := range floods {
		l.pushReferrers(repo, digest.FromString(f.name).String(), f.artifacts, f.annotations)
	}
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			l.Stop()
			l.Restart() // resets the peak
			path := "/v2/" + repo + "/referrers/" + digest.FromString(f.name).String()
			get := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n"
			for range clients {
				l.dial(strings.Repeat(get+"\r\n", pipelined-1) + get + "Connection: close\r\n\r\n")
			}
			l.requireServing()
			l.requireReleased()
			if peak := l.peakMemory(); peak > bound {
				t.Errorf("%d clients that do not read took %d MiB, expected at most %d", clients, peak>>20, bound>>20)
			} else {
				t.Logf("at most %d MiB", peak>>20)
			}
			if a := l.call.do(request{method: "GET", path: path}); a.status != http.StatusOK || a.err != nil || len(a.body) > 4<<20 {
				t.Errorf("a client that reads: %d, %d bytes, %v", a.status, len(a.body), a.err)
			}
		})
	}
}
