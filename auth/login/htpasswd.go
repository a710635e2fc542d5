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
	maxLineErrors = 10       // in one error
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
}

// fileUser is one line of a file.
type fileUser struct {
	hash, position string // position is FILE:LINE
}

// openHtpasswd reads htpasswd files.
func openHtpasswd(paths []string, log *slog.Logger) (*htpasswdFiles, error) {
	f := &htpasswdFiles{paths: paths, log: log}
	f.users.Store(&fileUsers{})
	return f, f.reload()
}

// reload reads the files again. After an error the users stay as they were.
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

// add adds the users of a file. The error names each faulty line, and quotes none of it.
func (u *fileUsers) add(path string, data []byte) error {
	var errs []error
	for i, line := range bytes.Split(data, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		position := fmt.Sprintf("%s:%d", path, i+1)
		if err := u.addLine(string(line), position); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", position, err))
		}
		if len(errs) == maxLineErrors {
			break
		}
	}
	return errors.Join(errs...)
}

func (u *fileUsers) addLine(line, position string) error {
	name, hash, ok := strings.Cut(line, ":")
	if !ok {
		return errors.New("expected NAME:HASH")
	}
	if auth.CheckAccountName(name) != nil {
		return errors.New("the name is not one that a user can have: letters, digits and . - _ @, beginning with a letter or a digit, and no reserved word")
	}
	if other, taken := u.byName[name]; taken {
		return fmt.Errorf("the name stands at %s already", other.position)
	}
	cost, err := checkHash(hash)
	if err != nil {
		return err
	}
	u.byName[name] = fileUser{hash: hash, position: position}
	u.highestCost = max(u.highestCost, cost)
	return nil
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
		return 0, errors.New("the hash is not bcrypt's ($2a$, $2b$ or $2y$ and 60 characters): htpasswd -B makes one")
	}
	cost, err = bcrypt.Cost([]byte(hash))
	if err != nil {
		return 0, errors.New("the hash has no cost that bcrypt knows")
	}
	if cost < minCost || cost > maxCost {
		return 0, fmt.Errorf("the hash has the bcrypt cost %d: it may be %d to %d (htpasswd -B -C %d)", cost, minCost, maxCost, DefaultCost)
	}
	return cost, nil
}

// find returns the user with this name.
func (f *htpasswdFiles) find(name string) (user, bool) {
	line, ok := f.users.Load().byName[name]
	if !ok {
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
