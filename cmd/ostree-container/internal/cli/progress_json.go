package cli

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
)

// progressVersion is the version of the JSON lines, which are those of bootc's --progress-fd.
const progressVersion = "0.1.0"

// progressInterval is at least how long lies between two lines that only count bytes.
const progressInterval = 200 * time.Millisecond

type startLine struct {
	Type    string `json:"type"` // Start
	Version string `json:"version"`
}

type bytesLine struct {
	Type        string         `json:"type"` // ProgressBytes
	Task        string         `json:"task"`
	Description string         `json:"description"`
	ID          string         `json:"id"`
	BytesCached int64          `json:"bytesCached"`
	Bytes       int64          `json:"bytes"`
	BytesTotal  int64          `json:"bytesTotal"` // 0: unknown
	StepsCached int            `json:"stepsCached"`
	Steps       int            `json:"steps"`
	StepsTotal  int            `json:"stepsTotal"`
	Subtasks    []bytesSubtask `json:"subtasks"`
}

type bytesSubtask struct {
	Subtask     string `json:"subtask"`
	Description string `json:"description"`
	ID          string `json:"id"`
	BytesCached int64  `json:"bytesCached"`
	Bytes       int64  `json:"bytes"`
	BytesTotal  int64  `json:"bytesTotal"`
}

type stepsLine struct {
	Type        string        `json:"type"` // ProgressSteps
	Task        string        `json:"task"`
	Description string        `json:"description"`
	ID          string        `json:"id"`
	StepsCached int           `json:"stepsCached"`
	Steps       int           `json:"steps"`
	StepsTotal  int           `json:"stepsTotal"`
	Subtasks    []stepSubtask `json:"subtasks"`
}

type stepSubtask struct {
	Subtask     string `json:"subtask"`
	Description string `json:"description"`
	ID          string `json:"id"`
	Completed   bool   `json:"completed"`
}

// jsonProgress writes a line for each start and end, and at most five a second for bytes. In a line about bytes the
// subtasks are the layers that are under way or have just ended.
type jsonProgress struct {
	a      *app
	id     string // the image
	sum    bytesLine
	active []digest.Digest
	layers map[digest.Digest]*bytesSubtask
	done   int64 // bytes of finished layers
	last   time.Time
}

func newJSONProgress(a *app, ref imageref.OSTreeImageReference) *jsonProgress {
	p := &jsonProgress{a: a, id: ref.String(), layers: map[digest.Digest]*bytesSubtask{}}
	p.sum = bytesLine{Type: "ProgressBytes", Task: "pulling", Description: "Pulling Image: " + ref.Short(), ID: p.id}
	_ = a.printJSONLine(startLine{Type: "Start", Version: progressVersion})
	return p
}

func (p *jsonProgress) stop() {}

func (p *jsonProgress) event(e container.Event) {
	switch e := e.(type) {
	case container.LayersPlanned:
		p.sum.StepsCached, p.sum.StepsTotal = e.Stored, len(e.Layers)
		p.sum.BytesCached, p.sum.BytesTotal = e.StoredBytes, e.Bytes
	case container.LayerStarted:
		d := e.Layer.Descriptor.Digest
		subtask := "layer"
		if e.Layer.Kind != container.LayerDerived {
			subtask = "ostree_chunk"
		}
		p.layers[d] = &bytesSubtask{
			Subtask: subtask, Description: layerName(e.Layer), ID: d.String(), BytesTotal: max(e.Layer.Descriptor.Size, 0),
		}
		p.active = append(p.active, d)
		p.sum.StepsTotal = e.Total
		p.print()
	case container.LayerProgress:
		if l := p.layers[e.Layer.Descriptor.Digest]; l != nil {
			l.Bytes, l.BytesTotal = e.Done, max(e.Total, 0)
		}
		if time.Since(p.last) >= progressInterval {
			p.print()
		}
	case container.LayerDone:
		d := e.Layer.Descriptor.Digest
		p.sum.Steps, p.sum.StepsTotal = e.N, e.Total
		if l := p.layers[d]; l != nil {
			l.BytesTotal = max(l.BytesTotal, l.Bytes)
			l.Bytes = l.BytesTotal
			p.print()
			p.done += l.Bytes
			delete(p.layers, d)
		}
		for i := range p.active {
			if p.active[i] == d {
				p.active = append(p.active[:i:i], p.active[i+1:]...)
				break
			}
		}
	case container.PhaseStarted:
		p.phase(e.Phase, false)
	case container.PhaseDone:
		p.phase(e.Phase, true)
	}
}

func (p *jsonProgress) print() {
	line := p.sum
	line.Bytes = p.done
	line.Subtasks = make([]bytesSubtask, 0, len(p.active))
	for _, d := range p.active {
		l := *p.layers[d]
		line.Bytes += l.Bytes
		line.Subtasks = append(line.Subtasks, l)
	}
	_ = p.a.printJSONLine(line)
	p.last = time.Now()
}

// phase prints the start or end of what is counted in steps.
func (p *jsonProgress) phase(phase container.Phase, completed bool) {
	line := stepsLine{Type: "ProgressSteps", ID: p.id, StepsTotal: 1}
	switch phase {
	case container.PhaseImport: // its layers are told one by one
		return
	case container.PhaseDeploy, container.PhaseCleanup:
		line.Task, line.Description = "staging", "Deploying Image"
	case container.PhaseResolve:
		line.Task, line.Description = "resolving", "Fetching manifest"
	default:
		line.Task, line.Description = "importing", "Importing Image"
	}
	if completed {
		line.Steps = 1
	}
	line.Subtasks = []stepSubtask{{Subtask: string(phase), Description: phaseText(phase), ID: string(phase), Completed: completed}}
	_ = p.a.printJSONLine(line)
}
