package deflate

import (
	"encoding/binary"
	"errors"
)

// padding is how many bytes behind a stream the scanner may look at.
const padding = 8

var errScan = errors.New("unexpected deflate stream")

// scanner finds its way through a deflate stream without unpacking it: libdeflate marks the last block of each piece as the last of
// the stream, and where that block begins can only be found by following the codes.
type scanner struct {
	in  []byte
	pos int    // of the next byte to load
	acc uint64 // bits loaded, the next one lowest
	n   uint   // how many are valid

	lengths, distances table
}

// reopen clears the mark of the last block and fills up to a whole byte with an empty stored block. in must be a whole stream; it is
// changed, and its capacity must leave room for the filling and for padding.
func (s *scanner) reopen(in []byte) ([]byte, error) {
	size := len(in)
	if cap(in) < size+len(syncMarker)+padding {
		return nil, errors.New("no room")
	}
	clear(in[size : size+padding])
	*s = scanner{in: in[:size+padding], lengths: s.lengths, distances: s.distances}
	for {
		s.fill()
		header := s.bit()
		last := s.take(1) == 1
		var err error
		switch s.take(2) {
		case 0:
			err = s.stored()
		case 1:
			s.fixed()
			err = s.codes()
		case 2:
			if err = s.dynamic(); err == nil {
				err = s.codes()
			}
		default:
			err = errScan
		}
		if err != nil {
			return nil, err
		}
		end := s.bit()
		if end > size*8 {
			return nil, errScan
		}
		if !last {
			continue
		}
		if (end+7)/8 != size {
			return nil, errScan
		}
		in[header/8] &^= 1 << (header % 8)
		if end%8 == 0 || end%8 > 5 { // three bits of the next block's header do not fit into the last byte
			in = append(in, 0)
		}
		return append(in, syncMarker...), nil
	}
}

// bit is the position of the next bit.
func (s *scanner) bit() int { return s.pos*8 - int(s.n) }

// fill makes at least 56 bits valid; behind the end they are zero.
func (s *scanner) fill() {
	if s.pos+8 <= len(s.in) {
		s.acc |= binary.LittleEndian.Uint64(s.in[s.pos:]) << s.n
		s.pos += int((63 - s.n) >> 3)
		s.n |= 56
		return
	}
	for s.n <= 56 && s.pos < len(s.in) {
		s.acc |= uint64(s.in[s.pos]) << s.n
		s.pos++
		s.n += 8
	}
}

func (s *scanner) take(n uint) uint {
	v := uint(s.acc & (1<<n - 1))
	s.acc >>= n
	s.n -= n
	return v
}

func (s *scanner) stored() error {
	start := (s.bit() + 7) / 8
	if start+4 > len(s.in)-padding {
		return errScan
	}
	length := int(binary.LittleEndian.Uint16(s.in[start:]))
	if start+4+length > len(s.in)-padding {
		return errScan
	}
	s.pos, s.acc, s.n = start+4+length, 0, 0
	return nil
}

// codeOrder is the order in which the lengths of the code length code are sent.
var codeOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

func (s *scanner) fixed() {
	var l [288]uint8
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	s.lengths.build(l[:])
	var d [30]uint8
	for i := range d {
		d[i] = 5
	}
	s.distances.build(d[:])
	s.runs()
}

func (s *scanner) dynamic() error {
	nlen, ndist, ncode := int(s.take(5))+257, int(s.take(5))+1, int(s.take(4))+4
	var lengths [286 + 32 + 32]uint8
	s.fill()
	for i := range ncode {
		if i == 16 {
			s.fill()
		}
		lengths[codeOrder[i]] = uint8(s.take(3))
	}
	s.lengths.build(lengths[:19])
	lengths = [len(lengths)]uint8{}
	for i := 0; i < nlen+ndist; {
		s.fill()
		sym, ok := s.symbol(&s.lengths)
		if !ok {
			return errScan
		}
		var value uint8
		repeat := 1
		switch {
		case sym < 16:
			value = uint8(sym)
		case sym == 16:
			if i == 0 {
				return errScan
			}
			value, repeat = lengths[i-1], 3+int(s.take(2))
		case sym == 17:
			repeat = 3 + int(s.take(3))
		default:
			repeat = 11 + int(s.take(7))
		}
		if i+repeat > nlen+ndist || nlen > 286 {
			return errScan
		}
		for range repeat {
			lengths[i] = value
			i++
		}
	}
	s.lengths.build(lengths[:nlen])
	s.distances.build(lengths[nlen : nlen+ndist])
	s.runs()
	return nil
}

// Extra bits of lengths (from symbol 257 on) and distances.
var (
	lengthExtra   = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceExtra = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

const endOfBlock = 256

// Entries of table.run: how many bits to pass over, extra bits included, and what follows then. 0: look at one symbol.
const (
	runLength = 1<<6 - 1
	runMatch  = 1 << 6 // the distance of a match
	runEnd    = 1 << 7 // nothing, the block has ended
)

// runs fills the tables of what a few bits stand for: nothing is unpacked, so that of several literals in turn only the length counts.
func (s *scanner) runs() {
	for i := range s.lengths.run {
		bits, entry := 0, uint16(0)
		for entry == 0 {
			e := s.lengths.short[i>>bits]
			length, sym := int(e&15), int(e>>4)
			switch match := sym - endOfBlock - 1; {
			case e == 0 || bits+length > tableBits || match >= len(lengthExtra): // not known by these bits, or invalid
				entry = uint16(bits)
			case match >= 0:
				entry = runMatch | uint16(bits+length+int(lengthExtra[match]))
			case sym == endOfBlock:
				entry = runEnd | uint16(bits+length)
			default:
				bits += length
				continue
			}
			break
		}
		s.lengths.run[i] = entry
	}
	for i, e := range s.distances.short {
		s.distances.run[i] = 0
		if sym := int(e >> 4); e != 0 && sym < len(distanceExtra) {
			s.distances.run[i] = e&15 + uint16(distanceExtra[sym])
		}
	}
}

// codes follows the codes of a block to its end.
func (s *scanner) codes() error {
	in, pos, acc, n := s.in, s.pos, s.acc, s.n
	for {
		// As far as whole words can be loaded: literals up to the next match or the end of the block, and the match, at most 11+5+10+13 bits.
		for pos+8 <= len(in) {
			acc |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
			pos += int((63 - n) >> 3 & 7)
			n |= 56
			e := s.lengths.run[acc&(1<<tableBits-1)]
			if e == 0 {
				break
			}
			if e&runMatch != 0 {
				d := s.distances.run[acc>>(e&runLength)&(1<<tableBits-1)]
				if d == 0 {
					break
				}
				e += d
			}
			acc >>= e & runLength
			n -= uint(e & runLength)
			if e&runEnd != 0 {
				s.pos, s.acc, s.n = pos, acc, n
				return nil
			}
		}
		s.pos, s.acc, s.n = pos, acc, n
		// One literal or match: codes are long, or the end is near.
		s.fill()
		if s.bit() > (len(s.in)-padding)*8 {
			return errScan
		}
		sym, ok := s.symbol(&s.lengths)
		switch {
		case !ok || sym > endOfBlock+uint(len(lengthExtra)):
			return errScan
		case sym == endOfBlock:
			return nil
		case sym > endOfBlock:
			s.take(uint(lengthExtra[sym-endOfBlock-1]))
			dist, ok := s.symbol(&s.distances)
			if !ok || dist >= uint(len(distanceExtra)) {
				return errScan
			}
			s.take(uint(distanceExtra[dist]))
		}
		pos, acc, n = s.pos, s.acc, s.n
	}
}

const (
	maxCode   = 15 // bits of the longest code
	tableBits = 10
)

// table decodes one Huffman code: by a table where the code is short, otherwise bit by bit.
type table struct {
	short  [1 << tableBits]uint16 // symbol<<4 | bits of the code; 0 for none
	run    [1 << tableBits]uint16 // see runs
	count  [maxCode + 1]int       // codes by length
	sorted [288]uint16            // symbols in the order of their codes
}

func (t *table) build(lengths []uint8) {
	t.count = [maxCode + 1]int{}
	for _, l := range lengths {
		t.count[l]++
	}
	t.count[0] = 0
	var next, first [maxCode + 2]int
	for l := 1; l <= maxCode; l++ {
		next[l+1] = next[l] + t.count[l]
		first[l+1] = (first[l] + t.count[l]) << 1
	}
	clear(t.short[:])
	offset := next
	for sym, l := range lengths {
		if l == 0 {
			continue
		}
		code := first[l] + next[l] - offset[l]
		t.sorted[next[l]] = uint16(sym)
		next[l]++
		if l > tableBits {
			continue
		}
		for i := reverse(code, l); i < len(t.short); i += 1 << l {
			t.short[i] = uint16(sym)<<4 | uint16(l)
		}
	}
}

func reverse(code int, n uint8) int {
	r := 0
	for range n {
		r = r<<1 | code&1
		code >>= 1
	}
	return r
}

// symbol reads one code; at least 15 bits must be loaded.
func (s *scanner) symbol(t *table) (uint, bool) {
	if e := t.short[s.acc&(1<<tableBits-1)]; e != 0 {
		s.take(uint(e & 15))
		return uint(e >> 4), true
	}
	code, first, index := 0, 0, 0
	for l := uint(1); l <= maxCode; l++ {
		code |= int(s.acc >> (l - 1) & 1)
		if code-first < t.count[l] {
			s.take(l)
			return uint(t.sorted[index+code-first]), true
		}
		index += t.count[l]
		first = (first + t.count[l]) << 1
		code <<= 1
	}
	return 0, false
}
