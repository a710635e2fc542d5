package authtest

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net/http"
)

// WriteJSON writes v as the JSON body of a response.
func WriteJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err) // the value comes from a test
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// discardLogger returns a logger that drops everything, such as TLS errors of clients that do not
// trust a server.
func discardLogger() *log.Logger { return log.New(io.Discard, "", 0) }
