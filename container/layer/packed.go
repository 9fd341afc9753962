package layer

import (
	"encoding/binary"

	"github.com/ostree-container/ostree-container/container/internal/object"
)

// packed holds the files of a directory in half of the memory that a slice of them takes: one after the other, the length of a name, the
// name and the checksum.
type packed struct {
	data []byte
	n    int
}

func (p *packed) add(f file) {
	p.data = binary.AppendUvarint(p.data, uint64(len(f.name)))
	p.data = append(p.data, f.name...)
	p.data = append(p.data, f.sum[:]...)
	p.n++
}

// unpack returns the files in the order in which they were added.
func (p *packed) unpack() []file {
	files, all := make([]file, p.n), string(p.data)
	for i := range files {
		size, n := binary.Uvarint(p.data[len(p.data)-len(all):])
		end := n + int(size)
		files[i] = file{all[n:end], object.Checksum([]byte(all[end : end+len(object.Checksum{})]))}
		all = all[end+len(object.Checksum{}):]
	}
	return files
}

func pack(files []file) packed {
	size := 0
	for _, f := range files {
		size += binary.MaxVarintLen16 + len(f.name) + len(f.sum)
	}
	p := packed{data: make([]byte, 0, size)}
	for _, f := range files {
		p.add(f)
	}
	return p
}
