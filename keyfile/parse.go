package keyfile

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Parse reads a key file. The data is copied. An error is a [*ParseError]
// with the number of the first line that GLib would refuse too.
//
// C: g_key_file_load_from_data with G_KEY_FILE_KEEP_COMMENTS and
// G_KEY_FILE_KEEP_TRANSLATIONS
func Parse(data []byte) (*File, error) {
	f := New()
	var current *members
	text := string(data)
	for n := 1; text != ""; n++ {
		l := &line{group: current}
		l.raw, l.eol, text = cutLine(text)
		if err := f.parseLine(l, n); err != nil {
			return nil, err
		}
		current = l.group
		f.lines = append(f.lines, l)
	}
	return f, nil
}

// cutLine takes the first line off text. As in GLib, one carriage return
// before a newline is part of the line's end, but not one at the end of the
// file.
func cutLine(text string) (raw, eol, rest string) {
	raw, rest, found := strings.Cut(text, "\n")
	switch {
	case !found:
		return raw, "", ""
	case strings.HasSuffix(raw, "\r"):
		return raw[:len(raw)-1], "\r\n", rest
	}
	return raw, "\n", rest
}

// parseLine finds out what l is, fills in its other fields and enters it into
// the index.
func (f *File) parseLine(l *line, n int) error {
	fail := func(msg string, reason error) error {
		return &ParseError{Line: n, Text: l.raw, Msg: msg, reason: reason}
	}
	if strings.IndexByte(l.raw, 0) >= 0 {
		return fail("NUL byte", nil)
	}
	start := skipSpace(l.raw, 0)
	rest := l.raw[start:]
	if rest == "" || rest[0] == '#' {
		return nil
	}
	if name, ok := groupHeader(rest); ok {
		if !validGroup(name) {
			return fail("invalid group name", nil)
		}
		l.kind = groupLine
		l.group = f.addGroup(name)
		return nil
	}
	eq := strings.IndexByte(rest, '=')
	if eq <= 0 {
		if n == 1 && strings.HasPrefix(l.raw, "\ufeff") {
			return fail("byte order mark", nil)
		}
		return fail("neither a key and value, nor a group, nor a comment", nil)
	}
	if l.group == nil {
		return fail("key before the first group", ErrGroupNotFound)
	}
	l.key = strings.TrimRight(rest[:eq], asciiSpace)
	if !validKey(l.key) {
		return fail("invalid key name", nil)
	}
	l.kind = keyLine
	l.value = skipSpace(l.raw, start+eq+1)
	if l.group == f.groups[0] && l.key == encodingKey && !isUTF8Name(l.text()) {
		return fail("unsupported encoding", ErrUnknownEncoding)
	}
	l.group.add(l)
	return nil
}

// addGroup returns the group of that name, made if need be.
func (f *File) addGroup(name string) *members {
	g := f.byName[name]
	if g == nil {
		g = &members{name: name, last: map[string]*line{}}
		f.groups = append(f.groups, g)
		f.byName[name] = g
	}
	return g
}

// add enters a key's line; a later line of the same key takes its place.
func (g *members) add(l *line) {
	if g.last[l.key] == nil {
		g.keys = append(g.keys, l.key)
	}
	g.last[l.key] = l
}

// groupHeader returns what stands between the brackets of a line that has the
// form of a group header. Behind it may be blanks and, since GLib steps over
// them, stray UTF-8 continuation bytes.
func groupHeader(s string) (string, bool) {
	if s[0] != '[' {
		return "", false
	}
	name, rest, ok := strings.Cut(s[1:], "]")
	for i := range len(rest) {
		if c := rest[i]; c != ' ' && c != '\t' && utf8.RuneStart(c) {
			return "", false
		}
	}
	return name, ok
}

// encodingKey is the one key that GLib looks at while it reads, in the first
// group only.
const encodingKey = "Encoding"

func isUTF8Name(s string) bool {
	return len(s) == len("UTF-8") && bytes.EqualFold([]byte(s), []byte("UTF-8"))
}

// asciiSpace is what g_ascii_isspace accepts: no vertical tab.
const asciiSpace = " \t\n\f\r"

func skipSpace(s string, from int) int {
	for from < len(s) && strings.IndexByte(asciiSpace, s[from]) >= 0 {
		from++
	}
	return from
}

// validGroup: not empty, no brackets, no ASCII control characters.
func validGroup(name string) bool {
	for i := range len(name) {
		if c := name[i]; c == '[' || c == ']' || c < ' ' || c == 0x7f {
			return false
		}
	}
	return name != ""
}

// validKey: a name without '=' and brackets, not empty, with no space at
// either end, and perhaps a locale in brackets.
func validKey(key string) bool {
	name, locale := key, ""
	if i := strings.IndexAny(key, "=[]"); i >= 0 {
		name, locale = key[:i], key[i:]
	}
	if name == "" || name[0] == ' ' || name[len(name)-1] == ' ' {
		return false
	}
	if locale == "" {
		return true
	}
	if locale[0] != '[' || !strings.HasSuffix(locale, "]") {
		return false
	}
	return validLocale(locale[1 : len(locale)-1])
}

// validLocale follows GLib: letters and digits of any script, and "-_.@"; a
// stray UTF-8 continuation byte after one of them is skipped.
func validLocale(s string) bool {
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 {
			return false
		}
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("-_.@", r) {
			return false
		}
		s = s[size:]
		for s != "" && !utf8.RuneStart(s[0]) {
			s = s[1:]
		}
	}
	return true
}
