package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/auth/token"
	"github.com/berth-registry/berth/cmd/berth/config"
)

func (c *console) keyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Look at the keys that sign tokens, replace and revoke them"}
	cmd.AddCommand(c.keyListCommand(), c.keyRotateCommand(), c.keyRevokeCommand(), c.keyCertificateCommand())
	return cmd
}

// keyJSON is a signing key in JSON output. Unknown times, and times that are still to come, are
// left out.
type keyJSON struct {
	KID         string      `json:"kid"`
	State       token.State `json:"state"`
	Created     time.Time   `json:"created,omitzero"`
	Active      time.Time   `json:"active,omitzero"`
	Retired     time.Time   `json:"retired,omitzero"`
	Certificate string      `json:"certificate"` // PEM
}

func keysJSON(keys []token.KeyInfo) []keyJSON {
	list := make([]keyJSON, 0, len(keys))
	for _, k := range keys {
		list = append(list, keyJSON{k.KID, k.State, k.Created.UTC(), k.Active.UTC(), k.Retired.UTC(), k.CertificatePEM()})
	}
	return list
}

func (c *console) keyListCommand() *cobra.Command {
	return c.keysCommand(&cobra.Command{
		Use:   "list",
		Short: "List the keys that sign tokens, or verify them",
		Long: "Lists the keys that sign tokens, or verify them: the active one signs, the next one will and is published already, and\n" +
			"what retired ones have signed is still accepted.",
		Args: cobra.NoArgs,
	}, c.openDatabase, func(cmd *cobra.Command, keys *token.Manager, _ []string) error {
		list, err := keys.Keys(cmd.Context())
		if err != nil {
			return err
		}
		t := table{head: []string{"KID", "STATE", "CREATED", "SIGNS SINCE", "RETIRED"}}
		for _, k := range list {
			t.add(k.KID, string(k.State), keyTime(k.Created), keyTime(k.Active), keyTime(k.Retired))
		}
		return c.show(cmd, keysJSON(list), t)
	})
}

func (c *console) keyRotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Let a new key sign tokens",
		Long: "Makes a new key and publishes it. The running server signs with it as soon as everyone who verifies tokens by\n" +
			"/.well-known/jwks.json can know it, and what the old key signed stays good until it ends. Berth does this by itself when a\n" +
			"key has the age of auth.key_rotation. If a key has leaked, revoke it instead.",
		Args: cobra.NoArgs,
	}
	atOnce := cmd.Flags().Bool("now", false, "sign with the new key at once; others refuse its tokens until they fetch the keys again")
	return c.keysCommand(cmd, c.makeDatabase, func(cmd *cobra.Command, keys *token.Manager, _ []string) error {
		list, err := keys.Rotate(cmd.Context(), *atOnce)
		if err != nil {
			return err
		}
		// There is exactly one active key after each change, and it is the first.
		if at := slices.IndexFunc(list, func(k token.KeyInfo) bool { return k.State == token.Next }); at >= 0 {
			return c.say(cmd, keysJSON(list), "key %s is published and signs from %s on; until then %s does", list[at].KID, keyTime(list[at].Active), list[0].KID)
		}
		return c.say(cmd, keysJSON(list), "key %s signs from now on", list[0].KID)
	})
}

func (c *console) keyRevokeCommand() *cobra.Command {
	return c.keysCommand(&cobra.Command{
		Use:   "revoke KID",
		Short: "Refuse, from now on, what a key has signed",
		Long: "Removes a key. The running server refuses at once every token that it signed; clients get new ones by themselves, but an\n" +
			"upload that lasts longer than its token fails. Others who verify tokens learn of it when they fetch the keys again. If it\n" +
			"is the active key another one takes its place.",
		Args: cobra.ExactArgs(1),
	}, c.openDatabase, func(cmd *cobra.Command, keys *token.Manager, args []string) error {
		list, err := keys.Revoke(cmd.Context(), args[0])
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no key %q: berth key list shows them", args[0])
		}
		if err != nil {
			return err
		}
		return c.say(cmd, keysJSON(list), "key %s is revoked; %s signs", args[0], list[0].KID)
	})
}

func (c *console) keyCertificateCommand() *cobra.Command {
	return c.keysCommand(&cobra.Command{
		Use:   "certificate",
		Short: "Print the certificates of the keys, for registries of distribution 2.x",
		Long: "Prints a certificate for each key, signed by itself. A registry of distribution 2.x that has them as its\n" +
			"auth.token.rootcertbundle accepts the tokens of this one, if auth.compat_x5c is set here. Fetch them again after a rotation.",
		Args: cobra.NoArgs,
	}, c.openDatabase, func(cmd *cobra.Command, keys *token.Manager, _ []string) error {
		list, err := keys.Keys(cmd.Context())
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return errors.New("there is no key yet: the first start of berth serve with users makes one, or berth key rotate")
		}
		if asJSON, err := cmd.Flags().GetBool(jsonFlag); err != nil || asJSON {
			return errors.Join(err, c.printJSON(keysJSON(list)))
		}
		for _, k := range list {
			if _, err := fmt.Fprint(c.stdout, k.CertificatePEM()); err != nil {
				return err
			}
		}
		return nil
	})
}

// keysCommand completes a command that works on the signing keys of the configuration.
func (c *console) keysCommand(
	cmd *cobra.Command, open opener, f func(cmd *cobra.Command, keys *token.Manager, args []string) error,
) *cobra.Command {
	databaseFlags(cmd.Flags(), "auth.key_file", "auth.token_ttl", "auth.upload_grace")
	cmd.RunE = func(cmd *cobra.Command, args []string) (failed error) {
		l, err := config.Load(cmd.Flags(), c.environ)
		if err != nil {
			return err
		}
		o := token.Options{KeyFile: l.Auth.KeyFile, TTL: l.Auth.TokenTTL, UploadGrace: l.Auth.UploadGrace, RotateAfter: l.Auth.KeyRotation}
		if o.KeyFile == "" { // keys of a file need no database
			d, err := open(cmd.Context(), l)
			if err != nil {
				return err
			}
			defer func() { failed = errors.Join(failed, d.Close()) }()
			o.Rows = rows.New(d)
		}
		keys, err := token.NewManager(o)
		if err != nil {
			return err
		}
		return f(cmd, keys, args)
	}
	return cmd
}

// keyTime returns a time for a table, "" for the zero time.
func keyTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
