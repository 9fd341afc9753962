package compress

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// inflater decodes one deflate stream after the other from the bufio.Reader that
// it was made for, reading not one byte more than belongs to the stream.
type inflater interface {
	// Read returns io.EOF at the end of the deflate stream.
	io.Reader
	// reset makes it ready for another stream from the same source.
	reset() error
	close()
}

// gzipReader reads the members of a gzip stream (RFC 1952, section 2.2).
type gzipReader struct {
	br       *bufio.Reader
	inf      inflater
	inMember bool
	sum      uint32
	size     uint32 // modulo 2^32, as in the trailer
}

func newGzip(br *bufio.Reader) (*gzipReader, error) {
	inf, err := newInflater(br)
	if err != nil {
		return nil, err
	}
	return &gzipReader{br: br, inf: inf}, nil
}

func (g *gzipReader) close() { g.inf.close() }

func (g *gzipReader) Read(p []byte) (int, error) {
	for {
		if !g.inMember {
			if err := g.next(); err != nil {
				return 0, err
			}
		}
		n, err := g.inf.Read(p)
		g.sum = crc32.Update(g.sum, crc32.IEEETable, p[:n])
		g.size += uint32(n) //nolint:gosec // modulo 2^32 is meant
		if errors.Is(err, io.EOF) {
			g.inMember = false
			err = g.trailer()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next begins a member; io.EOF if there is none.
func (g *gzipReader) next() error {
	head, err := g.br.Peek(2)
	switch {
	case len(head) == 0:
		return err
	case head[0] == 0:
		end, err := skipZeros(g.br)
		if err != nil {
			return err
		}
		if end {
			return io.EOF
		}
		return fmt.Errorf("%w: something else follows the last member", ErrCorrupt)
	case len(head) == 2 && (head[0] != magicGzip[0] || head[1] != magicGzip[1]),
		len(head) == 1 && head[0] != magicGzip[0]:
		return fmt.Errorf("%w: something else follows the last member", ErrCorrupt)
	}
	if err := g.header(); err != nil {
		return noEOF(err)
	}
	g.inMember, g.sum, g.size = true, 0, 0
	return g.inf.reset()
}

// Bits of the FLG byte.
const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
	flagReserved  = 0xe0
)

func (g *gzipReader) header() error {
	var sum uint32
	read := func(b []byte) error {
		_, err := io.ReadFull(g.br, b)
		sum = crc32.Update(sum, crc32.IEEETable, b)
		return err
	}
	var buf [10]byte
	if err := read(buf[:]); err != nil {
		return err
	}
	if buf[2] != 8 {
		return fmt.Errorf("%w: unknown compression method %d", ErrCorrupt, buf[2])
	}
	flags := buf[3]
	if flags&flagReserved != 0 {
		return fmt.Errorf("%w: reserved flags are set", ErrCorrupt)
	}
	if flags&flagExtra != 0 {
		if err := read(buf[:2]); err != nil {
			return err
		}
		for left := int(binary.LittleEndian.Uint16(buf[:])); left > 0; left-- {
			if err := read(buf[:1]); err != nil {
				return err
			}
		}
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag == 0 {
			continue
		}
		// Unbounded in the format; nothing is kept.
		for {
			if err := read(buf[:1]); err != nil {
				return err
			}
			if buf[0] == 0 {
				break
			}
		}
	}
	if flags&flagHeaderCRC != 0 {
		want := uint16(sum) //nolint:gosec // the low half is meant
		if err := read(buf[:2]); err != nil {
			return err
		}
		if got := binary.LittleEndian.Uint16(buf[:]); got != want {
			return fmt.Errorf("%w: wrong header checksum", ErrCorrupt)
		}
	}
	return nil
}

func (g *gzipReader) trailer() error {
	var buf [8]byte
	if _, err := io.ReadFull(g.br, buf[:]); err != nil {
		return noEOF(err)
	}
	if want := binary.LittleEndian.Uint32(buf[:4]); want != g.sum {
		return fmt.Errorf("%w: wrong checksum: CRC-32 is %08x, should be %08x", ErrCorrupt, g.sum, want)
	}
	if want := binary.LittleEndian.Uint32(buf[4:]); want != g.size {
		return fmt.Errorf("%w: wrong length: %d bytes (modulo 2^32), should be %d", ErrCorrupt, g.size, want)
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
