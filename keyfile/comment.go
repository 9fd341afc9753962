package keyfile

import (
	"slices"
	"strings"
)

// Comment returns the comment of a key; of a group if key is ""; of the file
// if group is "" too. That is the block of comment lines directly above the
// key's line or the group's first header, or at the very start of the file,
// each line without its '#' and leading blanks, joined by newlines; "" if there
// is none. A block at the start of the file directly above the first group is
// the comment of both. It returns [ErrGroupNotFound] or [ErrKeyNotFound].
//
// C: g_key_file_get_comment
func (f *File) Comment(group, key string) (string, error) {
	from, to, err := f.commentLines(group, key)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, l := range f.lines[from:to] {
		texts = append(texts, strings.TrimPrefix(strings.TrimLeft(l.raw, asciiSpace), "#"))
	}
	return strings.Join(texts, "\n"), nil
}

// SetComment replaces the comment that [File.Comment] names; every line of the
// text becomes a line with a '#' before it. A new comment of the file is
// followed by a blank line. It returns [ErrInvalidValue] for a text with a NUL
// byte, [ErrGroupNotFound] or [ErrKeyNotFound].
//
// C: g_key_file_set_comment
func (f *File) SetComment(group, key, text string) error {
	from, to, err := f.commentLines(group, key)
	if err != nil {
		return err
	}
	if strings.IndexByte(text, 0) >= 0 {
		return badValue(group, key, text, "cannot be held by a comment", ErrInvalidValue)
	}
	if group == "" && from == to && len(f.lines) > 0 && !f.lines[0].isBlank() {
		f.insert(0, &line{})
	}
	f.lines = slices.Delete(f.lines, from, to)
	for i, t := range strings.Split(text, "\n") {
		l := &line{raw: "#" + t}
		if from > 0 {
			l.group = f.lines[from-1].group
		}
		f.insert(from+i, l)
	}
	return nil
}

// RemoveComment removes the comment that [File.Comment] names, if there is
// one. It returns [ErrGroupNotFound] or [ErrKeyNotFound].
//
// C: g_key_file_remove_comment
func (f *File) RemoveComment(group, key string) error {
	from, to, err := f.commentLines(group, key)
	if err != nil {
		return err
	}
	f.lines = slices.Delete(f.lines, from, to)
	return nil
}

// commentLines finds the lines [from, to) of a comment; from == to says where
// it would go.
func (f *File) commentLines(group, key string) (from, to int, err error) {
	if group == "" && key == "" {
		for to < len(f.lines) && f.lines[to].isComment() {
			to++
		}
		return 0, to, nil
	}
	g := f.byName[group]
	switch {
	case g == nil:
		return 0, 0, groupNotFound(group)
	case key == "":
		to = slices.IndexFunc(f.lines, func(l *line) bool { return l.kind == groupLine && l.group == g })
	case g.last[key] == nil:
		return 0, 0, keyNotFound(group, key)
	default:
		to = slices.Index(f.lines, g.last[key])
	}
	from = to
	for from > 0 && f.lines[from-1].isComment() {
		from--
	}
	return from, to, nil
}
