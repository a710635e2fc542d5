package authtest

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net/http"
)

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err) // of a value that a test wrote
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// quiet takes what a server says of clients that do not trust it.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
