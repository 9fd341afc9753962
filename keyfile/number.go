package keyfile

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Int returns a decimal number in the range of C's int, which is 32 bits
// wide. As in GLib, anything may follow behind a blank ("5 minutes" is 5). It
// returns [ErrGroupNotFound], [ErrKeyNotFound] or [ErrInvalidValue].
//
// C: g_key_file_get_integer
func (f *File) Int(group, key string) (int, error) {
	return scalar(f, group, key, parseInt)
}

// SetInt sets the value to a decimal number. It returns [ErrInvalidValue] if
// the number is outside of C's int, and what [File.SetValue] returns.
//
// C: g_key_file_set_integer
func (f *File) SetInt(group, key string, value int) error {
	if err := checkInt(group, key, value); err != nil {
		return err
	}
	return f.SetValue(group, key, strconv.Itoa(value))
}

// IntList returns the elements of a list of what [File.Int] reads. An element
// of nothing but blanks is 0, as in GLib. Errors are those of
// [File.StringList] and [File.Int].
//
// C: g_key_file_get_integer_list
func (f *File) IntList(group, key string) ([]int, error) {
	return list(f, group, key, parseInt)
}

// SetIntList sets a list of numbers. Errors are those of [File.SetInt].
//
// C: g_key_file_set_integer_list
func (f *File) SetIntList(group, key string, values []int) error {
	for _, v := range values {
		if err := checkInt(group, key, v); err != nil {
			return err
		}
	}
	return setList(f, group, key, values, strconv.Itoa)
}

// Int64 returns a decimal number of 64 bits; unlike with [File.Int] nothing
// may follow it. It returns [ErrGroupNotFound], [ErrKeyNotFound], or
// [ErrInvalidValue] for what is no number or out of range, where GLib gives
// the nearest number.
//
// C: g_key_file_get_int64
func (f *File) Int64(group, key string) (int64, error) {
	return scalar(f, group, key, parseInt64)
}

// SetInt64 sets the value to a decimal number. Errors are those of
// [File.SetValue].
//
// C: g_key_file_set_int64
func (f *File) SetInt64(group, key string, value int64) error {
	return f.SetValue(group, key, strconv.FormatInt(value, 10))
}

// Uint64 is [File.Int64] for numbers without a minus sign, which GLib would
// take as 2^64 minus the number.
//
// C: g_key_file_get_uint64
func (f *File) Uint64(group, key string) (uint64, error) {
	return scalar(f, group, key, parseUint64)
}

// SetUint64 sets the value to a decimal number. Errors are those of
// [File.SetValue].
//
// C: g_key_file_set_uint64
func (f *File) SetUint64(group, key string, value uint64) error {
	return f.SetValue(group, key, strconv.FormatUint(value, 10))
}

// Float64 returns a floating point number in C's notation: decimal or
// hexadecimal, infinities and NaN included, nothing behind it. Too large a
// number is an infinity. It returns [ErrGroupNotFound], [ErrKeyNotFound] or
// [ErrInvalidValue].
//
// C: g_key_file_get_double
func (f *File) Float64(group, key string) (float64, error) {
	return scalar(f, group, key, parseFloat)
}

// SetFloat64 sets the value to a number with up to 17 digits, as GLib writes
// it. Errors are those of [File.SetValue].
//
// C: g_key_file_set_double
func (f *File) SetFloat64(group, key string, value float64) error {
	return f.SetValue(group, key, formatFloat(value))
}

// Float64List returns the elements of a list of floating point numbers. Errors
// are those of [File.StringList] and [File.Float64].
//
// C: g_key_file_get_double_list
func (f *File) Float64List(group, key string) ([]float64, error) {
	return list(f, group, key, parseFloat)
}

// SetFloat64List sets a list of floating point numbers. Errors are those of
// [File.SetValue].
//
// C: g_key_file_set_double_list
func (f *File) SetFloat64List(group, key string, values []float64) error {
	return setList(f, group, key, values, formatFloat)
}

func checkInt(group, key string, value int) error {
	if value < math.MinInt32 || value > math.MaxInt32 {
		return badValue(group, key, strconv.Itoa(value), outOfRange, ErrInvalidValue)
	}
	return nil
}

const (
	notANumber = "is not a number"
	outOfRange = "is out of range"
	// cSpace is what C's isspace accepts, which strtol and strtod skip.
	cSpace = asciiSpace + "\v"
)

// parseInt follows strtol and GLib's check of what is behind the number:
// nothing, or a blank. Nothing but blanks counts as 0, because strtol then
// leaves its end pointer at the first of them; that can happen in a list only.
func parseInt(s string) (int, string) {
	rest := strings.TrimLeft(s, cSpace)
	end := 0
	if end < len(rest) && (rest[end] == '-' || rest[end] == '+') {
		end++
	}
	first := end
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	if end == first && skipSpace(s, 0) > 0 {
		return 0, ""
	}
	if end == first || end < len(rest) && skipSpace(rest, end) == end {
		return 0, notANumber
	}
	v, err := strconv.ParseInt(rest[:end], 10, 32)
	if err != nil {
		return 0, outOfRange
	}
	return int(v), ""
}

func parseInt64(s string) (int64, string) {
	v, err := strconv.ParseInt(strings.TrimLeft(s, cSpace), 10, 64)
	return v, whyNot(err)
}

func parseUint64(s string) (uint64, string) {
	v, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimLeft(s, cSpace), "+"), 10, 64)
	return v, whyNot(err)
}

func whyNot(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, strconv.ErrRange):
		return outOfRange
	}
	return notANumber
}

// parseFloat accepts what strtod accepts in the C locale.
func parseFloat(s string) (float64, string) {
	t := strings.ToLower(strings.TrimLeft(s, cSpace))
	sign := strings.TrimLeft(t, "+-")
	if len(t)-len(sign) > 1 || strings.Contains(t, "_") && !strings.HasPrefix(sign, "nan(") {
		return 0, notANumber
	}
	switch {
	case sign == "nan" || isNaNWithText(sign):
		return math.NaN(), ""
	case strings.HasPrefix(sign, "0x") && !strings.Contains(t, "p"):
		t += "p0" // optional in C, not in Go
	}
	v, err := strconv.ParseFloat(t, 64)
	if why := whyNot(err); why == notANumber {
		return 0, why
	}
	return v, ""
}

// isNaNWithText recognises "nan(" letters, digits and underscores ")".
func isNaNWithText(s string) bool {
	inner, ok := strings.CutPrefix(s, "nan(")
	if !ok || !strings.HasSuffix(inner, ")") {
		return false
	}
	return strings.Trim(inner[:len(inner)-1], "0123456789abcdefghijklmnopqrstuvwxyz_") == ""
}

func formatFloat(v float64) string {
	switch {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 0):
		return strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(v, 'g', -1, 64), "+"))
	}
	return strconv.FormatFloat(v, 'g', 17, 64)
}
