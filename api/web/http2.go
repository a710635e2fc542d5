package web

import (
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
)

// maxHTTP2 is the number of connections that may use HTTP/2 at once. On each of them the process
// buffers up to connectionBuffer of bodies that no handler has read yet. Over HTTP/1.1 such bytes
// stay in the small buffer of the kernel.
const maxHTTP2 = 16

// http2Conns is the set of connections that use HTTP/2.
type http2Conns struct {
	mu   sync.Mutex
	open map[net.Conn]struct{} // the TCP connections; guarded by mu
}

// LimitHTTP2 makes server, which was made by Server.HTTP and serves with the TLS configuration, use
// HTTP/2 on at most maxHTTP2 connections at once. Further connections are offered HTTP/1.1, which
// every registry client speaks.
func LimitHTTP2(server *http.Server, config *tls.Config) {
	conns := &http2Conns{open: make(map[net.Conn]struct{})}
	http1 := config.Clone()
	http1.NextProtos = []string{"http/1.1"}
	server.TLSConfig = config.Clone()
	server.TLSConfig.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, "h2") && !conns.add(hello.Conn) {
			return http1, nil
		}
		return nil, nil
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		if state != http.StateClosed && state != http.StateHijacked {
			return
		}
		if over, ok := conn.(*tls.Conn); ok {
			conns.remove(over.NetConn())
		}
	}
}

// add adds a connection. It reports whether there was room.
func (c *http2Conns) add(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= maxHTTP2 {
		return false
	}
	c.open[conn] = struct{}{}
	return true
}

func (c *http2Conns) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}
