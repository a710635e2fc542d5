package api

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"
)

// rangeCases returns requests for ranges of a blob of 20 bytes, which net/http reads in another way
// than RFC 9110 does.
func rangeCases(u, content string) []exchangeCase {
	part := func(from, to int) header {
		return header{"Content-Length": strconv.Itoa(to - from + 1), "Content-Range": fmt.Sprintf("bytes %d-%d/%d", from, to, len(content))}
	}
	unsatisfied := header{"Content-Range": fmt.Sprintf("bytes */%d", len(content))}
	return []exchangeCase{
		{
			Name: "the last 0 bytes, twice", Method: "GET", URL: u, Header: header{"Range": "bytes=-0, -00"},
			WantCode: 416, WantHeader: unsatisfied, WantError: "RANGE_INVALID",
		},
		{
			Name: "the last 0 bytes, and others", Method: "GET", URL: u, Header: header{"Range": "bytes=-0,2-4"},
			WantCode: 206, WantHeader: part(2, 4), WantBody: content[2:5],
		},
		{
			Name: "up to 2^64-1", Method: "GET", URL: u, Header: header{"Range": "bytes=0-18446744073709551615"},
			WantCode: 206, WantHeader: part(0, len(content)-1), WantBody: content,
		},
		{
			Name: "up to 2^63", Method: "HEAD", URL: u, Header: header{"Range": "bytes=5-9223372036854775808"},
			WantCode: 206, WantHeader: part(5, len(content)-1),
		},
		{
			Name: "a suffix of 2^64-1", Method: "GET", URL: u, Header: header{"Range": "bytes=-18446744073709551615"},
			WantCode: 206, WantHeader: part(0, len(content)-1), WantBody: content,
		},
		{
			Name: "up to a long number", Method: "GET", URL: u, Header: header{"Range": "bytes= 5 - " + strings.Repeat("9", 1000)},
			WantCode: 206, WantHeader: part(5, len(content)-1), WantBody: content[5:],
		},
		{
			Name: "up to a short number with many zeros", Method: "GET", URL: u, Header: header{"Range": "bytes=2-" + strings.Repeat("0", 30) + "4"},
			WantCode: 206, WantHeader: part(2, 4), WantBody: content[2:5],
		},
		{
			Name: "from 2^64", Method: "GET", URL: u, Header: header{"Range": "bytes=18446744073709551616-"},
			WantCode: 416, WantHeader: unsatisfied, WantError: "RANGE_INVALID",
			WantBody: `{"errors":[{"code":"RANGE_INVALID","message":"the blob has 20 bytes, and nothing in the range \"bytes=18446744073709551616-\""}]}`,
		},
		{
			Name: "from 2^64, and others", Method: "GET", URL: u, Header: header{"Range": "bytes=18446744073709551616-18446744073709551617,2-4"},
			WantCode: 206, WantHeader: part(2, 4), WantBody: content[2:5],
		},
		{
			Name: "up to a long number that is none", Method: "GET", URL: u, Header: header{"Range": "bytes=0-18446744073709551615x"},
			WantCode: 416, WantHeader: unsatisfied, WantError: "RANGE_INVALID",
		},
	}
}

// checkRanges requests several ranges at once.
func (s *site) checkRanges(url, content string) {
	s.t.Helper()
	n := len(content)
	for value, want := range map[string][]string{
		"bytes=0-1,5-6,-2":                                     {content[:2], content[5:7], content[n-2:]},
		"bytes=0-1,18-18446744073709551615":                    {content[:2], content[18:]},
		"bytes=0-1, 18-, 99999999999999999999-, -0, -000, 5-6": {content[:2], content[18:], content[5:7]},
	} {
		resp, body := s.exchange(exchangeCase{Name: "ranges", Method: "GET", URL: url, Header: header{"Range": value}, WantCode: 206})
		kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if err != nil || kind != "multipart/byteranges" {
			s.t.Fatalf("%s: several ranges are %q: %v", value, resp.Header.Get("Content-Type"), err)
		}
		parts := multipart.NewReader(strings.NewReader(body), params["boundary"])
		for _, want := range want {
			p, err := parts.NextPart()
			if err != nil {
				s.t.Fatal(err)
			}
			if got, err := io.ReadAll(p); string(got) != want || err != nil {
				s.t.Errorf("%s: a part is %q, want %q: %v", value, got, want, err)
			}
		}
		if _, err := parts.NextPart(); err != io.EOF {
			s.t.Errorf("%s: after the last part: %v", value, err)
		}
	}
	// All of it and more is all of it, without parts.
	s.exchange(exchangeCase{
		Name: "ranges of more than all", Method: "GET", URL: url, Header: header{"Range": "bytes=0-1,-18446744073709551615"},
		WantCode: 200, WantBody: content,
	})
}
