// Package ostree binds libostree.
//
// The types are libostree's: a Repo holds objects and refs, a Transaction writes to it,
// a Sysroot has Deployments of commits. Each method names the C function that it stands for.
//
// # Ownership
//
// Repo, Sysroot, SePolicy, File and RepoLock hold descriptors or locks and are to be closed; a
// Transaction is to be committed or aborted. Everything else is freed with the Go value. Close may be called
// twice, and while other goroutines use the value: it takes effect when their calls have returned. After it
// methods return ErrClosed. Results are copies: nothing returned points into C memory.
//
// # Threads
//
// Each type says what may be called at once. In short: reading a Repo, and writing objects and refs inside one open
// Transaction, and asking an SePolicy, is safe from several goroutines; Begin, Commit and Abort, a Sysroot and
// a MutableTree are for one goroutine at a time.
//
// # Context
//
// A context that can be cancelled is tied to a GCancellable during the call, and the error then wraps
// context.Cause(ctx). Calls on a single small object look at it before they start only.
//
// # Errors
//
// Errors of libostree are *Error and match the sentinels of this package and of io/fs with errors.Is:
// errors.Is(err, ostree.ErrNotFound) and errors.Is(err, fs.ErrNotExist) both hold for a ref that is not there.
//
// # Versions
//
// It compiles with libostree 2022.7 or newer. Newer functions are looked up at run time; where they are missing
// methods return an error matching ErrUnsupported, and Supports answers beforehand.
//
// # Caveats
//
// libostree aborts the process on some programming errors; arguments are checked here before it can. Paths and
// names must not contain NUL.
package ostree
