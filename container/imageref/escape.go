package imageref

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// EscapeRef returns the ostree ref that stands for s below prefix: prefix, a
// slash, and s with everything that a ref cannot hold written as "_HEX_", one
// code point each in upper-case hexadecimal of at least two digits. ASCII letters
// and digits and "-" stand for themselves, "_" is "__", and "/" stands for itself
// after an ASCII letter or digit unless it is the last character. prefix itself
// is taken as it is, without a final slash; with none, the escaped text stands alone.
//
// Errors wrap ErrInvalidRef: s is empty, holds a NUL or is not UTF-8, or the
// result is not a valid ref because a path component begins with "-" (the
// escaping, which other programs share, has no way to write that).
func EscapeRef(prefix, s string) (string, error) {
	if s == "" {
		return "", invalidRef(s, "Invalid empty string for ref")
	}
	if !utf8.ValidString(s) {
		return "", invalidRef(s, fmt.Sprintf("Invalid text for ref, not UTF-8: %q", s))
	}
	var b strings.Builder
	b.Grow(len(prefix) + 1 + len(s) + len(s)/2)
	b.WriteString(prefix)
	if prefix != "" {
		b.WriteByte('/')
	}
	start := true // of a path component
	afterAlphanumeric := false
	for i, c := range s {
		alphanumeric := isAlphanumeric(c)
		slash := false
		switch {
		case c == 0:
			return "", invalidRef(s, fmt.Sprintf("Invalid embedded NUL in string for ref: %q", s))
		case alphanumeric:
			b.WriteRune(c)
		case c == '/' && afterAlphanumeric && i+1 < len(s):
			b.WriteByte('/')
			slash = true
		case c == '-':
			if start {
				return "", invalidRef(s, fmt.Sprintf("Invalid ref: a component of %q begins with '-'", s))
			}
			b.WriteByte('-')
		case c == '_':
			b.WriteString("__")
		default:
			fmt.Fprintf(&b, "_%02X_", c)
		}
		afterAlphanumeric, start = alphanumeric, slash
	}
	return b.String(), nil
}

// UnescapeRef returns the text from which EscapeRef made ref below the same
// prefix. As in ostree-rs-ext, lower-case digits and a missing final "_" are
// accepted and a lone final "_" is ignored.
//
// Errors wrap ErrInvalidRef: ref is not below prefix, or holds a character that
// EscapeRef does not write, or an escape that is no code point.
func UnescapeRef(prefix, ref string) (string, error) {
	rest, ok := strings.CutPrefix(ref, prefix)
	if ok && prefix != "" {
		rest, ok = strings.CutPrefix(rest, "/")
	}
	if !ok {
		return "", invalidRef(ref, fmt.Sprintf("Invalid ref: missing prefix %s/ in %q", prefix, ref))
	}
	if rest == "" {
		return "", invalidRef(ref, fmt.Sprintf("Invalid ref: nothing after the prefix %s/", prefix))
	}
	var b strings.Builder
	b.Grow(len(rest))
	for len(rest) > 0 {
		c, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
		switch {
		case isAlphanumeric(c) || c == '-' || c == '/':
			b.WriteRune(c)
		case c != '_':
			return "", invalidRef(ref, fmt.Sprintf("Invalid character %q in ref %q", c, ref))
		case rest == "":
			// A lone final underscore.
		case rest[0] == '_':
			b.WriteByte('_')
			rest = rest[1:]
		default:
			var hex string
			hex, rest, _ = strings.Cut(rest, "_")
			v, err := strconv.ParseUint(hex, 16, 32)
			if err != nil || v == 0 || v > utf8.MaxRune || !utf8.ValidRune(rune(v)) {
				return "", invalidRef(ref, fmt.Sprintf("Invalid escape %q in ref %q", hex, ref))
			}
			b.WriteRune(rune(v))
		}
	}
	if b.Len() == 0 {
		return "", invalidRef(ref, fmt.Sprintf("Invalid ref: %q stands for nothing", ref))
	}
	return b.String(), nil
}

func isAlphanumeric(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
