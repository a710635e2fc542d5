package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestSettingsReachTokens: challenges, tokens and discovery have the values of the settings.
func TestSettingsReachTokens(t *testing.T) {
	t.Parallel()
	data := newData(t)
	addUser(t, data, "alice", "secret")
	p := serve(t, data, nil, "--auth-token-ttl", "2m", "--http-external-url", "https://Registry.test:443/,https://other.test:8443")
	for host, realm := range map[string]string{"registry.test": "https://registry.test", "other.test:8443": "https://other.test:8443", "evil.test": "https://registry.test"} {
		_, header, _ := p.request("GET", "/v2/", nil, "Host", host)
		if got, want := header.Get("WWW-Authenticate"), `Bearer realm="`+realm+`/v2/auth",service="registry.test"`; got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
	_, _, answer := p.request("GET", "/v2/auth?service=registry.test", nil, basic("alice", "secret")...)
	var got struct {
		ExpiresIn int `json:"expires_in"`
	}
	if err := json.Unmarshal(answer, &got); err != nil || got.ExpiresIn != 120 {
		t.Errorf("%s, %v", answer, err)
	}
	_, _, answer = p.request("GET", "/.well-known/openid-configuration", nil)
	var discovery struct{ Issuer string }
	if err := json.Unmarshal(answer, &discovery); err != nil || discovery.Issuer != "https://registry.test" {
		t.Errorf("%s, %v", answer, err)
	}
	p.stop()
}

// TestRelativeLocations: each value of the setting reaches the Location of an upload session.
func TestRelativeLocations(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]map[string]string{
		"auto":   {"r.test": "https://r.test/v2/", "other.localhost": "/v2/"},
		"always": {"r.test": "/v2/", "other.localhost": "/v2/"},
		"never":  {"r.test": "https://r.test/v2/", "other.localhost": "http://other.localhost/v2/"},
	} {
		p := serve(t, newData(t), nil, "--http-external-url", "https://first.test,https://r.test", "--http-relative-locations", value)
		for host, begin := range want {
			status, header, _ := p.request("POST", "/v2/app/blobs/uploads/", nil, "Host", host)
			if got := header.Get("Location"); status != http.StatusAccepted || !strings.HasPrefix(got, begin) {
				t.Errorf("%s, %s: %d, Location %s, want %s", value, host, status, got, begin)
			}
		}
		p.stop()
	}
}

// TestCORS: the origins of the settings may call, with credentials where that is set.
func TestCORS(t *testing.T) {
	t.Parallel()
	for credentials, want := range map[string]string{"true": "true", "false": ""} {
		p := serve(t, newData(t), nil, "--http-cors-origins", "https://ui.test", "--http-cors-credentials="+credentials)
		status, header, _ := p.request("OPTIONS", "/v2/_catalog", nil, "Origin", "https://ui.test", "Access-Control-Request-Method", "GET")
		if status != http.StatusNoContent || header.Get("Access-Control-Allow-Origin") != "https://ui.test" || header.Get("Access-Control-Allow-Credentials") != want {
			t.Errorf("http.cors.credentials %s: %d, %v", credentials, status, header)
		}
		p.stop()
	}
}

// TestTrustedProxies: X-Forwarded-For counts only from a trusted proxy.
func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	for proxies, want := range map[string]string{"127.0.0.0/8": `"from":"10.1.2.3"`, "10.0.0.0/8": `"from":"127.0.0.1"`} {
		p := serve(t, newData(t), nil, "--auth-mode", "berth", "--http-trusted-proxies", proxies)
		p.status(append(basic("alice", "wrong"), "X-Forwarded-For", "10.1.2.3")...)
		p.await("the denial in the log", func() bool { return strings.Contains(p.log.String(), `"msg":"audit"`) })
		if log := p.log.String(); !strings.Contains(log, want) {
			t.Errorf("%s: no %s in %s", proxies, want, log)
		}
		p.stop()
	}
}

// TestKeyFileIsReloaded: auth.key_file replaces the keys of the database, and is reloaded when it
// changes.
func TestKeyFileIsReloaded(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "key.pem", string(newPair(t, "one").key))
	p := serve(t, newData(t), nil, "--auth-mode", "berth", "--auth-key-file", file)
	keys := func() string {
		status, _, answer := p.request("GET", "/.well-known/jwks.json", nil)
		if status != http.StatusOK {
			t.Fatalf("keys: %d %s", status, answer)
		}
		return string(answer)
	}
	one := keys()
	replaceFile(t, file, string(newPair(t, "two").key))
	p.await("the change", func() bool { return keys() != one })
	two := keys()
	replaceFile(t, file, "no key\n")
	p.await("the mistake in the log", func() bool { return strings.Contains(p.log.String(), "reload failed") })
	if keys() != two {
		t.Error("a file without a key changed the keys")
	}
	p.stop()
}
