// Package db knows how a driver's values look.
package db

import "database/sql/driver"

type DB struct{ driver.Value }
