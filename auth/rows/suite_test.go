package rows

import (
	"testing"

	"github.com/berth-registry/berth/internal/db/dbtest"
)

// engines has a function for each engine that returns the URL of a new database.
var engines = map[string]func(testing.TB) string{"sqlite": dbtest.File, "postgres": dbtest.Postgres}

// TestSuite tests what each method guarantees, on every engine.
func TestSuite(t *testing.T) {
	for engine, newURL := range engines {
		for subject, test := range map[string]func(t *testing.T, url string){
			"account changes":        testAccountChanges,
			"account names":          testAccountNames,
			"account not there":      testAccountNotThere,
			"auth token":             testAuthToken,
			"auth token owner":       testAuthTokenOwner,
			"auth tokens of account": testAuthTokensOfAccount,
			"enable auth":            testEnableAuth,
			"forget expired":         testForgetExpired,
			"has account":            testHasAccount,
			"has accounts":           testHasAccounts,
			"highest password cost":  testHighestPasswordCost,
			"signing keys":           testSigningKeys,
			"use iDToken once":       testUseIDTokenOnce,
		} {
			t.Run(engine+"/"+subject, func(t *testing.T) { test(t, newURL(t)) })
		}
	}
}
