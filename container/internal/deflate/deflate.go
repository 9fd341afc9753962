package deflate

// End is the empty last block that ends a stream.
const End = "\x03\x00"

// Levels, as those of gzip.
const (
	MinLevel     = 1
	DefaultLevel = 6
	MaxLevel     = 9
)

// syncMarker is what follows the three header bits of an empty stored block, which fills up to a whole byte.
const syncMarker = "\x00\x00\xff\xff"
