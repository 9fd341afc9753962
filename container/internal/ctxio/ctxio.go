// Package ctxio makes reading obey a context.
package ctxio

import (
	"context"
	"io"
)

// Reader stops, with the cause, when its context does: a source may go on for ever without anything else noticing.
type Reader struct {
	ctx context.Context //nolint:containedctx // lives as long as one copy
	r   io.Reader
}

// NewReader returns a Reader of r, which lives no longer than ctx.
func NewReader(ctx context.Context, r io.Reader) Reader { return Reader{ctx, r} }

// Read implements io.Reader. A Read of the source that blocks is not ended.
func (c Reader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
