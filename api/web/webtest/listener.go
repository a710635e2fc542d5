// Package webtest offers helpers for tests of packages that answer HTTP.
package webtest

import (
	"io"
	"net"
	"net/netip"
	"sync"
)

// Listener is a net.Listener in memory, for tests in a bubble of testing/synctest. The clock of a
// bubble moves only while all its goroutines are durably blocked, and one that reads from a TCP
// connection is not. The connections are unbuffered pipes.
type Listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewListener returns a Listener. Dial makes its connections.
func NewListener() *Listener {
	return &Listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept returns the next connection that Dial makes.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close makes Accept and Dial fail. Open connections stay open.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns a placeholder.
func (l *Listener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// connFrom is a connection with a given remote address.
type connFrom struct {
	net.Conn
	from string
}

func (c connFrom) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}

// ReadFrom sends src. With it net/http passes files as it does to TCP. If a write deadline passes,
// it returns the number of bytes sent, and the connection stays usable.
func (c connFrom) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c.Conn}, src)
}

// Dial returns the client's end of a new connection. from is the client's address: "192.0.2.1:1".
func (l *Listener) Dial(from string) (net.Conn, error) {
	server, client := net.Pipe()
	select {
	case l.conns <- connFrom{server, from}:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
