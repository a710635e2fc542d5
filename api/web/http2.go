package web

import (
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
)

// maxHTTP2 is how many connections may speak HTTP/2 at once. The process keeps what a client sends
// on one until a handler reads it, up to connectionBuffer, where the kernel keeps little of what
// comes over HTTP/1.1.
const maxHTTP2 = 16

// http2Conns is the connections that speak HTTP/2.
type http2Conns struct {
	mu   sync.Mutex
	open map[net.Conn]struct{} // the TCP connections; guarded by mu
}

// BoundHTTP2 lets a server of this package, which serves with the TLS configuration, speak HTTP/2
// on maxHTTP2 connections at once. Others are offered HTTP/1.1, which every client of registries
// speaks.
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

// add adds a connection and reports whether there was room for it.
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
