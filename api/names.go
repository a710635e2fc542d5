package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/berth-registry/berth/api/web"
)

// names is a list of names that clients read in pages: tags, or repositories.
type nameList struct {
	path   string                                     // of the list, for its Links
	prefix string                                     // the JSON of an answer up to its names
	query  func(last string, n int) ([]string, error) // reads at most n names after last
}

// namesEnd is the JSON of an answer after its names.
const namesSuffix = "]}"

// send answers with a page of the list, or with all of it if the page has no n. At most the names
// of one query are held while the client reads: a longer page is sent as it is read.
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

// link writes the Link to what follows a name.
func (l nameList) setNext(w *web.Response, n int, last string) {
	setNextLink(w, l.path, url.Values{"n": {strconv.Itoa(n)}, "last": {last}})
}

// whole sends an answer that is in memory, with its length.
func (l nameList) sendWhole(w *web.Response, page []string) error {
	elements, err := jsonElements(page)
	if err != nil {
		return err
	}
	return writeBody(w, http.StatusOK, "application/json", append(append([]byte(l.prefix), elements...), namesSuffix...))
}

// elementsOf returns the elements of a JSON array of names, without its brackets.
func jsonElements(page []string) ([]byte, error) {
	text, err := json.Marshal(page)
	if err != nil || len(page) == 0 {
		return nil, err
	}
	return text[1 : len(text)-1], nil
}

// stream writes a page that is longer than a query's, or all. It begins as any answer
// does, and has a Content-Length where one query has read it all.
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

// rest writes names and those that follow them up to end. The result of a query is
// sent before the next one, so that neither memory nor a cursor waits for the client.
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

// pageEnd returns the last name of a page; "" where no others follow it.
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

// upTo reads names after last, none beyond end unless that is "", and reports whether
// more of them may follow.
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
