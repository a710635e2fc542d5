package server

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// unprintable has control, bidi and invisible characters, of each length in UTF-8.
const unprintable = "\x1b\x7f\u009b\u00ad\u200b\u202e\u2066\ufeff\ufff9\U000e0041\U00013430\xff"

// TestLogEscapesUnprintable: no format of the log and no audit line has a character raw that is not
// printable. What a JSON line says is not changed by that.
func TestLogEscapesUnprintable(t *testing.T) {
	record := slog.NewRecord(time.Now(), slog.LevelWarn, "m"+unprintable, 0)
	record.AddAttrs(slog.String("k"+unprintable, "ä"+unprintable+"€𝄞\"\\"), slog.Any("group", slog.GroupValue(slog.String("g", unprintable))))
	written := map[string]string{}
	for _, format := range []string{"text", "json"} {
		synctest.Test(t, func(t *testing.T) {
			var out sink
			log, lines := startLog(t, format, &out)
			_ = log.Handler().Handle(t.Context(), record)
			lines.close()
			written[format] = out.String()
		})
	}
	audit := newAuditFile(filepath.Join(t.TempDir(), "audit.log"), slog.Default())
	audit.Write(record)
	written["audit"] = string((<-audit.entries).line)
	for name, line := range written {
		for _, r := range unprintable {
			if r != '\ufffd' && strings.ContainsRune(line, r) {
				t.Errorf("%s has %U: %q", name, r, line)
			}
		}
		if strings.Contains(line, "\xff") || !strings.Contains(line, "ä") || !strings.Contains(line, "€𝄞") || strings.Count(line, "\n") != 1 {
			t.Errorf("%s: %q", name, line)
		}
		if name == "text" {
			continue
		}
		var got map[string]any
		key, want := strings.ToValidUTF8("k"+unprintable, "\ufffd"), strings.ToValidUTF8("ä"+unprintable+"€𝄞\"\\", "\ufffd")
		if err := json.Unmarshal([]byte(line), &got); err != nil || got[key] != want {
			t.Errorf("%s: %v, %q", name, err, got[key])
		}
	}
}

// TestJSONDurationsAreSeconds also where they stand in a group or were added before.
func TestJSONDurationsAreSeconds(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newJSONHandler(&out, slog.LevelInfo)).With("pause", 90*time.Second)
	log.Info("x", "duration", 1500*time.Microsecond, slog.Group("g", "none", time.Duration(0)))
	for _, want := range []string{`"pause":90,`, `"duration":0.0015,`, `"none":0}`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, &out)
		}
	}
}
