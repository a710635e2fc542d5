package bucket

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// paced is a body that comes in pieces, each after a pause.
type paced struct {
	t      *testing.T
	bytes  *bytes.Reader
	pieces []piece
}

// piece is so many bytes, what the bucket's buffers in use are to be while they are waited for, and
// for how long.
type piece struct {
	bytes int
	pause time.Duration
	used  func() // nil for no look
}

func (p *paced) Read(buf []byte) (int, error) {
	if len(p.pieces) == 0 {
		return 0, io.EOF
	}
	next := &p.pieces[0]
	if next.used != nil {
		next.used()
		next.used = nil
	}
	time.Sleep(next.pause)
	next.pause = 0
	n, err := p.bytes.Read(buf[:min(len(buf), next.bytes)])
	if next.bytes -= n; next.bytes == 0 {
		p.pieces = p.pieces[1:]
	}
	return n, err
}

// TestD9SlowBodies: a body has large buffers only while it comes fast, and loses nothing by their
// change.
func TestD9SlowBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openURL(t, "mem://", Options{})
		used := func(want int64) func() {
			return func() {
				t.Helper()
				if got := b.buffers.used.Load(); got != want {
					t.Errorf("%d bytes of buffers are in use, want %d", got, want)
				}
			}
		}
		const first, both = firstBuffer, firstBuffer + 2*defaultBuffer
		src := &paced{t: t, pieces: []piece{
			{bytes: firstBuffer, used: used(first)},
			{bytes: 3*defaultBuffer + 1000, used: used(first + defaultBuffer)},
			{bytes: 1, pause: time.Minute, used: used(both)},  // nobody knew that it would be late
			{bytes: 1, pause: time.Minute, used: used(first)}, // but now they do
			{bytes: firstBuffer - 1, pause: time.Minute, used: used(first)},
			{bytes: firstBuffer, used: used(first)}, // the one before was slow
			{bytes: 2 * defaultBuffer, used: used(first + defaultBuffer)},
			{bytes: 10, used: used(both)},
			{bytes: 10, pause: fillTime + 1, used: used(both)},
			{bytes: 10, used: used(first)},
		}}
		size := 0
		for _, p := range src.pieces {
			size += p.bytes
		}
		content, sum := body(size), newDigest()
		src.bytes = bytes.NewReader(content)
		n, err := b.Put(t.Context(), testKey, src, sum)
		if err != nil || n != int64(size) {
			t.Fatalf("%d, %v, want %d", n, err, size)
		}
		sum.want(t, content, n)
		wantObject(t, b, testKey, content)
		used(0)()
	})
}

// TestD9BuffersAreBounded: the large buffers of all Puts stay within the budget, and those that
// find nothing left go on without.
func TestD9BuffersAreBounded(t *testing.T) {
	const puts, most = 40, 2 << 20
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{Buffers: most})
		content := body(4 << 20)
		var arrived, wg sync.WaitGroup
		release := make(chan struct{})
		arrived.Add(puts)
		for i := range puts {
			// The first MiB comes at once, the rest when all have that.
			src := &hook{bytes.NewReader(content), 1 << 20, func() {
				arrived.Done()
				<-release
			}}
			wg.Go(func() {
				key := fmt.Sprintf("content/%02x/b-1", i)
				sum := newDigest()
				n, err := b.Put(context.WithoutCancel(t.Context()), key, src, sum)
				if err != nil || n != int64(len(content)) {
					t.Errorf("Put %s: %d, %v", key, n, err)
					return
				}
				sum.want(t, content, n)
				wantObject(t, b, key, content)
			})
		}
		arrived.Wait()
		got := b.buffers.used.Load()
		if got > most+puts*firstBuffer || got <= puts*firstBuffer {
			t.Errorf("%d Puts hold %d bytes of buffers, want some large ones and at most %d bytes beside the small ones", puts, got, most)
		}
		close(release)
		wg.Wait()
		if got := b.buffers.used.Load(); got != 0 {
			t.Errorf("%d bytes of buffers are still counted", got)
		}
	})
}
