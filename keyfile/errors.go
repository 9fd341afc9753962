package keyfile

import (
	"errors"
	"fmt"
)

// The reasons for which a function of this package fails; callers test for
// them with [errors.Is]. The GLib code each stands for is given with it.
var (
	// ErrParse is matched by every error of [Parse].
	//
	// C: G_KEY_FILE_ERROR_PARSE
	ErrParse = errors.New("not a valid key file")
	// ErrGroupNotFound: the file has no such group; from Parse, a key
	// stands before the first group.
	//
	// C: G_KEY_FILE_ERROR_GROUP_NOT_FOUND
	ErrGroupNotFound = errors.New("group not found")
	// ErrKeyNotFound: the group has no such key.
	//
	// C: G_KEY_FILE_ERROR_KEY_NOT_FOUND
	ErrKeyNotFound = errors.New("key not found")
	// ErrInvalidValue: the value is not of the wanted type, has a bad escape
	// sequence, or (from a setter) cannot be held by a key file.
	//
	// C: G_KEY_FILE_ERROR_INVALID_VALUE
	ErrInvalidValue = errors.New("invalid value")
	// ErrUnknownEncoding: the value is not UTF-8, or the key "Encoding" of
	// the first group says something else than UTF-8.
	//
	// C: G_KEY_FILE_ERROR_UNKNOWN_ENCODING
	ErrUnknownEncoding = errors.New("not UTF-8")
	// ErrInvalidName: a setter was given a group or key name that a key file
	// cannot hold. GLib has no code for this; it logs a critical warning.
	ErrInvalidName = errors.New("invalid name")
)

// ParseError says where and why [Parse] refused its input. It matches
// [ErrParse], and [ErrGroupNotFound] or [ErrUnknownEncoding] where those are
// the reason.
type ParseError struct {
	Line int    // number of the line, the first being 1
	Text string // the line, without its end; may be any bytes
	Msg  string // what is wrong with it, lower case

	reason error // nil, ErrGroupNotFound or ErrUnknownEncoding
}

// Error gives the line number, the reason and the line, cut to 80 bytes.
func (e *ParseError) Error() string {
	const most = 80
	text, more := e.Text, ""
	if len(text) > most {
		text, more = text[:most], "..."
	}
	return fmt.Sprintf("line %d: %s: %q%s", e.Line, e.Msg, text, more)
}

// Unwrap lets [errors.Is] find the sentinels.
func (e *ParseError) Unwrap() []error {
	if e.reason == nil {
		return []error{ErrParse}
	}
	return []error{ErrParse, e.reason}
}

func groupNotFound(group string) error {
	return fmt.Errorf("group %q: %w", group, ErrGroupNotFound)
}

func keyNotFound(group, key string) error {
	return fmt.Errorf("key %q in group %q: %w", key, group, ErrKeyNotFound)
}

// badValue wraps cause (a sentinel) with the place and the offending text.
func badValue(group, key, value, why string, cause error) error {
	return fmt.Errorf("key %q in group %q: value %q %s: %w", key, group, value, why, cause)
}
