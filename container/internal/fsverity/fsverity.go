// Package fsverity turns on fs-verity (fs/verity in the kernel) for single files.
package fsverity

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrUnsupported is returned where the file system, or the kernel, has no fs-verity.
var ErrUnsupported = errors.New("fs-verity is not supported here (the file system has to be made with it, as by mkfs.ext4 -O verity, and the kernel built with it)")

// blockSize is that of the Merkle tree, in bytes; it is what libostree takes.
const blockSize = 4096

// enableArg is struct fsverity_enable_arg of linux/fsverity.h.
type enableArg struct {
	version, algorithm, blockSize, saltSize uint32
	saltPtr                                 uint64
	signatureSize, reserved1                uint32
	signaturePtr                            uint64
	reserved2                               [11]uint64
}

// Enable turns it on for the file that is open as fd, for reading only, with SHA-256 and blocks of 4096 bytes, as libostree does. It reports
// false if it was on. Nobody may have the file open for writing (ETXTBSY).
func Enable(fd int) (bool, error) {
	arg := enableArg{version: 1, algorithm: unix.FS_VERITY_HASH_ALG_SHA256, blockSize: blockSize}
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.FS_IOC_ENABLE_VERITY, uintptr(unsafe.Pointer(&arg)))
		switch errno {
		case 0:
			return true, nil
		case unix.EEXIST:
			return false, nil
		case unix.EINTR:
		case unix.EOPNOTSUPP, unix.ENOTTY:
			return false, ErrUnsupported
		default:
			return false, errno
		}
	}
}

// Enabled reports whether it is on for the file that is open as fd, and ErrUnsupported where it can be on for none. Nothing is changed.
func Enabled(fd int) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, 0, &st); err != nil {
		return false, err
	}
	if st.Attributes&unix.STATX_ATTR_VERITY != 0 {
		return true, nil
	}
	arg := measureArg{size: 64}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.FS_IOC_MEASURE_VERITY, uintptr(unsafe.Pointer(&arg)))
	switch errno {
	case unix.EOPNOTSUPP, unix.ENOTTY:
		return false, ErrUnsupported
	case unix.ENODATA:
		return false, nil
	case 0: // turned on just now
		return true, nil
	}
	return false, errno
}

// measureArg is struct fsverity_digest of linux/fsverity.h.
type measureArg struct {
	algorithm, size uint16
	digest          [64]byte
}
