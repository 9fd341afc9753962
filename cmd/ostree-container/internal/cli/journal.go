package cli

import (
	"context"
	"os"
	"strconv"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/host"
	"github.com/ostree-container/ostree-container/container/journal"
	"github.com/ostree-container/ostree-container/ostree"
)

// The MESSAGE_IDs of entries in the journal; docs/host.md lists them.
const (
	journalPulled    = "ff5efa1e345e41dcb451b8e839952b3c"
	journalDeployed  = "29154e769f7c4bf7bee29e56e48ba804"
	journalUnlocked  = "c2e35821d1224352ac9e4be7b0bbcaef"
	journalBootOrder = "8703ec8274de429a9d2a49d764b0bed9"
	journalUndeploy  = "24d927dd4d0345cabcd5e09ea84513c5"
	journalPruned    = "ef2f3caba46740cc87a7bf69dd2f7b1f"
)

// record is what an entry in the journal says.
type record struct {
	id, verb, message                                  string
	image, digest, version, commit, stateroot, outcome string
	images, layers, objects, blobs                     int // that were removed
	bytes                                              uint64
	discarded                                          *host.Change
	failure                                            error // of what came after; nil: none
}

// journal notes in the journal of the host what was done to its own repository. Elsewhere it does nothing. The work is done by then:
// a journal that does not take it is a warning.
func (a *app) journal(ctx context.Context, repo string, r *record) {
	if !isSystemRepo(repo) {
		return
	}
	if _, err := os.Stat(journal.Socket); err != nil {
		return // there is none
	}
	count := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	e := &journal.Entry{ID: r.id, Message: oneLine(r.message), Priority: journal.Info}
	var discarded host.Change
	if r.discarded != nil {
		discarded = *r.discarded
		e.Message += "; discarded: " + changeText(discarded)
	}
	reason := ""
	if r.failure != nil {
		reason = oneLine(r.failure.Error())
		e.Message, e.Priority = e.Message+"; failed: "+reason, journal.Warning
	}
	for _, f := range [][2]string{
		{"VERB", r.verb}, {"IMAGE", r.image}, {"DIGEST", r.digest}, {"VERSION", r.version}, {"COMMIT", r.commit}, {"STATEROOT", r.stateroot}, {"OUTCOME", r.outcome},
		{"REMOVED_IMAGES", count(uint64(r.images))}, {"REMOVED_LAYERS", count(uint64(r.layers))}, {"REMOVED_OBJECTS", count(uint64(r.objects))},
		{"REMOVED_BLOBS", count(uint64(r.blobs))}, {"FREED_BYTES", count(r.bytes)}, {"DISCARDED_COMMIT", discarded.Checksum}, {"DISCARDED_IMAGE", discarded.Image}, {"ERROR", reason},
	} {
		e.Fields = append(e.Fields, journal.Field{Name: "OSTREE_CONTAINER_" + f[0], Value: f[1]})
	}
	if err := journal.Send(context.WithoutCancel(ctx), journal.Socket, e); err != nil {
		a.warn("%v", err)
	}
}

func (r *record) of(state *container.LayeredImageState) *record {
	r.digest, r.version, r.commit = state.ManifestDigest.String(), state.Version(), state.MergeCommit
	return r
}

func (a *app) journalUpgrade(ctx context.Context, sysroot *ostree.Sysroot, verb string, up *host.Upgraded, failure error) {
	r := &record{id: journalDeployed, verb: verb, image: up.Image.String(), stateroot: up.Stateroot, outcome: string(up.Outcome), failure: failure}
	switch {
	case up.Outcome == host.Unchanged || up.Outcome == host.AlreadyStaged && !up.LockChanged:
		return
	case up.Outcome == host.AlreadyStaged && !up.Locked:
		r.id, r.outcome, r.message = journalUnlocked, "unlocked", "Will be applied at shutdown: "+r.image
	case up.Locked:
		r.outcome, r.message = "locked", "Staged, not applied at shutdown: "+r.image
	case up.Outcome == host.Staged:
		r.message = "Staged " + r.image
	default:
		r.message = "Deployed " + r.image
	}
	a.journal(ctx, repoOf(sysroot), r.of(up.State))
}

func (a *app) journalChange(ctx context.Context, sysroot *ostree.Sysroot, id, verb, message string, c host.Change, discarded *host.Change, failure error) {
	r := &record{
		id: id, verb: verb, message: message + ": " + changeText(c), image: c.Image, commit: c.Checksum, stateroot: c.Stateroot,
		discarded: discarded, failure: failure,
	}
	if failure != nil {
		r.outcome = "failed"
	}
	a.journal(ctx, repoOf(sysroot), r)
}

func (a *app) journalPrune(ctx context.Context, repo, verb string, p *container.Pruned) {
	if p.IsEmpty() {
		return
	}
	message := "Removed images: " + strconv.Itoa(p.Images) + ", layers: " + strconv.Itoa(p.Layers) + ", objects: " + strconv.Itoa(p.Objects)
	if p.Blobs > 0 {
		message += ", kept blobs: " + strconv.Itoa(p.Blobs)
	}
	a.journal(ctx, repo, &record{
		id: journalPruned, verb: verb, images: p.Images, layers: p.Layers, objects: p.Objects, blobs: p.Blobs, bytes: p.Bytes + p.BlobBytes, message: message,
	})
}
