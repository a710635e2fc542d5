package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/berth-registry/berth/auth/account"
	"github.com/berth-registry/berth/cmd/berth/config"
)

// announce prints where the registry is, whether authentication is on, and how to push to it.
func (s *server) announce(ctx context.Context, stderr io.Writer, lines *logQueue) {
	addr, data, authentication := s.main.Listener.Addr().String(), s.cfg.Data, "on"
	switch {
	case s.cfg.InMemory():
		data = "memory"
	case s.cfg.Database.Postgres():
		data = config.MaskURL(s.cfg.Storage.Bucket) + " and " + config.MaskURL(s.cfg.Database.URL)
	}
	if s.access == nil {
		authentication = "off"
	}
	url := s.scheme() + "://" + addr
	push := "docker push " + s.pushAddr() + "/NAME:TAG"
	terminal := s.cfg.Log.Format != "json" && isTerminal(stderr)
	if terminal {
		fmt.Fprintf(lines, "berth %s serves %s, data in %s, authentication %s; push with: %s\n",
			s.version, url, data, authentication, push)
	} else {
		attrs := []any{
			"addr", addr, "url", url, "auth", authentication, "data", data, "push", push,
			"version", s.version, "pid", os.Getpid(),
		}
		if s.debug.Listener != nil {
			attrs = append(attrs, "debug", s.debug.Listener.Addr().String())
		}
		s.log.Info("serving", attrs...)
	}
	s.announceAdmin(terminal, lines)
	s.warn(ctx)
	lines.flushSoon()
}

// announceAdmin prints the user that this start has made, with the command that sets its password.
// The random password is printed nowhere: a container's log is a terminal too (docker run -t).
func (s *server) announceAdmin(terminal bool, lines *logQueue) {
	if !s.addedUser {
		return
	}
	command := s.cfg.CommandLine("user passwd " + account.FirstUser)
	if terminal {
		fmt.Fprintf(lines, "made the user %s; to set its password: %s\n", account.FirstUser, command)
	} else {
		s.log.Warn("made a user with a random password that is shown nowhere; set one with the command",
			"user", account.FirstUser, "command", command)
	}
}

// warn logs warnings about settings that are valid but probably a mistake.
func (s *server) warn(ctx context.Context) {
	a := s.cfg.Auth
	recorded, err := s.rows.AuthEnabled(ctx)
	beyond := !isLoopback(s.main.Listener)
	switch {
	case a.Mode != config.ModeNone:
	case err == nil && recorded || a.Policy != "" || len(a.Htpasswd) > 0:
		s.log.Warn("auth.mode is none: everyone may do everything, whatever users and policy there are")
	case beyond:
		s.log.Warn("auth.mode is none, and http.addr is not a loopback address: everyone who can reach it may push, pull and delete",
			"addr", s.main.Listener.Addr().String())
	}
	if l := s.debug.Listener; l != nil && !isLoopback(l) {
		s.log.Warn("debug.addr is not a loopback address: everyone who can reach it may read the process's memory, with keys and tokens in it",
			"addr", l.Addr().String())
	}
	if s.access == nil {
		return
	}
	if beyond && len(s.cfg.HTTP.ExternalURL) == 0 {
		s.log.Warn("http.external_url is not set: clients are sent for tokens to whatever host their request names")
	}
	if s.lacksAccounts(ctx) {
		s.log.Warn("there is nobody who could log in; add a user with the command", "command", s.cfg.CommandLine("user add NAME"))
	}
}

// lacksAccounts reports whether nobody can log in: there is no account, no htpasswd file and no
// OIDC issuer.
func (s *server) lacksAccounts(ctx context.Context) bool {
	some, err := s.rows.HasAccounts(ctx)
	return err == nil && !some && len(s.cfg.Auth.Htpasswd) == 0 && len(s.access.policy.Issuers()) == 0
}

func (s *server) scheme() string {
	if s.certificate != nil {
		return "https"
	}
	return "http"
}

// pushAddr returns the registry's address for `docker push`: the host of the external URL or,
// without one, localhost if the registry listens there, because Docker speaks plain HTTP only to
// localhost.
func (s *server) pushAddr() string {
	if len(s.cfg.HTTP.ExternalURL) > 0 {
		_, host, _ := strings.Cut(s.cfg.HTTP.ExternalURL[0], "://")
		return host
	}
	tcp, ok := s.main.Listener.Addr().(*net.TCPAddr)
	if ok && (tcp.IP.IsLoopback() || tcp.IP.IsUnspecified()) {
		return fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return s.main.Listener.Addr().String()
}
