package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// hidden reports whether a character is not for the eye, but changes how others look: control characters, which a terminal obeys, and those
// that format text (turn its direction around, for example, or have no width) or break lines. Texts may come from registries and images.
func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r) // which are seen
}

// joins reports whether a joiner of no width (U+200C, U+200D) between two texts has a part in how they are written, as in Persian, Hindi and
// pictures of several: beside letters that have no case, marks and symbols. Beside others it is only hidden.
func joins(before, after string) bool {
	last, _ := utf8.DecodeLastRuneInString(before)
	next, _ := utf8.DecodeRuneInString(after)
	for _, r := range []rune{last, next} {
		if r < 0x80 || r == utf8.RuneError || !unicode.In(r, unicode.Lo, unicode.Mn, unicode.Mc, unicode.So, unicode.Sk, unicode.Sm) {
			return false
		}
	}
	return true
}

// oneLine makes a text fit on one line and safe to print: programs take the error from the line that begins with
// "error:", and texts may come from registries and images.
func oneLine(s string) string {
	return escaped(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return r
	}, strings.TrimSpace(s)))
}

// lines is oneLine for each line of a text, but for the blanks around it.
func lines(s string) string {
	all := strings.Split(s, "\n")
	for n := range all {
		all[n] = escaped(all[n])
	}
	return strings.Join(all, "\n")
}

// escaped writes what is hidden so that it can be seen.
func escaped(s string) string {
	var b strings.Builder
	for at, r := range s {
		switch {
		case !hidden(r), (r == '\u200c' || r == '\u200d') && joins(s[:at], s[at+utf8.RuneLen(r):]):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteString(escape(r))
		}
	}
	return b.String()
}

// escape is the escape of a character in YAML and Go, and in JSON of one that 16 bits hold.
func escape(r rune) string {
	if r > 0xffff {
		return fmt.Sprintf(`\U%08x`, r)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// jsonOutput escapes the hidden characters that encoding/json leaves as they are, as DEL, U+0080 to U+009F and U+202E. In JSON they are
// nowhere but in strings. An Encoder writes each document at once.
type jsonOutput struct {
	w    io.Writer
	yaml bool // what is written is read as YAML, which has no pairs of surrogates
}

func (o jsonOutput) Write(p []byte) (int, error) {
	var b bytes.Buffer
	for rest := p; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r < 0x7f || !hidden(r):
			b.Write(rest[:size])
		case r > 0xffff && !o.yaml:
			high, low := utf16.EncodeRune(r)
			b.WriteString(escape(high) + escape(low))
		default:
			b.WriteString(escape(r))
		}
		rest = rest[size:]
	}
	if _, err := o.w.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}
