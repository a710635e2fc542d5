package config

import "testing"

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "4194304": 4 << 20, "4MiB": 4 << 20, "4 MiB": 4 << 20, "256MiB": 256 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40,
		"3kB": 3000, "3KB": 3000, "5MB": 5e6, "6GB": 6e9, "7TB": 7e12, "10B": 10, "8KiB": 8192,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "4MiBs", "4miB", "0x10", "9223372036854775808", "9007199254740993TiB", "--5"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	for size, want := range map[Size]string{0: "0", 1: "1", 1000: "1000", 1024: "1KiB", 1536: "1536", 4 << 20: "4MiB", 3 << 30: "3GiB", 1 << 40: "1TiB"} {
		if got := size.String(); got != want {
			t.Errorf("%d is written %q, want %q", int64(size), got, want)
		}
	}
}
