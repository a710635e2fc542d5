package web

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strconv"
	"sync/atomic"
)

const maxRequestID = 128 // bytes of a client's X-Request-Id

// ids generates ids of requests. They are unique, not secret. No client can choose one, so that no
// two requests have the same.
type ids struct {
	prefix string
	count  atomic.Uint64
}

func newIDs() *ids {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return &ids{prefix: hex.EncodeToString(b[:]) + "-"}
}

func (i *ids) next() string {
	b := make([]byte, 0, 32)
	b = append(b, i.prefix...)
	return string(strconv.AppendUint(b, i.count.Add(1), 36))
}

// ClientID returns the X-Request-Id that a client or proxy sent, or "" if it is not acceptable.
func ClientID(r *http.Request) string {
	if v := r.Header["X-Request-Id"]; len(v) == 1 && validID(v[0]) && Redact(v[0]) == v[0] {
		return v[0]
	}
	return ""
}

func validID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=':
		default:
			return false
		}
	}
	return true
}
