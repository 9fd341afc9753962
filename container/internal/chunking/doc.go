// Package chunking decides which component of an operating system goes into which layer of its image. It is pure Go and does no I/O.
//
// Components that are large get layers of their own, small ones share one, and those between are grouped by size and by how often they
// change, so that an update fetches little more than what it changes. A packing that starts from the previous build leaves everything
// where it was.
//
// Source: ostree-rs-ext src/chunking.rs, whose results it reproduces.
package chunking
