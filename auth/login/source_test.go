package login

import (
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/authtest"
	"github.com/berth-registry/berth/auth/rows"
)

func TestSources(t *testing.T) {
	password := auth.Credentials{Name: "alice", Secret: "alices password"}
	unknown, _ := NewSecret(PersonalToken)
	unknownSession, _ := NewSecret(SessionToken)
	for name, open := range map[string]func(t *testing.T) authtest.Case{
		"rows": func(t *testing.T) authtest.Case {
			f := newFixture(t, nil)
			id := f.addUser("alice", password.Secret, 10, "team")
			return authtest.Case{
				Source: f.passwords, Good: password, Bad: auth.Credentials{Name: "alice", Secret: "another password"}, Other: auth.Credentials{Name: "alice", Secret: unknown},
				Remove: func() { f.write(func(tx *rows.Tx) error { return tx.DeleteAccount(id) }) },
			}
		},
		"htpasswd": func(t *testing.T) authtest.Case {
			f := newFixture(t, nil, "alice:"+fakeHash(password.Secret, 10))
			return authtest.Case{
				Source: f.passwords, Good: password, Bad: auth.Credentials{Name: "bob", Secret: "alices password"}, Other: auth.Credentials{Name: "robot+alice", Secret: password.Secret},
				Remove: func() {
					f.writeHtpasswd(0, "")
					if err := f.Reload(); err != nil {
						t.Error(err)
					}
				},
			}
		},
		"token": func(t *testing.T) authtest.Case {
			f := newFixture(t, nil)
			secret, id := f.addToken(PersonalToken, f.addUser("alice", "p", 10), someScope, time.Hour)
			return authtest.Case{
				Source: f.tokenSources[0], Good: auth.Credentials{Name: "alice", Secret: secret}, Bad: auth.Credentials{Name: "alice", Secret: unknown}, Other: password,
				Remove: func() { f.write(func(tx *rows.Tx) error { return tx.DeleteAuthToken(id) }) },
			}
		},
		"session": func(t *testing.T) authtest.Case {
			f := newFixture(t, nil)
			return authtest.Case{
				Source: f.tokenSources[1], Good: auth.Credentials{Name: "oidc", Secret: f.exchange("job.1").Secret}, Bad: auth.Credentials{Name: "oidc", Secret: unknownSession},
				Other:  auth.Credentials{Name: "oidc", Secret: "job.2"},
				Remove: func() { f.ci.remove("job") },
			}
		},
	} {
		t.Run(name, func(t *testing.T) { authtest.TestSource(t, open) })
	}
}
