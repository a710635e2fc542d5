package api

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/auth/rows"
)

// The names of these tests begin with the numbers of the attacks in docs/security.md.

// forger makes tokens that are almost valid. It has the signing key.
type forger struct {
	g      *guardedSite
	key    *ecdsa.PrivateKey
	header map[string]any
	claims map[string]any
}

func newForger(g *guardedSite) *forger {
	g.t.Helper()
	return newForgerOf(g, passwordHeader("alice"))
}

// newForgerOf returns a forger of tokens for the account with these credentials.
func newForgerOf(g *guardedSite, credentials header) *forger {
	g.t.Helper()
	f := &forger{g: g, key: g.signingKey()}
	issued, _ := g.requestToken(credentials, "repository:team/app:pull")
	parts := strings.Split(issued.Token, ".")
	for i, into := range []*map[string]any{&f.header, &f.claims} {
		if err := readPart(parts[i], into); err != nil {
			g.t.Fatal(err)
		}
	}
	return f
}

// readPart decodes the header or the claims of a token.
func readPart(part string, into *map[string]any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	*into = nil
	return json.Unmarshal(text, into)
}

// signingKey returns the registry's private key.
func (g *guardedSite) signingKey() *ecdsa.PrivateKey {
	g.t.Helper()
	keys, err := g.rows.SigningKeys(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	for _, k := range keys {
		if k.State != "active" {
			continue
		}
		block, _ := pem.Decode([]byte(k.PEM))
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			g.t.Fatal(err)
		}
		return key.(*ecdsa.PrivateKey)
	}
	g.t.Fatal("no key signs")
	return nil
}

// merge returns m with the changed fields; nil deletes a field.
func merge(m map[string]any, changes map[string]any) map[string]any {
	m = maps.Clone(m)
	for k, v := range changes {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	return m
}

type fields = map[string]any

// signer signs the first two parts of a token.
type signer func(text []byte) []byte

func (f *forger) es256(key *ecdsa.PrivateKey) signer {
	return func(text []byte) []byte {
		sum := sha256.Sum256(text)
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			f.g.t.Fatal(err)
		}
		sig := make([]byte, 64)
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
		return sig
	}
}

func hs256(secret []byte) signer {
	return func(text []byte) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write(text)
		return mac.Sum(nil)
	}
}

// token returns a token with changed fields, signed with the registry's key if sign is nil.
func (f *forger) token(header, claims fields, sign signer) string {
	f.g.t.Helper()
	h, err := json.Marshal(merge(f.header, header))
	if err != nil {
		f.g.t.Fatal(err)
	}
	c, err := json.Marshal(merge(f.claims, claims))
	if err != nil {
		f.g.t.Fatal(err)
	}
	return f.signedToken(string(h), string(c), sign)
}

// signedToken returns a token of a header and claims that may be malformed.
func (f *forger) signedToken(header, claims string, sign signer) string {
	if sign == nil {
		sign = f.es256(f.key)
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(header)) + "." + encode([]byte(claims))
	return f.g.keepSecret(text+"."+encode(sign([]byte(text))), "forged token")
}

const pulled = "/v2/team/app/tags/list"

// checkRejected checks that a token is answered 401.
func (f *forger) checkRejected(name, token string) {
	f.g.t.Helper()
	for _, path := range []string{pulled, "/v2/"} {
		scope := "repository:team/app:pull"
		if path == "/v2/" {
			scope = ""
		}
		f.g.exchange(exchangeCase{Name: name, Method: "GET", URL: path, Header: bearerHeader(token), WantCode: 401, WantError: "UNAUTHORIZED",
			WantHeader: header{"Www-Authenticate": f.g.challenge(scope, invalidToken), "Cache-Control": "no-store"}})
	}
}

// checkAccepted checks that a token is accepted. The repository does not exist.
func (f *forger) checkAccepted(name, token string) {
	f.g.t.Helper()
	f.g.exchange(exchangeCase{Name: name, Method: "GET", URL: pulled, Header: bearerHeader(token), WantCode: 404, WantError: "NAME_UNKNOWN"})
}

func TestJ1AlgorithmNoneAndHMAC(t *testing.T) {
	g := newGuardedSite(t, Options{})
	f := newForger(g)
	f.checkAccepted("forged right", f.token(nil, nil, nil))
	unsigned := func([]byte) []byte { return nil }
	for _, alg := range []string{"none", "None", "NONE", ""} {
		f.checkRejected("alg "+alg, f.token(fields{"alg": alg}, nil, unsigned))
		f.checkRejected("alg "+alg+", signed", f.token(fields{"alg": alg}, nil, nil))
	}
	f.checkRejected("no alg", f.token(fields{"alg": nil}, nil, nil))
	f.checkRejected("no signature", f.token(nil, nil, unsigned))
	der, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := f.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	_, jwks := g.do("GET", jwksPath, nil, "")
	for name, secret := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der, "raw": raw, "x": raw[1:33], "JWKS": []byte(jwks), "nothing": nil,
	} {
		f.checkRejected("HS256 with "+name, f.token(fields{"alg": "HS256"}, nil, hs256(secret)))
		f.checkRejected("HS256 called ES256 with "+name, f.token(nil, nil, hs256(secret)))
	}
}

func TestJ2ForeignKeysAndHeaders(t *testing.T) {
	g := newGuardedSite(t, Options{})
	f := newForger(g)
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rs256 := func(text []byte) []byte {
		sum := sha256.Sum256(text)
		sig, err := rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	f.checkRejected("a foreign key with our kid", f.token(nil, nil, f.es256(foreign)))
	f.checkRejected("RS256 with our kid", f.token(fields{"alg": "RS256"}, nil, rs256))
	f.checkRejected("RS256 called ES256", f.token(nil, nil, rs256))
	f.checkRejected("ES384 with our key", f.token(fields{"alg": "ES384"}, nil, nil))
	point, err := foreign.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	jwk := map[string]any{"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])}
	for _, with := range []struct {
		name string
		key  *ecdsa.PrivateKey
	}{{"ours", f.key}, {"foreign", foreign}} {
		for name, value := range map[string]any{
			"jwk": jwk, "jku": elsewhere.URL, "x5u": elsewhere.URL, "x5c": []string{"MIIB"}, "x5t": "x", "crit": []string{"exp"}, "b64": false, "zip": "DEF", "cty": "JWT",
		} {
			f.checkRejected(name+", "+with.name, f.token(fields{name: value}, nil, f.es256(with.key)))
			f.checkRejected(name+" without kid, "+with.name, f.token(fields{name: value, "kid": nil}, nil, f.es256(with.key)))
		}
	}
	for name, kid := range map[string]any{"path": "../../x", "array": []any{f.header["kid"]}, "number": 1, "absent": nil, "empty": "", "SQL": "' OR 1=1 --", "long": strings.Repeat("x", 1000)} {
		f.checkRejected("kid "+name, f.token(fields{"kid": kid}, nil, nil))
	}
	for name, typ := range map[string]any{"absent": nil, "at+jwt": "at+jwt", "null": json.RawMessage("null")} {
		f.checkRejected("typ "+name, f.token(fields{"typ": typ}, nil, nil))
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests went to where tokens said", n)
	}
	if n := g.ci.TotalRequests(); n > 0 {
		t.Errorf("%d requests went to the CI's issuer", n)
	}
}

func TestJ3IssuerAndAudience(t *testing.T) {
	g := newGuardedSite(t, Options{})
	f := newForger(g)
	for name, claims := range map[string]fields{
		"another issuer":      {"iss": "https://evil.example"},
		"no issuer":           {"iss": nil},
		"an empty issuer":     {"iss": ""},
		"a list of issuers":   {"iss": []string{issuer}},
		"another audience":    {"aud": "other.test"},
		"no audience":         {"aud": nil},
		"an empty audience":   {"aud": ""},
		"audience, in part":   {"aud": service + ".evil.example"},
		"no subject":          {"sub": nil},
		"another's subject":   {"sub": "user:bob"},
		"no identity":         {"id": nil},
		"no token id":         {"jti": nil},
		"access, not a list":  {"access": "repository:team/app:pull"},
		"a claim we know not": {"admin": true},
	} {
		f.checkRejected(name, f.token(nil, claims, nil))
	}
	other := newGuardedSite(t, Options{})
	token := other.tokenHeader("alice", "repository:team/app:pull")
	g.keepSecret(strings.TrimPrefix(token["Authorization"], "Bearer "), "token of another instance")
	f.checkRejected("of another instance", strings.TrimPrefix(token["Authorization"], "Bearer "))
}

func TestJ4Times(t *testing.T) {
	g := newGuardedSite(t, Options{})
	f := newForger(g)
	now := g.clock.Now().Unix()
	at := func(exp, nbf, iat int64) string {
		return f.token(nil, fields{"exp": now + exp, "nbf": now + nbf, "iat": now + iat}, nil)
	}
	f.checkAccepted("as they are", at(300, -10, 0))
	f.checkAccepted("expired 30 s ago", at(-30, -310, -300))
	f.checkRejected("expired 120 s ago", at(-120, -410, -400))
	f.checkAccepted("not before in 30 s", at(300, 30, 0))
	f.checkRejected("not before in 300 s", at(600, 300, 0))
	f.checkRejected("issued in 300 s", at(600, -10, 300))
	f.checkRejected("expires in 10 years", at(10*365*24*3600, -10, 0))
	f.checkRejected("without end", f.token(nil, fields{"exp": nil}, nil))
	f.checkRejected("without beginning", f.token(nil, fields{"nbf": nil}, nil))
	f.checkRejected("without birth", f.token(nil, fields{"iat": nil}, nil))
	f.checkRejected("an end as text", f.token(nil, fields{"exp": "9999999999"}, nil))
	f.checkRejected("an end beyond numbers", f.token(nil, fields{"exp": json.RawMessage("1e400")}, nil))
	f.checkRejected("a huge end", f.token(nil, fields{"exp": json.RawMessage("1e300")}, nil))
	f.checkRejected("a negative end", f.token(nil, fields{"exp": -1}, nil))
}

func TestJ5OtherSecretsAsBearer(t *testing.T) {
	g := newGuardedSite(t, Options{})
	f := newForger(g)
	personal, _ := g.addToken("user", "alice", "repository:team/**:pull")
	robot, _ := g.addToken("robot", "deployer", "repository:prod/**:pull")
	g.runCasesAs(passwordHeader("alice"), []exchangeCase{{Name: "open", Method: "POST", URL: uploads, WantCode: 202, Save: "upload"}})
	_, session := g.savedUpload()
	basic := strings.TrimPrefix(passwordHeader("alice")["Authorization"], "Basic ")
	for name, secret := range map[string]string{
		"a personal token": personal, "a robot's token": robot, "a CI session": g.openLoginSession("acme/app"), "an id_token": g.idToken("acme/app"),
		"a password": passwordOf("alice"), "Basic": basic, "an upload session": session, "its URL": "{upload}", "nothing": "", "dots": "..",
	} {
		f.checkRejected(name, g.expand(secret))
	}
	cookie := header{"Cookie": "token=" + f.token(nil, nil, nil) + "; session=" + personal}
	g.exchange(exchangeCase{Name: "in a cookie", Method: "GET", URL: pulled, Header: cookie, WantCode: 401, WantError: "UNAUTHORIZED",
		WantHeader: header{"Www-Authenticate": g.challenge("repository:team/app:pull", "")}})
	g.exchange(exchangeCase{Name: "in the query", Method: "GET", URL: pulled + "?access_token=" + f.token(nil, nil, nil), WantCode: 401, WantError: "UNAUTHORIZED"})
	// A token cannot be exchanged for another token either.
	g.exchange(exchangeCase{Name: "a token for a token", Method: "GET", URL: tokenPath, Header: bearerHeader(f.token(nil, nil, nil)), WantCode: 401, WantError: "UNAUTHORIZED",
		WantHeader: header{"Www-Authenticate": `Basic realm="` + service + `"`}})
	g.exchange(exchangeCase{Name: "a token as password", Method: "GET", URL: tokenPath, Header: basicHeader("alice", f.token(nil, nil, nil)), WantCode: 401, WantError: "UNAUTHORIZED"})
	g.exchange(exchangeCase{Name: "a refresh token", Method: "POST", URL: tokenPath, Header: header{"Content-Type": "application/x-www-form-urlencoded"},
		Body: "grant_type=refresh_token&service=" + service + "&refresh_token=" + personal, WantCode: 400, WantError: "UNSUPPORTED"})
}

// openLoginSession opens a login session for a CI job and returns its secret.
func (g *guardedSite) openLoginSession(repository string) string {
	g.t.Helper()
	form := url.Values{"grant_type": {grantExchange}, "subject_token_type": {typeIDToken}, "subject_token": {g.idToken(repository)}}
	_, body := g.exchange(exchangeCase{Name: "exchange", Method: "POST", URL: tokenPath, Header: header{"Content-Type": "application/x-www-form-urlencoded"},
		Body: form.Encode(), WantCode: 200, WantHeader: header{"Cache-Control": "no-store"}})
	i := g.parseTokenResponse(body)
	if i.Username != "_token" || i.TokenType != "N_A" || i.ExpiresIn < 60 {
		g.t.Errorf("a session is answered %+v", i)
	}
	return i.AccessToken
}

func TestJ6MalformedTokens(t *testing.T) {
	g := newGuardedSite(t, Options{})
	f := newForger(g)
	good := f.token(nil, nil, nil)
	parts := strings.Split(good, ".")
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	// In base64 of 64 bytes, four bits of the last character have no meaning.
	last := strings.IndexByte(alphabet, good[len(good)-1])
	for name, token := range map[string]string{
		"malleated":           good[:len(good)-1] + string(alphabet[last^1]),
		"padded":              good + "==",
		"a space in it":       parts[0] + ". " + parts[1] + "." + parts[2],
		"standard alphabet":   strings.NewReplacer("-", "+", "_", "/").Replace(good) + "+",
		"four parts":          good + "." + parts[2],
		"an empty fourth":     good + ".",
		"two parts":           parts[0] + "." + parts[1],
		"17 KiB":              f.token(nil, fields{"pad": strings.Repeat("x", 13<<10)}, nil),
		"17 KiB of nothing":   strings.Repeat("x", 17<<10),
		"17 KiB of dots":      strings.Repeat(".", 17<<10),
		"claims twice":        f.signedToken(string(must(json.Marshal(f.header))), strings.Replace(string(must(json.Marshal(f.claims))), "{", `{"sub":"user:bob",`, 1), nil),
		"header twice":        f.signedToken(strings.Replace(string(must(json.Marshal(f.header))), "{", `{"alg":"none",`, 1), string(must(json.Marshal(f.claims))), nil),
		"claims in two cases": f.signedToken(string(must(json.Marshal(f.header))), strings.Replace(string(must(json.Marshal(f.claims))), "{", `{"ISS":"x",`, 1), nil),
		"claims, not JSON":    f.signedToken(string(must(json.Marshal(f.header))), "claims", nil),
		"claims, a list":      f.signedToken(string(must(json.Marshal(f.header))), "[]", nil),
	} {
		f.checkRejected(name, token)
	}
	f.checkAccepted("the one they are made of", good)
	resp, _ := g.sendRaw("GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer "+strings.Repeat("x", 70<<10)+"\r\n\r\n", "GET")
	if resp.StatusCode != 431 {
		t.Errorf("a header of 70 KiB is answered %d", resp.StatusCode)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// TestA4ChangesActAtOnce changes a user in several ways. Each change acts on the next request, for
// tokens and passwords that were valid before.
func TestA4ChangesActAtOnce(t *testing.T) {
	g := newGuardedSite(t, Options{})
	const scope = "repository:team/app:pull"
	personal, personalID := g.addToken("user", "alice", "repository:team/**:pull")
	session := g.openLoginSession("acme/app")
	fromPersonal, _ := g.requestToken(basicHeader("alice", personal), scope)
	fromSession, _ := g.requestToken(basicHeader("_token", session), "repository:ci/app:push")
	holders := map[string]header{
		"a token":               g.tokenHeader("alice", scope),
		"the password":          passwordHeader("alice"),
		"a personal token":      basicHeader("alice", personal),
		"a token of a personal": bearerHeader(fromPersonal.Token),
	}
	see := func(when string, want map[string]int) {
		t.Helper()
		for name, h := range holders {
			if got := g.status("GET", pulled, h, ""); got != want[name] {
				t.Errorf("%s: %s is answered %d, want %d", when, name, got, want[name])
			}
		}
	}
	alice := g.accounts["user alice"]
	all := func(basic, token int) map[string]int {
		return map[string]int{"a token": token, "the password": basic, "a personal token": basic, "a token of a personal": token}
	}
	see("before", all(404, 404))
	g.tx(func(tx *rows.Tx) error { return tx.SetGroups(alice, nil) })
	see("without the group", all(403, 401))
	g.tx(func(tx *rows.Tx) error { return tx.SetGroups(alice, []string{"team"}) })
	see("with it again", all(404, 404))
	g.tx(func(tx *rows.Tx) error { return tx.SetDisabled(alice, true) })
	see("disabled", all(401, 401))
	g.tx(func(tx *rows.Tx) error { return tx.SetDisabled(alice, false) })
	see("enabled", all(404, 404))
	g.policy.set(t, "policy:\n  - {name: other, who: [authenticated], repos: [other], allow: [pull]}\n")
	see("without the rule", all(403, 401))
	g.policy.set(t, usualPolicy)
	g.tx(func(tx *rows.Tx) error { return tx.DeleteAuthToken(personalID) })
	see("without the personal token", map[string]int{"a token": 404, "the password": 404, "a personal token": 401, "a token of a personal": 401})
	hash := g.hash("another password")
	g.tx(func(tx *rows.Tx) error { return tx.SetPassword(alice, hash, 4) })
	see("with another password", all(401, 401))
	holders = map[string]header{"a token": g.tokenHeaderFor("alice", g.keepSecret("another password", "password"), scope), "the password": basicHeader("alice", "another password")}
	see("with the new one", map[string]int{"a token": 404, "the password": 404})
	g.tx(func(tx *rows.Tx) error { return tx.DeleteAccount(alice) })
	see("deleted", map[string]int{"a token": 401, "the password": 401})

	// A login session ends when the claims no longer match the issuer's rules.
	const open = "/v2/ci/app/blobs/uploads/"
	for name, h := range map[string]header{"session": basicHeader("_token", session), "token of it": bearerHeader(fromSession.Token)} {
		if got := g.status("POST", open, h, ""); got != 202 {
			t.Errorf("%s: %d", name, got)
		}
	}
	g.policy.issuers = strings.Replace(g.policy.issuers, "acme/*", "other/*", 1)
	g.policy.set(t, usualPolicy)
	for name, h := range map[string]header{"session": basicHeader("_token", session), "token of it": bearerHeader(fromSession.Token)} {
		if got := g.status("POST", open, h, ""); got != 401 {
			t.Errorf("%s of an issuer that no longer vouches for it: %d", name, got)
		}
	}
}

func (g *guardedSite) tokenHeaderFor(name, secret string, scopes ...string) header {
	g.t.Helper()
	i, _ := g.requestToken(basicHeader(name, secret), scopes...)
	return bearerHeader(i.Token)
}

// TestA5AccountParameter gives another user's name in a parameter.
func TestA5AccountParameter(t *testing.T) {
	g := newGuardedSite(t, Options{})
	for _, parameters := range []string{"account=alice", "account=alice&client_id=alice&username=alice", "account=bob&account=alice"} {
		_, body := g.exchange(exchangeCase{Name: parameters, Method: "GET", URL: tokenPath + "?" + parameters + "&scope=repository:team/app:pull+repository:bob/app:pull",
			Header: passwordHeader("bob"), WantCode: 200})
		if got := g.accessOf(g.parseTokenResponse(body)); got != "repository:bob/app:pull" {
			t.Errorf("bob as alice is given %q", got)
		}
	}
	g.exchange(exchangeCase{Name: "two users", Method: "POST", URL: tokenPath, Header: passwordHeader("bob").with(header{"Content-Type": "application/x-www-form-urlencoded"}),
		Body: url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {passwordOf("alice")}}.Encode(), WantCode: 400, WantError: "UNSUPPORTED"})
}

// TestH2Authorization sends header fields Authorization that are almost valid.
func TestH2Authorization(t *testing.T) {
	g := newGuardedSite(t, Options{})
	token := strings.TrimPrefix(g.tokenHeader("alice")["Authorization"], "Bearer ")
	basic := strings.TrimPrefix(passwordHeader("alice")["Authorization"], "Basic ")
	for _, c := range []struct {
		name, lines string
		want        int
	}{
		{"two", "Authorization: Bearer " + token + "\r\nAuthorization: Bearer " + token + "\r\n", 400},
		{"two kinds", "Authorization: Basic " + basic + "\r\nauthorization: Bearer " + token + "\r\n", 400},
		{"one in the other's place", "Authorization:\r\nAuthorization: Bearer " + token + "\r\n", 400},
		{"two in one", "Authorization: Bearer " + token + ", Basic " + basic + "\r\n", 401},
		{"lower case", "authorization: bearer " + token + "\r\n", 200},
		{"mixed case", "Authorization: bEaReR " + token + "\r\n", 200},
		{"a tab", "Authorization: Bearer\t" + token + "\r\n", 401},
		{"a tab after the space", "Authorization: Bearer \t" + token + "\r\n", 401},
		{"no space", "Authorization: Bearer" + token + "\r\n", 401},
		{"bad base64", "Authorization: Basic %%%\r\n", 401},
		{"base64 without padding", "Authorization: Basic " + strings.TrimRight(basic, "=") + "x\r\n", 401},
		{"no colon", "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("alice")) + "\r\n", 401},
		{"Proxy-Authorization", "Proxy-Authorization: Bearer " + token + "\r\n", 401},
	} {
		resp, body := g.sendRaw("GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+c.lines+"\r\n", "GET")
		want := map[int]string{400: "UNSUPPORTED", 401: "UNAUTHORIZED", 200: ""}[c.want]
		g.check(exchangeCase{Name: c.name, Method: "GET", URL: "/v2/", WantCode: c.want, WantError: want}, resp, body)
		resp, body = g.sendRaw("GET "+tokenPath+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+c.lines+"\r\n", "GET")
		if c.want == 400 {
			g.check(exchangeCase{Name: c.name + ", for a token", Method: "GET", URL: tokenPath, WantCode: 400, WantError: "UNSUPPORTED"}, resp, body)
		}
	}
}

// TestX2AuthorizationStays checks that credentials are in no answer, and are sent to no other
// server.
func TestX2AuthorizationStays(t *testing.T) {
	g := newGuardedSite(t, Options{})
	h := g.tokenHeader("alice", "repository:team/app:pull,push,delete", "registry:catalog:*")
	d := g.pushImageAs(h, "team/app", "v1")
	for _, h := range []header{h, passwordHeader("alice"), bearerHeader("not.a.token"), basicHeader("alice", g.keepSecret("wrong guess", "guess"))} {
		for _, c := range []struct{ method, path string }{
			{"GET", "/v2/"}, {"TRACE", "/v2/"}, {"OPTIONS", "/v2/"}, {"GET", "/v2/_catalog"}, {"GET", "/nowhere"}, {"GET", "/v2/UPPER/tags/list"},
			{"GET", "/v2/team/app/manifests/v1"}, {"GET", "/v2/team/app/manifests/none"}, {"GET", "/v2/team/app/blobs/" + sha256Of("layer of team/app")},
			{"GET", "/v2/team/app/referrers/" + d}, {"GET", "/v2/other/app/tags/list"}, {"POST", uploads}, {"POST", uploads + "?mount=" + d + "&from=x"},
			{"GET", jwksPath}, {"GET", "/.well-known/openid-configuration"}, {"POST", tokenPath}, {"PUT", "/v2/team/app/manifests/v2"},
		} {
			resp, _ := g.do(c.method, c.path, h, "") // do checks the answer
			if at, err := url.Parse(resp.Header.Get("Location")); err != nil || at.Host != "" {
				t.Errorf("%s %s leads to %q", c.method, c.path, resp.Header.Get("Location"))
			}
		}
	}
	if n := g.ci.TotalRequests(); n > 0 {
		t.Errorf("%d requests went to the CI's issuer", n)
	}
}
