package cli

import (
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/ostree-container/ostree-container/container"
)

const (
	refreshInterval = 150 * time.Millisecond
	rateAge         = 30 // samples that the moving average of a rate looks back
)

// termProgress draws a bar for each layer under way, one for all of them, and a line with a spinner for other phases.
// Bars vanish when they are done; lines written to the console meanwhile appear above.
type termProgress struct {
	console *console
	bars    *mpb.Progress
	once    sync.Once

	layers map[digest.Digest]*layerBar
	phases map[container.Phase]*mpb.Bar
	total  *mpb.Bar // all layers; nil before the first
	last   time.Time
	began  time.Time

	mu            sync.Mutex // guards what bars read while they are drawn
	steps, wanted int        // layers done, to fetch
	planned       int64      // bytes to fetch, 0 if unknown
	done          int64      // bytes of finished layers
}

type layerBar struct {
	bar  *mpb.Bar
	done int64
	last time.Time
}

func newTermProgress(c *console) *termProgress {
	p := &termProgress{
		console: c,
		bars:    mpb.New(mpb.WithOutput(c.w), mpb.WithRefreshRate(refreshInterval), mpb.WithAutoRefresh()),
		layers:  map[digest.Digest]*layerBar{},
		phases:  map[container.Phase]*mpb.Bar{},
	}
	c.setAbove(p.bars)
	return p
}

func (p *termProgress) plan(prepared *container.PreparedImport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.planned, p.wanted = prepared.FetchSize(), len(prepared.LayersToFetch())
}

func (p *termProgress) event(e container.Event) {
	switch e := e.(type) {
	case container.LayerStarted:
		p.startTotal(e.Total)
		p.startLayer(e)
	case container.LayerProgress:
		p.advance(e)
	case container.LayerDone:
		p.finishLayer(e)
	case container.PhaseStarted:
		if text := phaseText(e.Phase); text != "" {
			p.phases[e.Phase] = p.spinner(text)
		}
	case container.PhaseDone:
		if bar := p.phases[e.Phase]; bar != nil {
			bar.SetTotal(-1, true)
			delete(p.phases, e.Phase)
		}
		if e.Phase == container.PhaseImport {
			p.finishTotal(e.Elapsed)
		}
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
			p.total.Abort(true)
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

// A bar is made without a total, which is set at once: otherwise it would count as complete, and vanish, with the last
// byte, before the layer is imported.
func (p *termProgress) startLayer(e container.LayerStarted) {
	bar := p.bars.New(0, mpb.BarStyle(), mpb.BarRemoveOnComplete(), mpb.BarPriority(e.Layer.Index),
		mpb.PrependDecorators(decor.Name(layerName(e.Layer), decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.Any(func(s decor.Statistics) string {
				if s.Total <= 0 {
					return formatCount(s.Current)
				}
				return formatCount(s.Current) + " / " + formatCount(s.Total)
			}, decor.WCSyncSpace),
			decor.EwmaSpeed(decor.SizeB1000(0), "% .1f", rateAge, decor.WCSyncSpace),
			decor.EwmaETA(decor.ET_STYLE_MMSS, rateAge, decor.WCSyncSpace),
		))
	bar.SetTotal(max(e.Layer.Descriptor.Size, 1), false)
	p.layers[e.Layer.Descriptor.Digest] = &layerBar{bar: bar, last: time.Now()}
}

func (p *termProgress) startTotal(layers int) {
	p.mu.Lock()
	p.wanted = layers
	planned := p.planned
	p.mu.Unlock()
	if p.total != nil {
		return
	}
	p.began, p.last = time.Now(), time.Now()
	p.total = p.bars.New(0, mpb.BarStyle(), mpb.BarRemoveOnComplete(), mpb.BarPriority(1<<30), // below the layers
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
			p.mu.Lock()
			defer p.mu.Unlock()
			return fmt.Sprintf("%d of %d layers", p.steps, p.wanted)
		}, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.Any(func(s decor.Statistics) string {
				if planned == 0 {
					return formatCount(s.Current)
				}
				return formatCount(s.Current) + " / " + formatCount(planned)
			}, decor.WCSyncSpace),
			decor.EwmaSpeed(decor.SizeB1000(0), "% .1f", rateAge, decor.WCSyncSpace),
			decor.OnCondition(decor.EwmaETA(decor.ET_STYLE_MMSS, rateAge, decor.WCSyncSpace), planned > 0),
		))
	if planned > 0 {
		p.total.SetTotal(planned, false)
	}
}

func (p *termProgress) advance(e container.LayerProgress) {
	l := p.layers[e.Layer.Descriptor.Digest]
	if l == nil {
		return
	}
	now := time.Now()
	l.bar.EwmaSetCurrent(e.Done, now.Sub(l.last))
	l.done, l.last = e.Done, now
	sum := p.done
	for _, l := range p.layers {
		sum += l.done
	}
	p.total.EwmaSetCurrent(sum, now.Sub(p.last))
	p.last = now
}

func (p *termProgress) finishLayer(e container.LayerDone) {
	p.mu.Lock()
	p.steps = e.N
	p.mu.Unlock()
	l := p.layers[e.Layer.Descriptor.Digest]
	if l == nil {
		return
	}
	p.done += l.done
	l.bar.SetTotal(-1, true)
	delete(p.layers, e.Layer.Descriptor.Digest)
}

func (p *termProgress) finishTotal(elapsed time.Duration) {
	if p.total == nil {
		return
	}
	p.total.SetTotal(-1, true)
	p.total = nil
	rate := ""
	if elapsed > 0 {
		rate = fmt.Sprintf(" (%s/s)", formatCount(int64(float64(p.done)/elapsed.Seconds())))
	}
	fmt.Fprintf(p.console, "Fetched layers: %s in %s%s\n", formatCount(p.done), elapsed.Round(100*time.Millisecond), rate)
}
