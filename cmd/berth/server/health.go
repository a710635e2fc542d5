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

// AskReady returns nil if the server at the configured address answers that it is ready.
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
	client := &http.Client{Transport: &http.Transport{ // without a proxy, even if HTTP_PROXY is set
		DisableKeepAlives: true,
		// The certificate is for the name that clients use, not for this address, and may come from
		// an authority that only they trust. The request has no secrets.
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

// dialAddr returns the address at which this machine reaches a server that listens on addr.
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
