package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. In text it may have a unit: 4194304, 4096KiB, 4MiB.
type Size int64

const mebibyte Size = 1 << 20

type unit struct {
	name  string
	bytes int64
}

// binaryUnits returns the units for printing sizes, the largest first.
func binaryUnits() []unit {
	return []unit{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

// decimalUnits returns the units that are accepted besides the binary ones. They are powers of
// 1000.
func decimalUnits() []unit {
	return []unit{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1}}
}

// parseSize parses a size of zero or more bytes.
func parseSize(s string) (Size, error) {
	number, scale := strings.TrimSpace(s), int64(1)
	for _, u := range append(binaryUnits(), decimalUnits()...) {
		if head, ok := strings.CutSuffix(number, u.name); ok {
			number, scale = strings.TrimSpace(head), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/scale {
		return 0, errors.New("a size: bytes, or a number with a unit such as 512KiB, 4MiB or 2GiB")
	}
	return Size(n * scale), nil
}

// String returns the size in the largest unit that gives a whole number.
func (s Size) String() string {
	for _, u := range binaryUnits() {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
