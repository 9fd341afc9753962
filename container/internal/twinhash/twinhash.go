// Package twinhash computes SHA-256 of bytes that are part of two messages at once, such as a file's content and the layer that it comes
// in. Where the processor has instructions for it, that takes two thirds of the time of one sum after the other: each
// step of a sum waits for the one before, and the other sum's steps fill the gap.
package twinhash

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
)

const blockSize = sha256.BlockSize

// Hash is one SHA-256 (FIPS 180-4). It is not safe for concurrent use.
type Hash struct {
	std   hash.Hash // where the processor cannot help
	state [8]uint32
	size  uint64
	rest  [blockSize]byte // the first size%blockSize bytes wait for the others of their block
}

// New returns the hash of nothing yet.
func New() *Hash {
	if !accelerated {
		return &Hash{std: sha256.New()}
	}
	return &Hash{state: [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}}
}

// Size returns how many bytes were written.
func (h *Hash) Size() uint64 { return h.size }

// Write adds p. It never fails.
func (h *Hash) Write(p []byte) (int, error) {
	n := len(p)
	if h.std != nil {
		h.size += uint64(n)
		return h.std.Write(p)
	}
	p = h.fill(p)
	if whole := len(p) / blockSize; whole > 0 {
		blocks(&h.state, p[:whole*blockSize])
		h.size += uint64(whole * blockSize)
		p = p[whole*blockSize:]
	}
	h.keep(p)
	return n, nil
}

// fill completes the block that was begun, if p has enough for that, and returns what is left of p: nothing, unless the next byte is the
// first of a block.
func (h *Hash) fill(p []byte) []byte {
	begun := int(h.size % blockSize)
	if begun == 0 {
		return p
	}
	n := copy(h.rest[begun:], p)
	h.size += uint64(n)
	if begun+n == blockSize {
		blocks(&h.state, h.rest[:])
	}
	return p[n:]
}

// keep takes less than a block, at the beginning of one.
func (h *Hash) keep(p []byte) {
	copy(h.rest[:], p)
	h.size += uint64(len(p))
}

// Both adds p to both hashes.
func Both(a, b *Hash, p []byte) {
	if a.std != nil || b.std != nil {
		_, _ = a.Write(p)
		_, _ = b.Write(p)
		return
	}
	pa, pb := a.fill(p), b.fill(p)
	if n := min(len(pa), len(pb)) / blockSize * blockSize; n > 0 {
		twoBlocks(&a.state, pa[:n], &b.state, pb[:n])
		a.size, b.size = a.size+uint64(n), b.size+uint64(n)
		pa, pb = pa[n:], pb[n:]
	}
	_, _ = a.Write(pa)
	_, _ = b.Write(pb)
}

// Sum returns the hash of what was written; more may be written after.
func (h *Hash) Sum() (sum [sha256.Size]byte) {
	if h.std != nil {
		h.std.Sum(sum[:0])
		return sum
	}
	end := *h
	var padding [blockSize + 8]byte
	padding[0] = 0x80
	n := blockSize - int((h.size+8)%blockSize)
	binary.BigEndian.PutUint64(padding[n:], h.size*8)
	_, _ = end.Write(padding[:n+8])
	for i, word := range end.state {
		binary.BigEndian.PutUint32(sum[4*i:], word)
	}
	return sum
}

// Reader hashes what is read from it.
type Reader struct {
	r         io.Reader
	all, also *Hash
}

// NewReader returns a Reader of r that adds everything to all, which may be nil.
func NewReader(r io.Reader, all *Hash) *Reader { return &Reader{r: r, all: all} }

// ReaderOf returns r if it is a Reader, else one of r that hashes nothing yet.
func ReaderOf(r io.Reader) *Reader {
	if reader, ok := r.(*Reader); ok {
		return reader
	}
	return NewReader(r, nil)
}

func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	switch {
	case r.all != nil && r.also != nil:
		Both(r.all, r.also, p[:n])
	case r.all != nil:
		_, _ = r.all.Write(p[:n])
	case r.also != nil:
		_, _ = r.also.Write(p[:n])
	}
	return n, err
}

// Through is a source whose bytes come through a Reader unchanged and in order, such as a member of a tar that is read from it.
type Through struct {
	Src io.Reader
	Via *Reader
}

func (t Through) Read(p []byte) (int, error) { return t.Src.Read(p) }

// Hashing returns a reader of the source that adds what is read to h.
func (t Through) Hashing(h *Hash) io.Reader { return hashing{t, h} }

type hashing struct {
	t Through
	h *Hash
}

func (r hashing) Read(p []byte) (int, error) {
	r.t.Via.also = r.h
	defer func() { r.t.Via.also = nil }()
	return r.t.Src.Read(p)
}
