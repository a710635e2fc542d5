package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// pipeListener is a listener in memory, for tests in a bubble of testing/synctest, where the clock
// stands still while anything can go on. TCP would not do: what is in the kernel keeps the clock from
// moving.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// addressed is a connection from an address.
type addressed struct {
	net.Conn
	from string
}

func (c addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}

// dial opens a connection that comes from an address.
func (l *pipeListener) dial(from string) (net.Conn, error) {
	server, client := net.Pipe()
	select {
	case l.conns <- addressed{server, from}:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// serveInBubble serves a registry in a bubble, over HTTP/1.1 and, without TLS, HTTP/2. Connections come
// from 192.0.2.1, unless via says otherwise.
func serveInBubble(t *testing.T, registry Registry, o Options) (s *site, via func(from string, protocol int) http.RoundTripper) {
	t.Helper()
	// The last of all cleanups: what net/http and the clients sleep out must end in the bubble.
	t.Cleanup(func() { time.Sleep(time.Minute) })
	l := newPipeListener()
	s = newSiteOf(t, registry, o)
	via = func(from string, protocol int) http.RoundTripper {
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return l.dial(from) }, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(protocol == 1)
		transport.Protocols.SetUnencryptedHTTP2(protocol == 2)
		t.Cleanup(transport.CloseIdleConnections)
		return transport
	}
	const usual = "192.0.2.1:1"
	s.addr, s.via, s.from = "localhost", via(usual, 1), l.dial
	s.conn = func() (net.Conn, error) { return l.dial(usual) }
	server := s.Server()
	server.Protocols.SetUnencryptedHTTP2(true)
	s.serveOn(l, server)
	return s, via
}
