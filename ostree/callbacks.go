package ostree

// #include "shim_pull.h"
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

//export goStreamRelease
func goStreamRelease(h C.uintptr_t) { cgo.Handle(h).Delete() }

//export goArchiveWrite
func goArchiveWrite(h C.uintptr_t, buf unsafe.Pointer, n C.int64_t) C.int64_t {
	return C.int64_t(cgo.Handle(h).Value().(*libarchiveIO).write(unsafe.Slice((*byte)(buf), int(n))))
}

//export goStringPair
func goStringPair(h C.uintptr_t, k, v *C.char) {
	cgo.Handle(h).Value().(*stringPairs).add(C.GoString(k), C.GoString(v))
}

// stringPairs collects what goStringPair is called with.
type stringPairs struct{ fn func(k, v string) }

func (p *stringPairs) add(k, v string) { p.fn(k, v) }

//export goCollectionRef
func goCollectionRef(h C.uintptr_t, collection, ref, checksum *C.char) {
	c := CollectionRef{Ref: C.GoString(ref)}
	if collection != nil {
		c.CollectionID = C.GoString(collection)
	}
	sum := ""
	if checksum != nil {
		sum = C.GoString(checksum)
	}
	cgo.Handle(h).Value().(*collectionRefs).fn(c, sum)
}

//export goCollectionTime
func goCollectionTime(h C.uintptr_t, collection, ref *C.char, secs C.uint64_t) {
	cgo.Handle(h).Value().(*collectionTimes).fn(CollectionRef{C.GoString(collection), C.GoString(ref)}, uint64(secs))
}

//export goObjectName
func goObjectName(h C.uintptr_t, checksum *C.char, objtype C.int) {
	cgo.Handle(h).Value().(*objectNames).fn(C.GoString(checksum), ObjectType(objtype))
}

// objectNames collects what goObjectName is called with.
type objectNames struct {
	fn func(checksum string, t ObjectType)
}

//export goObjectSize
func goObjectSize(h C.uintptr_t, checksum *C.char, objtype C.int, unpacked, archived C.uint64_t) {
	l := cgo.Handle(h).Value().(*objectSizes)
	l.list = append(l.list, ObjectSize{ObjectName{C.GoString(checksum), ObjectType(objtype)}, uint64(unpacked), uint64(archived)})
}

// objectSizes collects what goObjectSize is called with.
type objectSizes struct{ list []ObjectSize }

// goFilter decides on an entry; the owner and mode in info may change.
//
//export goFilter
func goFilter(h C.uintptr_t, path *C.char, info *C.shim_file_info) C.int {
	fi := infoFromC(info)
	res := cgo.Handle(h).Value().(*entryCallbacks).runFilter(C.GoString(path), &fi)
	info.uid, info.gid, info.mode = C.uint32_t(fi.UID), C.uint32_t(fi.GID), C.uint32_t(fi.Mode)
	return C.int(res)
}

// goXattrs returns a new "a(ayay)".
//
//export goXattrs
func goXattrs(h C.uintptr_t, path *C.char, info *C.shim_file_info) *C.GVariant {
	flat := cgo.Handle(h).Value().(*entryCallbacks).runXattrs(C.GoString(path), infoFromC(info))
	return C.shim_xattrs_parse((*C.uint8_t)(bytesPtr(flat)), C.size_t(len(flat)))
}

// goTranslatePath returns a new string for C to free, NULL for no change.
//
//export goTranslatePath
func goTranslatePath(h C.uintptr_t, path *C.char, info *C.shim_file_info) *C.char {
	to := cgo.Handle(h).Value().(*entryCallbacks).runTranslate(C.GoString(path), infoFromC(info))
	if to == "" {
		return nil
	}
	return C.CString(to)
}

func infoFromC(raw *C.shim_file_info) FileInfo {
	fi := FileInfo{UID: uint32(raw.uid), GID: uint32(raw.gid), Mode: uint32(raw.mode), Size: int64(raw.size)}
	if raw.symlink_target != nil {
		fi.SymlinkTarget = C.GoString(raw.symlink_target)
	}
	return fi
}

//export goDiffEntry
func goDiffEntry(h C.uintptr_t, kind C.int, path, from, to *C.char) {
	d := cgo.Handle(h).Value().(*Diff)
	switch p := C.GoString(path); kind {
	case 0:
		d.Modified = append(d.Modified, DiffModified{p, C.GoString(from), C.GoString(to)})
	case 1:
		d.Removed = append(d.Removed, p)
	default:
		d.Added = append(d.Added, p)
	}
}

//export goPullProgress
func goPullProgress(h C.uintptr_t, p *C.shim_pull_progress) {
	cgo.Handle(h).Value().(*pullCallback).run(pullProgress(p))
}
