package container_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// childTask tells this test binary, started again, what to do instead of tests.
const childTask = "CONTAINER_TEST_CHILD"

// task is what a child process does.
type task struct {
	Do      string // with a repository: "pull", "copy", "collect", "share", "exclude"; with a sysroot: "lock", "deploy", "staged", "undeploy", "prune"
	Repo    string
	Target  string // repository to copy to
	Sysroot string
	Refs    []string
	Jobs    int
	Policy  string
	NoRef   bool
	Keep    bool   // keep blobs
	Shape   bool   // print the shape of the process at the end of a pull
	Stay    string // deploy: the event, as report prints it, at which the process stays until the parent closes its input or kills it
}

func runChild(text string) error {
	var c task
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	ctx := context.Background()
	options := &registry.Options{Access: registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous}, PolicyPath: c.Policy}
	if c.Repo != "" {
		return runRepoChild(ctx, c, options)
	}
	sysroot, err := ostree.NewSysroot(c.Sysroot)
	if err != nil {
		return err
	}
	defer sysroot.Close()
	if err := sysroot.Load(ctx); err != nil {
		return err
	}
	switch c.Do {
	case "lock":
		if err := sysroot.Lock(ctx); err != nil {
			return err
		}
		defer sysroot.Unlock()
		fmt.Println("locked")
		_, err := io.Copy(io.Discard, os.Stdin) // until the parent closes it
		return err
	case "deploy":
		ref, err := imageref.ParseOSTree(c.Refs[0])
		if err != nil {
			return err
		}
		state, err := container.Deploy(ctx, sysroot, "default", ref, &container.DeployOptions{
			PullOptions: container.PullOptions{
				Registry: options,
				Progress: c.report,
				Logger:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
			},
			NoImgref: c.NoRef,
		})
		if err != nil {
			return err
		}
		fmt.Println("deployed", state.MergeCommit)
		return nil
	case "staged":
		return stagedTask(ctx, sysroot, c, options)
	case "undeploy":
		return undeployTask(ctx, sysroot, c, options)
	case "prune":
		pruned, err := container.Prune(ctx, sysroot, nil)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(pruned)
	}
	return fmt.Errorf("unknown task %q", c.Do)
}

func runRepoChild(ctx context.Context, c task, options *registry.Options) error {
	repo, err := ostree.OpenRepo(ctx, c.Repo)
	if err != nil {
		return err
	}
	defer repo.Close()
	switch c.Do {
	case "pull":
		for _, ref := range c.Refs {
			state, err := importImage(ctx, repo, ref, &container.ImporterOptions{Registry: options, Jobs: c.Jobs, KeepBlobs: c.Keep, Progress: report})
			if err != nil {
				return err
			}
			fmt.Println("pulled", state.MergeCommit)
		}
		if c.Shape {
			s, err := shapeOfThis()
			return errors.Join(err, json.NewEncoder(os.Stdout).Encode(s))
		}
		return nil
	case "copy":
		to, err := ostree.OpenRepo(ctx, c.Target)
		if err != nil {
			return err
		}
		defer to.Close()
		ref, err := imageref.Parse(c.Refs[0])
		if err != nil {
			return err
		}
		_, err = container.Copy(ctx, repo, ref, to, &container.CopyOptions{Progress: report})
		return err
	case "collect":
		n, err := container.GCImageLayers(ctx, repo, nil)
		fmt.Println("collected", n)
		return err
	case "share", "exclude":
		lock, err := repo.Lock(ctx, map[string]ostree.LockType{"share": ostree.LockShared, "exclude": ostree.LockExclusive}[c.Do])
		if err != nil {
			return err
		}
		fmt.Println("locked")
		_, err = io.Copy(io.Discard, os.Stdin) // until the parent closes it
		return errors.Join(err, lock.Unlock())
	}
	return fmt.Errorf("unknown task %q", c.Do)
}

// importImage is pull for those that have no test or want their own context.
func importImage(ctx context.Context, repo *ostree.Repo, ref string, opts *container.ImporterOptions) (state *container.LayeredImageState, err error) {
	parsed, err := imageref.ParseOSTree("ostree-unverified-image:" + ref)
	if err != nil {
		return nil, err
	}
	imp, err := container.NewImporter(repo, parsed, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, imp.Close()) }()
	res, err := imp.Prepare(ctx)
	if err != nil {
		return nil, err
	}
	if res.AlreadyPresent != nil {
		return res.AlreadyPresent, nil
	}
	return imp.Import(ctx, res.Ready)
}

// report prints an event as one line.
func report(e container.Event) {
	if line := lineOf(e); line != "" {
		fmt.Println(line)
	}
}

func (c task) report(e container.Event) {
	report(e)
	if c.Stay != "" && lineOf(e) == c.Stay {
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

func lineOf(e container.Event) string {
	switch e := e.(type) {
	case container.PhaseStarted:
		return fmt.Sprint("start ", e.Phase)
	case container.PhaseDone:
		return fmt.Sprint("end ", e.Phase)
	case container.LayerStarted:
		return fmt.Sprint("layer ", e.Layer.Descriptor.Digest)
	case container.LayerProgress:
		return fmt.Sprintf("bytes %s %d", e.Layer.Descriptor.Digest, e.Done)
	case container.LayerDone:
		return fmt.Sprint("done ", e.Layer.Descriptor.Digest)
	}
	return ""
}

// child is a process of this test binary.
type child struct {
	*exec.Cmd
	stdin  io.WriteCloser
	lines  *bufio.Scanner
	stderr strings.Builder
}

func encode(t testing.TB, c task) string {
	t.Helper()
	text, err := json.Marshal(c)
	require.NoError(t, err)
	return string(text)
}

func startChild(t testing.TB, c task) *child {
	t.Helper()
	if c.Policy == "" {
		c.Policy = policyFile(t)
	}
	text := encode(t, c)
	self, err := os.Executable()
	require.NoError(t, err)
	p := &child{Cmd: exec.Command(self)}
	p.Env = append(os.Environ(), childTask+"="+text)
	p.Cmd.Stderr = &p.stderr
	p.stdin, err = p.StdinPipe()
	require.NoError(t, err)
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	p.lines = bufio.NewScanner(out)
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	return p
}

// finish reads all lines and waits for the child to succeed.
func (p *child) finish(t testing.TB) (lines []string) {
	t.Helper()
	for p.lines.Scan() {
		lines = append(lines, p.lines.Text())
	}
	require.NoError(t, p.Wait(), p.stderr.String())
	return lines
}
