package keyfile

import (
	"fmt"
	"slices"
	"strings"
)

// SetValue sets the text after the '=' as it is, without escaping; use
// [File.SetString] for anything that may hold blanks, newlines or backslashes.
//
// Of a key that exists only the value changes: blanks around the '=' and
// everything else on other lines stay. A new key goes behind the last key of
// its group, a new group to the end of the file behind a blank line.
//
// It returns [ErrInvalidName] for a new group or key whose name a key file
// cannot hold, [ErrInvalidValue] for a value that would not be read back the
// same (NUL, newline, leading blank) and [ErrUnknownEncoding] for a value other
// than UTF-8 of the key "Encoding" in the first group. The file is then
// unchanged.
//
// C: g_key_file_set_value
func (f *File) SetValue(group, key, value string) error {
	if strings.ContainsAny(value, "\x00\n") || skipSpace(value, 0) > 0 {
		return badValue(group, key, value, "cannot be held by a key file", ErrInvalidValue)
	}
	if key == encodingKey && (len(f.groups) == 0 || f.StartGroup() == group) && !isUTF8Name(value) {
		return badValue(group, key, value, "is not a supported encoding", ErrUnknownEncoding)
	}
	g := f.byName[group]
	if g != nil && g.last[key] != nil {
		l := g.last[key]
		if l.text() != value {
			l.raw = l.raw[:l.value] + value
			l.guardCR()
		}
		return nil
	}
	if !writableKey(key) {
		return fmt.Errorf("key %q: %w", key, ErrInvalidName)
	}
	if g == nil {
		if !validGroup(group) {
			return fmt.Errorf("group %q: %w", group, ErrInvalidName)
		}
		g = f.appendGroup(group)
	}
	l := &line{kind: keyLine, raw: key + "=" + value, group: g, key: key, value: len(key) + 1}
	f.insert(f.endOfKeys(g), l)
	g.add(l)
	return nil
}

// writableKey is stricter than validKey: a new key must be read back as what
// it is.
func writableKey(key string) bool {
	return validKey(key) && key[0] != '#' && !strings.ContainsAny(key, "\x00\n") &&
		strings.Trim(key, asciiSpace) == key
}

// appendGroup writes a new header at the end of the file.
func (f *File) appendGroup(name string) *members {
	if n := len(f.lines); n > 0 && !f.lines[n-1].isBlank() {
		f.insert(n, &line{group: f.lines[n-1].group})
	}
	g := f.addGroup(name)
	f.insert(len(f.lines), &line{kind: groupLine, raw: "[" + name + "]", group: g})
	return g
}

// endOfKeys returns the index behind the group's last key, or behind its
// first header if it has none.
func (f *File) endOfKeys(g *members) int {
	at := 0
	for i, l := range f.lines {
		if l.group == g && (l.kind == keyLine || l.kind == groupLine && at == 0) {
			at = i + 1
		}
	}
	return at
}

// insert puts l at index i, with the line end that its neighbour has.
func (f *File) insert(i int, l *line) {
	l.eol = "\n"
	if i > 0 {
		before := f.lines[i-1]
		if before.eol == "" {
			before.eol = "\n"
			if i > 1 {
				before.eol = f.lines[i-2].eol
			}
			before.guardCR()
		}
		l.eol = before.eol
	} else if len(f.lines) > 0 && f.lines[0].eol != "" {
		l.eol = f.lines[0].eol
	}
	l.guardCR()
	f.lines = slices.Insert(f.lines, i, l)
}

// guardCR keeps a carriage return at the end of a line's text from being taken
// for a part of the line's end.
func (l *line) guardCR() {
	if l.eol == "\n" && strings.HasSuffix(l.raw, "\r") {
		l.eol = "\r\n"
	}
}

// RemoveKey removes the key, all lines of it; comments stay. It returns
// [ErrGroupNotFound] or [ErrKeyNotFound].
//
// C: g_key_file_remove_key
func (f *File) RemoveKey(group, key string) error {
	g := f.byName[group]
	if g == nil {
		return groupNotFound(group)
	}
	if g.last[key] == nil {
		return keyNotFound(group, key)
	}
	f.lines = slices.DeleteFunc(f.lines, func(l *line) bool {
		return l.kind == keyLine && l.group == g && l.key == key
	})
	delete(g.last, key)
	g.keys = slices.DeleteFunc(g.keys, func(k string) bool { return k == key })
	return nil
}

// RemoveGroup removes the group, all sections of it: headers, keys, and the
// comments and blank lines below a header. A comment directly above a header,
// its own or the next one's, stays. It returns [ErrGroupNotFound], and
// [ErrUnknownEncoding] if another group would become the first that names
// another encoding than UTF-8.
//
// C: g_key_file_remove_group
func (f *File) RemoveGroup(group string) error {
	g := f.byName[group]
	if g == nil {
		return groupNotFound(group)
	}
	if g == f.groups[0] && len(f.groups) > 1 {
		for _, l := range f.lines {
			if l.kind == keyLine && l.group == f.groups[1] && l.key == encodingKey && !isUTF8Name(l.text()) {
				return badValue(l.group.name, l.key, l.text(), "is not a supported encoding", ErrUnknownEncoding)
			}
		}
	}
	var kept []*line
	for i, l := range f.lines {
		if l.group != g {
			kept = append(kept, l)
			continue
		}
		if l.isComment() && f.commentsHeader(i) {
			l.group = nil
			if n := len(kept); n > 0 {
				l.group = kept[n-1].group
			}
			kept = append(kept, l)
		}
	}
	f.lines = kept
	delete(f.byName, group)
	f.groups = slices.DeleteFunc(f.groups, func(o *members) bool { return o == g })
	return nil
}

// commentsHeader reports whether the comment at index i belongs to a block
// that ends directly above the header of another group.
func (f *File) commentsHeader(i int) bool {
	g := f.lines[i].group
	for ; i < len(f.lines) && f.lines[i].isComment(); i++ {
	}
	return i < len(f.lines) && f.lines[i].kind == groupLine && f.lines[i].group != g
}
