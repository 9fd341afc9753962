package container

import (
	"sync"
	"time"
)

// Phase is a part of the work that may take long.
type Phase string

// Phases, in the order in which they come.
const (
	PhaseResolve Phase = "resolve" // manifest, config, what is here already
	PhaseImport  Phase = "import"  // layers
	PhaseMerge   Phase = "merge"   // one tree over all layers
	PhaseRelabel Phase = "relabel" // SELinux labels of the merged tree
	PhaseGC      Phase = "gc"      // layers that nothing references
	PhaseDeploy  Phase = "deploy"  // checkout and boot entry
	PhaseCleanup Phase = "cleanup" // old deployments
)

// Event is one of PhaseStarted, PhaseDone, LayersPlanned, LayerStarted, LayerProgress, LayerDone and
// LayerWritten.
type Event interface{ event() }

// PhaseStarted says that a phase begins.
type PhaseStarted struct{ Phase Phase }

// PhaseDone says that a phase went well. One that failed, or was cancelled, has none.
type PhaseDone struct {
	Phase   Phase
	Elapsed time.Duration
}

// LayersPlanned says, once and before the first layer starts, what Import is going to fetch.
type LayersPlanned struct {
	Layers      []LayerState // to be fetched, each blob once
	Stored      int          // layers that are in the repository
	StoredBytes int64        // size of their blobs
	Bytes       int64        // size of the blobs to fetch
}

// LayerStarted says that a layer is being fetched and imported. Several layers are under way at once.
type LayerStarted struct {
	Layer LayerState
	N     int // 1 is the first to start
	Total int // layers to fetch
}

// LayerProgress counts bytes of a layer's blob. These events may be dropped; the last one, Done == Total, never is.
type LayerProgress struct {
	Layer LayerState
	Done  int64 // bytes read; of a layer that its source keeps decompressed, in proportion to Total
	Total int64 // bytes in all, -1 if unknown
}

// LayerDone says that a layer is in the repository, verified and durable.
type LayerDone struct {
	Layer          LayerState
	N, Total       int // how many are done, of how many
	ObjectsWritten int64
}

// LayerWritten says that Encapsulate has written a layer of the image.
type LayerWritten struct {
	N, Total int    // how many are written, of how many
	Name     string // what is in it
	Size     int64  // bytes, compressed
}

func (PhaseStarted) event()  {}
func (PhaseDone) event()     {}
func (LayersPlanned) event() {}
func (LayerStarted) event()  {}
func (LayerProgress) event() {}
func (LayerDone) event()     {}
func (LayerWritten) event()  {}

// progress calls a function with one event at a time.
type progress struct {
	mu   sync.Mutex
	emit func(Event)
}

func (p *progress) send(e Event) {
	if p == nil || p.emit == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.emit(e)
}

// phase announces a phase and returns what is to be called when it went well.
func (p *progress) phase(name Phase) func() {
	start := time.Now()
	p.send(PhaseStarted{Phase: name})
	return func() { p.send(PhaseDone{Phase: name, Elapsed: time.Since(start)}) }
}

// progressInterval is at most how often the bytes of one layer are reported.
const progressInterval = 100 * time.Millisecond

// byteCounter reports the bytes of one layer.
type byteCounter struct {
	progress *progress
	layer    LayerState
	size     int64 // of what is read, in bytes, -1 if unknown: not Descriptor.Size where the source keeps layers decompressed
	read     int64
	last     time.Time
}

func (c *byteCounter) add(n int) {
	c.read += int64(n)
	if now := time.Now(); now.Sub(c.last) >= progressInterval || c.read == c.size {
		c.last = now
		done, total := c.done(), c.layer.Descriptor.Size
		if total <= 0 {
			total = -1
		}
		c.progress.send(LayerProgress{Layer: c.layer, Done: done, Total: total})
	}
}

// done is how much of Descriptor.Size was read, in proportion where something else is read.
func (c *byteCounter) done() int64 {
	total := c.layer.Descriptor.Size
	switch {
	case c.size == total || total <= 0:
		return c.read
	case c.size <= 0:
		return min(c.read, total)
	case c.read >= c.size:
		return total
	}
	return int64(float64(total) * float64(c.read) / float64(c.size))
}
