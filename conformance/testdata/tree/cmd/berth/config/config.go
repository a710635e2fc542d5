// Package config knows what is to be configured.
package config

import (
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/cmd/berth/server"
	"github.com/berth-registry/berth/storage/meta"
)

type Config struct {
	auth.Identity
	server.Server
	meta.DB
}
