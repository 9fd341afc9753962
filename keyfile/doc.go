// Package keyfile reads and writes GLib's key files in pure Go: origin files,
// repository configuration, prepare-root.conf and the like.
//
// # Basics
//
// A key file has groups of keys with values, comments and blank lines:
//
//	# read at boot
//	[sysroot]
//	readonly = true
//
// [Parse] reads one, [New] makes an empty one, [File.Bytes] writes it. Each
// GKeyFile function has a method of the same name without g_key_file_get:
// g_key_file_get_string is [File.String], g_key_file_set_string is
// [File.SetString]. Errors are tested with [errors.Is] and the sentinels
// ([ErrGroupNotFound], [ErrKeyNotFound], [ErrInvalidValue], ...); an error of
// Parse is a [*ParseError] with the line number.
//
// What is not changed stays byte for byte: comments, order, blank lines,
// blanks around the '=', CRLF, a missing final newline. Sections of one name
// are one group; of a repeated key the last line counts.
//
// Names and values may be any bytes except NUL and newline, as in GLib;
// getters that give text ([File.String] and the lists) insist on UTF-8, those
// that give the raw value or one number do not. A File is safe for concurrent
// reading, not for reading while it is changed.
//
// # Differences from GLib
//
// Everything else is as GLib 2.74 does it, which a corpus and fuzz tests
// compare: the same files accepted, the same groups, keys and values from
// every getter. These differences are decisions; TestDifferences shows both
// sides under the same numbers.
//
//  1. A NUL byte anywhere is a parse error. GLib silently cuts a line there.
//  2. Bytes gives back what was read. GLib removes the blanks around '=' and
//     before a line, ends lines with a newline, merges sections and puts a
//     blank line before every group.
//  3. Keys lists a repeated key once. GLib lists it once per line.
//  4. RemoveKey removes all lines of a key. GLib leaves the earlier ones in
//     the file, so that an old value comes back when it is read again.
//  5. RemoveGroup leaves a comment directly above the next group's header.
//     GLib removes it with the group.
//  6. A new key goes behind the last key of its group. GLib puts it behind the
//     comments that follow, where the next group's comment stands.
//  7. Setters return an error for what would not be read back the same: names
//     with the wrong characters; values with a NUL, with a leading form feed
//     (which has no escape sequence), as raw text with a newline or leading
//     blanks, as text not UTF-8; an Encoding that is not UTF-8. GLib writes a
//     file that differs or that it refuses to read, or logs a warning.
//  8. Int64 and Uint64 return [ErrInvalidValue] for a number out of range and
//     Uint64 for a negative one. GLib gives the nearest number, and 2^64 minus
//     the number.
//  9. LocaleString passes over a translation with a malformed escape sequence
//     and takes the next best. GLib gives what it could read of it, perhaps "".
//  10. LocaleStringList reads a list as StringList does. GLib's splits after
//     unescaping, so that it cannot read an escaped separator that it wrote,
//     and takes a lone separator for an empty list.
//  11. A comment is the block of comment lines directly above, without
//     the '#' and the blanks before it. GLib takes all comments and blank lines
//     back to the key before, a group's comment back to the last key of the
//     group above, and forgets what it set.
//  12. The letters and digits allowed in a locale name ("Name[de]") are those
//     of Go's Unicode tables. GLib has its own, of another Unicode version.
//  13. LanguageNames does not read the C library's locale.alias.
package keyfile
