// Package buckettest tests, which is what it is for.
package buckettest

import "testing"

type Suite struct{ testing.T }
