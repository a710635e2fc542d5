package config

import "strings"

// CommandLine returns a berth command on the database of this configuration, quoted for a shell. It
// is for messages, from which people copy it.
func (c *Config) CommandLine(command string) string {
	line := "berth " + command + " --data " + quoteArg(c.Data)
	if c.Database.URL != c.defaultDatabase() {
		line += " --database-url " + quoteArg(c.Database.URL)
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
