package web

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"net/http"
	"time"
)

const (
	idleTimeout = 150 * time.Second
	// net/http reads this much more than it is told before it gives up.
	headerSlop = 4096
	// How much a client of HTTP/2 may send before a handler has read it. With less, an
	// upload over a long way goes slower than over HTTP/1.1: no faster than this per round trip.
	streamBuffer     = 4 << 20
	connectionBuffer = 8 << 20
)

// HTTP makes the HTTP server whose handler has each request answered by Serve. The
// caller owns it: it gives it a listener and shuts it down.
//
// There is no time limit for a whole request or answer, which would end large
// bodies; Serve watches that they move.
func (s *Server) HTTP(handler http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true) // over TLS, where the client wants it
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: s.options.HeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    max(s.options.MaxHeaderBytes-headerSlop, 1),
		ErrorLog:          log.New(errorLog{s.options.Log}, "", 0),
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxReceiveBufferPerStream: streamBuffer, MaxReceiveBufferPerConnection: connectionBuffer},
		// "OPTIONS *" is answered as every other request is.
		DisableGeneralOptionsHandler: true,
	}
}

// serverLog takes what net/http has to say into the log. Any client that connects can make a
// handshake fail: that is for debugging.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Write(line []byte) (int, error) {
	level := slog.LevelWarn
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, string(bytes.TrimSpace(line)))
	return len(line), nil
}

// Interrupt ends the reading of every body that is still coming in, now and
// from now on, so that uploads record what arrived. It is for the end of a
// shutdown, when waiting has taken long enough.
func (s *Server) Interrupt() {
	s.StopLingering()
	s.bodies.interrupt()
}
