// Package compress turns the compressed bytes of a layer into the tar stream
// inside. The format is found from the first bytes (gzip, zstd, or neither,
// which is taken for a plain tar), whatever a media type said.
//
// A [Reader] reports io.EOF only when its source has: all members of a gzip
// stream and all frames of a zstd stream are read, their checksums and lengths
// are verified, skippable frames (such as the table of contents of zstd:chunked)
// are passed over, and zero bytes that pad the end are accepted. Whoever stops at
// the end of the tar archive must therefore still read on to io.EOF, and knows
// then that the whole blob was sound.
//
// Deflate is decoded by klauspost/compress, or by ISA-L where the program is
// built with the tag "isal" (see package igzip).
//
// A [Writer] goes the other way. Streams are cut into pieces of a fixed size, which a [Pool] compresses on all processors: the
// result depends on the stream alone. gzip has one member, made of pieces by package deflate; zstd has a frame for each piece.
package compress
