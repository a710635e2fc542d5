package login

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"

	"github.com/berth-registry/berth/auth"
)

const (
	htpasswdID = "htpasswd" // Identity.ID of the users of htpasswd files

	maxFileSize   = 16 << 20 // in bytes
	maxLineErrors = 10       // of one file

	// minFileCost is the lowest bcrypt cost in a file: bcrypt's own, since htpasswd -B makes hashes
	// of cost 5. A cost below minCost is worth a warning.
	minFileCost = bcrypt.MinCost

	byteOrderMark = "\xef\xbb\xbf" // Windows editors begin files with it
)

// htpasswdFiles holds the users of htpasswd files.
type htpasswdFiles struct {
	paths []string
	log   *slog.Logger
	users atomic.Pointer[fileUsers]

	reloadMu sync.Mutex
}

// fileUsers are the users of all files, as they were when they were loaded.
type fileUsers struct {
	generation  uint64
	byName      map[string]fileUser
	highestCost int      // of bcrypt
	warned      sync.Map // names for which warnShadowed has logged
	faults      []string // lines that are left out
	warnings    []string // about files with hashes of a low cost, or without users
}

// fileUser is a user with the position of its line, FILE:LINE. The hash is "" if the user cannot
// log in, because the line is faulty or another one has the same name.
type fileUser struct {
	hash, position string
}

// openHtpasswd reads htpasswd files.
func openHtpasswd(paths []string, log *slog.Logger) (*htpasswdFiles, error) {
	f := &htpasswdFiles{paths: paths, log: log}
	f.users.Store(&fileUsers{})
	return f, f.reload()
}

// reload reads the files again. After an error the users stay as they were. A faulty line is no
// error as long as its file has a user who can log in.
func (f *htpasswdFiles) reload() error {
	f.reloadMu.Lock()
	defer f.reloadMu.Unlock()
	u := &fileUsers{generation: f.generation() + 1, byName: make(map[string]fileUser)}
	for _, path := range f.paths {
		data, err := readHtpasswd(path)
		if err == nil {
			err = u.add(path, data)
		}
		if err != nil {
			return err
		}
	}
	f.users.Store(u)
	return nil
}

// readHtpasswd reads a file of at most maxFileSize.
func readHtpasswd(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("htpasswd file: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("htpasswd file: %w", err)
	case len(data) > maxFileSize:
		return nil, fmt.Errorf("%s is larger than the %d MiB that an htpasswd file may have", path, maxFileSize>>20)
	}
	return data, nil
}

// add adds the users of a file. Lines that are left out go to u.faults. If no user of the file can
// log in, that is an error, which names the faulty lines: it may be no htpasswd file at all. What
// is said of a line quotes none of it.
func (u *fileUsers) add(path string, data []byte) error {
	data = bytes.TrimPrefix(data, []byte(byteOrderMark))
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return fmt.Errorf("%s is in UTF-16, as PowerShell writes it: write it with Set-Content -Encoding ascii", path)
	}
	lowest := maxCost
	var faults []error
	for i, line := range bytes.Split(data, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		position := fmt.Sprintf("%s:%d", path, i+1)
		cost, err := u.addLine(string(line), position)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", position, err))
			continue
		}
		lowest = min(lowest, cost)
	}
	if lowest < minCost {
		u.warnings = append(u.warnings, fmt.Sprintf("%s has hashes of the bcrypt cost %d, which give passwords away quickly if the file is stolen: htpasswd -B -C %d makes better ones",
			path, lowest, DefaultCost))
	}
	if len(faults) == 0 && !u.hasUserOf(path) {
		u.warnings = append(u.warnings, path+" has no user")
	}
	return u.addFaults(path, faults)
}

// addFaults records the faulty lines of a file, or returns them as an error if the file has no user
// who can log in.
func (u *fileUsers) addFaults(path string, faults []error) error {
	var more []error
	if n := len(faults) - maxLineErrors; n > 0 {
		faults, more = faults[:maxLineErrors], []error{fmt.Errorf("%s: and %d more such lines", path, n)}
	}
	if len(faults) > 0 && !u.hasUserOf(path) {
		return errors.Join(append(faults, more...)...)
	}
	for _, fault := range faults {
		u.faults = append(u.faults, fault.Error()+"; a user of this line cannot log in")
	}
	for _, rest := range more {
		u.faults = append(u.faults, rest.Error())
	}
	return nil
}

// hasUserOf reports whether a user of the file can log in.
func (u *fileUsers) hasUserOf(path string) bool {
	for _, line := range u.byName {
		if line.hash != "" && strings.HasPrefix(line.position, path+":") {
			return true
		}
	}
	return false
}

// addLine adds the user of a line and returns the cost of its hash. A name that stands in two lines
// loses both: either may be the one with the password that was meant to go.
func (u *fileUsers) addLine(line, position string) (cost int, err error) {
	name, hash, ok := strings.Cut(line, ":")
	if !ok {
		return 0, errors.New("expected NAME:HASH")
	}
	if auth.CheckAccountName(name) != nil {
		return 0, errors.New("the name is not one that a user can have: letters, digits and . - _ @, beginning with a letter or a digit, and no reserved word")
	}
	if other, taken := u.byName[name]; taken {
		u.byName[name] = fileUser{position: other.position}
		return 0, fmt.Errorf("the name stands at %s already, and neither line counts", other.position)
	}
	cost, err = checkHash(hash)
	if err != nil {
		u.byName[name] = fileUser{position: position}
		return 0, err
	}
	u.byName[name] = fileUser{hash: hash, position: position}
	u.highestCost = max(u.highestCost, cost)
	return cost, nil
}

// checkHash returns the cost of a bcrypt hash. It returns an error for any other text, and for a
// cost out of bounds.
func checkHash(hash string) (cost int, err error) {
	const (
		length  = 60
		letters = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	)
	known := strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") || strings.HasPrefix(hash, "$2y$")
	if !known || len(hash) != length || strings.Trim(hash[7:], letters) != "" {
		return 0, fmt.Errorf(
			"the hash is not bcrypt's ($2a$, $2b$ or $2y$ and 60 characters): htpasswd -B -C %d makes one", DefaultCost)
	}
	cost, err = bcrypt.Cost([]byte(hash))
	if err != nil {
		return 0, errors.New("the hash has no cost that bcrypt knows")
	}
	if cost > maxCost {
		return 0, fmt.Errorf("the hash has the bcrypt cost %d: it may be %d to %d (htpasswd -B -C %d)", cost, minFileCost, maxCost, DefaultCost)
	}
	return cost, nil
}

// find returns the user with this name.
func (f *htpasswdFiles) find(name string) (user, bool) {
	line, ok := f.users.Load().byName[name]
	if !ok || line.hash == "" {
		return user{}, false
	}
	id := auth.Identity{
		Kind: auth.User, Name: name, ID: htpasswdID,
		Credential: passwordCredential, Stamp: hashStamp(line.hash),
	}
	return user{id: id, hash: line.hash}, true
}

// warnShadowed logs once that a database user shadows the htpasswd user of the same name.
func (f *htpasswdFiles) warnShadowed(name string) {
	u := f.users.Load()
	line, ok := u.byName[name]
	if !ok {
		return
	}
	if _, warned := u.warned.LoadOrStore(name, true); !warned {
		f.log.Warn("a user of the database has the name of one in an htpasswd file, who cannot log in",
			"user", name, "place", line.position)
	}
}

// highestCost returns the highest bcrypt cost in the files; 0 without users.
func (f *htpasswdFiles) highestCost() int { return f.users.Load().highestCost }

// generation returns a number that changes with each reload.
func (f *htpasswdFiles) generation() uint64 { return f.users.Load().generation }
