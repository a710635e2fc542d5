package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-registry/berth/storage"
)

// TestBudget has callers take and wait for memory.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(16, 4)
		a, c := charged{owner: "a"}, charged{owner: "c"}
		reserve := func(who charged, n int64) func() {
			t.Helper()
			release, err := b.reserve(t.Context(), who, n)
			if err != nil {
				t.Fatal(err)
			}
			return release
		}
		first, second := reserve(a, 1), reserve(a, 3)
		// The caller holds a quarter: its other requests wait, those of other callers do not.
		began := time.Now()
		if _, err := b.reserve(t.Context(), a, 1); !errors.Is(err, errNoMemory) || time.Since(began) != memoryWait {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		other := reserve(c, 100) // the maximum for one caller
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.reserve(ctx, c, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that left: %v", err)
		}
		// Requests are served in order of arrival: a small one does not overtake a large one.
		var mu sync.Mutex
		var order []int64
		var waiting sync.WaitGroup
		for _, n := range []int64{4, 3, 2} {
			waiting.Go(func() {
				release, err := b.reserve(t.Context(), a, n)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
				time.Sleep(time.Second)
				release()
			})
			synctest.Wait()
		}
		first()
		synctest.Wait()
		if len(order) != 0 {
			t.Errorf("%v overtook one that waited for longer", order)
		}
		second()
		other()
		waiting.Wait()
		if fmt.Sprint(order) != "[4 3 2]" {
			t.Errorf("served in the order %v", order)
		}
		if len(b.shares) != 0 || !b.free.TryAcquire(16) {
			t.Errorf("%d callers are remembered", len(b.shares))
		}
	})
	if b := newBudget(1, 10); b.total != 10 || b.perCaller != 10 {
		t.Errorf("a budget below what one request needs has %d, %d for one caller", b.total, b.perCaller)
	}
}

// TestManyLargeManifests pushes more large manifests at once than there is memory for. All of them
// succeed, on a machine that is fast enough: in the bubble no time passes while one works.
func TestManyLargeManifests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := serveInBubble(t, newRegistry(t, "mem://", storage.Options{}), Options{ManifestMemory: 8 << 20})
		s.pushImage("team/app", "v1", "")
		var clients sync.WaitGroup
		for i := range 20 {
			payload := image("{}", "layer", fmt.Sprintf(`,"annotations":{"n":"%d","a":"%s"}`, i, strings.Repeat("x", 3<<20)))
			clients.Go(func() {
				s.exchange(exchangeCase{Name: "large", Method: http.MethodPut, URL: fmt.Sprintf("/v2/team/app/manifests/v%d", i),
					Header: header{"Content-Type": imageType}, Body: payload, WantCode: 201})
			})
		}
		clients.Wait()
		s.checkBudgets()
	})
}

// TestManifestBodyLimit sends a manifest steadily but too slowly, and one in time.
func TestManifestBodyLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := serveInBubble(t, newRegistry(t, "mem://", storage.Options{}), Options{})
		payload := image("{}", "layer", `,"annotations":{"a":"`+strings.Repeat("x", 256<<10)+`"}`)
		for pause, want := range map[time.Duration]int{5 * time.Second: 400, 20 * time.Second: 408} {
			conn := s.dial(fmt.Sprintf("PUT /v2/team/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", imageType, len(payload)))
			go func() {
				for part := range piecesOf(payload, 32<<10) {
					if _, err := conn.Write([]byte(part)); err != nil {
						return // the answer says why
					}
					time.Sleep(pause)
				}
			}()
			resp, body := s.readAnswer(conn, "PUT")
			if resp.StatusCode != want { // 400: the blobs are not in the repository
				t.Errorf("with pauses of %v: %d %s", pause, resp.StatusCode, body)
			}
		}
		s.checkBudgets()
	})
}

// piecesOf yields a text in pieces of n bytes.
func piecesOf(text string, n int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for len(text) > 0 {
			k := min(n, len(text))
			if !yield(text[:k]) {
				return
			}
			text = text[k:]
		}
	}
}
