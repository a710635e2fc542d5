package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/internal/db/postgres"
	"github.com/berth-registry/berth/internal/db/sqlite"
	"github.com/berth-registry/berth/storage/bucket"
)

const (
	memoryBucket   = "mem://"
	memoryDatabase = "sqlite::memory:"
)

// maxSignedExpiry is the longest life of a signed URL that S3 and Google Cloud Storage accept.
const maxSignedExpiry = 168 * time.Hour

// resolve fills in settings that follow from others, and checks what cannot be checked of a single
// value alone.
func (l *Loaded) resolve() error {
	wrong := []error{
		l.checkNumbers(), l.checkTokens(), l.checkAddr(), l.checkDebugAddr(),
		l.resolveExternalURLs(), l.checkHosts(), l.resolveNetworks(), l.checkCORS(), l.checkTLS(),
	}
	data, err := filepath.Abs(l.Data)
	switch {
	case l.Data == "":
		wrong = append(wrong, errors.New("data: wants a directory"))
	case err != nil:
		wrong = append(wrong, fmt.Errorf("data: %w", err))
	default:
		l.Data = data
		wrong = append(wrong, l.resolveStores())
	}
	return errors.Join(wrong...)
}

// resolveStores sets the URLs of the bucket and the database. Both are in memory or neither is:
// after a restart one would refer to what the other has lost.
func (l *Loaded) resolveStores() error {
	bucketURL, db := &l.Storage.Bucket, &l.Database.URL
	if *bucketURL == "" {
		url, err := bucket.FileURL(filepath.Join(l.Data, "blobs"))
		if err != nil {
			return fmt.Errorf("data: %w", err)
		}
		*bucketURL = url
	}
	if *db == "" {
		*db = l.defaultDatabase()
		if isMemory(*bucketURL) {
			*db = memoryDatabase
		}
	}
	if _, known := bucket.KindOf(*bucketURL); !known {
		return fmt.Errorf(
			"storage.bucket: %q is not a URL of a kind that this version knows: %s",
			MaskURL(*bucketURL), bucket.Examples)
	}
	if _, err := bucket.ParseURL(*bucketURL); err != nil {
		return fmt.Errorf("storage.bucket: %w", err)
	}
	if l.Database.Postgres() {
		return l.checkPostgres()
	}
	file, err := sqlite.ParseURL(*db)
	if err != nil { // err itself may contain the password
		return fmt.Errorf(
			"database.url: %q is not a database of a kind that this version knows: "+
				"sqlite:/path/to/file, %s or postgres://USER@HOST/NAME",
			MaskURL(*db), memoryDatabase)
	}
	if l.DatabaseFile = file; file != "" {
		*db = databaseURL(file)
	}
	if isMemory(*bucketURL) != (file == "") {
		return fmt.Errorf(
			"storage.bucket is %s and database.url is %s: "+
				"a bucket in memory goes with a database in memory (%s, %s), and neither goes with a lasting one",
			MaskURL(*bucketURL), MaskURL(*db), memoryBucket, memoryDatabase)
	}
	if d := l.Database; d.PasswordFile != "" || d.MigrateURL != "" || d.Pooler != PoolerNone {
		return fmt.Errorf(
			"database.password_file, database.migrate_url and database.pooler are for PostgreSQL, and "+
				"database.url is %s",
			MaskURL(*db))
	}
	return nil
}

// checkPostgres checks the settings of a database on PostgreSQL.
func (l *Loaded) checkPostgres() error {
	d := l.Database
	if err := postgres.CheckURL(d.URL); err != nil {
		return fmt.Errorf("database.url: %w", err)
	}
	if d.MigrateURL != "" {
		if err := postgres.CheckURL(d.MigrateURL); err != nil {
			return fmt.Errorf("database.migrate_url: %w", err)
		}
	}
	if isMemory(l.Storage.Bucket) {
		return fmt.Errorf(
			"storage.bucket is %s and database.url is %s: a bucket in memory would lose what the rows name",
			MaskURL(l.Storage.Bucket), MaskURL(d.URL))
	}
	return nil
}

func isMemory(bucketURL string) bool {
	kind, _ := bucket.KindOf(bucketURL)
	return kind == bucket.Memory
}

// databaseURL returns the URL of the database in a file.
func databaseURL(file string) string { return "sqlite:" + file }

// defaultDatabase returns the URL of the database for an unset database.url.
func (c *Config) defaultDatabase() string { return databaseURL(filepath.Join(c.Data, "berth.db")) }

// UsesData reports whether the registry keeps anything in its data directory. It does not if rows
// and bytes are elsewhere.
func (l *Loaded) UsesData() bool {
	location, err := bucket.ParseURL(l.Storage.Bucket)
	if err != nil || location.Dir == "" {
		return l.DatabaseFile != ""
	}
	below, err := filepath.Rel(l.Data, location.Dir)
	return l.DatabaseFile != "" || err == nil && filepath.IsLocal(below)
}

// InMemory reports whether the registry keeps nothing on disk. Then it has no data directory.
func (c *Config) InMemory() bool { return isMemory(c.Storage.Bucket) }

// invalidValue returns the error for a setting with a wrong value. want describes a right one.
func (l *Loaded) invalidValue(key string, value any, want string) error {
	return fmt.Errorf("%s: \"%v\" (%s) is not %s", key, value, l.origin[key], want)
}

func (l *Loaded) checkNumbers() error {
	var wrong []error
	refuse := func(key string, value any, want string) { wrong = append(wrong, l.invalidValue(key, value, want)) }
	if l.HTTP.HeaderTimeout == 0 {
		refuse("http.header_timeout", l.HTTP.HeaderTimeout, "more than 0")
	}
	if l.HTTP.BodyTimeout == 0 {
		refuse("http.body_timeout", l.HTTP.BodyTimeout, "more than 0")
	}
	if l.HTTP.MaxHeaderBytes < 4096 {
		refuse("http.max_header_bytes", l.HTTP.MaxHeaderBytes, "at least 4096")
	}
	if l.Storage.UploadMemory < bucket.MinUploadMemory {
		refuse("storage.upload_memory", l.Storage.UploadMemory, "at least "+Size(bucket.MinUploadMemory).String())
	}
	if l.Storage.UploadExpiry == 0 {
		refuse("storage.upload_expiry", l.Storage.UploadExpiry, "more than 0")
	}
	if l.Storage.UploadsPerCaller < 0 {
		refuse("storage.uploads_per_caller", l.Storage.UploadsPerCaller, "a number of sessions, or 0 for no limit")
	}
	if e := l.Storage.Redirect.Expiry; e < time.Minute || e > maxSignedExpiry {
		refuse("storage.redirect.expiry", durationText(e), "between 1m and "+durationText(maxSignedExpiry))
	}
	if l.Database.MaxConnections < 2 {
		refuse("database.max_connections", l.Database.MaxConnections, "at least 2")
	}
	if l.Manifests.MaxSize == 0 {
		refuse("manifests.max_size", l.Manifests.MaxSize, "more than 0")
	}
	if l.Manifests.Memory < l.Manifests.MaxSize {
		refuse("manifests.memory", l.Manifests.Memory, "at least manifests.max_size ("+l.Manifests.MaxSize.String()+")")
	}
	if l.Runtime.GOGC < -1 || l.Runtime.GOGC == 0 {
		refuse("runtime.gogc", l.Runtime.GOGC, "a percentage above 0, or -1 for no collection below runtime.memory_limit")
	}
	return errors.Join(wrong...)
}

// checkTokens checks the lifetimes of tokens, sessions and signing keys.
func (l *Loaded) checkTokens() error {
	var wrong []error
	refuse := func(key string, value time.Duration, want string) {
		wrong = append(wrong, l.invalidValue(key, durationText(value), want))
	}
	a := l.Auth
	if err := auth.CheckTokenTTL(a.TokenTTL); err != nil {
		refuse("auth.token_ttl", a.TokenTTL, err.Error())
	}
	if err := auth.CheckSessionTTL(a.SessionTTL); err != nil {
		refuse("auth.session_ttl", a.SessionTTL, err.Error())
	}
	if err := auth.CheckUploadGrace(a.UploadGrace); err != nil {
		refuse("auth.upload_grace", a.UploadGrace, err.Error())
	}
	if lead := auth.KeyLeadTime(a.TokenTTL); a.KeyRotation != 0 && a.KeyRotation < lead {
		refuse("auth.key_rotation", a.KeyRotation, "at least "+durationText(lead)+", for which the next key is published before it signs, or 0: by command only")
	}
	return errors.Join(wrong...)
}

// checkTLS refuses a certificate without a key and a key without a certificate. Either shows that
// HTTPS is wanted, so the server must not start with plain HTTP.
func (l *Loaded) checkTLS() error {
	switch {
	case l.TLS.Certificate == "" && l.TLS.Key != "":
		return errors.New("tls.key is set and tls.certificate is not: HTTPS wants both")
	case l.TLS.Certificate != "" && l.TLS.Key == "":
		return errors.New("tls.certificate is set and tls.key is not: HTTPS wants both")
	}
	return nil
}

func (l *Loaded) checkAddr() error {
	_, _, err := splitAddr("http.addr", l.HTTP.Addr)
	return err
}

func (l *Loaded) checkDebugAddr() error {
	if l.Debug.Addr == "" {
		return nil
	}
	host, port, err := splitAddr("debug.addr", l.Debug.Addr)
	if err != nil {
		return err
	}
	mainHost, mainPort, err := splitAddr("http.addr", l.HTTP.Addr)
	if err == nil && port != 0 && port == mainPort && (covers(host, mainHost) || covers(mainHost, host)) {
		return fmt.Errorf(
			"debug.addr: %q takes the port of http.addr %q: expected another one", l.Debug.Addr, l.HTTP.Addr)
	}
	return nil
}

// splitAddr checks that addr is HOST:PORT. The host may be empty, which stands for all addresses.
func splitAddr(key, addr string) (host string, port uint64, err error) {
	host, portText, err := net.SplitHostPort(addr)
	if err == nil {
		port, err = strconv.ParseUint(portText, 10, 16)
	}
	ip, _, _ := strings.Cut(host, "%") // a zone belongs to an address of this machine
	if err != nil || host != "" && !isHost(ip) {
		return "", 0, fmt.Errorf(
			"%s: %q is not HOST:PORT, such as 127.0.0.1:5000, [::1]:5000, or 0.0.0.0:5000 for all addresses",
			key, maskMisplaced(addr))
	}
	return host, port, nil
}

// covers reports whether a listener on host a takes connections to host b. Names other than
// localhost are not resolved and cover only themselves.
func covers(a, b string) bool {
	if strings.EqualFold(a, b) || a == "" {
		return true
	}
	from, err := netip.ParseAddr(a)
	to, err2 := netip.ParseAddr(b)
	switch {
	case err != nil:
		return strings.EqualFold(a, "localhost") && err2 == nil && to.Unmap() == netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case from.IsUnspecified() && from.Is6():
		return true // also of IPv4
	case from.IsUnspecified():
		return b == "" || strings.EqualFold(b, "localhost") || err2 == nil && (to.Unmap().Is4() || to.IsUnspecified())
	}
	return err2 == nil && from.Unmap() == to.Unmap()
}

// WantsAuth reports whether a setting turns authentication on: auth.mode, a policy or an htpasswd
// file. Where it is false, auth.mode, the database and http.addr decide.
func (a AuthConfig) WantsAuth() bool {
	return a.Mode == ModeBerth || a.Mode != ModeNone && (a.Policy != "" || len(a.Htpasswd) > 0)
}

// BeyondLoopback reports whether http.addr is certain to be reached from other machines. That is
// not known of a name, which has to be resolved first.
func (c *Config) BeyondLoopback() bool {
	host, _, err := net.SplitHostPort(c.HTTP.Addr)
	if err != nil || host == "" {
		return err == nil
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && !addr.Unmap().IsLoopback()
}
