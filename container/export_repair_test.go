package container

import "golang.org/x/sys/unix"

// WithInodes replaces the inode numbers of objects: few file systems at hand have large ones.
func (o *RepairOptions) WithInodes(number func(*unix.Stat_t) uint64) *RepairOptions {
	o.number = number
	return o
}
