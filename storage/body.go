package storage

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// body is a request's body on its way into an object. It keeps the client's errors
// apart from those of the bucket.
type body struct {
	src       io.Reader
	keep      bool         // end the object well where the client failed
	renew     func() error // extends the writer's lease
	extend    func(n int64) (allowed int64, err error)
	next      time.Time // when to renew
	now       func() time.Time
	clientErr error // the client's error

	received, allowed int64 // bytes; extend is asked for more
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.clientErr != nil {
		return 0, b.endErr()
	}
	n, err := b.src.Read(p)
	if err != nil && err != io.EOF {
		b.clientErr = err
		if n == 0 {
			return 0, b.endErr()
		}
		return n, nil
	}
	if b.received += int64(n); b.received > b.allowed {
		var extendErr error
		if b.allowed, extendErr = b.extend(b.received); extendErr != nil {
			return n, extendErr
		}
	}
	if b.renew != nil && err == nil {
		if t := b.now(); t.After(b.next) {
			b.next = t.Add(renewEvery)
			if err := b.renew(); err != nil {
				return n, err
			}
		}
	}
	return n, err
}

func (b *body) endErr() error {
	if b.keep {
		return io.EOF
	}
	return b.clientErr
}

// clientError is the client's failure as callers see it, or nil.
func (b *body) clientError() error {
	if b.clientErr == nil {
		return nil
	}
	return errorf(ErrClientBody, "the request's body ended early: %v", b.clientErr)
}

// confirmed asks whether the chunk may be recorded, now that it is complete.
func (c *Chunk) confirmed() error {
	if c.Confirm == nil {
		return nil
	}
	return c.Confirm()
}

// hasBytes reports whether a chunk has any, reading the first where nothing was said of its
// length, and returns the body with that byte in it.
func (c *Chunk) hasBytes() (bool, error) {
	if c.Body == nil || c.Length == 0 {
		return false, nil
	}
	if c.Length > 0 {
		return true, nil
	}
	first := make([]byte, 1)
	_, err := io.ReadFull(c.Body, first)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, errorf(ErrClientBody, "the request's body ended early: %v", err)
	}
	c.Body = io.MultiReader(bytes.NewReader(first), c.Body)
	return true, nil
}
