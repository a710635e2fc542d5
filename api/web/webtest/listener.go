// Package webtest is what tests of packages that answer HTTP share.
package webtest

import (
	"io"
	"net"
	"net/netip"
	"sync"
)

// Listener is a listener in memory, for tests in a bubble of testing/synctest, where the clock
// stands still while anything can go on. TCP would not do: what is in the kernel keeps the clock
// from moving. Its connections hold no bytes between their ends.
type Listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewListener returns a listener whose connections Dial makes.
func NewListener() *Listener {
	return &Listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial, and leaves connections as they are.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns an address that says nothing.
func (l *Listener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// addressed is a connection from an address.
type connFrom struct {
	net.Conn
	from string
}

func (c connFrom) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}

// ReadFrom sends src, so that net/http hands a file on as it does to TCP. Where a deadline ends it,
// as on TCP, it returns what was sent, and the connection goes on.
func (c connFrom) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c.Conn}, src)
}

// Dial opens a connection that comes from an address, "192.0.2.1:1".
func (l *Listener) Dial(from string) (net.Conn, error) {
	server, client := net.Pipe()
	select {
	case l.conns <- connFrom{server, from}:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
