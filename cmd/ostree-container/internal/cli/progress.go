package cli

import (
	"fmt"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
)

// progress shows how an import gets on. Calls come one at a time.
type progress interface {
	event(e container.Event)
	// stop ends the display; nothing may follow but another stop.
	stop()
}

// newProgress returns bars on a terminal, lines elsewhere, JSON lines on standard output for --format json, and
// nothing for --quiet.
func (a *app) newProgress(ref imageref.OSTreeImageReference, quiet bool, as format) progress {
	switch {
	case quiet:
		return silent{}
	case as == formatJSON:
		return newJSONProgress(a, ref)
	case isTerminal(a.err.w):
		return newTermProgress(a.err)
	default:
		return &plainProgress{a: a}
	}
}

type silent struct{}

func (silent) event(container.Event) {}
func (silent) stop()                 {}

// plainProgress prints a line at each start and end.
type plainProgress struct{ a *app }

func (p *plainProgress) stop() {}

func (p *plainProgress) event(e container.Event) {
	switch e := e.(type) {
	case container.LayerStarted:
		fmt.Fprintf(p.a.err, "Fetching %s (%s)\n", layerName(e.Layer), formatCount(e.Layer.Descriptor.Size))
	case container.LayerDone:
		fmt.Fprintf(p.a.err, "Fetched %s\n", layerName(e.Layer))
	case container.PhaseStarted:
		if text := phaseText(e.Phase); text != "" && e.Phase != container.PhaseResolve {
			fmt.Fprintln(p.a.err, text)
		}
	}
}

// layerName is what the reference calls a layer in its messages.
func layerName(l container.LayerState) string {
	return fmt.Sprintf("%s %s", l.Kind, shortDigest(l.Descriptor.Digest.String()))
}

// phaseText is the message of a phase, empty if its own events say enough.
func phaseText(p container.Phase) string {
	switch p {
	case container.PhaseResolve:
		return "Fetching manifest"
	case container.PhaseImport:
		return ""
	case container.PhaseMerge:
		return "Merging layers"
	case container.PhaseRelabel:
		return "Setting SELinux labels"
	case container.PhaseGC:
		return "Removing unused layers"
	case container.PhaseDeploy:
		return "Deploying"
	case container.PhaseCleanup:
		return "Cleaning up"
	case container.PhaseCopy:
		return "Copying objects"
	case container.PhaseExport:
		return "Writing layers"
	case container.PhasePush:
		return "Writing image"
	}
	return string(p)
}
