package objstore

/*
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

// link_names links n names, each in a slot of so many bytes and ended by a NUL, from one directory into another. It stores an errno, or
// 0, for each, ends after one that is neither 0 nor EEXIST, and returns how many it tried.
static size_t link_names(int from, int to, const char *names, size_t slot, size_t n, int *errors)
{
	size_t i;

	for (i = 0; i < n; i++, names += slot) {
		do {
			errors[i] = linkat(from, names, to, names, 0) == 0 ? 0 : errno;
		} while (errors[i] == EINTR);
		if (errors[i] != 0 && errors[i] != EEXIST)
			return i + 1;
	}
	return n;
}
*/
import "C"

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// linkBatch is how many names are linked by one call: some milliseconds of work, between which a context is looked at.
const linkBatch = 512

// nameSlot is the room for the name of an object in its directory: 62 digits, a suffix and a NUL.
const nameSlot = 80

// nameBatch links objects by their names in a directory. One call into C links many: for each call by itself, Go's scheduler would take the
// processor away after 20 µs, and be asked for it again.
type nameBatch struct {
	n      int
	names  [linkBatch * nameSlot]byte
	errors [linkBatch]C.int
	result [linkBatch]unix.Errno
}

// set makes the batch one of these objects, at most linkBatch.
func (b *nameBatch) set(objects []Object) {
	b.n = len(objects)
	var name []byte
	for i := range objects {
		name = appendPath(name[:0], objects[i].Type, &objects[i].Sum)
		slot := b.names[i*nameSlot : (i+1)*nameSlot]
		slot[copy(slot, name[len("xx/"):])] = 0
	}
}

// link links objects of the batch, which must have more than first, from one directory into another, until one fails for another reason than
// that it is there. It returns an errno or 0 for each that was tried, valid until the next call.
func (b *nameBatch) link(from, to, first int) []unix.Errno {
	names := (*C.char)(unsafe.Pointer(&b.names[first*nameSlot]))
	n := C.link_names(C.int(from), C.int(to), names, nameSlot, C.size_t(b.n-first), &b.errors[first])
	tried := first + int(n)
	for i, e := range b.errors[first:tried] {
		b.result[first+i] = unix.Errno(e)
	}
	return b.result[first:tried]
}
