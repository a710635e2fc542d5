// Package web holds what all HTTP answers share, for the registry's protocol and for web pages. It
// knows no repository, no caller and no storage.
//
// A package that answers requests makes a Server with New. For each request it makes an Exchange
// and passes it to Serve, with a Handler that writes the answer and counts it. Serve guarantees:
//
//   - A client cannot hold a connection by silence. Header, body and answer have deadlines. Those
//     of body and answer move with the bytes, so that a transfer may take any time but not stall.
//   - An incomplete answer never looks complete: its connection, or its HTTP/2 stream, is cut.
//   - An answer that is ready before the request's body has ended reaches the client, even one that
//     sends the whole body before it reads anything.
//   - Every request has an id, and every answer has the common header fields.
//
// The log, metrics, permissions and the form of errors belong to the packages that answer. This
// package gives them the origin of a request (Origin), checks of the hosts and origins that it
// names (AllowsHost, CheckOrigin), the fields for web pages of other origins (AllowOrigin), and
// client text that is safe to log (Redact).
package web

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Options are the settings of a Server. Zero values mean the defaults given here.
type Options struct {
	// Log receives the messages of net/http; by default they are discarded.
	Log *slog.Logger
	// CheckHost makes AllowsHost accept only loopback names and Hosts, so that no web page reaches
	// the server by DNS rebinding.
	CheckHost bool
	Hosts     []string // "registry.lan", which admits every port, or "registry.lan:5000"
	// Origins are the origins whose web pages may write, in addition to the request's own host:
	// "https://r.example".
	Origins []string
	// CORS has the pages of other origins that may read too, and those that may write. By default
	// there are none.
	CORS CORS
	// HeaderTimeout is the time that a client has to send a request's header; 10 s by default.
	HeaderTimeout time.Duration
	// BodyTimeout is how long a transfer may stall, in either direction; 60 s by default. There is
	// no limit for a transfer whose bytes move.
	BodyTimeout time.Duration
	// LingerBytes and LingerTime limit what is drained of a request's body after an early answer
	// over HTTP/1. If either is 0, the default, the limits are 256 KiB and 5 s.
	LingerBytes int64
	LingerTime  time.Duration
	// Drained is called with the number of bytes of each read while draining, by several goroutines
	// at once; by default it does nothing.
	Drained func(bytes int)
	// ClientNetwork returns the network whose lingering connections are counted as one client's. By
	// default each address is counted alone.
	ClientNetwork func(netip.Addr) netip.Prefix
	// MaxHeaderBytes limits the size of a request's line and header fields; 64 KiB by default.
	// Larger ones are answered with 431.
	MaxHeaderBytes int
	// TrustedProxies are the networks of proxies whose X-Forwarded-For, -Proto and -Host are
	// believed; none by default.
	TrustedProxies []netip.Prefix
	// HSTS is the max-age of Strict-Transport-Security, which answers over HTTPS carry. It binds
	// every port of the host. 0 sends no such field.
	HSTS time.Duration
	// Version is the program's version, for the Server header field; by default there is no such
	// field.
	Version string
}

const (
	defaultHeaderTimeout  = 10 * time.Second
	defaultBodyTimeout    = time.Minute
	defaultMaxHeaderBytes = 64 << 10
)

// Server holds the settings and state that the requests of one handler share. It is safe for
// concurrent use.
type Server struct {
	options Options
	hosts   Hosts
	origins *http.CrossOriginProtection
	version []string // the value of Server; nil for none
	hsts    []string // the value of Strict-Transport-Security; nil for none
	ids     *ids
	bodies  bodies
	lingers lingerSlots
	buffers sync.Pool // of *[copyBuffer]byte, for bodies that are not files
}

// New returns a Server.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Drained == nil {
		o.Drained = func(int) {}
	}
	if o.ClientNetwork == nil {
		o.ClientNetwork = func(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }
	}
	o.HeaderTimeout = orDefault(o.HeaderTimeout, defaultHeaderTimeout)
	o.BodyTimeout = orDefault(o.BodyTimeout, defaultBodyTimeout)
	o.MaxHeaderBytes = orDefault(o.MaxHeaderBytes, defaultMaxHeaderBytes)
	s := &Server{
		options: o,
		hosts:   NewHosts(o.Hosts),
		ids:     newIDs(),
	}
	if o.Version != "" {
		s.version = []string{"berth/" + o.Version}
	}
	if o.HSTS > 0 {
		s.hsts = []string{"max-age=" + strconv.FormatInt(int64(o.HSTS/time.Second), 10)}
	}
	s.origins = s.newOriginCheck()
	s.buffers.New = func() any { return new([copyBuffer]byte) }
	return s
}

func orDefault[T int | time.Duration](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}
