package keyfile

import (
	"slices"
	"strings"
)

// File is a key file in memory: every line as it was read, and an index of
// groups and keys over them. Get one from [New] or [Parse]; the zero value is
// not usable. It is safe for concurrent reading, but not while it is changed.
//
// C: GKeyFile
type File struct {
	lines  []*line
	groups []*members // in order of first appearance
	byName map[string]*members
	sep    byte // between the elements of a list
}

// lineKind says what a line is.
type lineKind int

const (
	otherLine lineKind = iota // a comment or a blank line
	groupLine
	keyLine
)

// line is one line of the file. What Bytes writes is raw and eol.
type line struct {
	kind  lineKind
	raw   string   // as read, without its end
	eol   string   // "\n", "\r\n", or "" (last line of a file without final newline)
	group *members // nil before the first group
	key   string   // with its locale in brackets, if any
	value int      // where in raw the value starts
}

func (l *line) text() string    { return l.raw[l.value:] }
func (l *line) isComment() bool { return l.kind == otherLine && !l.isBlank() }
func (l *line) isBlank() bool   { return l.kind == otherLine && skipSpace(l.raw, 0) == len(l.raw) }

// members is a group: the union of all sections of one name.
type members struct {
	name string
	keys []string         // in order of first appearance
	last map[string]*line // the line that counts: the last one of that key
}

// New returns an empty key file.
//
// C: g_key_file_new
func New() *File {
	return &File{byName: map[string]*members{}, sep: ';'}
}

// Clone returns a copy that shares nothing with f.
func (f *File) Clone() *File {
	c := New()
	c.sep = f.sep
	copies := make(map[*line]*line, len(f.lines))
	groups := make(map[*members]*members, len(f.groups))
	for _, g := range f.groups {
		n := &members{name: g.name, keys: slices.Clone(g.keys), last: make(map[string]*line, len(g.last))}
		groups[g] = n
		c.groups = append(c.groups, n)
		c.byName[n.name] = n
	}
	for _, l := range f.lines {
		n := *l
		n.group = groups[l.group]
		copies[l] = &n
		c.lines = append(c.lines, &n)
	}
	for _, g := range f.groups {
		for key, l := range g.last {
			groups[g].last[key] = copies[l]
		}
	}
	return c
}

// Bytes returns the text of the file. A file that was parsed and not changed
// gives back exactly the bytes that were read.
//
// C: g_key_file_to_data
func (f *File) Bytes() []byte {
	n := 0
	for _, l := range f.lines {
		n += len(l.raw) + len(l.eol)
	}
	out := make([]byte, 0, n)
	for _, l := range f.lines {
		out = append(out, l.raw...)
		out = append(out, l.eol...)
	}
	return out
}

// SetListSeparator changes the byte between the elements of a list, which is
// ';' unless set. It must not be a backslash, a newline, NUL or one of the
// letters s, n, t and r that follow a backslash, nor outside ASCII; those are
// ignored.
//
// C: g_key_file_set_list_separator
func (f *File) SetListSeparator(sep byte) {
	if sep < 0x80 && !strings.ContainsRune("\\\n\x00sntr", rune(sep)) {
		f.sep = sep
	}
}

// Groups returns the names of all groups in order of their first appearance,
// each once.
//
// C: g_key_file_get_groups
func (f *File) Groups() []string {
	names := make([]string, 0, len(f.groups))
	for _, g := range f.groups {
		names = append(names, g.name)
	}
	return names
}

// StartGroup returns the name of the first group, "" if there is none.
//
// C: g_key_file_get_start_group
func (f *File) StartGroup() string {
	if len(f.groups) == 0 {
		return ""
	}
	return f.groups[0].name
}

// Keys returns the names of the group's keys in order of their first
// appearance, each once; translated ones carry their locale ("Name[de]").
// It returns [ErrGroupNotFound].
//
// C: g_key_file_get_keys
func (f *File) Keys(group string) ([]string, error) {
	g := f.byName[group]
	if g == nil {
		return nil, groupNotFound(group)
	}
	return append(make([]string, 0, len(g.keys)), g.keys...), nil
}

// HasGroup reports whether the file has the group.
//
// C: g_key_file_has_group
func (f *File) HasGroup(group string) bool { return f.byName[group] != nil }

// HasKey reports whether the file has the group and the key in it.
//
// C: g_key_file_has_key
func (f *File) HasKey(group, key string) bool {
	g := f.byName[group]
	return g != nil && g.last[key] != nil
}

// Value returns the text after the '=' as it stands in the file, escape
// sequences included, without leading blanks but with trailing ones. It may be
// any bytes. It returns [ErrGroupNotFound] or [ErrKeyNotFound].
//
// C: g_key_file_get_value
func (f *File) Value(group, key string) (string, error) {
	g := f.byName[group]
	if g == nil {
		return "", groupNotFound(group)
	}
	l := g.last[key]
	if l == nil {
		return "", keyNotFound(group, key)
	}
	return l.text(), nil
}
