package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process tree took.
type usage struct {
	Wall     float64 // seconds
	User     float64 // CPU seconds
	Sys      float64 // CPU seconds
	TreeRSS  int64   // bytes: highest sum of resident memory over the tree, shared pages counted in each process
	TreePSS  int64   // bytes: the same with shared pages divided, sampled less often; 0 = too short
	MaxRSS   int64   // bytes: ru_maxrss of the process that had most
	Children int     // descendants seen
	Samples  int
}

const (
	rssEvery = 10 * time.Millisecond
	pssEvery = 100 * time.Millisecond
)

// adoptOrphans makes this process the parent of descendants whose parent is gone, so that their rusage is not lost.
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_CHILD_SUBREAPER: %w", err)
	}
	return nil
}

// measure runs cmd and returns what it and all its descendants took, and its standard output.
func measure(ctx context.Context, cmd *exec.Cmd) (usage, string, error) {
	var u usage
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := ctx.Err(); err != nil {
		return u, "", err
	}
	forgetPeak()
	syscall.Sync() // what earlier steps wrote
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return u, "", err
	}
	kill := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer kill()
	s := newSampler(cmd.Process.Pid)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		s.loop(stop)
	}()
	err := cmd.Wait()
	u.Wall = time.Since(start).Seconds()
	close(stop)
	<-done
	ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return u, "", errors.New("no rusage")
	}
	u.add(ru)
	for pid := range s.seen {
		u.orphan(pid)
	}
	u.TreeRSS, u.TreePSS, u.Samples, u.Children = max(s.rss, u.MaxRSS), s.pss, s.samples, len(s.seen)-1
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, tail(stderr.String(), 600))
	}
	return u, stdout.String(), errors.Join(err, ctx.Err())
}

// forgetPeak makes this process small and its peak what it is now: a child has it before it executes its program, and its ru_maxrss begins
// with it.
func forgetPeak() {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // since Linux 4.0
}

func (u *usage) add(ru *syscall.Rusage) {
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	u.User += seconds(ru.Utime)
	u.Sys += seconds(ru.Stime)
	u.MaxRSS = max(u.MaxRSS, ru.Maxrss<<10)
}

// orphan adds what a descendant took that its own parent has not waited for.
func (u *usage) orphan(pid int) {
	for range 200 {
		var ws syscall.WaitStatus
		var ru syscall.Rusage
		got, err := syscall.Wait4(pid, &ws, syscall.WNOHANG, &ru)
		if err != nil { // ECHILD: not ours, its parent has waited
			return
		}
		if got == pid {
			u.add(&ru)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGTERM) // left running
}

// sampler follows a process tree in /proc.
type sampler struct {
	root     int
	seen     map[int]bool
	rss, pss int64
	samples  int
}

func newSampler(root int) *sampler { return &sampler{root: root, seen: map[int]bool{root: true}} }

func (s *sampler) loop(stop <-chan struct{}) {
	tick := time.NewTicker(rssEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		tree := processTree(s.root)
		var rss, pss int64
		withPSS := time.Since(last) >= pssEvery
		for _, pid := range tree {
			s.seen[pid] = true
			rss += residentBytes(pid)
			if withPSS {
				pss += proportionalBytes(pid)
			}
		}
		if withPSS {
			last = time.Now()
		}
		s.rss, s.pss, s.samples = max(s.rss, rss), max(s.pss, pss), s.samples+1
	}
}

// processTree returns pid and its descendants.
func processTree(pid int) []int {
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		dir := "/proc/" + strconv.Itoa(tree[i]) + "/task"
		tasks, err := os.ReadDir(dir)
		if err != nil {
			continue // gone
		}
		for _, t := range tasks {
			data, err := os.ReadFile(dir + "/" + t.Name() + "/children")
			if err != nil {
				continue
			}
			for f := range strings.FieldsSeq(string(data)) {
				if child, err := strconv.Atoi(f); err == nil {
					tree = append(tree, child)
				}
			}
		}
	}
	return tree
}

func residentBytes(pid int) int64 {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	f := strings.Fields(string(data))
	if err != nil || len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func proportionalBytes(pid int) int64 {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}
