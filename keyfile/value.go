package keyfile

import (
	"strings"
	"unicode/utf8"
)

// String returns the value with the escape sequences \s (space), \n, \t, \r
// and \\ resolved. It returns [ErrGroupNotFound], [ErrKeyNotFound],
// [ErrUnknownEncoding] if the value is not UTF-8, and [ErrInvalidValue] if it
// holds any other escape sequence.
//
// C: g_key_file_get_string
func (f *File) String(group, key string) (string, error) {
	value, err := f.utf8Value(group, key)
	if err != nil {
		return "", err
	}
	parts, ok := unescape(value, 0)
	if !ok {
		return "", badValue(group, key, value, "has an invalid escape sequence", ErrInvalidValue)
	}
	return parts[0], nil
}

// SetString sets the value, escaped so that [File.String] gives it back. It
// returns what [File.SetValue] returns, and [ErrUnknownEncoding] for a value
// that is not UTF-8.
//
// C: g_key_file_set_string
func (f *File) SetString(group, key, value string) error {
	if !utf8.ValidString(value) {
		return badValue(group, key, value, "is not UTF-8", ErrUnknownEncoding)
	}
	return f.SetValue(group, key, escape(value, 0))
}

// StringList returns the elements of a list value, split at the list separator
// (';') and unescaped; in a list, a separator may be escaped too. An empty
// value is an empty list, and the separator behind the last element may be
// missing. Errors are those of [File.String].
//
// C: g_key_file_get_string_list
func (f *File) StringList(group, key string) ([]string, error) {
	value, err := f.utf8Value(group, key)
	if err != nil {
		return nil, err
	}
	parts, ok := unescape(value, f.sep)
	if !ok {
		return nil, badValue(group, key, value, "has an invalid escape sequence", ErrInvalidValue)
	}
	return dropLastEmpty(parts), nil
}

// SetStringList sets a list value: every element escaped and followed by the
// list separator. Errors are those of [File.SetString].
//
// C: g_key_file_set_string_list
func (f *File) SetStringList(group, key string, list []string) error {
	var b strings.Builder
	for _, s := range list {
		if !utf8.ValidString(s) {
			return badValue(group, key, s, "is not UTF-8", ErrUnknownEncoding)
		}
		b.WriteString(escape(s, f.sep))
		b.WriteByte(f.sep)
	}
	return f.SetValue(group, key, b.String())
}

// Bool returns true for the values "true" and "1", false for "false" and "0";
// blanks behind them do not matter, upper case is not accepted. It returns
// [ErrGroupNotFound], [ErrKeyNotFound] or [ErrInvalidValue].
//
// C: g_key_file_get_boolean
func (f *File) Bool(group, key string) (bool, error) {
	return scalar(f, group, key, parseBool)
}

// SetBool sets the value to "true" or "false". Errors are those of
// [File.SetValue].
//
// C: g_key_file_set_boolean
func (f *File) SetBool(group, key string, value bool) error {
	return f.SetValue(group, key, formatBool(value))
}

// BoolList returns the elements of a list of booleans. Errors are those of
// [File.StringList] and [File.Bool].
//
// C: g_key_file_get_boolean_list
func (f *File) BoolList(group, key string) ([]bool, error) {
	return list(f, group, key, parseBool)
}

// SetBoolList sets a list of booleans. Errors are those of [File.SetValue].
//
// C: g_key_file_set_boolean_list
func (f *File) SetBoolList(group, key string, values []bool) error {
	return setList(f, group, key, values, formatBool)
}

func parseBool(s string) (value bool, why string) {
	switch strings.TrimRight(s, asciiSpace) {
	case "true", "1":
		return true, ""
	case "false", "0":
		return false, ""
	}
	return false, "is not a boolean"
}

func formatBool(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// scalar reads a value with parse, which says why it refuses it.
func scalar[T any](f *File, group, key string, parse func(string) (T, string)) (T, error) {
	var zero T
	text, err := f.Value(group, key)
	if err != nil {
		return zero, err
	}
	v, why := parse(text)
	if why != "" {
		return zero, badValue(group, key, text, why, ErrInvalidValue)
	}
	return v, nil
}

// list is scalar for lists, which as in GLib are unescaped and must be UTF-8.
func list[T any](f *File, group, key string, parse func(string) (T, string)) ([]T, error) {
	texts, err := f.StringList(group, key)
	if err != nil {
		return nil, err
	}
	values := make([]T, len(texts))
	for i, text := range texts {
		var why string
		if values[i], why = parse(text); why != "" {
			return nil, badValue(group, key, text, why, ErrInvalidValue)
		}
	}
	return values, nil
}

func setList[T any](f *File, group, key string, values []T, format func(T) string) error {
	var b strings.Builder
	for _, v := range values {
		b.WriteString(format(v))
		b.WriteByte(f.sep)
	}
	return f.SetValue(group, key, b.String())
}

func (f *File) utf8Value(group, key string) (string, error) {
	value, err := f.Value(group, key)
	if err == nil && !utf8.ValidString(value) {
		err = badValue(group, key, value, "is not UTF-8", ErrUnknownEncoding)
	}
	return value, err
}

// unescape resolves escape sequences and splits at sep; sep 0 splits nowhere,
// a value holding no NUL.
func unescape(s string, sep byte) (parts []string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
			if i == len(s) {
				return nil, false
			}
			r, known := escapes[s[i]]
			if !known {
				if sep == 0 || s[i] != sep {
					return nil, false
				}
				r = sep
			}
			b.WriteByte(r)
		case c == sep && sep != 0:
			parts = append(parts, b.String())
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	return append(parts, b.String()), true
}

var escapes = map[byte]byte{'s': ' ', 'n': '\n', 't': '\t', 'r': '\r', '\\': '\\'}

// dropLastEmpty removes the empty text behind a final separator.
func dropLastEmpty(parts []string) []string {
	if n := len(parts) - 1; n >= 0 && parts[n] == "" {
		return parts[:n]
	}
	return parts
}

// escape is the inverse of unescape for one string; blanks are escaped only at
// the start, where reading would drop them.
func escape(s string, sep byte) string {
	var b strings.Builder
	leading := true
	for i := range len(s) {
		c := s[i]
		switch {
		case c == ' ' && leading:
			b.WriteString(`\s`)
			continue
		case c == '\t' && leading:
			b.WriteString(`\t`)
			continue
		case c == '\n':
			b.WriteString(`\n`)
			continue
		case c == '\r':
			b.WriteString(`\r`)
			continue
		case c == '\\':
			b.WriteString(`\\`)
		case c == sep && sep != 0:
			b.WriteByte('\\')
			b.WriteByte(c)
			leading = true
			continue
		default:
			b.WriteByte(c)
		}
		leading = leading && (c == ' ' || c == '\t')
	}
	return b.String()
}
