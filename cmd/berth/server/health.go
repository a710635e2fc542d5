package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"github.com/berth-registry/berth/cmd/berth/config"
)

// AskReady returns nil when the server on the address it listens on says that it is ready.
func AskReady(ctx context.Context, c *config.Config) error {
	addr, err := dialAddr(c.HTTP.Addr)
	if err != nil {
		return err
	}
	scheme := "http"
	if c.TLS.Certificate != "" {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+addr+"/readyz", nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{ // and no proxy, whatever HTTP_PROXY says
		DisableKeepAlives: true,
		// The certificate is for the name that clients use, not for this address, and may be one
		// that only they trust. Nothing is sent that anyone could misuse.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s answers %s", addr, resp.Status)
	}
	return nil
}

// dialAddr is where to reach, from this machine, a server that listens on addr.
func dialAddr(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return "", errors.New("http.addr has port 0, so nobody knows which port the server took")
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}
