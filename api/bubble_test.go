package api

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/berth-registry/berth/api/web/webtest"
)

// serveInBubble serves a registry in a synctest bubble, over HTTP/1.1 and unencrypted HTTP/2.
// Connections come from 192.0.2.1, unless a transport of via is used.
func serveInBubble(t *testing.T, registry Registry, o Options) (s *site, via func(from string, protocol int) http.RoundTripper) {
	t.Helper()
	// The last cleanup: timers of net/http and the clients must end in the bubble.
	t.Cleanup(func() { time.Sleep(time.Minute) })
	l := webtest.NewListener()
	s = newUnservedSite(t, registry, o)
	via = func(from string, protocol int) http.RoundTripper {
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return l.Dial(from) }, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(protocol == 1)
		transport.Protocols.SetUnencryptedHTTP2(protocol == 2)
		t.Cleanup(transport.CloseIdleConnections)
		return transport
	}
	const usual = "192.0.2.1:1"
	s.addr, s.transport, s.dialFrom = "localhost", via(usual, 1), l.Dial
	s.connect = func() (net.Conn, error) { return l.Dial(usual) }
	server := s.server()
	server.Protocols.SetUnencryptedHTTP2(true)
	s.serveOn(l, server)
	return s, via
}
