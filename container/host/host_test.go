package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/host"
	"github.com/ostree-container/ostree-container/container/imageref"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

func TestUpgrade(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	ctx := t.Context()
	opts := &host.UpgradeOptions{PullOptions: s.options()}
	_, err := host.Upgrade(ctx, s.Sysroot, opts)
	require.ErrorIs(t, err, host.ErrNoDeployment)

	ref := s.write("1", "latest")
	one := s.deploy(ref)
	up, err := host.Upgrade(ctx, s.Sysroot, opts)
	require.NoError(t, err)
	assert.Equal(t, host.Unchanged, up.Outcome)
	assert.Equal(t, one.MergeCommit, up.State.MergeCommit)
	assert.Len(t, s.Deployments(), 1)

	s.write("2", "latest")
	s.write("2", "next")
	found, err := host.Check(ctx, s.Sysroot, opts)
	require.NoError(t, err)
	assert.Equal(t, "2", found.Update.Version())
	assert.Equal(t, one.ManifestDigest, found.Current.ManifestDigest)
	assert.Len(t, s.Deployments(), 1, "only looked")
	h, err := host.Read(ctx, s.Sysroot, nil)
	require.NoError(t, err)
	require.Len(t, h.Status.Others, 1)
	assert.Equal(t, found.Update.ManifestDigest, h.Status.Others[0].CachedUpdate.ImageDigest)

	up, err = host.Upgrade(ctx, s.Sysroot, opts)
	require.NoError(t, err)
	assert.Equal(t, host.Deployed, up.Outcome)
	assert.Equal(t, "os", up.Stateroot)
	assert.Equal(t, one.ManifestDigest, up.Previous.ManifestDigest)
	assert.Equal(t, up.State.MergeCommit, s.Deployments()[0].Checksum())
	found, err = host.Check(ctx, s.Sysroot, opts)
	require.NoError(t, err)
	assert.Nil(t, found.Update)

	// The same image under another tag is to be followed, so there is a new deployment.
	opts.Tag = "next"
	target, stateroot, err := host.Target(s.Sysroot, opts)
	require.NoError(t, err)
	assert.Equal(t, "os", stateroot)
	assert.True(t, strings.HasSuffix(target.String(), ":next"), target)
	again, err := host.Upgrade(ctx, s.Sysroot, opts)
	require.NoError(t, err)
	assert.Equal(t, host.Deployed, again.Outcome)
	assert.Equal(t, up.State.ManifestDigest, again.State.ManifestDigest)
	followed, err := container.DeploymentImage(s.Deployments()[0])
	require.NoError(t, err)
	assert.Equal(t, target, *followed)
	ti.Run(t, "ostree", "fsck", "--quiet", "--repo="+s.dir+"/ostree/repo")
}

// An image that was pulled but is not deployed is an update, although nothing is to be fetched.
func TestCheckOfWhatIsPulled(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	ref := s.write("1", "latest")
	s.deploy(ref)
	s.write("2", "latest")
	repo, err := s.Repo()
	require.NoError(t, err)
	imp, err := container.NewImporter(repo, ref, &container.ImporterOptions{Registry: s.options().Registry, KeepCommits: []string{s.Deployments()[0].Checksum()}})
	require.NoError(t, err)
	prepared, err := imp.Prepare(t.Context())
	require.NoError(t, err)
	_, err = imp.Import(t.Context(), prepared.Ready)
	require.NoError(t, err)
	require.NoError(t, imp.Close())
	found, err := host.Check(t.Context(), s.Sysroot, &host.UpgradeOptions{PullOptions: s.options()})
	require.NoError(t, err)
	require.NotNil(t, found.Update)
	assert.Equal(t, "2", found.Update.Version())
	assert.Nil(t, found.Prepared)
}

// Another process that deploys while an upgrade waits for the lock is not overtaken.
func TestUpgradeSeesOthers(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.deploy(s.write("1", "latest"))
	s.write("2", "latest")
	three := s.write("3", "other")
	other, err := ostree.NewSysroot(s.dir)
	require.NoError(t, err)
	defer func() { assert.NoError(t, other.Close()) }()
	require.NoError(t, other.Load(t.Context()))
	require.NoError(t, other.Lock(t.Context()))
	waits := make(chan struct{})
	opts := &host.UpgradeOptions{PullOptions: s.options()}
	opts.Logger = slog.New(notifier{slog.DiscardHandler, func() { close(waits) }})
	done := make(chan error)
	go func() {
		_, err := host.Upgrade(t.Context(), s.Sysroot, opts)
		done <- err
	}()
	<-waits
	other.Unlock()
	o := container.DeployOptions{PullOptions: s.options()}
	_, err = container.Deploy(t.Context(), other, "os", three, &o)
	require.NoError(t, err)
	select {
	case err := <-done:
		if err != nil { // else it was first
			require.ErrorContains(t, err, "another process changed")
		}
	case <-time.After(time.Minute):
		t.Fatal("still waits")
	}
}

type notifier struct {
	slog.Handler
	said func()
}

func (n notifier) Enabled(context.Context, slog.Level) bool { return true }

func (n notifier) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "Waiting for sysroot lock") {
		n.said()
	}
	return nil
}

func TestUpgradeRefuses(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.deploy(s.write("1", "latest"))
	s.write("2", "latest")
	ctx := t.Context()
	_, err := host.Upgrade(ctx, s.Sysroot, &host.UpgradeOptions{DownloadOnly: true, PullOptions: s.options()})
	require.ErrorIs(t, err, ostree.ErrNotBooted)
	_, err = host.Upgrade(ctx, s.Sysroot, &host.UpgradeOptions{SoftReboot: host.SoftRebootRequired, PullOptions: s.options()})
	if ostree.Supports(ostree.FeatureSoftReboot) {
		require.ErrorIs(t, err, ostree.ErrNotBooted)
	} else {
		require.ErrorIs(t, err, ostree.ErrUnsupported)
	}
	_, err = host.ApplyDownloaded(ctx, s.Sysroot, nil)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = host.Upgrade(ctx, s.Sysroot, &host.UpgradeOptions{Tag: "/", PullOptions: s.options()})
	require.ErrorIs(t, err, imageref.ErrInvalidReference)
	opts := container.DeployOptions{PullOptions: s.options()}
	opts.Locked = true
	_, err = container.Deploy(ctx, s.Sysroot, "os", s.write("2", "latest"), &opts)
	require.ErrorIs(t, err, ostree.ErrNotBooted)

	d := s.Deployments()[0]
	origin := filepath.Join(s.dir, d.OriginPath())
	text, err := os.ReadFile(origin)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(origin, append(text, "[overrides]\nreplace=x;\n"...), 0o644))
	fresh, err := ostree.NewSysroot(s.dir)
	require.NoError(t, err)
	defer func() { assert.NoError(t, fresh.Close()) }()
	require.NoError(t, fresh.Load(ctx))
	_, err = host.Upgrade(ctx, fresh, &host.UpgradeOptions{PullOptions: s.options()})
	require.ErrorIs(t, err, host.ErrLayered)
	assert.Len(t, s.Deployments(), 1)
}

func TestDeploymentChanges(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	ctx := t.Context()
	_, err := host.Rollback(ctx, s.Sysroot, nil)
	require.ErrorIs(t, err, host.ErrNoDeployment)
	one := s.deploy(s.write("1", "a"))
	_, err = host.Rollback(ctx, s.Sysroot, nil)
	require.ErrorIs(t, err, host.ErrNoRollback)
	_, err = host.Rollback(ctx, s.Sysroot, &host.ChangeOptions{Stateroot: "none"})
	require.ErrorIs(t, err, host.ErrNoRollback)
	two := s.deploy(s.write("2", "b"))

	checksums := func() (list []string) {
		for _, d := range s.Deployments() {
			list = append(list, d.Checksum())
		}
		return list
	}
	r, err := host.Rollback(ctx, s.Sysroot, nil)
	require.NoError(t, err)
	assert.Equal(t, host.Change{Index: 1, Stateroot: "os", Checksum: one.MergeCommit, Image: s.write("1", "a").String(), Changed: true}, r.Next)
	assert.Equal(t, []string{one.MergeCommit, two.MergeCommit}, checksums())
	status := ti.Run(t, "ostree", "admin", "status", "--sysroot="+s.dir)
	assert.Less(t, strings.Index(status, one.MergeCommit), strings.Index(status, two.MergeCommit), status)

	_, err = host.SetPinned(ctx, s.Sysroot, []int{0, 2}, ostree.Pinned, nil)
	require.ErrorIs(t, err, host.ErrNoDeployment)
	assert.False(t, s.Deployments()[0].IsPinned(), "nothing is changed if one is wrong")
	_, err = host.SetPinned(ctx, s.Sysroot, []int{1}, ostree.Pinned, nil)
	require.NoError(t, err)
	_, err = host.Undeploy(ctx, s.Sysroot, 1, nil)
	require.ErrorIs(t, err, host.ErrPinned)
	for _, index := range []int{-1, 2} {
		_, err = host.Undeploy(ctx, s.Sysroot, index, nil)
		require.ErrorIs(t, err, host.ErrNoDeployment)
		_, err = host.SetDefault(ctx, s.Sysroot, index, nil)
		require.ErrorIs(t, err, host.ErrNoDeployment)
	}
	c, err := host.SetDefault(ctx, s.Sysroot, 1, nil)
	require.NoError(t, err)
	assert.Equal(t, two.MergeCommit, c.Checksum)
	assert.Equal(t, []string{two.MergeCommit, one.MergeCommit}, checksums())
	assert.True(t, s.Deployments()[0].IsPinned(), "the mark goes with it")
	_, err = host.Undeploy(ctx, s.Sysroot, 1, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{two.MergeCommit}, checksums())
	assert.NoDirExists(t, filepath.Join(s.dir, "ostree/deploy/os/deploy", one.MergeCommit+".0"))
	ti.Run(t, "ostree", "fsck", "--quiet", "--repo="+s.dir+"/ostree/repo")
}

// Whoever holds the lock is waited for, and a context ends that.
func TestChangesWaitForTheLock(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.deploy(s.write("1", "a"))
	other, err := ostree.NewSysroot(s.dir)
	require.NoError(t, err)
	defer func() { assert.NoError(t, other.Close()) }()
	require.NoError(t, other.Load(t.Context()))
	require.NoError(t, other.Lock(t.Context()))
	for name, f := range map[string]func(context.Context) error{
		"rollback": func(ctx context.Context) error { _, err := host.Rollback(ctx, s.Sysroot, nil); return err },
		"pin": func(ctx context.Context) error {
			_, err := host.SetPinned(ctx, s.Sysroot, []int{0}, ostree.Pinned, nil)
			return err
		},
		"undeploy": func(ctx context.Context) error { _, err := host.Undeploy(ctx, s.Sysroot, 0, nil); return err },
		"default":  func(ctx context.Context) error { _, err := host.SetDefault(ctx, s.Sysroot, 0, nil); return err },
		"apply":    func(ctx context.Context) error { _, err := host.ApplyDownloaded(ctx, s.Sysroot, nil); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		require.ErrorIs(t, f(ctx), context.DeadlineExceeded, name)
		cancel()
	}
	assert.Len(t, s.Deployments(), 1)
}

func TestSignatureJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"ostree-image-signed:docker://x": `"containerPolicy"`, "ostree-unverified-registry:x": `"insecure"`, "ostree-remote-registry:fedora:x": `{"ostreeRemote":"fedora"}`,
	} {
		ref, err := imageref.ParseOSTree(text)
		require.NoError(t, err)
		got, err := json.Marshal(host.Signature(ref.SigVerify))
		require.NoError(t, err)
		assert.JSONEq(t, want, string(got))
		assert.Equal(t, ref.SigVerify.String(), host.Signature(ref.SigVerify).String())
		var back host.Signature
		require.NoError(t, json.Unmarshal(got, &back))
		assert.Equal(t, ref.SigVerify, imageref.SignatureSource(back))
	}
	for _, bad := range []string{`"other"`, `{}`, `{"ostreeRemote": ""}`, `{"ostreeRemote": 1}`, `1`, `null`, `[]`} {
		var s host.Signature
		require.ErrorIs(t, json.Unmarshal([]byte(bad), &s), imageref.ErrInvalidReference, bad)
	}
}

func ExampleUpgrade() {
	upgrade := func(ctx context.Context) error {
		sysroot, err := ostree.NewSysroot("") // of the running system
		if err != nil {
			return err
		}
		defer func() { _ = sysroot.Close() }()
		if err := sysroot.Load(ctx); err != nil {
			return err
		}
		up, err := host.Upgrade(ctx, sysroot, &host.UpgradeOptions{DownloadOnly: true})
		if err != nil {
			return err
		}
		if up.Outcome == host.Unchanged {
			return nil
		}
		fmt.Println("downloaded", up.State.Version(), "for", up.Image)
		_, err = host.ApplyDownloaded(ctx, sysroot, nil) // when the time has come
		return err
	}
	_ = upgrade
	// Output:
}

func ExampleRead() {
	show := func(ctx context.Context, sysroot *ostree.Sysroot) error {
		h, err := host.Read(ctx, sysroot, nil)
		if err != nil {
			return err
		}
		if b := h.Status.Booted; b != nil && b.Image != nil {
			fmt.Println("booted", b.Image.Image.Image, b.Image.ImageDigest)
		}
		return nil
	}
	_ = show
	// Output:
}
