package api

import (
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
)

// TestContentEncoding pushes manifests in a content coding.
func TestContentEncoding(t *testing.T) {
	s := newSite(t, Options{})
	payload, d := s.pushImage("team/app", "v1", "")
	put := func(encoding, body string, code int) exchangeCase {
		return exchangeCase{
			Name: encoding, Method: "PUT", URL: "/v2/team/app/manifests/" + d + "?tag=v2", Body: body, WantCode: code,
			Header: header{"Content-Type": imageType, "Content-Encoding": encoding},
		}
	}
	for _, encoding := range []string{"identity", "Identity", " ", "identity, identity", "identity\nidentity"} {
		c := put(encoding, payload, 201)
		c.WantHeader = header{"Docker-Content-Digest": d}
		s.exchange(c)
	}
	var packed strings.Builder
	z := gzip.NewWriter(&packed)
	fmt.Fprint(z, payload)
	z.Close()
	for _, encoding := range []string{"gzip", "GZIP", "identity, gzip", "identity\ngzip", "x", strings.Repeat("<", 5_000)} {
		c := put(encoding, packed.String(), 415)
		c.WantError, c.WantHeader = "UNSUPPORTED", header{"Accept-Encoding": "identity", "Oci-Tag": absent}
		resp, body := s.exchange(c)
		checkErrorSize(t, encoding, resp, body)
		if !strings.Contains(body, "Content-Encoding") {
			t.Errorf("%s: the error is %s", encoding, body)
		}
	}
	// A blob is stored as it comes.
	d = sha256Of(packed.String())
	s.runCases([]exchangeCase{
		{
			Name: "a blob", Method: "POST", URL: uploads + "?digest=" + d, Header: header{"Content-Encoding": "gzip"}, Body: packed.String(),
			WantCode: 201,
		},
		{Name: "the blob", Method: "GET", URL: "/v2/team/app/blobs/" + d, WantCode: 200, WantBody: packed.String()},
	})
}
