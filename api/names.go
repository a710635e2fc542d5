package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/berth-registry/berth/api/web"
)

// nameList is a list of tags or repositories, sent in pages.
type nameList struct {
	path   string                                     // of the list, for its Links
	prefix string                                     // JSON before the names
	query  func(last string, n int) ([]string, error) // returns at most n names after last
}

// namesSuffix is the JSON after the names.
const namesSuffix = "]}"

// send answers with a page of the list, or with the whole list if the request has no n. A page that
// is longer than queryLimit is streamed, so that at most one query's names are in memory.
func (l nameList) send(w *web.Response, p page) error {
	if p.n < 0 || p.n > queryLimit {
		return l.stream(w, p)
	}
	page, err := l.query(p.last, p.n+1)
	if err != nil {
		return err
	}
	if len(page) > p.n {
		if page = page[:p.n]; p.n > 0 {
			l.setNext(w, p.n, page[p.n-1])
		}
	}
	return l.sendWhole(w, page)
}

// setNext sets the Link to the page that follows the name last.
func (l nameList) setNext(w *web.Response, n int, last string) {
	setNextLink(w, l.path, url.Values{"n": {strconv.Itoa(n)}, "last": {last}})
}

// sendWhole sends names that are all in memory, with a Content-Length.
func (l nameList) sendWhole(w *web.Response, page []string) error {
	elements, err := jsonElements(page)
	if err != nil {
		return err
	}
	return writeBody(w, http.StatusOK, "application/json", append(append([]byte(l.prefix), elements...), namesSuffix...))
}

// jsonElements returns names as a JSON array without its brackets.
func jsonElements(page []string) ([]byte, error) {
	text, err := json.Marshal(page)
	if err != nil || len(page) == 0 {
		return nil, err
	}
	return text[1 : len(text)-1], nil
}

// stream sends a page of more than queryLimit names, or the whole list. The first query is made
// before the header is written, so that its error gets a status. If it returned all names the
// answer has a Content-Length.
func (l nameList) stream(w *web.Response, p page) error {
	end := ""
	if p.n > 0 {
		var err error
		if end, err = l.lastOfPage(p); err != nil {
			return err
		}
	}
	page, more, err := l.read(end, p.last)
	if err != nil {
		return err
	}
	if end != "" {
		l.setNext(w, p.n, end)
	}
	if !more {
		return l.sendWhole(w, page)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if w.Head() {
		return nil
	}
	return l.streamFrom(w, page, end)
}

// streamFrom sends names, and then those that follow them up to end. Each query's names are sent
// before the next query, so that neither memory nor a database cursor is held while the client
// reads.
func (l nameList) streamFrom(w *web.Response, page []string, end string) error {
	before := l.prefix
	for more := true; len(page) > 0; before = "," {
		elements, err := jsonElements(page)
		if err != nil {
			return err
		}
		last := page[len(page)-1]
		if _, err := w.Write(append([]byte(before), elements...)); err != nil {
			return err
		}
		if !more {
			break
		}
		if page, more, err = l.read(end, last); err != nil {
			return err
		}
	}
	_, err := w.Write([]byte(namesSuffix))
	return err
}

// lastOfPage returns the last name of a page, or "" if the list ends with that page.
func (l nameList) lastOfPage(p page) (end string, err error) {
	end = p.last
	for left := p.n; left > 0; left -= queryLimit {
		want := min(left, queryLimit)
		page, err := l.query(end, want)
		if err != nil || len(page) < want {
			return "", err
		}
		end = page[want-1]
	}
	following, err := l.query(end, 1)
	if len(following) == 0 {
		end = ""
	}
	return end, err
}

// read returns the names after last, up to and including end unless that is "". It reads at most
// queryLimit of them, and reports whether more may follow.
func (l nameList) read(end, last string) (page []string, more bool, err error) {
	if page, err = l.query(last, queryLimit); err != nil {
		return nil, false, err
	}
	n, more := len(page), len(page) == queryLimit
	for end != "" && n > 0 && page[n-1] > end {
		n, more = n-1, false
	}
	return page[:n], more, nil
}
