package container_test

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// recorder collects events and fails if two come at once.
type recorder struct {
	t      testing.TB
	inside atomic.Int32
	mu     sync.Mutex
	events []container.Event
}

func (r *recorder) event(e container.Event) {
	if r.inside.Add(1) != 1 {
		r.t.Error("two events at once")
	}
	time.Sleep(100 * time.Microsecond)
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
	r.inside.Add(-1)
}

func (r *recorder) phases() (text []string) {
	for _, e := range r.events {
		switch e := e.(type) {
		case container.PhaseStarted:
			text = append(text, "+"+string(e.Phase))
		case container.PhaseDone:
			text = append(text, "-"+string(e.Phase))
			if e.Elapsed < 0 || e.Elapsed > time.Minute {
				r.t.Errorf("phase %s took %s", e.Phase, e.Elapsed)
			}
		}
	}
	return text
}

// Every layer is announced and reported as done, its bytes up to the last one; phases come in order; one call at a time.
func TestB15_EveryPhaseIsReported(t *testing.T) {
	layers := plainLayers("a", 6, 20, 300_000)
	layers = append(layers, layers[0]) // the same blob twice is fetched once
	dir := t.TempDir()
	w := ti.Image{Layers: layers}.Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	for _, source := range []string{w.Ref, reg.Ref("os", "latest")} {
		t.Run(strings.SplitN(source, ":", 2)[0], func(t *testing.T) {
			repo, repoDir := newRepo(t, modeHere())
			r := &recorder{t: t}
			state := mustPull(t, repo, source, container.ImporterOptions{Progress: r.event, Jobs: 5})
			wellPulled(t, repoDir, state, layers)
			assert.Equal(t, []string{"+resolve", "-resolve", "+import", "-import", "+merge", "-merge", "+gc", "-gc"}, r.phases())
			started, done, last := map[string]int{}, map[string]int{}, map[string]container.LayerProgress{}
			phase, planned, size := container.Phase(""), 0, int64(0)
			for _, l := range w.Manifest.Layers[:6] {
				size += l.Size
			}
			for _, e := range r.events {
				switch e := e.(type) {
				case container.PhaseStarted:
					phase = e.Phase
				case container.LayersPlanned:
					planned++
					assert.Empty(t, started)
					assert.Len(t, e.Layers, 6)
					assert.Equal(t, []int64{0, 0, size}, []int64{int64(e.Stored), e.StoredBytes, e.Bytes})
				case container.LayerStarted:
					assert.Equal(t, container.PhaseImport, phase)
					d := e.Layer.Descriptor.Digest.String()
					assert.NotContains(t, started, d)
					started[d] = e.N
					assert.Equal(t, len(started), e.N)
					assert.Equal(t, 6, e.Total)
				case container.LayerProgress:
					d := e.Layer.Descriptor.Digest.String()
					assert.Contains(t, started, d)
					assert.NotContains(t, done, d, "bytes after the layer was done")
					assert.Greater(t, e.Done, last[d].Done)
					assert.Equal(t, e.Layer.Descriptor.Size, e.Total)
					last[d] = e
				case container.LayerDone:
					assert.Equal(t, container.PhaseImport, phase)
					d := e.Layer.Descriptor.Digest.String()
					assert.Contains(t, started, d)
					assert.Equal(t, last[d].Total, last[d].Done, "the last bytes were reported")
					done[d] = e.N
					assert.Equal(t, len(done), e.N)
					assert.Equal(t, 6, e.Total)
				}
			}
			assert.Equal(t, 1, planned)
			assert.Len(t, started, 6)
			assert.Len(t, done, 6)
			// Again: nothing to do is a phase too.
			r = &recorder{t: t}
			_, present, err := pull(t, repo, source, container.ImporterOptions{Progress: r.event})
			require.NoError(t, err)
			assert.True(t, present)
			assert.Equal(t, []string{"+resolve", "-resolve"}, r.phases())
			assert.Len(t, r.events, 2)
		})
	}
}

// A layer that has to be fetched again is still announced once and done once.
func TestEventsOfARetry(t *testing.T) {
	layers := plainLayers("a", 3, 5, 2_000_000)
	dir := t.TempDir()
	w := ti.Image{Layers: layers}.Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	bad := w.Manifest.Layers[1].Digest.String()
	reg.SetFault(func(q ti.Request) *ti.Fault {
		if q.Ref == bad && q.HTTP.Method == http.MethodGet && q.N <= 2 {
			return &ti.Fault{Cut: true, Drop: 1_000_000}
		}
		return nil
	})
	repo, repoDir := newRepo(t, modeHere())
	r := &recorder{t: t}
	state := mustPull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{Progress: r.event})
	wellPulled(t, repoDir, state, layers)
	starts, ends := 0, 0
	var last container.LayerProgress
	for _, e := range r.events {
		switch e := e.(type) {
		case container.LayerStarted:
			starts++
		case container.LayerProgress:
			if e.Layer.Descriptor.Digest.String() == bad {
				last = e
			}
		case container.LayerDone:
			ends++
		}
	}
	assert.Equal(t, []int{3, 3}, []int{starts, ends})
	assert.Equal(t, w.Manifest.Layers[1].Size, last.Done)
	assert.Equal(t, last.Total, last.Done)
}

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
