package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/ostree-container/ostree-container/ostree"
)

// TestHostOffline is the life of a sysroot that is not booted; the ostree command and the boot loader entries are the judges.
func TestHostOffline(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	i.retag(t, "latest", "v1")
	assert.Equal(t, "$ host status --sysroot=DIR/sysroot\nNo deployments.\n", i.transcript(t, "host status --sysroot=DIR/sysroot"))
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref=ostree-unverified-image:oci:"+i.layout()+":latest", "--karg=rw")
	require.Zero(t, r.status, r.err)
	assert.Equal(t, `$ host status --sysroot=DIR/sysroot
Deployment 0: next boot
  Image:        oci:DIR/image:latest
  Signature:    ostree-unverified-image
  Digest:       sha256:HEX
  Version:      1
  Created:      2025-01-01T00:00:00.000Z
  Stateroot:    demo
  Commit:       HEX.0
$ host upgrade -q --check --sysroot=DIR/sysroot
No changes in: ostree-unverified-image:oci:DIR/image:latest
$ host upgrade -q --sysroot=DIR/sysroot
No changes in: ostree-unverified-image:oci:DIR/image:latest
`, i.transcript(t, "host status --sysroot=DIR/sysroot", "host upgrade -q --check --sysroot=DIR/sysroot", "host upgrade -q --sysroot=DIR/sysroot"))
	assert.Equal(t, 1, strings.Count(tool(t, "ostree", "admin", "status", "--sysroot="+sysroot), "demo "))

	i.retag(t, "latest", "v2")
	assert.Equal(t, `$ host upgrade -q --check --sysroot=DIR/sysroot
Update available for: ostree-unverified-image:oci:DIR/image:latest
  Version: 2
  Digest: sha256:HEX
Total new layers: 3     Size: 1.3~kB
Removed layers:   1     Size: 232 bytes
Added layers:     1     Size: 378 bytes
layers already present: 2; layers needed: 1 (378 bytes)
$ host status -v --sysroot=DIR/sysroot
Deployment 0: next boot
  Image:        oci:DIR/image:latest
  Signature:    ostree-unverified-image
  Digest:       sha256:HEX
  Version:      1
  Created:      2025-01-01T00:00:00.000Z
  Stateroot:    demo
  Commit:       HEX.0
  Update seen:  2 (sha256:HEX)
  Kernel args:  rw ostree=/ostree/boot.1/demo/HEX/0
  Origin:
    [origin]
    container-image-reference=ostree-unverified-image:oci:DIR/image:latest
$ host upgrade -q --sysroot=DIR/sysroot
Deployed: ostree-unverified-image:oci:DIR/image:latest
  Version: 2
  Digest: sha256:HEX
Total new layers: 3     Size: 1.3~kB
Removed layers:   1     Size: 232 bytes
Added layers:     1     Size: 378 bytes
`, i.transcript(t, "host upgrade -q --check --sysroot=DIR/sysroot", "host status -v --sysroot=DIR/sysroot", "host upgrade -q --sysroot=DIR/sysroot"))
	assert.Regexp(t, `(?m)^options rw ostree=/ostree/boot`, i.bootEntry(t))
	assert.Equal(t, []string{"2", "1"}, i.versions(t))

	// Another tag: followed from now on.
	assert.Equal(t, `$ host upgrade -q --check --tag v1 --sysroot=DIR/sysroot
Update available for: ostree-unverified-image:oci:DIR/image:v1
  Version: 1
  Digest: sha256:HEX
Total new layers: 3     Size: 1.2~kB
Removed layers:   1     Size: 378 bytes
Added layers:     1     Size: 232 bytes
`, i.transcript(t, "host upgrade -q --check --tag v1 --sysroot=DIR/sysroot"))
	r = run(t, "", "host", "upgrade", "-q", "--tag=v1", "--sysroot", sysroot)
	require.Zero(t, r.status, r.err)
	assert.Equal(t, []string{"1", "2"}, i.versions(t))
	origins, err := filepath.Glob(filepath.Join(sysroot, "ostree/deploy/demo/deploy/*.origin"))
	require.NoError(t, err)
	var texts []string
	for _, name := range origins {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		texts = append(texts, string(text))
	}
	assert.ElementsMatch(t, []string{
		"[origin]\ncontainer-image-reference=ostree-unverified-image:oci:" + i.layout() + ":v1\n",
		"[origin]\ncontainer-image-reference=ostree-unverified-image:oci:" + i.layout() + ":latest\n",
	}, texts)

	// There and back; the arguments of the kernel are those of each deployment.
	assert.Equal(t, `$ host rollback --sysroot=DIR/sysroot
Next boot: rollback deployment: demo HEX.0 (ostree-unverified-image:oci:DIR/image:latest)
`, i.transcript(t, "host rollback --sysroot=DIR/sysroot"))
	assert.Equal(t, []string{"2", "1"}, i.versions(t))
	assert.Equal(t, `$ host set-default 1 --sysroot=DIR/sysroot
Next boot: demo HEX.1 (ostree-unverified-image:oci:DIR/image:v1)
$ host set-default 0 --sysroot=DIR/sysroot
Next boot already: demo HEX.1 (ostree-unverified-image:oci:DIR/image:v1)
`, i.transcript(t, "host set-default 1 --sysroot=DIR/sysroot", "host set-default 0 --sysroot=DIR/sysroot"))
	assert.Equal(t, []string{"1", "2"}, i.versions(t))

	assert.Equal(t, `$ host pin 1 --sysroot=DIR/sysroot
Deployment 1 is now pinned
$ host pin 1 0 --sysroot=DIR/sysroot
Deployment 1 is already pinned
Deployment 0 is now pinned
$ host undeploy 1 --sysroot=DIR/sysroot
2> error: undeploy deployment 1 (demo HEX.0): deployment is pinned; unpin it first
? 1
`, i.transcript(t, "host pin 1 --sysroot=DIR/sysroot", "host pin 1 0 --sysroot=DIR/sysroot", "host undeploy 1 --sysroot=DIR/sysroot"))
	assert.Equal(t, 2, strings.Count(tool(t, "ostree", "admin", "status", "--sysroot="+sysroot), "Pinned: yes"))
	tool(t, "ostree", "admin", "pin", "--sysroot="+sysroot, "-u", "0")
	assert.Equal(t, `$ host unpin 0 1 --sysroot=DIR/sysroot
Deployment 0 is already unpinned
Deployment 1 is now unpinned
$ host undeploy 1 --sysroot=DIR/sysroot
Removed: demo HEX.0 (ostree-unverified-image:oci:DIR/image:latest)
`, i.transcript(t, "host unpin 0 1 --sysroot=DIR/sysroot", "host undeploy 1 --sysroot=DIR/sysroot"))
	assert.Equal(t, []string{"1"}, i.versions(t))
	status := tool(t, "ostree", "admin", "status", "--sysroot="+sysroot)
	assert.Equal(t, 1, strings.Count(status, "demo "), status)
	assert.NotContains(t, status, "Pinned")

	assert.Equal(t, `$ host switch -q --sysroot=DIR/sysroot ostree-unverified-image:oci:DIR/image:v2
Deployed: ostree-unverified-image:oci:DIR/image:v2
  Version: 2
  Digest: sha256:HEX
Total new layers: 3     Size: 1.3~kB
Removed layers:   1     Size: 232 bytes
Added layers:     1     Size: 378 bytes
`, i.transcript(t, "host switch -q --sysroot=DIR/sysroot ostree-unverified-image:oci:DIR/image:v2"))
	assert.Equal(t, []string{"2", "1"}, i.versions(t))
	fsck(t, sysroot+"/ostree/repo")
}

// versions are those of the systems that the boot loader entries lead to, the default first. Their titles may be old: libostree leaves
// entries alone if kernel and arguments are the same.
func (i *images) versions(t *testing.T) (versions []string) {
	t.Helper()
	sysroot := filepath.Join(i.dir, "sysroot")
	entries, err := filepath.Glob(filepath.Join(sysroot, "boot/loader/entries/*.conf"))
	require.NoError(t, err)
	for n := len(entries) - 1; n >= 0; n-- { // the highest number is the default
		text, err := os.ReadFile(entries[n])
		require.NoError(t, err)
		for word := range strings.FieldsSeq(string(text)) {
			if path, ok := strings.CutPrefix(word, "ostree="); ok {
				release, err := os.ReadFile(filepath.Join(sysroot, path, "usr/lib/os-release"))
				require.NoError(t, err)
				_, version, _ := strings.Cut(string(release), "VERSION_ID=")
				versions = append(versions, strings.Fields(version)[0])
			}
		}
	}
	return versions
}

// adminStatus are functions for scripts in a booted host: what the ostree command says, in the words of all its versions, and what is in
// /run (newer ones lock without a file).
const adminStatus = `
status() { ostree admin status | grep '^[* ] demo' | sed 's/ (finalization locked)/ (staged)/'; }
staged() {
	if test -e /run/ostree/staged-deployment; then echo staged and maybe locked
	elif test ! -e /run/ostree/staged-deployment-locked; then echo nothing staged or locked; fi
}`

// TestHostBooted is an upgrade of a booted host; what happens when it goes down is done by the ostree command.
func TestHostBooted(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	i.retag(t, "latest", "v1")
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref=ostree-unverified-image:oci:"+i.layout()+":latest", "--karg=rw")
	require.Zero(t, r.status, r.err)
	i.retag(t, "latest", "v2")
	const image = "ostree-unverified-image:oci:DIR/image:latest"
	const version2 = "  Version: 2\n  Digest: sha256:HEX\n"
	const diff = "Total new layers: 3     Size: 1.3~kB\nRemoved layers:   1     Size: 232 bytes\nAdded layers:     1     Size: 378 bytes\n"
	soft := "soft reboot refused\n"
	assert.Equal(t, "Downloaded, not applied at the next boot: "+image+"\n"+version2+diff+
		"Downloaded, not applied at the next boot: "+image+"\n"+version2+
		"  demo HEX.0 (staged)\n* demo HEX.0\n"+ // still: it is locked
		"Queued for next boot: "+image+"\n"+version2+
		"Queued for next boot already: "+image+"\n"+version2+
		"Downloaded, not applied at the next boot: "+image+"\n"+version2+ // locked again
		"Queued for next boot: "+image+"\n"+version2+ // and unlocked
		soft+
		"  demo HEX.0 (pending)\n* demo HEX.0\n"+ // applied
		"Next boot: current deployment: demo HEX.0 ("+image+")\n* demo HEX.0\n  demo HEX.0 (rollback)\n"+
		"Next boot: rollback deployment: demo HEX.0 ("+image+")\n  demo HEX.0 (pending)\n* demo HEX.0\n",
		i.booted(t, sysroot, `
`+adminStatus+`
ostree-container host upgrade -q --download-only
ostree-container host upgrade -q --download-only
ostree admin finalize-staged >&2 || true
status
ostree-container host upgrade --from-downloaded
ostree-container host upgrade --from-downloaded
ostree-container host upgrade -q --download-only
ostree-container host upgrade -q
ostree-container host upgrade -q --soft-reboot=required >&2 || echo soft reboot refused
ostree admin finalize-staged >&2
status
ostree-container host rollback
status
ostree-container host rollback
status
`))
	assert.Equal(t, []string{"2", "1"}, i.versions(t))
	fsck(t, sysroot+"/ostree/repo")
}

// A rollback discards what is staged, with its lock; the booted deployment stays where it is; so do pinned ones.
func TestHostBootedRollbackDiscards(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	v1 := "ostree-unverified-image:oci:" + i.layout() + ":v1"
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref="+v1)
	require.Zero(t, r.status, r.err)
	out := i.booted(t, sysroot, `
`+adminStatus+`
ostree-container host rollback || echo nothing to go back to
ostree-container host upgrade -q --tag v2 >/run/out
ostree admin finalize-staged >&2
ostree-container host set-default 1 >/run/out
status
ostree-container host undeploy 0 || echo refused
ostree-container host switch -q --download-only $IMAGE:v2 >/run/out
staged
ostree-container host set-default 1 || echo refused
ostree-container host pin 0 || echo refused
ostree-container host status --format json > $DIR/status.json
ostree-container host status --booted --format json > $DIR/booted.json
ostree-container host status --format yaml > $DIR/status.yaml
ostree-container host rollback
staged
status
ostree-container host upgrade -q --tag v1
ostree-container host switch -q $IMAGE:v2
ostree-container host undeploy 0
staged
`)
	const v2text = "ostree-unverified-image:oci:DIR/image:v2"
	assert.Equal(t, "nothing to go back to\n"+
		"* demo HEX.0\n  demo HEX.0 (rollback)\nrefused\n"+
		"staged and maybe locked\nrefused\nrefused\n"+
		"Discarded the staged deployment: demo HEX.1 ("+v2text+")\nNext boot: rollback deployment: demo HEX.0 ("+v2text+")\nnothing staged or locked\n"+
		"  demo HEX.0 (pending)\n* demo HEX.0\n"+
		"No changes in: ostree-unverified-image:oci:DIR/image:v1\n"+
		"Queued for next boot: "+v2text+"\n  Version: 2\n  Digest: sha256:HEX\n"+
		"Total new layers: 3     Size: 1.3~kB\nRemoved layers:   1     Size: 232 bytes\nAdded layers:     1     Size: 378 bytes\n"+
		"Removed: demo HEX.1 ("+v2text+")\nnothing staged or locked\n", out)

	// The paths by which programs read bootc's document.
	var doc, booted map[string]any
	readJSON(t, i.dir+"/status.json", &doc)
	for path, want := range map[string]any{
		"apiVersion": "ostree-container/v1", "kind": "Host", "spec.image.image": i.layout() + ":v2", "spec.image.transport": "oci", "spec.bootOrder": "default",
		"status.booted.image.image.image": i.layout() + ":v1", "status.booted.image.image.transport": "oci", "status.booted.image.image.signature": "insecure",
		"status.booted.image.version": "1", "status.booted.image.timestamp": "2025-01-01T00:00:00.000Z", "status.booted.image.architecture": "amd64",
		"status.booted.pinned": false, "status.booted.incompatible": false, "status.booted.store": "ostreeContainer",
		"status.booted.ostree.stateroot": "demo", "status.booted.ostree.deploySerial": 0.0, "status.booted.ostree.index": 1.0, "status.booted.downloadOnly": false,
		"status.booted.nextBoot": true, "status.booted.softRebootTarget": false, "status.booted.cachedUpdate": nil,
		"status.staged.image.version": "2", "status.staged.downloadOnly": true, "status.staged.nextBoot": false, "status.staged.ostree.deploySerial": 1.0,
		"status.rollback.image.version": "2", "status.rollback.ostree.index": 2.0, "status.rollbackQueued": false,
	} {
		assert.Equal(t, want, at(doc, path), path)
	}
	assert.Equal(t, at(doc, "status.staged.image.imageDigest"), at(doc, "status.rollback.image.imageDigest"))
	assert.Equal(t, i.digest(t, "v1"), at(doc, "status.booted.image.imageDigest"))
	assert.Equal(t, i.digest(t, "v2"), at(doc, "status.staged.image.imageDigest"))
	checksum, _ := at(doc, "status.booted.ostree.checksum").(string)
	assert.DirExists(t, sysroot+"/ostree/deploy/demo/deploy/"+checksum+".0")
	readJSON(t, i.dir+"/booted.json", &booted)
	assert.Nil(t, at(booted, "status.staged"))
	assert.Equal(t, at(doc, "status.booted"), at(booted, "status.booted"))
	text, err := os.ReadFile(i.dir + "/status.yaml")
	require.NoError(t, err)
	var other map[string]any
	require.NoError(t, yaml.Unmarshal(text, &other))
	again, err := json.Marshal(other)
	require.NoError(t, err)
	var fromYAML map[string]any
	require.NoError(t, json.Unmarshal(again, &fromYAML))
	assert.Equal(t, doc, fromYAML)
	assert.True(t, strings.HasPrefix(string(text), "apiVersion: ostree-container/v1\nkind: Host\n"), string(text))
}

// digest is that of a manifest, as the layout has it.
func (i *images) digest(t *testing.T, tag string) string {
	t.Helper()
	needTool(t, "skopeo")
	return strings.TrimSpace(tool(t, "skopeo", "inspect", "--format", "{{.Digest}}", "oci:"+i.layout()+":"+tag))
}

// at returns what is at a path of names in a document.
func at(doc any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		fields, ok := doc.(map[string]any)
		if !ok {
			return "nothing at " + name
		}
		doc = fields[name]
	}
	return doc
}

func TestHostJSON(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	i.retag(t, "latest", "v1")
	r := run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref=ostree-unverified-image:oci:"+i.layout()+":latest")
	require.Zero(t, r.status, r.err)
	result := func(args ...string) (doc map[string]any) {
		r := run(t, "", append(append([]string{"host"}, args...), "--format=json", "--sysroot", sysroot)...)
		require.Zero(t, r.status, r.err)
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		if lines[0] == "{" || lines[0] == "[" {
			lines = []string{r.out}
		}
		text := lines[len(lines)-1]
		if strings.HasPrefix(text, "[") {
			var list []map[string]any
			require.NoError(t, json.Unmarshal([]byte(text), &list))
			require.Len(t, list, 1)
			return list[0]
		}
		require.NoError(t, json.Unmarshal([]byte(text), &doc), text)
		return doc
	}
	got := result("upgrade", "--check")
	assert.Equal(t, []any{"Result", false, i.digest(t, "v1"), 3.0, 0.0}, []any{got["type"], got["updateAvailable"], got["manifestDigest"], got["layersPresent"], got["layersNeeded"]})
	i.retag(t, "latest", "v2")
	got = result("upgrade", "--check")
	assert.Equal(t, []any{true, i.digest(t, "v2"), 2.0, 1.0, i.digest(t, "v1")},
		[]any{got["updateAvailable"], got["manifestDigest"], got["layersPresent"], got["layersNeeded"], at(got, "previous.manifestDigest")})
	got = result("upgrade")
	assert.Equal(t, []any{"deployed", i.digest(t, "v2"), "2", "demo", false, false, "1"},
		[]any{got["outcome"], got["manifestDigest"], got["version"], got["stateroot"], got["downloadOnly"], got["softReboot"], at(got, "previous.version")})
	assert.Equal(t, "unchanged", result("upgrade")["outcome"])
	got = result("rollback")
	assert.Equal(t, []any{false, 1.0, nil}, []any{got["reverted"], at(got, "next.index"), got["discarded"]})
	assert.Equal(t, true, result("pin", "0")["changed"])
	assert.Equal(t, false, result("pin", "0")["changed"])
	assert.Equal(t, true, result("unpin", "0")["changed"])
	assert.Equal(t, true, result("set-default", "1")["changed"])
	assert.EqualValues(t, 1, result("undeploy", "1")["index"])
}

// What a host cannot do is said before anything is fetched or changed.
func TestHostRefuses(t *testing.T) {
	i := makeImages(t)
	sysroot := i.sysroot(t)
	r := run(t, "", "host", "rollback", "--sysroot", sysroot)
	assert.Equal(t, 1, r.status)
	assert.Equal(t, "error: sysroot "+sysroot+`: nothing is deployed yet: see "image deploy --help"`+"\n", r.err)
	r = run(t, "", "image", "deploy", "-q", "--sysroot", sysroot, "--stateroot=demo", "--imgref=ostree-unverified-image:oci:"+i.layout()+":v1")
	require.Zero(t, r.status, r.err)
	before := tool(t, "ostree", "admin", "status", "--sysroot="+sysroot)
	soft := "not booted from a deployment"
	if !ostree.Supports(ostree.FeatureSoftReboot) {
		soft = "soft reboot: needs libostree 2025.3"
	}
	for line, want := range map[string]string{
		"upgrade --download-only":                 "not booted from a deployment",
		"upgrade --from-downloaded":               "nothing is staged",
		"upgrade --soft-reboot=required":          soft,
		"upgrade --soft-reboot=required --tag v2": soft,
		"upgrade --stateroot=default":             `stateroot "default" of sysroot .*: no such deployment`,
		"rollback":                                "no rollback deployment",
		"undeploy 7":                              "no such deployment: index 7 of 1",
		"pin 0 1":                                 "no such deployment: index 1 of 1",
		"set-default 1":                           "no such deployment: index 1 of 1",
		"status --booted":                         "not booted from a deployment",
	} {
		args := append(append([]string{"host"}, strings.Fields(line)...), "--sysroot", sysroot)
		r := run(t, "", args...)
		assert.Equal(t, 1, r.status, line)
		assert.Empty(t, r.out, line)
		assert.Regexp(t, `^error: .*`+want+`.*\n$`, r.err, line)
	}
	origin := func(text string) {
		names, err := filepath.Glob(filepath.Join(sysroot, "ostree/deploy/demo/deploy/*.origin"))
		require.NoError(t, err)
		require.Len(t, names, 1)
		require.NoError(t, os.WriteFile(names[0], []byte(text), 0o644))
	}
	for text, want := range map[string]string{
		"[origin]\nrefspec=os/x\n": "no container image in its origin",
		"[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/x/os@sha256:" + strings.Repeat("ab", 32) + "\n": "Cannot replace the tag of docker://.*by its digest",
		"[origin]\ncontainer-image-reference=ostree-unverified-image:dir:/x\n":                                                  "Cannot replace the tag of dir:/x: the transport dir has none",
		"[origin]\ncontainer-image-reference=x\n":                                                                               "Missing ':' in x",
		"[origin]\ncontainer-image-reference=ostree-unverified-image:oci:" + i.layout() + ":v1\n[packages]\nrequested=vim;\n":   "changes of rpm-ostree would be lost",
	} {
		origin(text)
		r := run(t, "", "host", "upgrade", "-q", "--tag=v2", "--sysroot", sysroot)
		assert.Equal(t, 1, r.status, text)
		assert.Regexp(t, `^error: .*`+want+`.*\n$`, r.err)
		r = run(t, "", "host", "status", "--format=json", "--sysroot", sysroot)
		assert.Zero(t, r.status, r.err) // whatever is wrong with one
		r = run(t, "", "host", "status", "--sysroot", sysroot)
		assert.Equal(t, strings.Contains(text, "[packages]"), strings.Contains(r.out, "Changes:      of rpm-ostree"), r.out)
	}
	origin("[origin]\ncontainer-image-reference=x\n")
	r = run(t, "", "host", "status", "--sysroot", sysroot)
	assert.Regexp(t, `Error: .*Missing ':' in x`, r.out)
	assert.Equal(t, strings.Count(before, "demo "), strings.Count(tool(t, "ostree", "admin", "status", "--sysroot="+sysroot), "demo "))
	fsck(t, sysroot+"/ostree/repo")
}
