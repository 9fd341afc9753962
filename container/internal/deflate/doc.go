// Package deflate compresses pieces of a stream independently of each other, so that they can be joined to one deflate stream
// (RFC 1951): each piece is a number of blocks, none of them the last, and ends at a whole byte. [End] closes the stream.
//
// With the tag "libdeflate" it uses libdeflate (pkg-config libdeflate) through cgo, which is fast at the ratio of zlib or better;
// otherwise klauspost/compress, which needs more time or leaves larger results. The two give different bytes, and so may two
// versions of either; one build always gives the same.
package deflate
