package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Setting describes one field of Config: its names and its default.
type Setting struct {
	Key     string // in the file: http.addr
	Env     string // environment variable: BERTH_HTTP_ADDR
	Flag    string // without dashes: addr
	Doc     string
	Default string // in the form of a file or variable; "": unset

	oneof  []string // the possible values; nil: any
	secret bool     // the value may hold a password
	index  []int    // of the field in Config, for reflect
}

const envPrefix = "BERTH_"

const (
	boolKind = "bool" // pflag's name for the type of a flag without a value
	listKind = "list"
)

// Settings returns all settings in the order of Config's fields.
func Settings() []Setting {
	list, c := fields(reflect.TypeFor[Config](), nil, ""), defaults()
	for i, s := range list {
		list[i].Default = s.text(&c)
	}
	return list
}

func fields(t reflect.Type, index []int, prefix string) []Setting {
	var list []Setting
	for i := range t.NumField() {
		f := t.Field(i)
		key := prefix + f.Tag.Get("koanf")
		at := append(slices.Clone(index), i)
		if f.Type.Kind() == reflect.Struct {
			list = append(list, fields(f.Type, at, key+".")...)
			continue
		}
		s := Setting{
			Key: key, Flag: f.Tag.Get("flag"), Doc: f.Tag.Get("doc"),
			secret: f.Tag.Get("secret") == "true", index: at,
		}
		s.Env = envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		if s.Flag == "" {
			s.Flag = strings.NewReplacer(".", "-", "_", "-").Replace(key)
		}
		if words, ok := f.Tag.Lookup("oneof"); ok {
			s.oneof = strings.Fields(words)
		}
		list = append(list, s)
	}
	return list
}

// field returns the setting's field in c.
func (s Setting) field(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(s.index)
}

// text returns the setting's value in c in the form of a file or variable.
func (s Setting) text(c *Config) string {
	switch v := s.field(c).Interface().(type) {
	case []string:
		return strings.Join(v, ",")
	case time.Duration:
		return durationText(v)
	default:
		return fmt.Sprint(v)
	}
}

// durationText returns d without zero units at the end: 24h instead of 24h0m0s.
func durationText(d time.Duration) string {
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

// kind returns the name of the setting's type for the help text.
func (s Setting) kind() string {
	if s.oneof != nil {
		return strings.Join(s.oneof, "|")
	}
	switch s.field(new(Config)).Interface().(type) {
	case []string:
		return listKind
	case Size:
		return "size"
	case time.Duration:
		return "duration"
	case int:
		return "number"
	case bool:
		return boolKind
	default:
		return "text"
	}
}

// set sets the setting in c. value has the type of a YAML value, or is the text of a variable or
// flag. The error completes the sentence "… is not ".
func (s Setting) set(c *Config, value any) error {
	field := s.field(c)
	if value != nil && reflect.TypeOf(value) == field.Type() && field.Kind() != reflect.String {
		field.Set(reflect.ValueOf(value)) // a default
		return nil
	}
	if field.Kind() == reflect.Slice {
		list, err := parseList(value)
		if err != nil {
			return err
		}
		field.Set(reflect.ValueOf(list))
		return nil
	}
	text, ok := scalar(value)
	if !ok {
		return errors.New("a single value")
	}
	return s.parse(field, text)
}

func (s Setting) parse(field reflect.Value, text string) error {
	switch field.Interface().(type) {
	case Size:
		n, err := parseSize(text)
		if err != nil {
			return err
		}
		field.SetInt(int64(n))
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return errors.New("a duration: a number with a unit, such as 500ms, 30s, 5m or 24h")
		}
		field.SetInt(int64(d))
	case int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("a whole number")
		}
		field.SetInt(int64(n))
	case bool:
		if text != "true" && text != "false" {
			return errors.New("true or false")
		}
		field.SetBool(text == "true")
	default:
		if s.oneof != nil && text != s.Default && !slices.Contains(s.oneof, text) {
			return errors.New("one of: " + strings.Join(s.oneof, ", "))
		}
		field.SetString(text)
	}
	return nil
}

// scalar returns a YAML scalar as text, in the form of a variable or flag.
func scalar(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case int, int64, uint64, float64, bool:
		return fmt.Sprint(v), true
	default:
		return "", false
	}
}

// parseList parses a YAML list, or a text with commas between the items.
func parseList(value any) ([]string, error) {
	list := []string{}
	if text, ok := scalar(value); ok {
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		return list, nil
	}
	items, ok := value.([]any)
	if !ok {
		return nil, errors.New("a list")
	}
	for _, item := range items {
		text, ok := scalar(item)
		if !ok {
			return nil, errors.New("a list of plain values")
		}
		list = append(list, text)
	}
	return list, nil
}
