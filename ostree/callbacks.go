package ostree

// #include <stdint.h>
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

// goStreamRead fills buf from the io.Reader behind h: bytes read, 0 at the end,
// -1 when the reader failed (the error stays in its state).
//
//export goStreamRead
func goStreamRead(h C.uintptr_t, buf unsafe.Pointer, n C.int64_t) C.int64_t {
	return C.int64_t(cgo.Handle(h).Value().(*streamReader).fill(unsafe.Slice((*byte)(buf), int(n))))
}

//export goStringPair
func goStringPair(h C.uintptr_t, k, v *C.char) {
	cgo.Handle(h).Value().(*stringPairs).add(C.GoString(k), C.GoString(v))
}

// stringPairs collects what goStringPair is called with.
type stringPairs struct{ fn func(k, v string) }

func (p *stringPairs) add(k, v string) { p.fn(k, v) }

//export goObjectName
func goObjectName(h C.uintptr_t, checksum *C.char, objtype C.int) {
	cgo.Handle(h).Value().(*objectNames).fn(C.GoString(checksum), ObjectType(objtype))
}

// objectNames collects what goObjectName is called with.
type objectNames struct {
	fn func(checksum string, t ObjectType)
}
