package manifest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

// readSchema1 reads a Docker schema 1 manifest. It ignores the name and tag inside, and verifies no
// signature.
func (m *Manifest) readSchema1(doc document, all *links) error {
	if err := doc.rejectKeys(m.MediaType, "config", "layers", "manifests"); err != nil {
		return err
	}
	if err := doc.checkVersion("1"); err != nil {
		return err
	}
	if _, ok := doc["signatures"]; ok && m.MediaType == MediaTypeSchema1 {
		// It is undefined whether the digest covers signatures under this media type.
		return atPath("signatures", faultf("a signed manifest has the Content-Type %s", MediaTypeSchema1Signed))
	}
	return doc.requiredArray("fsLayers", func(v value) error {
		var link Link
		err := v.knownMembers([]string{"blobSum"}, func(_ string, v value) (err error) {
			link.Digest, err = v.digest()
			return err
		})
		if err != nil {
			return err
		}
		if link.Digest == "" {
			return atPath("blobSum", faultf("missing, expected a digest"))
		}
		link.Size = -1
		return all.add(link)
	})
}

// unsignedPayload returns the payload of a signed manifest without its signatures. This is what its
// digest is computed from. The protected header of each signature says how to get it: the first
// formatLength bytes of the payload, followed by formatTail.
//
// The result must be the document without its last member, "signatures". Otherwise the digest would
// not cover what Parse reads.
func unsignedPayload(payload []byte) ([]byte, error) {
	outer, err := readDocument(payload)
	if err != nil {
		return nil, err
	}
	var formats []signatureFormat
	err = outer.requiredArray("signatures", func(v value) error {
		f, err := v.signature()
		if err == nil && len(formats) > 0 && !formats[0].equal(f) {
			err = atPath("protected", faultf("formatLength and formatTail differ from the first signature's"))
		}
		formats = append(formats, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(formats) == 0 {
		return nil, atPath("signatures", faultf("expected one or more"))
	}
	f := formats[0]
	if f.length > int64(len(payload)) {
		return nil, atPath("signatures[0].protected", faultf("formatLength %d exceeds the manifest's %d bytes", f.length, len(payload)))
	}
	head, rest := payload[:f.length], payload[f.length:]
	unsigned := slices.Concat(head, f.tail)
	if !isObjectEnd(f.tail) || !json.Valid(unsigned) || !isSignaturesMember(rest, outer["signatures"]) {
		return nil, atPath("signatures[0].protected", faultf("formatLength and formatTail do not make the manifest without its signatures"))
	}
	return unsigned, nil
}

// isObjectEnd reports whether s is a closing brace with optional space around it.
func isObjectEnd(s []byte) bool { return string(bytes.TrimSpace(s)) == "}" }

// isSignaturesMember reports whether s is the last member "signatures" with the given value, and
// the end of the object.
func isSignaturesMember(s []byte, signatures value) bool {
	for _, part := range [][]byte{[]byte(","), []byte(`"signatures"`), []byte(":"), signatures} {
		var found bool
		if s, found = bytes.CutPrefix(bytes.TrimSpace(s), part); !found {
			return false
		}
	}
	return isObjectEnd(s)
}

// signatureFormat says how to get the unsigned manifest from a signed one.
type signatureFormat struct {
	length int64
	tail   []byte
}

func (f signatureFormat) equal(g signatureFormat) bool {
	return f.length == g.length && bytes.Equal(f.tail, g.tail)
}

// signature reads the format from the protected header of a signature.
func (v value) signature() (signatureFormat, error) {
	var f signatureFormat
	found := 0
	err := v.knownMembers([]string{"header", "signature", "protected"}, func(key string, v value) (err error) {
		found++
		switch key {
		case "header":
			err = v.members(func([]byte, value) error { return nil })
		case "signature":
			_, err = v.base64()
		case "protected":
			f, err = v.protected()
		}
		return err
	})
	if err == nil && found < 3 {
		err = faultf("expected header, signature and protected")
	}
	return f, err
}

// protected reads a protected header: a JSON object in base64url.
func (v value) protected() (signatureFormat, error) {
	var f signatureFormat
	decoded, err := v.base64()
	if err != nil {
		return f, err
	}
	header, err := readJSON(decoded)
	if err != nil {
		return f, err
	}
	found := 0
	err = header.knownMembers([]string{"formatLength", "formatTail"}, func(key string, v value) (err error) {
		found++
		if key == "formatLength" {
			f.length, err = v.natural()
		} else {
			f.tail, err = v.base64()
		}
		return err
	})
	if err == nil && found < 2 {
		err = faultf("expected formatLength and formatTail")
	}
	return f, err
}

// base64 reads a string in base64url (RFC 4648, section 5), padded or not.
func (v value) base64() ([]byte, error) {
	text, err := v.text()
	if err != nil {
		return nil, err
	}
	decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, faultf("expected base64url: %v", err)
	}
	return decoded, nil
}
