package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/policy"
	"github.com/berth-registry/berth/auth/token"
	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/storage/bucket"
)

// Note is something that an operator should know of a configuration that can be served.
type Note struct {
	Level slog.Level
	Text  string
}

// logNotes logs each note at its level.
func logNotes(ctx context.Context, log *slog.Logger, notes []Note) {
	for _, note := range notes {
		log.Log(ctx, note.Level, note.Text)
	}
}

// Check checks a loaded configuration as far as that is possible without the data and the network,
// and reads the files that it names. An error keeps Serve from starting. Check writes nothing.
func Check(ctx context.Context, l *config.Loaded) (notes []Note, err error) {
	rules, err := policy.Open(l.Auth.Policy)
	var wrong []error
	if err != nil {
		wrong = append(wrong, fmt.Errorf("auth.policy: %w", err))
	} else {
		notes = proxyWarnings(l.Proxies, rules.Current())
	}
	htpasswdNotes, err := checkHtpasswd(ctx, l)
	certificateNotes, wrongCertificate := checkCertificate(l)
	notes = slices.Concat(notes, htpasswdNotes, certificateNotes)
	wrong = append(wrong, err, checkKeyFile(ctx, l), wrongCertificate, checkAudit(l), checkMemory(&l.Config))
	return notes, errors.Join(wrong...)
}

func checkHtpasswd(ctx context.Context, l *config.Loaded) (notes []Note, err error) {
	logins, err := login.New(ctx, login.Options{Htpasswd: l.Auth.Htpasswd})
	if err != nil {
		return nil, fmt.Errorf("auth.htpasswd: %w", err)
	}
	return htpasswdComplaints(logins), nil
}

// htpasswdComplaints returns what is wrong with htpasswd files that can be used.
func htpasswdComplaints(logins *login.Service) (notes []Note) {
	faults, warnings := logins.Complaints()
	for _, text := range faults {
		notes = append(notes, Note{slog.LevelError, "auth.htpasswd: " + text})
	}
	for _, text := range warnings {
		notes = append(notes, Note{slog.LevelWarn, "auth.htpasswd: " + text})
	}
	return notes
}

func checkKeyFile(ctx context.Context, l *config.Loaded) error {
	if l.Auth.KeyFile == "" {
		return nil
	}
	_, err := token.Open(ctx, token.Options{
		KeyFile: l.Auth.KeyFile, Issuer: "berth", Service: l.ServiceName(), TTL: l.Auth.TokenTTL,
	})
	if err != nil {
		return fmt.Errorf("auth.key_file: %w", err)
	}
	return nil
}

func checkCertificate(l *config.Loaded) (notes []Note, err error) {
	if l.TLS.Certificate == "" {
		return nil, nil
	}
	p, err := readPair(l.TLS)
	if err != nil {
		return nil, err
	}
	for _, text := range p.warnings(time.Now()) {
		notes = append(notes, Note{slog.LevelWarn, text})
	}
	return notes, nil
}

// checkAudit checks that the audit file can be opened, or made where there is none. It does not
// make it.
func checkAudit(l *config.Loaded) error {
	path := l.Audit.File
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("audit.file: %s is a directory: expected a file", path)
	case err == nil && info.Mode().IsRegular():
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return fmt.Errorf("audit.file: %w", err)
		}
		return f.Close()
	case err == nil:
		return nil // a pipe or device, which opening may act on
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("audit.file: %w", err)
	}
	for target, err := os.Readlink(path); err == nil; target, err = os.Readlink(path) {
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target // of a dangling link: the file that opening makes
	}
	return checkAuditDir(l, path)
}

// checkAuditDir checks the directory of an audit file that is to be made.
func checkAuditDir(l *config.Loaded, path string) error {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("audit.file: %w", err)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && makesDir(l, dir):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("audit.file: there is no directory %s for %s: make it first", dir, filepath.Base(path))
	case err != nil:
		return fmt.Errorf("audit.file: %w", err)
	case !info.IsDir() || !mayWrite(dir):
		return fmt.Errorf("audit.file: %s is no directory in which this user can make %s", dir, filepath.Base(path))
	}
	return nil
}

// makesDir reports whether Serve makes a missing directory before it opens the audit file: one for
// the data, or above it.
func makesDir(l *config.Loaded, dir string) bool {
	if !l.UsesData() {
		return false
	}
	made := []string{l.Data}
	if l.DatabaseFile != "" {
		made = append(made, filepath.Dir(l.DatabaseFile))
	}
	if location, err := bucket.ParseURL(l.Storage.Bucket); err == nil {
		made = append(made, location.Dir)
	}
	return slices.ContainsFunc(made, func(path string) bool {
		below, err := filepath.Rel(dir, path)
		return err == nil && filepath.IsLocal(below)
	})
}

// checkMemory refuses a registry in memory that is open to other machines. A name in http.addr may
// mean this machine; Serve knows when it listens.
func checkMemory(c *config.Config) error {
	if c.InMemory() && c.BeyondLoopback() && c.Auth.Mode != config.ModeNone && !c.Auth.WantsAuth() {
		return errMemoryOpenToAll(c.HTTP.Addr)
	}
	return nil
}

// A trusted network with a shorter prefix than these probably contains hosts that are no proxies.
const (
	minProxyBits4 = 24
	minProxyBits6 = 64
)

// proxyWarnings returns warnings about entries of http.trusted_proxies that contain more than
// proxies. Each host in such a network can claim any client address, which defeats rules on
// addresses and the limit on wrong passwords.
func proxyWarnings(proxies []netip.Prefix, rules *policy.Policy) []Note {
	var warnings []Note
	warnf := func(format string, args ...any) {
		warnings = append(warnings, Note{slog.LevelWarn, fmt.Sprintf(format, args...)})
	}
	for _, proxy := range proxies {
		if bits := proxy.Bits(); proxy.Addr().Is4() && bits < minProxyBits4 || proxy.Addr().Is6() && bits < minProxyBits6 {
			warnf("http.trusted_proxies: %s is a wide network, and every address in it can claim to be any other: name the proxies' own addresses", proxy)
		}
		for _, rule := range rules.Networks() {
			if proxy.Overlaps(rule.Network) {
				warnf("http.trusted_proxies: %s overlaps %s of rule %s, so that those for whom the rule is can claim to be any other address: name the proxies' own addresses", proxy, rule.Network, rule.Rule)
			}
		}
	}
	return warnings
}
