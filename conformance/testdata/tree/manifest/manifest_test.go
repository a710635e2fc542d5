package manifest

import (
	_ "expvar"
	"net/http" // a test may

	_ "modernc.org/sqlite"
)

var _ http.Handler
