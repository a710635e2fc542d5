package manifest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// unsigned is a schema 1 manifest, indented as by Docker.
const unsigned = `{
   "schemaVersion": 1,
   "name": "library/x",
   "tag": "latest",
   "architecture": "amd64",
   "fsLayers": [
      {
         "blobSum": "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
      },
      {
         "blobSum": "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
      }
   ],
   "history": []
}`

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// protectedHeader returns the protected header of a signature as Docker writes it.
func protectedHeader(length int, tail string) string {
	return encode(fmt.Sprintf(`{"formatLength":%d,"formatTail":"%s","time":"2016-04-18T20:54:42Z"}`, length, encode(tail)))
}

// signature returns one element of "signatures".
func signature(protected string) string {
	return `{
         "header": {
            "jwk": {
               "crv": "P-256",
               "kid": "OZ45:U3IG",
               "kty": "EC"
            },
            "alg": "ES256"
         },
         "signature": "` + encode("not looked at") + `",
         "protected": "` + protected + `"
      }`
}

// sign inserts signatures before the closing brace, as Docker does.
func sign(payload string, signatures ...string) string {
	body := strings.TrimSuffix(payload, "\n}")
	return body + ",\n   \"signatures\": [\n      " + strings.Join(signatures, ",\n      ") + "\n   ]\n}"
}

func TestSigned(t *testing.T) {
	s := signature(protectedHeader(len(unsigned)-2, "\n}"))
	for _, c := range []struct{ name, payload string }{
		{"one signature", sign(unsigned, s)},
		{"two signatures", sign(unsigned, s, s)},
		{"padded base64", sign(unsigned, signature(base64.URLEncoding.EncodeToString(
			[]byte(fmt.Sprintf(`{"formatLength":%d,"formatTail":"Cn0="}`, len(unsigned)-2)))))},
	} {
		for _, want := range []digest.Digest{"", digest.SHA256.FromString(unsigned), digest.SHA512.FromString(unsigned)} {
			m, err := Parse(MediaTypeSchema1Signed, []byte(c.payload), want)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if want == "" {
				want = digest.FromString(unsigned)
			}
			if m.Digest != want || m.MediaType != MediaTypeSchema1Signed || string(m.Payload) != c.payload {
				t.Errorf("%s: got %s, %s", c.name, m.Digest, m.MediaType)
			}
			if len(m.Links) != 1 || m.Links[0] != (Link{Digest: dig256, Size: -1}) {
				t.Errorf("%s: got %+v", c.name, m.Links)
			}
		}
		// The digest of the signed payload is not the manifest's digest.
		_, err := Parse(MediaTypeSchema1Signed, []byte(c.payload), digest.FromString(c.payload))
		if !errors.Is(err, ErrDigestInvalid) {
			t.Errorf("%s: got %v, want ErrDigestInvalid", c.name, err)
		}
	}
}

func TestSignedUnreadable(t *testing.T) {
	n := len(unsigned) - 2
	good := signature(protectedHeader(n, "\n}"))
	header := func(s string) string { return sign(unsigned, signature(encode(s))) }
	long := unsigned[:n] + `,"x":"` // a cut inside a string
	for _, c := range []struct{ name, payload, message string }{
		{"no signatures", unsigned, "signatures: missing"},
		{"none in the list", sign(unsigned), "signatures: expected one or more"},
		{"null", replace(t, unsigned, `"history": []`, `"signatures": null`), "signatures: expected one or more"},
		{"not a list", replace(t, unsigned, `"history": []`, `"signatures": {}`), "signatures: expected an array"},
		{"not an object", sign(unsigned, "1"), "signatures[0]: expected an object"},
		{"nothing in it", sign(unsigned, "{}"), "expected header, signature and protected"},
		{"no header", sign(unsigned, replace(t, good, `"header"`, `"other"`)), "expected header, signature and protected"},
		{"header null", sign(unsigned, `{"header":null,"signature":"","protected":"`+protectedHeader(n, "\n}")+`"}`), "signatures[0].header: expected an object"},
		{"protected twice", sign(unsigned, replace(t, good, `"header"`, `"protected":"`+protectedHeader(n, "\n}")+`","header"`)), `the key "protected" appears twice`},
		{"protected in another case", sign(unsigned, replace(t, good, `"header"`, `"Protected":"","header"`)), `the key "Protected" is spelled "protected"`},
		{"protected a number", sign(unsigned, replace(t, good, `"`+protectedHeader(n, "\n}")+`"`, "1")), "signatures[0].protected: expected a string"},
		{"protected not base64", sign(unsigned, signature("%")), "signatures[0].protected: expected base64url"},
		{"signature not base64", sign(unsigned, replace(t, good, encode("not looked at"), "%")), "signatures[0].signature: expected base64url"},
		{"protected empty", sign(unsigned, signature("")), "signatures[0].protected: not valid JSON"},
		{"protected not JSON", header("x"), "signatures[0].protected: not valid JSON"},
		{"protected an array", header("[]"), "signatures[0].protected: expected an object"},
		{"protected without a length", header(`{"formatTail":"Cn0"}`), "expected formatLength and formatTail"},
		{"protected without a tail", header(fmt.Sprintf(`{"formatLength":%d}`, n)), "expected formatLength and formatTail"},
		{"length twice", header(fmt.Sprintf(`{"formatLength":1,"formatLength":%d,"formatTail":"Cn0"}`, n)), `the key "formatLength" appears twice`},
		{"length a string", header(fmt.Sprintf(`{"formatLength":"%d","formatTail":"Cn0"}`, n)), "formatLength: expected a whole number"},
		{"length negative", header(`{"formatLength":-1,"formatTail":"Cn0"}`), "formatLength: expected a whole number"},
		{"length zero", header(`{"formatLength":0,"formatTail":"Cn0"}`), "do not make the manifest"},
		{"length zero, a tail that is a manifest", header(`{"formatLength":0,"formatTail":"` + encode("{}") + `"}`), "do not make the manifest"},
		{"length over the end", header(`{"formatLength":100000,"formatTail":"Cn0"}`), "exceeds the manifest's"},
		{"length huge", header(`{"formatLength":9223372036854775807,"formatTail":"Cn0"}`), "exceeds the manifest's"},
		{"length inside", header(fmt.Sprintf(`{"formatLength":%d,"formatTail":"Cn0"}`, n-1)), "do not make the manifest"},
		{"tail not base64", header(fmt.Sprintf(`{"formatLength":%d,"formatTail":"%%"}`, n)), "formatTail: expected base64url"},
		{"tail that is not JSON's end", header(fmt.Sprintf(`{"formatLength":%d,"formatTail":"Cg"}`, n)), "do not make the manifest"},
		{"tail with other layers", header(fmt.Sprintf(`{"formatLength":1,"formatTail":"%s"}`,
			encode(`"schemaVersion":1,"fsLayers":[{"blobSum":"`+dig512+`"}]}`))), "do not make the manifest"},
		{"tail with signatures", header(fmt.Sprintf(`{"formatLength":%d,"formatTail":"%s"}`, n, encode(`,"signatures":[]}`))), "do not make the manifest"},
		{"signatures that differ", sign(unsigned, good, signature(protectedHeader(n-1, "\n}"))), "signatures[1].protected: formatLength and formatTail differ"},
		{"cut inside a string", sign(long+"latest\"\n}", signature(protectedHeader(len(long), "\"\n}"))), "do not make the manifest"},
		{"cut before another member", sign(long+"\"\n}", signature(protectedHeader(n, "\n}"))), "do not make the manifest"},
		{"a member after signatures", replace(t, sign(unsigned, good), "\n   ]\n}", "\n   ],\"tag2\":1\n}"), "do not make the manifest"},
		{"signatures first", `{"signatures":[` + signature(protectedHeader(1, unsigned[1:])) + `],` + unsigned[1:], "do not make the manifest"},
	} {
		m, err := Parse(MediaTypeSchema1Signed, []byte(c.payload), "")
		if !errors.Is(err, ErrManifestUnverified) || m != nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: got %v, want ErrManifestUnverified with %q", c.name, err, c.message)
		}
	}
}

// TestSignedInvalid checks that errors in the manifest itself are not reported as errors of the
// envelope.
func TestSignedInvalid(t *testing.T) {
	for _, payload := range []string{
		"x",
		sign(replace(t, unsigned, `"schemaVersion": 1`, `"schemaVersion": 2`), signature(protectedHeader(1, "}"))),
		sign(replace(t, unsigned, hex64, "x"), signature(protectedHeader(1, "}"))),
	} {
		if _, err := Parse(MediaTypeSchema1Signed, []byte(payload), ""); !errors.Is(err, ErrManifestInvalid) {
			t.Errorf("%.40q: got %v, want ErrManifestInvalid", payload, err)
		}
	}
}

func TestMatches(t *testing.T) {
	text, changed := []byte(unsigned), []byte(strings.Replace(unsigned, "amd64", "arm64", 1))
	s := signature(protectedHeader(len(unsigned)-2, "\n}"))
	signed, changedSigned := []byte(sign(unsigned, s)), []byte(sign(string(changed), s))
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		d := alg.FromBytes(text)
		for _, c := range []struct {
			mediaType string
			payload   []byte
			want      bool
		}{
			{MediaTypeImage, text, true}, {MediaTypeImage, changed, false}, {MediaTypeImage, nil, false},
			{MediaTypeImage, signed, false}, // only schema 1 digests leave signatures out
			{MediaTypeSchema1, text, true}, {MediaTypeSchema1, changed, false},
			{MediaTypeSchema1Signed, signed, true}, {MediaTypeSchema1Signed, changedSigned, false}, {MediaTypeSchema1Signed, signed[:200], false},
		} {
			if got := DigestMatches(d, c.mediaType, c.payload); got != c.want {
				t.Errorf("%s, %s, %.80q: %v", alg, c.mediaType, c.payload, got)
			}
		}
	}
}
