package config

import (
	"strings"
	"testing"
)

// TestCORSOrigins has valid and invalid values of http.cors.origins.
func TestCORSOrigins(t *testing.T) {
	for _, text := range []string{
		"https://ui.example", "http://ui.example:8080", "http://localhost:8080", "http://127.0.0.1:3000", "http://[::1]:8080",
		"https://xn--bcher-kva.example", "http://registry_ui", "https://a.example,https://b.example:81", "*", "*,https://ui.example",
	} {
		if l, err := loadTest(t, "", nil, []string{"--http-cors-origins", text}); err != nil || strings.Join(l.HTTP.CORS.Origins, ",") != text {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"https://ui.example/":           "expected https://ui.example",
		"https://UI.example":            "expected https://ui.example",
		"HTTPS://ui.example":            "expected https://ui.example",
		"https://ui.example:443":        "expected https://ui.example",
		"http://ui.example:80":          "expected http://ui.example",
		"https://ui.example.":           "expected https://ui.example",
		"https://ui.example:":           "expected https://ui.example",
		"null":                          "every sandboxed frame and local file",
		"ui.example":                    "expected scheme, host and port",
		"ui.example:8080":               "expected scheme, host and port",
		"//ui.example":                  "expected scheme, host and port",
		"https://":                      "expected scheme, host and port",
		"file:///":                      "expected scheme, host and port",
		"https://ui.example/app":        "expected scheme, host and port",
		"https://ui.example?x":          "expected scheme, host and port",
		"https://ui.example#x":          "expected scheme, host and port",
		"https://u:hidden@ui.example":   "expected scheme, host and port",
		"https://*.ui.example":          "patterns do not work",
		"https://*":                     "patterns do not work",
		"https://bücher.example":        "xn--",
		"https://ui.example:080":        "expected scheme, host and port",
		"https://ui.example:65536":      "expected scheme, host and port",
		"http://[0:0::1]":               "expected http://[::1]",
		"http://[::1%25eth0]":           "expected scheme, host and port",
		"https://ui.example,https://x/": "expected https://x",
	} {
		if _, err := loadTest(t, "", nil, []string{"--http-cors-origins", text}); err == nil || !strings.HasPrefix(err.Error(), "http.cors.origins: ") ||
			!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v, want an error that says %q", text, err, want)
		}
	}
}

// TestCORSCredentials: http.cors.credentials wants origins, and none that stands for all.
func TestCORSCredentials(t *testing.T) {
	for file, want := range map[string]string{
		"http: {cors: {origins: [https://ui.example], credentials: true}}":           "",
		"http: {cors: {origins: ['*'], credentials: false}}":                         "",
		"http: {cors: {origins: ['*'], credentials: true}}":                          `does not go with "*"`,
		"http: {cors: {origins: [https://ui.example, '*'], credentials: true}}":      `does not go with "*"`,
		"http: {cors: {credentials: true}}":                                          "http.cors.origins is not",
		"http: {cors: {origins: [https://ui.example], allow_credentials: true}}":     "did you mean http.cors.credentials?",
		"http: {cors: https://ui.example}":                                           "holds http.cors.origins, http.cors.credentials",
		"http: {cors: {origins: ['null', https://ui.example/], credentials: false}}": "sandboxed frame",
	} {
		_, err := loadTest(t, file, nil, nil)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}
