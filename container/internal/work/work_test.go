package work_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/work"
)

func TestGroup(t *testing.T) {
	pool := work.NewPool(3)
	defer pool.Close()
	var n atomic.Int64
	g := work.NewGroup(t.Context(), pool)
	for range 1000 {
		require.NoError(t, g.Do(func() error { n.Add(1); return nil }))
	}
	g.Settle()
	assert.EqualValues(t, 1000, n.Load())
	require.NoError(t, g.Do(func() error { n.Add(1); return nil }), "after Settle it goes on")
	require.NoError(t, g.Wait())
	assert.EqualValues(t, 1001, n.Load())
	g.Cancel(nil)
}

// The first error stops its own group and no other, and Wait returns it.
func TestFirstErrorStopsItsGroupOnly(t *testing.T) {
	boom := errors.New("boom")
	pool := work.NewPool(2)
	defer pool.Close()
	bad, good := work.NewGroup(t.Context(), pool), work.NewGroup(t.Context(), pool)
	defer bad.Cancel(nil)
	defer good.Cancel(nil)
	require.NoError(t, bad.Do(func() error { return boom }))
	<-bad.Ctx.Done()
	ran := false
	_ = bad.Do(func() error { ran = true; return errors.New("later") }) // may be queued, but is not run
	require.ErrorIs(t, bad.Wait(), boom)
	assert.False(t, ran)
	require.NoError(t, good.Do(func() error { return nil }))
	require.NoError(t, good.Wait())
}

// Do waits for room in the queue, and no longer than its context lasts.
func TestDoObeysItsContext(t *testing.T) {
	pool := work.NewPool(1)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	g := work.NewGroup(ctx, pool)
	release := make(chan struct{})
	started := make(chan struct{})
	require.NoError(t, g.Do(func() error { close(started); <-release; return nil }))
	<-started
	stopped := errors.New("stopped")
	queued := 0
	var err error
	for ; queued < 10_000; queued++ {
		if queued == 20 {
			go cancel(stopped)
		}
		if err = g.Do(func() error { return nil }); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, stopped)
	assert.Less(t, queued, 10_000)
	close(release)
	require.ErrorIs(t, g.Wait(), stopped)
	pool.Close()
}

func TestBuffer(t *testing.T) {
	for _, n := range []int64{0, 1, 4 << 10, 4<<10 + 1, 32 << 10, 32<<10 + 1, work.SmallFile} {
		b, release := work.Buffer(n)
		assert.Len(t, b, int(n))
		release()
	}
}
