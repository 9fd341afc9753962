package ocidir

// SetFsync replaces fsync(2), for tests that do not run in parallel.
func SetFsync(f func(fd int) error) (restore func()) {
	old := fsync
	fsync = f
	return func() { fsync = old }
}
