package cli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// useJournal puts the socket of the test where the journal of the booted host listens.
const useJournal = `
mkdir -p /run/systemd/journal
touch /run/systemd/journal/socket
mount --bind $DIR/journal.sock /run/systemd/journal/socket
`

// journalOf listens as a journal does, until stop, which returns this program's entries. libostree writes some of its own, and waits as
// long as they are not read.
func (i *images) journalOf(t *testing.T) (stop func() []map[string]string) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: i.dir + "/journal.sock", Net: "unixgram"})
	require.NoError(t, err)
	var entries []map[string]string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buf := make([]byte, 1<<20); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if e := decodeJournal(bytes.Clone(buf[:n])); e["OSTREE_CONTAINER_VERB"] != "" {
				entries = append(entries, e)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close() })
	return func() []map[string]string {
		assert.Eventually(t, func() bool { // the senders have ended; what they sent may still be there
			n, err := unreadBytes(conn)
			return err == nil && n == 0
		}, time.Minute, time.Millisecond)
		require.NoError(t, conn.Close())
		<-done
		return entries
	}
}

// unreadBytes is how much of what was sent waits in a socket.
func unreadBytes(conn *net.UnixConn) (n int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n, errors.Join(controlErr, err)
}

// decodeJournal reads a datagram as systemd's document has it.
func decodeJournal(data []byte) map[string]string {
	fields := map[string]string{}
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		name, value, ok := strings.Cut(string(line), "=")
		if !ok {
			size := binary.LittleEndian.Uint64(rest)
			value, rest = string(rest[8:8+size]), rest[8+size+1:]
		}
		fields[name] = value
		data = rest
	}
	return fields
}

// TestJournalOfABootedHost: one entry for each thing that was done to the host's own repository, and none for what was not.
func TestJournalOfABootedHost(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	v1, v2 := "ostree-unverified-image:oci:"+i.layout()+":v1", "ostree-unverified-image:oci:"+i.layout()+":v2"
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref="+v1)
	require.Zero(t, r.status, r.err)
	entries := i.journalOf(t)
	i.booted(t, sysroot, useJournal+`
ostree-container host status; ostree-container host upgrade -q --check --tag v2; ostree-container host upgrade -q # nothing is done
ostree init --repo=/run/other --mode=bare-user; ostree-container image pull -q /run/other $IMAGE:v2 # nor to the host
ostree-container image pull -q --keep-blobs --creds user:canary-Zq /ostree/repo $IMAGE:v2
ostree-container image pull -q /ostree/repo $IMAGE:v2
ostree-container host upgrade -q --creds user:canary-Zq --tag v2 --download-only
ostree-container host upgrade -q --tag v2 --download-only
ostree-container host upgrade --from-downloaded
ostree-container host undeploy 0
ostree-container image deploy -q --imgref $IMAGE:v2
ostree admin finalize-staged
ostree-container host rollback
ostree-container host set-default 1
ls /ostree/deploy/demo/deploy > $DIR/deployed
ostree-container host switch -q $IMAGE:v2
ostree-container host undeploy 0
ostree-container host upgrade -q 2>$DIR/warning
ostree-container host undeploy 0
ostree-container image prune-images --sysroot / --full
ostree-container image prune-images --sysroot / --full # nothing left
ostree-container image prune-images --sysroot / --full --dry-run
`)
	got := entries()
	var seen []string
	for _, e := range got {
		assert.Regexp(t, `^[0-9a-f]{32}$`, e["MESSAGE_ID"])
		assert.Equal(t, []string{"6", "ostree-container"}, []string{e["PRIORITY"], e["SYSLOG_IDENTIFIER"]})
		for name, value := range e {
			assert.NotContains(t, value, "canary", name)
		}
		seen = append(seen, strings.TrimSpace(strings.Join([]string{
			e["OSTREE_CONTAINER_VERB"], e["MESSAGE_ID"][:4], strings.ReplaceAll(e["OSTREE_CONTAINER_IMAGE"], i.layout(), "LAYOUT"), e["OSTREE_CONTAINER_STATEROOT"], e["OSTREE_CONTAINER_OUTCOME"],
		}, " ")))
	}
	const image1, image2 = " ostree-unverified-image:oci:LAYOUT:v1", " ostree-unverified-image:oci:LAYOUT:v2"
	assert.Equal(t, []string{
		"pull ff5e" + image2,
		"upgrade 2915" + image2 + " demo locked",
		"upgrade c2e3" + image2 + " demo unlocked",
		"undeploy 24d9" + image2 + " demo",
		"deploy 2915" + image2 + " demo staged",
		"rollback 8703" + image1 + " demo",
		"set-default 8703" + image2 + " demo",
		"switch 2915" + image2 + " demo staged",
		"undeploy 24d9" + image2 + " demo",
		"undeploy 24d9" + image2 + " demo",
		"prune-images ef2f",
	}, seen)
	deployed, err := os.ReadFile(i.dir + "/deployed")
	require.NoError(t, err)
	warning, err := os.ReadFile(i.dir + "/warning")
	require.NoError(t, err)
	assert.Contains(t, string(warning), "warning: the booted deployment is the newest, but another one is booted next")
	byID := regexp.MustCompile(`(?m)^\| .([0-9a-f]{32}). \|`)
	text, err := os.ReadFile("../../../../docs/host.md")
	require.NoError(t, err)
	documented := map[string]bool{}
	for _, m := range byID.FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = true
	}
	assert.Len(t, documented, 6)
	for _, e := range got {
		assert.Contains(t, documented, e["MESSAGE_ID"])
	}
	for _, e := range got[:2] {
		assert.Equal(t, i.digest(t, "v2"), e["OSTREE_CONTAINER_DIGEST"])
		assert.Equal(t, "2", e["OSTREE_CONTAINER_VERSION"])
		assert.Contains(t, string(deployed), e["OSTREE_CONTAINER_COMMIT"]+".0\n")
	}
	assert.Equal(t, "Pulled "+v2, got[0]["MESSAGE"])
	assert.Equal(t, "Staged, not applied at shutdown: "+v2, got[1]["MESSAGE"])
	last := got[len(got)-1]
	assert.Equal(t, []string{"1", "1"}, []string{last["OSTREE_CONTAINER_REMOVED_IMAGES"], last["OSTREE_CONTAINER_REMOVED_LAYERS"]})
	assert.Equal(t, "3", last["OSTREE_CONTAINER_REMOVED_BLOBS"], "a layer, config and manifest")
	assert.Equal(t, "Removed images: 1, layers: 1, objects: "+last["OSTREE_CONTAINER_REMOVED_OBJECTS"]+", kept blobs: 3", last["MESSAGE"])
}

// A journal that is not there, or not any more, fails nothing: the first is silent, the second a warning.
func TestJournalThatDoesNotListen(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref=ostree-unverified-image:oci:"+i.layout()+":v1")
	require.Zero(t, r.status, r.err)
	i.journalOf(t)()
	out := i.booted(t, sysroot, `
ostree-container image pull -q /ostree/repo $IMAGE:v2 2>&1
`+useJournal+`
ostree-container host upgrade -q --tag v2 2>&1 >/dev/null
`)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 3, out)
	assert.Contains(t, lines[1], "Wrote: ")
	assert.Regexp(t, `^warning: write to the journal: .*connection refused$`, lines[2])
}

// What was done is noted also if something after it failed, and so is what a rollback discards.
func TestJournalOfWhatFails(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref=ostree-unverified-image:oci:"+i.layout()+":v1")
	require.Zero(t, r.status, r.err)
	entries := i.journalOf(t)
	out := i.booted(t, sysroot, useJournal+adminStatus+`
ostree-container host upgrade -q --tag v2 >/run/out
ostree admin finalize-staged >&2
ostree-container host switch -q --download-only $IMAGE:v2 >/run/out
ostree-container host rollback >/run/out
# What is collected fails from here on.
mkdir /run/tree; echo x > /run/tree/file
ostree commit --repo=/ostree/repo --branch=broken /run/tree >&2
set -- $(ostree ls --repo=/ostree/repo -d -C broken /)
rm /ostree/repo/objects/$(echo $5 | cut -c 1-2)/$(echo $5 | cut -c 3-).dirtree
ostree-container host rollback && echo no failure
status
ostree-container host set-default 1 && echo no failure
status
ostree-container host undeploy 1 && echo no failure
status
ostree-container host undeploy 1 && echo removed twice
ostree-container host set-default 0 >/run/out
true
`)
	assert.Equal(t, "  demo HEX.0 (pending)\n* demo HEX.0\n"+"* demo HEX.0\n  demo HEX.0 (rollback)\n"+"* demo HEX.0\n", out)
	const id, id2 = "8703ec8274de429a9d2a49d764b0bed9", "24d927dd4d0345cabcd5e09ea84513c5"
	const broken = "the deployments are changed, but: prune repository "
	v1, v2 := "ostree-unverified-image:oci:"+i.layout()+":v1", "ostree-unverified-image:oci:"+i.layout()+":v2"
	got := entries()
	require.Len(t, got, 6)
	for n, want := range []struct{ id, verb, image, priority, outcome string }{
		{id, "rollback", v1, "6", ""}, {id, "rollback", v2, "4", "failed"}, {id, "set-default", v1, "4", "failed"}, {id2, "undeploy", v2, "4", "failed"},
	} {
		e := got[n+2]
		assert.Equal(t, []string{want.id, want.verb, want.image, want.priority, want.outcome},
			[]string{e["MESSAGE_ID"], e["OSTREE_CONTAINER_VERB"], e["OSTREE_CONTAINER_IMAGE"], e["PRIORITY"], e["OSTREE_CONTAINER_OUTCOME"]}, n)
		if want.outcome == "failed" {
			assert.Contains(t, e["OSTREE_CONTAINER_ERROR"], broken)
			assert.Contains(t, e["MESSAGE"], "; failed: "+broken)
		} else {
			assert.Empty(t, e["OSTREE_CONTAINER_ERROR"])
		}
	}
	discarded := got[2]
	assert.Equal(t, got[1]["OSTREE_CONTAINER_COMMIT"], discarded["OSTREE_CONTAINER_DISCARDED_COMMIT"], "that of the switch")
	assert.Equal(t, v2, discarded["OSTREE_CONTAINER_DISCARDED_IMAGE"])
	assert.Regexp(t, `^Next boot: demo [0-9a-f]{64}\.0 .*; discarded: demo [0-9a-f]{64}\.1 \(`+regexp.QuoteMeta(v2)+`\)$`, discarded["MESSAGE"])
	assert.Empty(t, got[3]["OSTREE_CONTAINER_DISCARDED_COMMIT"])
}
