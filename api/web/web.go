// Package web is what every answer over HTTP shares, whatever it answers: the registry's protocol,
// or pages. It knows no repository, no caller and no storage.
//
// A package that answers requests makes a Server with New, and an Exchange for each request, which
// it gives to Serve with the functions that make the answer and that count it. Serve guarantees
// that
//
//   - no client holds a connection by silence. Header, body and answer have deadlines; those of a
//     body and an answer follow the bytes, so that either may take for ever but not stand still.
//   - an answer that is not whole never ends as if it were: its connection, or its stream, is cut.
//   - an answer that is ready before the request's body has ended arrives, also where the client
//     sends all of the body before it looks for one.
//   - every request has an id, and every answer the header fields that all answers have.
//
// Lines of the log, metrics, permissions and the form of errors are those of the packages that
// answer. What they need for that is here: where a request comes from (Origin), which hosts and
// origins it may name (AllowsHost, CheckOrigin), and what of a client's text a log may have
// (Redact).
package web

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Options are the settings of a Server. Zero values mean the defaults named.
type Options struct {
	// Log takes what net/http has to say; none by default.
	Log *slog.Logger
	// CheckHost has AllowsHost allow the names of the loopback and Hosts alone, so that no web page
	// reaches a server on loopback by DNS rebinding.
	CheckHost bool
	Hosts     []string // "registry.lan" or "registry.lan:5000"
	// Origins are those whose web pages may write, beside the request's own: "https://r.example".
	Origins []string
	// HeaderTimeout is how long a client may take to send a request's header; 10 s by default.
	HeaderTimeout time.Duration
	// BodyTimeout is how long a body may stand still, in either direction; 60 s by default. A body
	// that moves may take for ever.
	BodyTimeout time.Duration
	// LingerBytes and LingerTime bound how much of a request's body is read, and for how long,
	// after an answer over HTTP/1 that did not wait for its end. With 0 in either, the default, it
	// is 256 KiB and 5 s.
	LingerBytes int64
	LingerTime  time.Duration
	// Drained is called with the number of bytes of each such read, by several goroutines at once;
	// nothing is by default.
	Drained func(bytes int)
	// Network returns the addresses that count as one client where connections that are read on are
	// counted. By default each address is a client.
	ClientNetwork func(netip.Addr) netip.Prefix
	// MaxHeaderBytes bounds a request's line and header fields; 64 KiB by default. Longer ones are
	// answered 431.
	MaxHeaderBytes int
	// TrustedProxies are those whose X-Forwarded-For, -Proto and -Host are believed; none by
	// default.
	TrustedProxies []netip.Prefix
	// HSTS is how long browsers and clients are to come by HTTPS only, which binds every port of
	// the host: it is told in answers over HTTPS. 0 is not.
	HSTS time.Duration
	// Version of the program, for the Server header; none by default.
	Version string
}

const (
	defaultHeaderTimeout  = 10 * time.Second
	defaultBodyTimeout    = time.Minute
	defaultMaxHeaderBytes = 64 << 10
)

// Server is what the requests of one handler share. Its methods may be called by several goroutines
// at once.
type Server struct {
	options Options
	hosts   hosts
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
		hosts:   newHosts(o.CheckHost, o.Hosts),
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
