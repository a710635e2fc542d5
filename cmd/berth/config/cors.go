package config

import (
	"errors"
	"fmt"
	"slices"
)

// anyOrigin stands for all origins in http.cors.origins.
const anyOrigin = "*"

// checkCORS refuses http.cors.credentials where no origin, or every one, would have them.
func (l *Loaded) checkCORS() error {
	c := l.HTTP.CORS
	switch {
	case c.Credentials && len(c.Origins) == 0:
		return errors.New(
			"http.cors.credentials is set and http.cors.origins is not: name the origins whose pages it is for")
	case c.Credentials && slices.Contains(c.Origins, anyOrigin):
		return errors.New(`http.cors.credentials does not go with "*" in http.cors.origins: every web page could read with its visitor's password; name the origins instead of "*"`)
	}
	return nil
}

// checkOrigin checks an entry of http.cors.origins: "*", or an origin in the form in which browsers
// send it (RFC 6454, section 6.2), since it is compared with theirs byte by byte.
func checkOrigin(text string) error {
	const want = "expected scheme, host and port as browsers send them, such as https://ui.example or http://10.0.0.7:8080 (patterns do not work, and other letters than ASCII are written as xn--…)"
	clean, err := parseExternalURL(text)
	switch {
	case text == anyOrigin:
		return nil
	case text == "null":
		return errors.New("is the origin of every sandboxed frame and local file, and cannot be let in: serve the page from an origin of its own")
	case err != nil:
		return errors.New("is not an origin: " + want)
	case clean != text:
		return fmt.Errorf("is not as browsers send it: expected %s", clean)
	}
	return nil
}
