package config

import "strings"

// CommandLine returns a command on the database of this configuration, for people to copy.
func (c *Config) CommandLine(command string) string {
	line := "berth " + command + " --data " + quoteArg(c.Data)
	if c.Database.URL != c.defaultDatabase() {
		line += " --database-url " + quoteArg(c.Database.URL)
	}
	return line
}

// quoteArg quotes what a shell would take apart.
func quoteArg(arg string) string {
	if !strings.ContainsAny(arg, " \t\"'$&;|<>()*?[]#~`\\!{}") {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}
