package ocidir

import (
	"errors"
	"os"
)

// TempParent is where temporary layouts go: images are too large for a /tmp in memory.
const TempParent = "/var/tmp"

// TempDir is $TMPDIR or TempParent.
func TempDir() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	return TempParent
}

// Temp makes a layout in a private directory below $TMPDIR or /var/tmp. Remove it with Remove, also when the process is told to
// end.
func Temp() (*Dir, error) {
	path, err := os.MkdirTemp(TempDir(), "ostree-container-") // mode 0700
	if err != nil {
		return nil, err
	}
	d, err := Create(path, &Options{NoSync: true})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return d, nil
}

// Remove closes the layout and deletes it with all it holds.
func (d *Dir) Remove() error {
	return errors.Join(d.Close(), os.RemoveAll(d.path))
}
