// Package config has the settings of berth: one struct, filled from defaults, a file, the
// environment and flags. Load checks each setting and resolves what follows from others. Its errors
// name the setting, its source and what would be right, with secrets masked. The package opens no
// file but the configuration file.
package config

import (
	"time"

	"github.com/berth-registry/berth/internal/db/postgres"
	"github.com/berth-registry/berth/storage/bucket"
)

// Config has every setting. The tags of a field are its key in the configuration file (koanf), its
// meaning (doc), the values it may have (oneof), whether its value may hold a password (secret),
// and the name of its flag (flag) if that is not the key with dashes. The environment variable of a
// key is BERTH_ and the key in upper case, with underscores for dots. The tests of cmd/berth write
// docs/configuration.md from these tags.
type Config struct {
	Data      string          `koanf:"data" doc:"Directory for the database and the blobs, made on the first start."`
	HTTP      HTTPConfig      `koanf:"http"`
	TLS       TLSConfig       `koanf:"tls"`
	Auth      AuthConfig      `koanf:"auth"`
	Audit     AuditConfig     `koanf:"audit"`
	Storage   StorageConfig   `koanf:"storage"`
	Database  DatabaseConfig  `koanf:"database"`
	Manifests ManifestsConfig `koanf:"manifests"`
	Log       LogConfig       `koanf:"log"`
	Debug     DebugConfig     `koanf:"debug"`
	Shutdown  ShutdownConfig  `koanf:"shutdown"`
	Runtime   RuntimeConfig   `koanf:"runtime"`
}

// HTTPConfig is the address that clients connect to, and the limits on their requests.
type HTTPConfig struct {
	Addr           string        `koanf:"addr" flag:"addr" doc:"HOST:PORT to listen on. Port 0 takes a free one. Beyond loopback the first start makes a user admin, unless auth.mode is none."`
	ExternalURL    []string      `koanf:"external_url" doc:"URLs under which clients reach the registry, the main one first: https://registry.example. Where they fetch tokens, and the issuer of those. Wanted behind a proxy that does not hand on the client's Host."`
	TrustedProxies []string      `koanf:"trusted_proxies" doc:"Addresses and networks (CIDR) of proxies whose X-Forwarded-For, -Proto and -Host are believed."`
	Hosts          []string      `koanf:"hosts" doc:"Names, beside those of http.external_url, under which clients may reach an open registry that listens on loopback, and debug.addr on loopback; others are answered 421. \"*\" admits every name, but not to debug.addr."`
	StrictHosts    bool          `koanf:"strict_hosts" doc:"Only names of the loopback, of http.external_url and of http.hosts are answered wherever the registry listens, with users too; others are answered 421. Health checks are always answered."`
	Locations      string        `koanf:"relative_locations" oneof:"auto always never" doc:"Whether the Location of an answer is a path. auto: a whole URL where an http.external_url has the host that the client used, else a path; always: a path; never: a whole URL, of the request's scheme and host where no http.external_url has that host."`
	CORS           CORSConfig    `koanf:"cors"`
	HeaderTimeout  time.Duration `koanf:"header_timeout" doc:"How long a client may take to send a request's headers."`
	BodyTimeout    time.Duration `koanf:"body_timeout" doc:"How long a request's body or an answer may stand still before the connection is cut. No limit on the whole."`
	LingerBytes    Size          `koanf:"linger_bytes" doc:"Most bytes of a request's body that are still read, over HTTP/1, after an answer that did not wait for them: proxies lose an answer whose connection is closed at once. 0: only 256KiB, for 5s at most."`
	LingerTime     time.Duration `koanf:"linger_time" doc:"How long such reading may take, and never longer than 10s without a byte. 0: only 256KiB, for 5s at most."`
	MaxHeaderBytes int           `koanf:"max_header_bytes" doc:"Most bytes of a request's headers; more are answered 431."`
}

// CORSConfig is which web pages of other origins may call the registry.
type CORSConfig struct {
	Origins     []string `koanf:"origins" doc:"Origins whose web pages may call the registry, as browsers send them: https://ui.example. They may read and write what their users may. \"*\" lets every page read. Unset: none."`
	Credentials bool     `koanf:"credentials" doc:"The browser may add the password that it keeps for the registry to the calls of these pages. Not with \"*\"."`
}

// TLSConfig is the certificate for HTTPS.
type TLSConfig struct {
	Certificate string        `koanf:"certificate" doc:"File with the server's certificate and those between it and the root (PEM), read again when it changes. Unset: plain HTTP."`
	Key         string        `koanf:"key" doc:"File with the certificate's private key (PEM), read again when it changes."`
	HSTS        time.Duration `koanf:"hsts" doc:"How long browsers shall insist on HTTPS (Strict-Transport-Security), for every port of the host. 0: they are not told."`
}

// The values of auth.mode. If it is unset, the mode follows from the other settings and the
// database.
const (
	ModeNone  = "none"
	ModeBerth = "berth"
)

// AuthConfig configures authentication and the policy.
type AuthConfig struct {
	Mode        string        `koanf:"mode" oneof:"none berth" doc:"Who may push and pull: none lets in everyone who reaches the address, berth those whom the policy lets in. Unset, it is berth as soon as there is a user, a policy, an htpasswd file or an address beyond loopback, and stays so."`
	Policy      string        `koanf:"policy" doc:"File of rules (YAML), read again when it changes. Unset: users and robots may do everything, others nothing."`
	Htpasswd    []string      `koanf:"htpasswd" doc:"Files with further users, one NAME:HASH each line, bcrypt only, read again when they change."`
	Service     string        `koanf:"service" doc:"Name of this registry in tokens and challenges. Unset: the host of the first http.external_url, or berth."`
	TokenTTL    time.Duration `koanf:"token_ttl" doc:"How long a token is good for, 1m to 1h."`
	UploadGrace time.Duration `koanf:"upload_grace" doc:"How much longer an expired token may go on with the uploads that it began: 24h at most."`
	SessionTTL  time.Duration `koanf:"session_ttl" doc:"How long a CI job may use what it got for its identity token, 6h at most."`
	KeyFile     string        `koanf:"key_file" doc:"File with the key that signs tokens (P-256, PKCS#8, PEM), for a mounted secret; read again when it changes. Unset: keys are made, kept in the database, and rotated."`
	KeyRotation time.Duration `koanf:"key_rotation" doc:"Age at which a signing key gives way to the next. 0: only by command."`
	CompatX5C   bool          `koanf:"compat_x5c" doc:"Tokens carry a certificate (x5c), for registries of distribution 2.x that verify them. Those of 3.x refuse such tokens."`
}

// AuditConfig configures the audit file.
type AuditConfig struct {
	File string `koanf:"file" doc:"File to which logins, tokens, denials and writes are added as JSON lines; opened anew on SIGHUP. While it takes none, writes and logins are answered 503. The log has them too, but drops lines that are not read."`
}

// StorageConfig configures the bucket and the limits on uploads.
type StorageConfig struct {
	Bucket           string         `koanf:"bucket" secret:"true" doc:"URL of the bucket for blobs: file:///directory, s3://bucket, gs://bucket, azblob://container, or mem:// for tests and demos. Unset: the directory blobs under data."`
	UploadMemory     Size           `koanf:"upload_memory" doc:"Most memory for bodies on their way to an object store, in buffers of 5 MiB. An upload of more than 64 KiB holds one, and more while some are free; where none is, it waits."`
	MinFree          Size           `koanf:"min_free" doc:"Uploads are refused (507) while the file systems of bucket or database have less room than this, or fewer inodes than one for each 16 KiB of it (5 % of them, where that is less). 0 turns the checks off."`
	UploadExpiry     time.Duration  `koanf:"upload_expiry" doc:"An unfinished upload that nobody touched for this long is forgotten."`
	UploadsPerCaller int            `koanf:"uploads_per_caller" doc:"Most upload sessions, and requests that bring bytes to some, that one account may have open, or one address (IPv6: network /64) without an account; more are answered 429. 0: no limit."`
	BytesPerCaller   Size           `koanf:"upload_bytes_per_caller" doc:"Most bytes in such sessions and in bodies that come in, of one account or address; more are answered 429. What is pushed to its end does not count. 0: no limit."`
	Redirect         RedirectConfig `koanf:"redirect"`
	DeleteDelay      time.Duration  `koanf:"delete_delay" doc:"How long bytes stay in the bucket after a blob gave them up. Must be longer than backup and copy of the bucket take together."`
}

// RedirectConfig is which GETs of blobs are redirected to the bucket.
type RedirectConfig struct {
	Enabled  bool          `koanf:"enabled" doc:"Clients that GET a blob are sent to a signed URL of the bucket, which they must reach. Not blobs of several objects, and not where nothing can sign (file, mem, and clouds without a key). Such a URL lets anyone read the blob until it expires."`
	MinSize  Size          `koanf:"min_size" doc:"Smaller blobs are sent by the registry itself: a redirect costs the client a further request."`
	Networks []string      `koanf:"networks" doc:"Only clients with these addresses, or in these networks (CIDR), are redirected. Unset: all."`
	Expiry   time.Duration `koanf:"expiry" doc:"How long a signed URL is good for, 1m to 168h. Less where the credentials that sign it expire before."`
}

// The values of database.pooler.
const (
	PoolerNone        = "none"
	PoolerTransaction = "transaction"
)

// DatabaseConfig is the location of the database. All but URL is for PostgreSQL.
type DatabaseConfig struct {
	URL            string `koanf:"url" secret:"true" doc:"Database: sqlite:/path/to/file, sqlite::memory: with a mem:// bucket, or postgres://USER@HOST/NAME?sslmode=verify-full for PostgreSQL 14 or later. Unset: berth.db under data."`
	PasswordFile   string `koanf:"password_file" doc:"File with the password for PostgreSQL, read for each new connection."`
	MaxConnections int    `koanf:"max_connections" doc:"Most connections to PostgreSQL that this process has open."`
	Pooler         string `koanf:"pooler" oneof:"none transaction" doc:"What stands between Berth and PostgreSQL. transaction: a pooler that lends a connection for one transaction only, as PgBouncer with pool_mode=transaction."`
	MigrateURL     string `koanf:"migrate_url" secret:"true" doc:"URL of PostgreSQL for migrations, with the same password file. Wanted with database.pooler: transaction, because they cannot go through such a pooler. Unset: database.url."`
}

// Postgres reports whether the database is PostgreSQL.
func (d DatabaseConfig) Postgres() bool { return postgres.IsURL(d.URL) }

// ManifestsConfig is which manifests are accepted, and how much memory they may take.
type ManifestsConfig struct {
	AllowMissing string `koanf:"allow_missing" oneof:"none index all" doc:"Which manifests may name what the repository does not have: none, index (child manifests of indexes), or all."`
	MaxSize      Size   `koanf:"max_size" doc:"Largest manifest; larger ones are answered 413."`
	Memory       Size   `koanf:"memory" doc:"Most memory for manifests being received and for those being sent, half of it each, and a quarter of that for one caller; further requests wait their turn. The first 64 KiB of a manifest come out of a further quarter, and a manifest that the cache has costs nothing."`
	Cache        Size   `koanf:"cache" doc:"Memory for what was used last: manifests, and what tags and digests mean. 0 turns it off."`
}

// LogConfig is the form and the level of the log.
type LogConfig struct {
	Format string `koanf:"format" oneof:"auto text json" doc:"Form of the log on standard error: text, json, or auto: text on a terminal, JSON elsewhere."`
	Level  string `koanf:"level" oneof:"debug info warn error" doc:"Least level that is logged. Requests are logged at info."`
}

// DebugConfig is the address of metrics and profiles, for operators.
type DebugConfig struct {
	Addr string `koanf:"addr" doc:"HOST:PORT for /metrics and /debug/pprof/. Unset: off. It has no authentication and shows the process's memory: keep it private."`
}

// ShutdownConfig is how long each step of a shutdown may take.
type ShutdownConfig struct {
	Delay  time.Duration `koanf:"delay" doc:"After SIGTERM: how long the registry serves on as not ready, so that load balancers notice."`
	Grace  time.Duration `koanf:"grace" doc:"After that: how long requests in flight get to finish."`
	Record time.Duration `koanf:"record" doc:"After that: how long uploads cut in mid-body get to record what arrived."`
}

// RuntimeConfig tunes the Go runtime.
type RuntimeConfig struct {
	GOGC        int  `koanf:"gogc" doc:"Garbage collector target in percent: more is less CPU and more memory. The variable GOGC wins while this is unset."`
	MemoryLimit Size `koanf:"memory_limit" doc:"Memory above which the garbage collector works harder, whatever gogc says. 0: none. The variable GOMEMLIMIT wins while this is unset."`
}

// defaults returns the configuration in which nothing is set.
func defaults() Config {
	return Config{
		Data: "./berth-data",
		HTTP: HTTPConfig{
			Addr:           "127.0.0.1:5000",
			ExternalURL:    []string{},
			TrustedProxies: []string{},
			Hosts:          []string{},
			Locations:      "auto",
			CORS:           CORSConfig{Origins: []string{}},
			HeaderTimeout:  10 * time.Second,
			BodyTimeout:    60 * time.Second,
			LingerBytes:    64 * mebibyte,
			LingerTime:     30 * time.Second,
			MaxHeaderBytes: 64 << 10,
		},
		Auth: AuthConfig{
			Htpasswd:    []string{},
			TokenTTL:    5 * time.Minute,
			UploadGrace: time.Hour,
			SessionTTL:  time.Hour,
			KeyRotation: 90 * 24 * time.Hour,
		},
		Storage: StorageConfig{
			UploadMemory:     bucket.DefaultUploadMemory,
			MinFree:          256 * mebibyte,
			UploadExpiry:     24 * time.Hour,
			UploadsPerCaller: 1000,
			BytesPerCaller:   1024 * 1024 * mebibyte,
			Redirect:         RedirectConfig{MinSize: mebibyte, Networks: []string{}, Expiry: 20 * time.Minute},
			DeleteDelay:      time.Hour,
		},
		Database: DatabaseConfig{MaxConnections: 16, Pooler: PoolerNone},
		Manifests: ManifestsConfig{
			AllowMissing: "none",
			MaxSize:      4 * mebibyte,
			Memory:       64 * mebibyte,
			Cache:        32 * mebibyte,
		},
		Log:      LogConfig{Format: "auto", Level: "info"},
		Shutdown: ShutdownConfig{Grace: 30 * time.Second, Record: 10 * time.Second},
		Runtime:  RuntimeConfig{GOGC: 400, MemoryLimit: 96 * mebibyte},
	}
}
