package config

import (
	"os"
	"path/filepath"
	"strings"
)

// CommandLine returns a berth command on the database of this configuration, quoted for a shell. It
// is for messages, from which people copy it. The program has the path that it was started by, made
// absolute, or only its name if it was found in PATH. A password in a URL is masked.
func (c *Config) CommandLine(command string) string {
	program := os.Args[0]
	if path, err := filepath.Abs(program); err == nil && filepath.Base(program) != program {
		program = path
	}
	line := quoteArg(program) + " " + command + " --data " + quoteArg(c.Data)
	if c.Database.URL != c.defaultDatabase() {
		line += " --database-url " + quoteArg(MaskURL(c.Database.URL))
	}
	if c.Database.PasswordFile != "" {
		line += " --database-password-file " + quoteArg(c.Database.PasswordFile)
	}
	if c.Database.Pooler == PoolerTransaction {
		line += " --database-pooler " + PoolerTransaction
	}
	return line
}

// quoteArg quotes an argument that a shell would split or expand.
func quoteArg(arg string) string {
	if !strings.ContainsAny(arg, " \t\"'$&;|<>()*?[]#~`\\!{}") {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}
