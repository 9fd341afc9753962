package registry

import (
	"context"

	"github.com/containers/image/v5/types"
)

// maxRenewals is how many tokens a blob may use up. containers/image gets a new one when the old one's time is over by its own
// clock; a registry that takes a token for a shorter time, or for a number of requests, answers 401 in the middle of a pull.
const maxRenewals = 8

// renewals counts new tokens: one for each failure, until a connection worked.
type renewals struct {
	n      int
	failed bool // the last one was of no use
}

func (r *renewals) allow() bool {
	if r.failed || r.n == maxRenewals {
		return false
	}
	r.n++
	r.failed = true
	return true
}

func (r *renewals) worked() { r.failed = false }

// source is where blobs are fetched from at the moment.
func (i *Image) source() types.ImageSource {
	i.sources.Lock()
	defer i.sources.Unlock()
	return i.src
}

// renew replaces the source old, if it still is the one in use, by one that asks for a token of its own.
func (i *Image) renew(ctx context.Context, old types.ImageSource) error {
	i.sources.Lock()
	defer i.sources.Unlock()
	if i.reopen == nil {
		return ErrUnauthorized
	}
	if i.src != old {
		return nil
	}
	return i.replace(ctx, i.reopen)
}

// replace opens another source and takes blobs from there. The caller holds i.sources.
func (i *Image) replace(ctx context.Context, open func(context.Context) (types.ImageSource, error)) error {
	w := newWatch(ctx, i.stall, i.redact)
	defer w.close()
	w.arm()
	src, err := open(w.ctx)
	if err != nil { // src may then hold a nil pointer, which is not nil
		return err
	}
	i.spent = append(i.spent, i.src) // blobs may be under way
	i.src = src
	return nil
}
