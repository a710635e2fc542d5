package conformance

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/knadh/koanf/parsers/yaml"
)

// The suite is a program in its own module, so that its dependencies are not in the project's
// go.mod.
const (
	suiteModule  = "oci"
	suitePackage = "github.com/opencontainers/distribution-spec/conformance"
)

// everySwitch enables all tests of the suite. It also sets the defaults, so that a later suite with
// other defaults tests the same.
var everySwitch = []string{
	"OCI_API_PING=true", "OCI_API_PULL=true", "OCI_API_PUSH=true", "OCI_API_REFERRER=true",
	"OCI_API_BLOBS_ATOMIC=true", "OCI_API_BLOBS_DELETE=true", "OCI_API_BLOBS_DIGEST_HEADER=true",
	"OCI_API_BLOBS_MOUNT_ANONYMOUS=true", "OCI_API_BLOBS_UPLOAD_CANCEL=true",
	"OCI_API_MANIFESTS_ATOMIC=true", "OCI_API_MANIFESTS_DELETE=true",
	"OCI_API_MANIFESTS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_TAG_PARAM=true",
	"OCI_API_TAGS_ATOMIC=true", "OCI_API_TAGS_DELETE=true", "OCI_API_TAGS_LIST=true",
	"OCI_DATA_IMAGE=true", "OCI_DATA_INDEX=true", "OCI_DATA_INDEX_LIST=true", "OCI_DATA_SPARSE=true",
	"OCI_DATA_ARTIFACT=true", "OCI_DATA_SUBJECT=true", "OCI_DATA_SUBJECT_MISSING=true",
	"OCI_DATA_ARTIFACT_LIST=true", "OCI_DATA_SUBJECT_LIST=true", "OCI_DATA_DATA_FIELD=true",
	"OCI_DATA_NONDISTRIBUTABLE=true", "OCI_DATA_CUSTOM_FIELDS=true", "OCI_DATA_NO_LAYERS=true",
	"OCI_DATA_EMPTY_BLOB=true", "OCI_DATA_SHA512=true",
}

// suiteVersion is a version of the suite with the settings that it needs.
type suiteVersion struct {
	name     string
	server   []string // environment of the server
	suite    []string // environment of the suite
	passes   int      // at least
	disabled []string // exactly the tests that this version disables by itself
}

// suiteVersions are version 1.1, for a server with default settings, and the next version with every
// switch on, for a server that accepts sparse manifests.
var suiteVersions = []suiteVersion{
	{
		name:   "1.1",
		suite:  []string{"OCI_VERSION=1.1"},
		passes: 860,
		disabled: []string{
			"Blob upload cancel", "Manifest put with tag params",
			"Sparse Manifests", "Tag Param", "Tag Param sha512",
		},
	},
	{
		name:   "dev",
		server: []string{"BERTH_MANIFESTS_ALLOW_MISSING=all"},
		suite:  append([]string{"OCI_VERSION=dev"}, everySwitch...),
		passes: 1032,
	},
}

// TestOCISuite runs the conformance suite of the OCI distribution specification: each version
// without users, with tokens, and with a password in each request.
func TestOCISuite(t *testing.T) {
	for _, v := range suiteVersions {
		for login, wrap := range suiteLogins {
			t.Run(v.name+login, func(t *testing.T) {
				if login == "" {
					s := startBerth(t, options{Env: v.server})
					v.check(t, s, s.Addr, nil, login)
					return
				}
				g := startAuthServer(t, options{Env: v.server})
				addr, env := wrap(t, g.Addr, g.alice)
				v.check(t, g, addr, env, login)
			})
		}
	}
}

// requestLog is the log of a server, or of several.
type requestLog interface {
	Requests(match func(logLine) bool) []logLine
}

// check runs the suite against an address with a login. No test may fail or be skipped, and the
// server may not answer with 5xx.
func (v suiteVersion) check(t *testing.T, log requestLog, addr string, env []string, login string) {
	t.Helper()
	checkSuite(t, runSuite(t, addr, slices.Concat(env, v.suite)), v.passes, v.disabled)
	tokens := log.Requests(func(l logLine) bool { return l.Route == "token" && l.Status == 200 })
	if (len(tokens) > 0) != (login == "/bearer") {
		t.Errorf("%d tokens were issued", len(tokens))
	}
	for _, l := range log.Requests(func(l logLine) bool { return l.Status >= 500 }) {
		t.Errorf("the server answered %d: %s", l.Status, l.Raw)
	}
}

// suiteLogins are the ways in which the suite logs in: without users, with tokens, and with a
// password. They return the address and the variables for the suite.
var suiteLogins = map[string]func(t testing.TB, addr string, a account) (suiteAddr string, env []string){
	"": func(_ testing.TB, addr string, _ account) (string, []string) { return addr, nil },
	"/bearer": func(_ testing.TB, addr string, a account) (string, []string) {
		return addr, append(slices.Clone(suiteRepositories), "OCI_USERNAME="+a.name, "OCI_PASSWORD="+a.password)
	},
	// The suite uses the offered tokens. So a proxy adds the password to its requests.
	"/basic": func(t testing.TB, addr string, a account) (string, []string) {
		to := &url.URL{Scheme: "http", Host: addr}
		proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.SetBasicAuth(a.name, a.password)
		}})
		t.Cleanup(proxy.Close)
		return proxy.Listener.Addr().String(), suiteRepositories
	},
}

// suiteRepositories are repositories in which alice may do everything.
var suiteRepositories = []string{"OCI_REPO1=alice/one", "OCI_REPO2=alice/two"}

// checkSuite requires that no test failed or was skipped, and that enough tests passed.
func checkSuite(t *testing.T, r suiteResult, passes int, disabled []string) {
	t.Helper()
	for name, status := range r.statuses {
		switch {
		case status == "Pass":
		case status == "Disabled" && slices.Contains(disabled, name):
		default:
			t.Errorf("%s: %s", name, status)
		}
	}
	if r.Skipped+r.Failures+r.Errors != 0 || r.passes() < passes {
		t.Errorf("%d passed (at least %d expected), %d failed, %d errors, %d skipped, %d disabled",
			r.passes(), passes, r.Failures, r.Errors, r.Skipped, r.Disabled)
	}
	r.explain(t)
	t.Logf("%d passed, %d disabled", r.passes(), r.Disabled)
}

// suiteResult is the output of the suite: a status for each API and each kind of data, where Skip
// and Disabled differ, and the single tests.
type suiteResult struct {
	statuses map[string]string // from results.yaml
	junitSuite
}

// junitSuite is the part of junit.xml with the counts and messages.
type junitSuite struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
	Disabled int `xml:"disabled,attr"`
	Cases    []struct {
		Name     string `xml:"name,attr"`
		Status   string `xml:"status,attr"`
		Errors   string `xml:"system-out"`
		Exchange string `xml:"system-err"` // requests and responses
	} `xml:"testsuite>testcase"`
}

func (r junitSuite) passes() int {
	return r.Tests - r.Failures - r.Errors - r.Skipped - r.Disabled
}

// explain logs the message and the last exchanges of each test that did not pass.
func (r junitSuite) explain(t *testing.T) {
	const most, excerpt = 25, 3000
	n := 0
	for _, c := range r.Cases {
		if c.Status == "passed" || strings.Contains(c.Exchange, "is disabled in the configuration") {
			continue
		}
		if n++; n > most {
			continue
		}
		exchange := c.Exchange
		if len(exchange) > excerpt {
			exchange = "[…]" + exchange[len(exchange)-excerpt:]
		}
		t.Logf("%s: %s\n%s\n%s", c.Status, c.Name, c.Errors, exchange)
	}
	if n > most {
		t.Logf("and %d more", n-most)
	}
}

// runSuite runs the suite against an address with only the given OCI_ variables.
func runSuite(t *testing.T, addr string, env []string) suiteResult {
	t.Helper()
	results := t.TempDir()
	cmd := exec.Command(build(t, suiteModule, suitePackage))
	cmd.Dir = t.TempDir() // the suite reads oci-conformance.yaml in its working directory
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "OCI_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "OCI_REGISTRY="+addr, "OCI_TLS=disabled", "OCI_RESULTS_DIR="+results, "OCI_LOG=error")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	// The exit status shows only that a test failed. The files have the details.
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r, err := readResults(results)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return r
}

func readResults(dir string) (suiteResult, error) {
	r := suiteResult{statuses: map[string]string{}}
	b, err := os.ReadFile(filepath.Join(dir, "results.yaml"))
	if err != nil {
		return r, err
	}
	doc, err := yaml.Parser().Unmarshal(b)
	if err != nil {
		return r, err
	}
	for _, part := range []string{"apis", "data"} {
		m, ok := doc[part].(map[string]any)
		if !ok || len(m) == 0 {
			return r, fmt.Errorf("results.yaml has no %q", part)
		}
		for name, status := range m {
			r.statuses[name] = fmt.Sprint(status)
		}
	}
	if b, err = os.ReadFile(filepath.Join(dir, "junit.xml")); err != nil {
		return r, err
	}
	return r, xml.Unmarshal(b, &r.junitSuite)
}
