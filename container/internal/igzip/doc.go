// Package igzip decodes deflate streams (RFC 1951) with ISA-L's igzip, several
// times as fast as decoders written in Go.
//
// It is empty unless the program is built with the tag "isal"; then it needs cgo
// and ISA-L 2.30 or later (pkg-config libisal). Package compress uses it under that tag
// and does without it otherwise. The framing of gzip, with its checksums, is in
// package compress.
package igzip
