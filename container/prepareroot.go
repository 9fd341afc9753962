package container

import (
	"context"
	"errors"
	"io"

	"github.com/ostree-container/ostree-container/container/internal/union"
	"github.com/ostree-container/ostree-container/keyfile"
)

// maxConfigFile is the largest prepare-root.conf that is read, in bytes.
const maxConfigFile = 1 << 20

// overlayRoot reports whether a host with this tree has a root that can hold any directory: prepare-root.conf asks for composefs or
// for a transient root. A value that cannot be understood counts as no.
func (i *Importer) overlayRoot(ctx context.Context, t *union.Tree) (bool, error) {
	sum, ok, err := t.File(ctx, "usr/lib/ostree", "prepare-root.conf")
	if err != nil || !ok {
		return false, err
	}
	f, err := i.repo.LoadFile(ctx, sum.String())
	if err != nil {
		return false, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfigFile))
	if err := errors.Join(err, f.Close()); err != nil {
		return false, err
	}
	config, err := keyfile.Parse(text)
	if err != nil {
		i.opts.Logger.Warn("prepare-root.conf of the base is not understood", "error", err)
		return false, nil
	}
	if transient, err := config.Bool("root", "transient"); err == nil && transient {
		return true, nil
	}
	mode, err := config.String("composefs", "enabled")
	if err != nil {
		return false, nil //nolint:nilerr // not set
	}
	switch mode {
	case "signed", "verity", "maybe", "yes", "true", "1":
		return true, nil
	}
	return false, nil
}
