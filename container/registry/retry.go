package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

// Retry says how often something that may pass is tried. It applies to registries:
// other sources give no such errors. A status of 429 is not tried again here:
// containers/image has done that, five times, waiting as Retry-After says (at most
// a minute) or 2, 4, 8 and 16 seconds. A stall is tried again once; that of a mirror
// leads to the next one at once.
type Retry struct {
	// Attempts is the number of tries in all; zero means 4, 1 means no retries. For
	// the body of one layer, this many connections are made at most; those with
	// which containers/image continues a body by itself do not count.
	Attempts int
	// Delay is the time before the second try, doubled for each further one, and
	// varied at random between half and one and a half of that; zero means 500 ms.
	Delay time.Duration
	// MaxDelay is the longest time between tries, before it is varied; zero means 30 seconds.
	MaxDelay time.Duration
}

func (r Retry) defaults() Retry {
	if r.Attempts <= 0 {
		r.Attempts = 4
	}
	if r.Delay <= 0 {
		r.Delay = 500 * time.Millisecond
	}
	if r.MaxDelay <= 0 {
		r.MaxDelay = 30 * time.Second
	}
	return r
}

// budget counts the tries of one operation.
type budget struct {
	Retry
	log    *slog.Logger
	redact *redactor
	what   string
	tries  int // made so far
	stalls int
}

// again waits and returns true if the operation that failed with err is to be tried again.
func (b *budget) again(ctx context.Context, err error) bool {
	b.tries++
	if b.tries >= b.Attempts || ctx.Err() != nil || !temporary(err) || httpStatus(err) == http.StatusTooManyRequests {
		return false
	}
	if errors.Is(err, ErrStalled) {
		if b.stalls++; b.stalls > 1 {
			return false
		}
	}
	delay := min(b.Delay<<min(b.tries-1, 20), b.MaxDelay)
	delay = delay/2 + rand.N(delay)
	text, _ := describe(err, httpStatus(err), b.redact)
	b.log.WarnContext(ctx, "trying again", "what", b.what, "error", text, "attempt", b.tries, "of", b.Attempts, "delay", delay)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// defaultStall is the zero value of Options.StallTimeout.
const defaultStall = 60 * time.Second

// longestPause is how long containers/image sleeps between two requests at most,
// when a registry answers 429.
const longestPause = 60 * time.Second

// watch cancels a context when nothing happens on the network for a while. It
// counts only while it is armed.
type watch struct {
	ctx    context.Context //nolint:containedctx // lives as long as the requests made with it
	cancel context.CancelCauseFunc
	limit  time.Duration // 0: none

	mu    sync.Mutex
	armed bool
	timer *time.Timer
}

// newWatch returns a watch that is not armed yet. The redactor learns what is secret in the requests made with it.
func newWatch(parent context.Context, limit time.Duration, r *redactor) *watch {
	if limit == 0 {
		limit = defaultStall
	}
	w := &watch{limit: max(limit, 0)}
	w.ctx, w.cancel = context.WithCancelCause(r.learn(parent))
	if w.limit == 0 {
		return w
	}
	w.timer = time.AfterFunc(time.Hour, func() {
		w.cancel(fmt.Errorf("%w: nothing received for %s", ErrStalled, w.limit))
	})
	w.timer.Stop()
	// What can be seen of requests that are made deep inside containers/image.
	w.ctx = httptrace.WithClientTrace(w.ctx, &httptrace.ClientTrace{
		GetConn:              func(string) { w.touch(0) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { w.touch(0) },
		GotFirstResponseByte: func() { w.touch(longestPause) },
	})
	return w
}

// arm starts counting.
func (w *watch) arm() {
	if w.timer == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = true
	w.timer.Reset(w.limit)
}

func (w *watch) disarm() {
	if w.timer == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	w.timer.Stop()
}

func (w *watch) touch(extra time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed {
		w.timer.Reset(w.limit + extra)
	}
}

// close ends everything that was started with the context.
func (w *watch) close() {
	w.disarm()
	w.cancel(context.Canceled)
}

// cause returns err, or why the context was cancelled if that is the reason.
func (w *watch) cause(err error) error {
	if err == nil || w.ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(w.ctx); errors.Is(cause, ErrStalled) {
		return cause // err says "context canceled", which it was not for the caller
	}
	return err
}
