package login

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

const (
	// DefaultCost is the bcrypt cost of a new password: about 0.1 s of one processor.
	DefaultCost = 10
	minCost     = 8
	maxCost     = 14

	maxPasswordBytes = 72 // the input limit of bcrypt
)

// HashPassword returns the bcrypt hash of a new password; cost is 8 to 14. The error says why the
// password or the cost is refused.
func HashPassword(password string, cost int) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	if isToken(password) {
		return "", errors.New("this password begins as tokens do, and would be taken for one")
	}
	if cost < minCost || cost > maxCost {
		return "", fmt.Errorf("bcrypt cost %d: it is %d to %d", cost, minCost, maxCost)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	return string(hash), err
}

// checkPassword returns an error that says why a text cannot be a password.
func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("the password is empty")
	case len(password) > maxPasswordBytes:
		return fmt.Errorf("the password has %d bytes: bcrypt takes no more than %d, and would ignore the rest", len(password), maxPasswordBytes)
	case strings.ContainsRune(password, 0):
		return errors.New("the password has a zero byte, at which some programs would end it")
	}
	return nil
}

// compareBcrypt is bcrypt's comparison.
func compareBcrypt(hash, password []byte) error { return bcrypt.CompareHashAndPassword(hash, password) }
