package storage

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// body reads a request's body for an object. It keeps the client's error apart from the bucket's.
type body struct {
	src io.Reader
	// keepPartial ends the body with io.EOF at the client's error, so that the object keeps the
	// bytes before it.
	keepPartial     bool
	renew           func() error // extends the writer's lease
	extendAllowance func(n int64) (allowed int64, err error)
	renewAt         time.Time // when renew is due
	now             func() time.Time
	srcErr          error // what src returned, unless it was io.EOF

	received, allowed int64 // bytes; beyond allowed, extendAllowance is called
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.srcErr != nil {
		return 0, b.endErr()
	}
	n, err := b.src.Read(p)
	if err != nil && err != io.EOF {
		b.srcErr = err
		if n == 0 {
			return 0, b.endErr()
		}
		return n, nil
	}
	if b.received += int64(n); b.received > b.allowed {
		var extendErr error
		if b.allowed, extendErr = b.extendAllowance(b.received); extendErr != nil {
			return n, extendErr
		}
	}
	if b.renew != nil && err == nil {
		if t := b.now(); t.After(b.renewAt) {
			b.renewAt = t.Add(renewEvery)
			if err := b.renew(); err != nil {
				return n, err
			}
		}
	}
	return n, err
}

// endErr returns the error that ends the body after the client's error.
func (b *body) endErr() error {
	if b.keepPartial {
		return io.EOF
	}
	return b.srcErr
}

// clientError returns the client's error as an ErrClientBody, or nil.
func (b *body) clientError() error {
	if b.srcErr == nil {
		return nil
	}
	return errorf(ErrClientBody, "the request's body ended early: %.200v", b.srcErr)
}

// confirm calls Confirm, unless it is nil.
func (c *Chunk) confirm() error {
	if c.Confirm == nil {
		return nil
	}
	return c.Confirm()
}

// hasBytes reports whether the chunk has any bytes. If no length was announced, it reads the first
// byte and puts it back.
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
		return false, errorf(ErrClientBody, "the request's body ended early: %.200v", err)
	}
	c.Body = io.MultiReader(bytes.NewReader(first), c.Body)
	return true, nil
}
