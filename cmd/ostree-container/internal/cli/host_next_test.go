package cli

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where the booted deployment is the newest but not the next, the advice leads back to it; the ostree command says whether it does.
func TestHostAdviceLeadsBack(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	tool(t, "ostree", "admin", "os-init", "--sysroot="+sysroot, "other")
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref=ostree-unverified-image:oci:"+i.layout()+":v1")
	require.Zero(t, r.status, r.err)
	got := i.booted(t, sysroot, `
status() { echo "-- $1"; ostree admin status | grep -E '^[* ] (demo|other) ' | sed 's/ (finalization locked)/ (staged)/; s/ (pending)//; s/ (rollback)//'; }
advise() { # runs what the warning says
	ostree-container host upgrade -q --tag v1 >/run/out 2>/run/err
	grep -o '; .*' /run/err >/run/advice || { echo no advice; return 0; }
	cat /run/advice
	grep -o 'host [a-z-]*\( [0-9]\)*' /run/advice | grep -v status >/run/todo
	while read -r words; do ostree-container $words >/run/out; done </run/todo
}
queue() { ostree-container "$@" >/run/out; ostree admin finalize-staged >&2; }
advise
ostree-container host upgrade -q --tag v2 >/run/out
status "staged"; advise; status "done"
queue host upgrade -q --tag v2
status "queued"; advise; status "done"
ostree-container host switch -q --download-only $IMAGE:v2 >/run/out
status "locked above nothing"; advise; ostree-container host rollback >/run/out
ostree-container host switch -q --download-only $IMAGE:v2 >/run/out
status "locked above a queued one"; advise; status "done"
ostree-container host rollback >/run/out
ostree-container host switch -q $IMAGE:v2 >/run/out
status "staged above a queued one"; advise; status "done"
queue image deploy -q --stateroot other --imgref $IMAGE:v2
status "another stateroot"; advise; status "done"
ostree-container host set-default 1 >/run/out
ostree-container host switch -q --download-only $IMAGE:v2 >/run/out
status "locked above another stateroot"; advise; status "done"
`)
	const again = " makes the booted one the first again\n"
	const discard = "; host undeploy 0 discards what is staged"
	want := `no advice
-- staged
  demo HEX.0 (staged)
* demo HEX.0
` + discard + `
-- done
* demo HEX.0
-- queued
  demo HEX.0
* demo HEX.0
; host rollback` + again + `-- done
* demo HEX.0
  demo HEX.0
-- locked above nothing
  demo HEX.1 (staged)
* demo HEX.0
  demo HEX.0
no advice
-- locked above a queued one
  demo HEX.1 (staged)
  demo HEX.0
* demo HEX.0
; host rollback discards what is staged and` + again + `-- done
* demo HEX.0
  demo HEX.0
-- staged above a queued one
  demo HEX.1 (staged)
  demo HEX.0
* demo HEX.0
; host rollback discards what is staged and` + again + `-- done
* demo HEX.0
  demo HEX.0
-- another stateroot
  other HEX.0
* demo HEX.0
  demo HEX.0
; host set-default 1` + again + `-- done
* demo HEX.0
  other HEX.0
  demo HEX.0
-- locked above another stateroot
  demo HEX.1 (staged)
  other HEX.0
* demo HEX.0
  demo HEX.0
` + discard + `, then host set-default 1` + again + `-- done
* demo HEX.0
  other HEX.0
  demo HEX.0
`
	assert.Equal(t, want, got)
	fsck(t, sysroot+"/ostree/repo")
}
