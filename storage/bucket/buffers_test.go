package bucket

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pacedReader is a body whose pieces arrive each after a pause.
type pacedReader struct {
	t      *testing.T
	bytes  *bytes.Reader
	pieces []piece
}

// piece is a part of the body of a pacedReader.
type piece struct {
	bytes int
	pause time.Duration // before the first byte
	used  func()        // if not nil, called before the pause to check the buffers in use
}

func (p *pacedReader) Read(buf []byte) (int, error) {
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

// TestD9SlowBodies checks that a body has large buffers only while it is fast, and that no byte is
// lost when the buffers change.
func TestD9SlowBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBuffers(Options{})
		used := func(want int64) func() {
			return func() {
				t.Helper()
				if got := b.budget.used.Load(); got != want {
					t.Errorf("%d bytes of buffers are in use, want %d", got, want)
				}
			}
		}
		const first, both = firstBuffer, firstBuffer + 2*defaultBuffer
		src := &pacedReader{t: t, pieces: []piece{
			{bytes: firstBuffer, used: used(first)},
			{bytes: 3*defaultBuffer + 1000, used: used(first + defaultBuffer)},
			{bytes: 1, pause: time.Minute, used: used(both)},  // found to be slow
			{bytes: 1, pause: time.Minute, used: used(first)}, // known to be slow
			{bytes: firstBuffer - 1, pause: time.Minute, used: used(first)},
			{bytes: firstBuffer, used: used(first)}, // after a slow piece
			{bytes: 2 * defaultBuffer, used: used(first + defaultBuffer)},
			{bytes: 10, used: used(both)},
			{bytes: 10, pause: fillTime + 1, used: used(both)},
			{bytes: 10, used: used(first)},
		}}
		size := 0
		for _, p := range src.pieces {
			size += p.bytes
		}
		content := body(size)
		src.bytes = bytes.NewReader(content)
		var sum, written bytes.Buffer
		n, err := b.Copy(t.Context(), src, &sum, appendTo(&written))
		if err != nil || n != int64(size) {
			t.Fatalf("%d, %v, want %d", n, err, size)
		}
		wantBytes(t, content, &sum, &written)
		used(0)()
	})
}

// TestD9BuffersAreBounded checks that the large buffers of all Puts stay within the budget, and
// that a Put without a large buffer still completes.
func TestD9BuffersAreBounded(t *testing.T) {
	const puts, most = 40, 2 << 20
	b := NewBuffers(Options{Buffers: most})
	content := body(4 << 20)
	var arrived, wg sync.WaitGroup
	release := make(chan struct{})
	arrived.Add(puts)
	for range puts {
		// The first MiB arrives at once, the rest after all bodies have read that.
		src := io.MultiReader(bytes.NewReader(content[:1<<20]), readerFunc(func([]byte) (int, error) {
			arrived.Done()
			<-release
			return 0, io.EOF
		}), bytes.NewReader(content[1<<20:]))
		wg.Go(func() {
			var sum, written bytes.Buffer
			n, err := b.Copy(context.WithoutCancel(t.Context()), src, &sum, appendTo(&written))
			if err != nil || n != int64(len(content)) {
				t.Errorf("%d, %v", n, err)
				return
			}
			wantBytes(t, content, &sum, &written)
		})
	}
	arrived.Wait()
	got := b.budget.used.Load()
	if got > most+puts*firstBuffer || got <= puts*firstBuffer {
		t.Errorf("%d bodies hold %d bytes of buffers, want some large ones and at most %d bytes beside the small ones",
			puts, got, most)
	}
	close(release)
	wg.Wait()
	if got := b.budget.used.Load(); got != 0 {
		t.Errorf("%d bytes of buffers are still counted", got)
	}
}

// TestHashingOverlapsWriting checks that a large body is written while it is being hashed: here the
// hash waits for the write.
func TestHashingOverlapsWriting(t *testing.T) {
	wrote := make(chan struct{}, 100)
	chunk := 0
	sum := writerFunc(func(p []byte) (int, error) {
		if chunk++; chunk > 1 { // the first is small, hashed and then written
			if chunk == 2 {
				<-wrote
			}
			select {
			case <-wrote:
			case <-time.After(20 * time.Second):
				return 0, fmt.Errorf("chunk %d is not written while it is hashed", chunk)
			}
		}
		return len(p), nil
	})
	src := bytes.NewReader(make([]byte, 10*defaultBuffer))
	write := func([]byte) error { wrote <- struct{}{}; return nil }
	if _, err := NewBuffers(Options{}).Copy(t.Context(), src, sum, write); err != nil {
		t.Error(err)
	}
	if chunk < 10 {
		t.Errorf("only %d chunks", chunk)
	}
}

// body returns n random bytes.
func body(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(p)
	return p
}

// appendTo returns a write function for Copy that appends to b.
func appendTo(b *bytes.Buffer) func([]byte) error {
	return func(p []byte) error { _, err := b.Write(p); return err }
}

func wantBytes(t *testing.T, content []byte, got ...*bytes.Buffer) {
	t.Helper()
	for _, b := range got {
		if !bytes.Equal(b.Bytes(), content) {
			t.Errorf("%d bytes, or others, want the %d of the body", b.Len(), len(content))
		}
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
