package cli

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/ostree-container/ostree-container/container"
)

const (
	refreshInterval = 150 * time.Millisecond
	rateMemory      = 5 * time.Second // how far a rate looks back
)

// termProgress draws a bar for each layer under way, one for all of them, and a line with a spinner for other phases.
// Bars vanish when they are done; lines written to the console meanwhile appear above.
type termProgress struct {
	console *console
	bars    *mpb.Progress
	once    sync.Once

	layers map[digest.Digest]*rateBar
	phases map[container.Phase]*mpb.Bar
	total  *rateBar // all layers; nil before the first, and if there is only one
	done   int64    // bytes of finished layers

	mu      sync.Mutex // guards what is read while bars are drawn
	steps   int        // layers done
	wanted  int        // layers to fetch
	planned int64      // bytes to fetch, 0 if unknown
}

func newTermProgress(c *console) *termProgress {
	p := &termProgress{
		console: c,
		bars:    mpb.New(mpb.WithOutput(c.w), mpb.WithRefreshRate(refreshInterval), mpb.WithAutoRefresh()),
		layers:  map[digest.Digest]*rateBar{},
		phases:  map[container.Phase]*mpb.Bar{},
	}
	c.setAbove(p.bars)
	return p
}

func (p *termProgress) event(e container.Event) {
	switch e := e.(type) {
	case container.LayersPlanned:
		p.planned = e.Bytes
	case container.LayerStarted:
		p.startLayer(e)
	case container.LayerProgress:
		p.advance(e)
	case container.LayerDone:
		p.finishLayer(e)
	case container.PhaseStarted:
		p.endPhases() // of one that failed there is no end
		if text := phaseText(e.Phase); text != "" {
			p.phases[e.Phase] = p.spinner(text)
		}
	case container.PhaseDone:
		p.endPhases()
		if e.Phase == container.PhaseImport && p.done > 0 {
			p.finishAll(e.Elapsed)
		}
	}
}

// endPhases removes the spinner of the phase that was under way.
func (p *termProgress) endPhases() {
	for phase, bar := range p.phases {
		bar.SetTotal(-1, true)
		delete(p.phases, phase)
	}
}

// stop removes the bars that are left and gives the console back.
func (p *termProgress) stop() {
	p.once.Do(func() {
		for _, l := range p.layers {
			l.bar.Abort(true)
		}
		for _, bar := range p.phases {
			bar.Abort(true)
		}
		if p.total != nil {
			p.total.bar.Abort(true)
		}
		p.bars.Wait()
		p.console.setAbove(nil)
	})
}

func (p *termProgress) spinner(text string) *mpb.Bar {
	return p.bars.New(0, mpb.NopStyle(), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(
			decor.Spinner([]string{"-", "\\", "|", "/"}),
			decor.Name(" "+text+" "),
			decor.Elapsed(decor.ET_STYLE_MMSS),
		))
}

func (p *termProgress) startLayer(e container.LayerStarted) {
	p.mu.Lock()
	p.wanted = e.Total
	p.mu.Unlock()
	if p.total == nil && e.Total > 1 {
		p.total = newRateBar(p.bars, math.MaxInt, p.planned, func(decor.Statistics) string { // below the layers
			p.mu.Lock()
			defer p.mu.Unlock()
			return fmt.Sprintf("%d of %d layers", p.steps, p.wanted)
		})
	}
	name := layerName(e.Layer)
	p.layers[e.Layer.Descriptor.Digest] = newRateBar(p.bars, e.Layer.Index, e.Layer.Descriptor.Size, func(decor.Statistics) string { return name })
}

func (p *termProgress) advance(e container.LayerProgress) {
	l := p.layers[e.Layer.Descriptor.Digest]
	if l == nil {
		return
	}
	now := time.Now()
	l.set(e.Done, now)
	if p.total == nil {
		return
	}
	sum := p.done
	for _, l := range p.layers {
		sum += l.done
	}
	p.total.set(sum, now)
}

func (p *termProgress) finishLayer(e container.LayerDone) {
	p.mu.Lock()
	p.steps = e.N
	p.mu.Unlock()
	if l := p.layers[e.Layer.Descriptor.Digest]; l != nil {
		p.done += l.done
		l.bar.SetTotal(-1, true)
		delete(p.layers, e.Layer.Descriptor.Digest)
	}
}

func (p *termProgress) finishAll(elapsed time.Duration) {
	if p.total != nil {
		p.total.bar.SetTotal(-1, true)
		p.total = nil
	}
	rate := float64(p.done) / max(elapsed, time.Millisecond).Seconds()
	fmt.Fprintf(p.console, "Fetched layers: %s in %s (%s/s)\n",
		formatCount(p.done), elapsed.Round(100*time.Millisecond), formatCount(int64(rate)))
}

// rateBar is a bar that counts bytes, with their rate and the time left.
type rateBar struct {
	bar  *mpb.Bar
	done int64

	mu   sync.Mutex
	last time.Time
	rate float64 // bytes a second; the past weighs less the longer ago it is
}

// newRateBar makes a bar for total bytes; 0 or less is unknown. The bar of the lowest priority is on top.
func newRateBar(bars *mpb.Progress, priority int, total int64, name decor.DecorFunc) *rateBar {
	b := &rateBar{last: time.Now()}
	// A bar that is made with a total counts as complete, and vanishes, with the last byte, before the layer is imported.
	b.bar = bars.New(0, mpb.BarStyle(), mpb.BarRemoveOnComplete(), mpb.BarPriority(priority),
		mpb.PrependDecorators(decor.Any(name, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.Any(func(s decor.Statistics) string {
				if total <= 0 {
					return formatCount(s.Current)
				}
				return formatCount(s.Current) + " / " + formatCount(total)
			}, decor.WCSyncSpace),
			decor.Any(func(decor.Statistics) string { return formatCount(int64(b.current())) + "/s" }, decor.WCSyncSpace),
			decor.Any(func(s decor.Statistics) string { return timeLeft(total-s.Current, b.current()) }, decor.WCSyncSpace),
		))
	if total > 0 {
		b.bar.SetTotal(total, false)
	}
	return b
}

// set says that done bytes are through at the given time. A layer that is fetched again begins at 0.
func (b *rateBar) set(done int64, now time.Time) {
	b.mu.Lock()
	dt := now.Sub(b.last).Seconds()
	if dt > 0 && done >= b.done {
		weight := 1 - math.Exp(-dt/rateMemory.Seconds())
		if b.rate == 0 {
			weight = 1
		}
		b.rate += weight * (float64(done-b.done)/dt - b.rate)
	}
	b.last = now
	b.mu.Unlock()
	b.done = done
	b.bar.SetCurrent(done)
}

func (b *rateBar) current() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rate
}

// timeLeft is how long bytes take at a rate, as MM:SS or H:MM:SS.
func timeLeft(bytes int64, rate float64) string {
	if bytes < 0 || rate <= 0 {
		return "--:--"
	}
	seconds := float64(bytes) / rate
	if seconds >= 100*3600 {
		return "--:--"
	}
	s := int(seconds + 0.5)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}
