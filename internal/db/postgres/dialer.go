package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berth-registry/berth/internal/db"
)

// The limits of what a transaction and its server may take.
const (
	statementTimeout = 60 * time.Second // one statement
	lockTimeout      = 10 * time.Second // waiting for one lock
	idleTimeout      = 30 * time.Second // between two statements of a transaction
	// linkTimeout is how long a server may be silent. Above statementTimeout, so that it tells only
	// of a server or a network that is gone.
	linkTimeout = statementTimeout + 15*time.Second
)

// settings are what each connection sets, or behind a pooler each transaction.
var settings = [][2]string{
	{"statement_timeout", milliseconds(statementTimeout)},
	{"lock_timeout", milliseconds(lockTimeout)},
	{"idle_in_transaction_session_timeout", milliseconds(idleTimeout)},
	{"synchronous_commit", "on"},
	{"default_transaction_isolation", "read committed"},
}

// connectionSettings are set too where the connection leads to the server itself: then it notices
// within a minute that this process or the network is gone.
var connectionSettings = [][2]string{
	{"tcp_keepalives_idle", "30"}, {"tcp_keepalives_interval", "10"}, {"tcp_keepalives_count", "3"},
	{"client_connection_check_interval", "10000"},
}

// localSettingsSQL makes the settings for one transaction.
var localSettingsSQL = "SELECT " + localSettings()

func localSettings() string {
	calls := make([]string, 0, len(settings))
	for _, s := range settings {
		if s[0] != "default_transaction_isolation" { // too late for this transaction
			calls = append(calls, fmt.Sprintf("set_config('%s', '%s', true)", s[0], s[1]))
		}
	}
	return strings.Join(calls, ", ")
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// dialer opens connections to one database.
type dialer struct {
	url          string
	config       *pgconn.Config
	passwordFile string
	pooler       bool
}

// CheckURL returns an error if url is not the URL of a database. The error does not quote it, since
// a password may be anywhere in it.
func CheckURL(url string) error {
	_, err := parseURL(url)
	return err
}

// IsURL reports whether url has a scheme of PostgreSQL.
func IsURL(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

// parseURL returns the configuration of connections to the database that url names. What it does
// not say comes from libpq's variables.
func parseURL(url string) (*pgx.ConnConfig, error) {
	if !IsURL(url) {
		return nil, errors.New("want postgres://USER@HOST/NAME?sslmode=verify-full")
	}
	c, err := pgx.ParseConfig(url)
	var file *fs.PathError
	switch {
	case errors.As(err, &file):
		return nil, fmt.Errorf("a file that the URL names: %w", file)
	case err != nil:
		return nil, errors.New(
			"this is not the URL of a PostgreSQL database: want postgres://USER@HOST/NAME?sslmode=verify-full")
	case strings.Contains(c.Host+c.User, "@"):
		return nil, errors.New("the URL has more than one @: one that is part of a user or password is written %40")
	}
	return c, nil
}

func newDialer(url string, o Options) (*dialer, error) {
	c, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	d := &dialer{url: url, config: &c.Config, passwordFile: o.PasswordFile, pooler: o.TransactionPooler}
	set(d.config, [][2]string{{"client_encoding", "UTF8"}})
	if d.config.RuntimeParams["application_name"] == "" {
		set(d.config, [][2]string{{"application_name", "berth"}})
	}
	if !d.pooler { // which refuses settings that it does not know
		set(d.config, settings)
		set(d.config, connectionSettings)
	}
	return d, nil
}

func set(c *pgconn.Config, settings [][2]string) {
	for _, s := range settings {
		c.RuntimeParams[s[0]] = s[1]
	}
}

// connect opens a connection to the first of the hosts whose server is suitable.
func (d *dialer) connect(ctx context.Context) (*conn, error) {
	config := d.config.Copy()
	if err := setPassword(config, d.passwordFile); err != nil {
		return nil, err
	}
	c := &conn{pooled: d.pooler, statements: make(map[string]*pgconn.StatementDescription)}
	dial := (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3,
	}}).DialContext
	// pgconn also dials to cancel a statement, later and in a goroutine of its own.
	var dialed atomic.Pointer[link]
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		n, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		l := &link{Conn: n}
		dialed.Store(l)
		return l, nil
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { c.notice = n }
	config.ValidateConnect = func(ctx context.Context, pg *pgconn.PgConn) (err error) {
		c.server, err = checkServer(ctx, pg)
		return err
	}
	var err error
	if c.pg, err = pgconn.ConnectConfig(ctx, config); err != nil {
		return nil, explainConnect(err)
	}
	c.link, c.opened = dialed.Load(), time.Now()
	c.link.limit.Store(int64(linkTimeout))
	return c, nil
}

// setPassword sets the password that is in a file, if there is one.
func setPassword(c *pgconn.Config, file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the database's password: %w", err)
	}
	c.Password = strings.TrimRight(string(text), "\r\n")
	return nil
}

// identitySQL is an expression that differs between servers, between the timelines of one, as a
// failover starts a new one, and before and after a crash of one, when its statistics are reset.
// After a crash a server may give an identifier of a transaction, whose changes were lost, to
// another transaction.
const identitySQL = `CASE WHEN pg_is_in_recovery() THEN '' ELSE
	(SELECT system_identifier FROM pg_control_system())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
	|| '/' || COALESCE(extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time())::text, '') END`

// checkServer returns the identity of a server, or an error if it cannot keep the guarantees.
func checkServer(ctx context.Context, pg *pgconn.PgConn) (identity string, err error) {
	const query = `SELECT current_setting('server_version_num')::bigint, current_setting('server_version'),
		current_setting('server_encoding'), current_setting('fsync'), pg_is_in_recovery(), ` + identitySQL
	result := pg.ExecParams(ctx, query, nil, nil, nil, binaryResults)
	rows, err := readRows(result, 1)
	if _, closed := result.Close(); closed != nil {
		return "", closed
	}
	if err != nil {
		return "", err
	}
	var number int
	var version, encoding, fsync string
	var standby bool
	if !rows.Next() {
		return "", errors.New("the server's settings have no row")
	}
	if err := rows.Scan(&number, &version, &encoding, &fsync, &standby, &identity); err != nil {
		return "", err
	}
	if err := checkSettings(number, version, encoding, fsync, standby); err != nil {
		return "", err
	}
	return identity, nil
}

// checkSettings returns an unsuitableError if a server's settings are wrong.
func checkSettings(number int, version, encoding, fsync string, standby bool) error {
	switch {
	case number < 140000:
		return unsuitableError("the server is PostgreSQL " + version + ", which is too old: want 14 or later")
	case encoding != "UTF8":
		return unsuitableError("the database has the encoding " + encoding + ": create it with ENCODING 'UTF8'")
	case fsync != "on":
		return unsuitableError("the server has fsync=off and would lose data in a crash: set fsync=on")
	case standby:
		return unsuitableError(
			"the server is a standby, which cannot be written to: name the primary, or all hosts of the cluster")
	}
	return nil
}

// unsuitableError is the error for a server that cannot keep the guarantees.
type unsuitableError string

func (e unsuitableError) Error() string { return string(e) }

// explainConnect returns the error for a connection that could not be opened: what is wrong with
// the server, if that is known.
func explainConnect(err error) error {
	var unsuitable unsuitableError
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &unsuitable):
		return unsuitable
	case errors.As(err, &pg) && pg.Code == "53100":
		return fmt.Errorf("%w: %w", db.ErrNoSpace, err)
	}
	return err
}
