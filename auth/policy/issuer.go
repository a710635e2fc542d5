package policy

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/auth"
)

// readIssuers reads the issuers whose id_tokens are accepted.
func (f *file) readIssuers(n *yaml.Node) {
	nodes := f.items(n, "issuers")
	if len(nodes) > maxIssuers {
		f.addFaultf(n.Line, "there are %d issuers, at most %d are allowed", len(nodes), maxIssuers)
		return
	}
	for _, node := range nodes {
		issuer := f.readIssuer(node)
		for _, other := range f.issuers {
			switch {
			case issuer.Name == other.Name && issuer.Name != "":
				f.addFaultf(node.Line, "there are two issuers %s", issuer.Name)
			case issuer.URL == other.URL && issuer.URL != "":
				f.addFaultf(node.Line, "issuers %s and %s have the same url", other.Name, issuer.Name)
			}
		}
		f.issuers = append(f.issuers, issuer)
	}
}

// defaultIdentity is the template that names a CI job by its subject.
const defaultIdentity = "{claims.sub}"

func (f *file) readIssuer(n *yaml.Node) auth.Issuer {
	issuer := auth.Issuer{Identity: defaultIdentity}
	faults := len(f.faults)
	f.fields(n, "an issuer",
		field{"name", func(v *yaml.Node) { issuer.Name = f.readChecked(v, "name", checkIssuerName) }},
		field{"url", func(v *yaml.Node) { issuer.URL = f.readChecked(v, "url", checkIssuerURL) }},
		field{"audiences", func(v *yaml.Node) { issuer.Audiences = wordTexts(f.nonEmptyWords(v, "audiences")) }},
		field{"match", func(v *yaml.Node) { issuer.Match = claimMap(f.readClaims(v, "match")) }},
		field{"identity", func(v *yaml.Node) { issuer.Identity = f.readChecked(v, "identity", checkTemplate) }},
		field{"keys", func(v *yaml.Node) { issuer.Keys = f.readChecked(v, "keys", checkKeysURL) }},
		field{"ca", func(v *yaml.Node) { issuer.CA = f.readPath(v) }},
	)
	switch {
	case len(f.faults) > faults:
	case issuer.Name == "":
		f.addFaultf(n.Line, "an issuer has no name, which rules call it by: oidc:NAME")
	case issuer.URL == "":
		f.addFaultf(n.Line, "issuer %s has no url", issuer.Name)
	case len(issuer.Audiences) == 0:
		f.addFaultf(n.Line, "issuer %s has no audiences: without one, a token that was made for another service would do here", issuer.Name)
	}
	return issuer
}

// readChecked reads a text and adds a fault if check returns an error.
func (f *file) readChecked(n *yaml.Node, what string, check func(string) error) string {
	text, ok := f.text(n, what)
	if !ok {
		return ""
	}
	if err := check(text); err != nil {
		f.addFaultf(n.Line, "%s: %v", what, err)
	}
	return text
}

// readPath reads the path of a file. A relative path is relative to the policy file.
func (f *file) readPath(n *yaml.Node) string {
	path, ok := f.text(n, "ca")
	if !ok || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(f.file), path)
}

func checkIssuerName(name string) error {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("%q: expected lower-case letters, digits and -", name)
	}
	return nil
}

// checkIssuerURL accepts only URLs that can be compared with the claim iss, and fetched from
// without being changed on the way.
func checkIssuerURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%sexpected https://HOST or https://HOST/PATH, as in the claim iss", quotedURL(text))
	}
	return nil
}

// checkKeysURL accepts only URLs that can be fetched from, and that have no secrets in them: errors
// and logs have the URL.
func checkKeysURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%sexpected https://HOST/PATH, where the issuer's JSON Web Key Set is", quotedURL(text))
	}
	return nil
}

// quotedURL returns a refused URL for the start of an error. What may have a user, a query or a
// fragment, and so a secret, is not quoted.
func quotedURL(text string) string {
	if strings.ContainsAny(text, "@?#") {
		return "a URL with @, ? or #: "
	}
	return fmt.Sprintf("%q: ", text)
}

// checkTemplate accepts only texts that contain {claims.NAME}.
func checkTemplate(text string) error {
	claims := 0
	for rest := text; ; claims++ {
		before, after, found := strings.Cut(rest, "{")
		name, after, closed := strings.Cut(after, "}")
		_, ok := placeholderClaim(name)
		switch {
		case strings.Contains(before, "}") || found && !(closed && ok):
			return fmt.Errorf("%q: what is in braces is {claims.NAME}", text)
		case !found && claims == 0:
			return fmt.Errorf("%q is the same for every job: expected for example {claims.sub}", text)
		case !found:
			return nil
		}
		rest = after
	}
}
