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
	// headerSlop is how much more than MaxHeaderBytes net/http reads before it gives up.
	headerSlop = 4096
	// streamBuffer and connectionBuffer are how much an HTTP/2 client may send before a handler
	// reads it. An upload cannot exceed this amount per round trip: smaller buffers would make
	// long-distance uploads slower than over HTTP/1.1.
	streamBuffer     = 4 << 20
	connectionBuffer = 8 << 20
)

// HTTP returns an HTTP server for a handler that answers each request by Serve. The caller owns the
// server: it starts it on a listener and shuts it down.
//
// The server has no time limit for a whole request or answer, since that would cut large bodies.
// Serve cuts those that stall.
func (s *Server) HTTP(handler http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true) // over TLS, if the client offers it
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: s.options.HeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    max(s.options.MaxHeaderBytes-headerSlop, 1),
		ErrorLog:          log.New(errorLog{s.options.Log}, "", 0),
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxReceiveBufferPerStream: streamBuffer, MaxReceiveBufferPerConnection: connectionBuffer},
		// "OPTIONS *" goes to the handler like any other request.
		DisableGeneralOptionsHandler: true,
	}
}

// errorLog passes net/http's messages to the log. Any client that connects can make a handshake
// fail, so handshake errors have debug level.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Write(line []byte) (int, error) {
	level := slog.LevelWarn
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, string(bytes.TrimSpace(line)))
	return len(line), nil
}

// Interrupt makes reads of request bodies fail, now and from now on, so that uploads record what
// has arrived. It ends a shutdown that has waited long enough.
func (s *Server) Interrupt() {
	s.StopLingering()
	s.bodies.interrupt()
}
