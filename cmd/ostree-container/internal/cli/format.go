package cli

import (
	"fmt"
	"time"

	"github.com/go-openapi/strfmt"
)

// formatSize returns a number of bytes in the form of GLib's g_format_size: decimal units, one digit after the point
// and a no-break space before the unit, or whole bytes with an ordinary space.
func formatSize(n uint64) string {
	switch {
	case n == 1:
		return "1 byte"
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	}
	units := []string{"kB", "MB", "GB", "TB", "PB", "EB"}
	divisor, unit := uint64(1000), 0
	for unit < len(units)-1 && n/1000 >= divisor {
		divisor *= 1000
		unit++
	}
	return fmt.Sprintf("%.1f\u00a0%s", float64(n)/float64(divisor), units[unit])
}

// formatCount is formatSize of a size as manifests have it, where a negative one is unknown.
func formatCount(n int64) string {
	if n < 0 {
		return "unknown size"
	}
	return formatSize(uint64(n))
}

// shortDigest is the digest as progress messages show it: the algorithm and twelve hex digits.
func shortDigest(d string) string { return truncate(d, len("sha256:")+12) }

// truncate cuts a text to at most n characters (not bytes).
func truncate(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// jsonTime is a time as JSON documents hold it; nil stays nil.
func jsonTime(t *time.Time) *strfmt.DateTime {
	if t == nil {
		return nil
	}
	d := strfmt.DateTime(t.UTC())
	return &d
}
