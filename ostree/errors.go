package ostree

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Returned by any operation.
var (
	// ErrClosed is returned by methods of a Repo, Sysroot, SePolicy or File after its Close,
	// and of a nil one.
	ErrClosed = errors.New("already closed")
	// ErrUnsupported is returned when the libostree at run time lacks a function
	// or the file system a feature. It wraps errors.ErrUnsupported.
	ErrUnsupported = fmt.Errorf("%w", errors.ErrUnsupported)
	// ErrInvalidArgument is returned for arguments that are refused before C is
	// entered (checksum not 64 hex digits, NUL in a string, number out of range),
	// and for G_IO_ERROR_INVALID_ARGUMENT.
	ErrInvalidArgument = errors.New("invalid argument")
)

// Returned where libostree reports the matching GIO error. They also match the
// sentinels of io/fs: errors.Is(err, fs.ErrNotExist) holds for ErrNotFound.
var (
	// ErrNotFound is returned for a ref, object, repository or file that is not there.
	ErrNotFound = errors.New("not found")
	// ErrExists is returned when something to be made is there already.
	ErrExists = errors.New("already exists")
	// ErrPermission is returned when the kernel denies access.
	ErrPermission = errors.New("permission denied")
	// ErrNoSpace is returned when the file system is full.
	ErrNoSpace = errors.New("no space left")
	// ErrReadOnly is returned when the file system is mounted read-only.
	ErrReadOnly = errors.New("read-only file system")
	// ErrWouldBlock is returned when a lock is held elsewhere and not waited for.
	ErrWouldBlock = errors.New("would block")
)

// Returned by transactions and sysroots.
var (
	// ErrTransactionActive is returned by Repo.Begin while the Repo has one open.
	ErrTransactionActive = errors.New("a transaction is open on this repo")
	// ErrNoTransaction is returned by Transaction methods after Commit or Abort.
	ErrNoTransaction = errors.New("transaction is finished")
	// ErrNotBooted is returned by Sysroot methods that need the sysroot of the running system, booted from
	// one of its deployments.
	ErrNotBooted = errors.New("not booted from a deployment")
	// ErrNotLoaded is returned by Sysroot methods that need Load first.
	ErrNotLoaded = errors.New("sysroot is not loaded")
)

// refused is an error about an argument that libostree looked at.
type refused struct{ error }

func (r refused) Is(target error) bool { return target == ErrInvalidArgument } //nolint:errorlint // Is compares identities
func (r refused) Unwrap() error        { return r.error }

// refuse makes an error match ErrInvalidArgument.
func refuse(err error) error {
	if err == nil {
		return nil
	}
	return refused{err}
}

const (
	ioErrorDomain   = "g-io-error-quark"
	fileErrorDomain = "g-file-error-quark"
)

// Error is an error from libostree or GLib.
type Error struct {
	Op      string // what was tried, for example "resolve rev main"
	Domain  string // the GQuark's text, for example "g-io-error-quark"; empty for a failed C precondition
	Code    int    // code within Domain
	Message string // libostree's own words
}

// Error returns "op: message".
func (e *Error) Error() string { return e.Op + ": " + e.Message }

func (e *Error) is(domain string, code int) bool { return e.Domain == domain && e.Code == code }

// Is reports whether target is the sentinel for e's domain and code.
func (e *Error) Is(target error) bool {
	ours, theirs := e.sentinels()
	for _, s := range theirs {
		if target == s { //nolint:errorlint // Is compares identities
			return true
		}
	}
	return ours != nil && target == ours //nolint:errorlint // Is compares identities
}

func (e *Error) sentinels() (ours error, theirs []error) { //nolint:staticcheck // ST1008: the errors are the values here
	switch e.Domain {
	case ioErrorDomain:
		switch e.Code {
		case C.G_IO_ERROR_NOT_FOUND:
			return ErrNotFound, []error{fs.ErrNotExist}
		case C.G_IO_ERROR_EXISTS:
			return ErrExists, []error{fs.ErrExist}
		case C.G_IO_ERROR_PERMISSION_DENIED:
			return ErrPermission, []error{fs.ErrPermission}
		case C.G_IO_ERROR_NO_SPACE:
			return ErrNoSpace, []error{syscall.ENOSPC}
		case C.G_IO_ERROR_READ_ONLY:
			return ErrReadOnly, []error{syscall.EROFS}
		case C.G_IO_ERROR_NOT_SUPPORTED:
			return ErrUnsupported, []error{errors.ErrUnsupported}
		case C.G_IO_ERROR_INVALID_ARGUMENT:
			return ErrInvalidArgument, []error{fs.ErrInvalid}
		case C.G_IO_ERROR_WOULD_BLOCK:
			return ErrWouldBlock, []error{syscall.EAGAIN}
		case C.G_IO_ERROR_CLOSED:
			return ErrClosed, []error{fs.ErrClosed}
		}
	case fileErrorDomain:
		switch e.Code {
		case C.G_FILE_ERROR_NOENT:
			return ErrNotFound, []error{fs.ErrNotExist}
		case C.G_FILE_ERROR_EXIST:
			return ErrExists, []error{fs.ErrExist}
		case C.G_FILE_ERROR_ACCES, C.G_FILE_ERROR_PERM:
			return ErrPermission, []error{fs.ErrPermission}
		case C.G_FILE_ERROR_NOSPC:
			return ErrNoSpace, []error{syscall.ENOSPC}
		case C.G_FILE_ERROR_ROFS:
			return ErrReadOnly, []error{syscall.EROFS}
		}
	case gpgErrorDomain():
		return gpgSentinel(e.Code), nil
	}
	return nil, nil
}
