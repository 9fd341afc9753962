package main

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The CPU time of a grandchild counts even if nobody waits for it, and memory is that of the whole tree.
func TestMeasureTree(t *testing.T) {
	require.NoError(t, adoptOrphans())
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is missing")
	}
	const child = `
import os, sys, time
if os.fork() == 0:
    a = bytearray(50 << 20)
    for i in range(0, len(a), 4096): a[i] = 1
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
    os._exit(0)
a = bytearray(50 << 20)
for i in range(0, len(a), 4096): a[i] = 1
time.sleep(0.6)
print("done")
`
	u, out, err := measure(t.Context(), exec.Command(python, "-c", child))
	require.NoError(t, err)
	assert.Equal(t, "done\n", out)
	assert.GreaterOrEqual(t, u.User+u.Sys, 0.3, "CPU seconds")
	assert.GreaterOrEqual(t, u.Wall, 0.6, "wall seconds")
	assert.GreaterOrEqual(t, u.TreeRSS, int64(100<<20), "both processes at once")
	assert.Less(t, u.MaxRSS, int64(100<<20), "one process")
	assert.GreaterOrEqual(t, u.Children, 1) // python3 may be a script around python3

	_, _, err = measure(t.Context(), exec.Command("sh", "-c", "echo no >&2; exit 3"))
	assert.ErrorContains(t, err, "no")
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	r := results{Runs: 3}
	add := func(tool, step string, walls ...float64) {
		for _, w := range walls {
			r.Samples = append(r.Samples, sample{Kind: "base", Tool: tool, Step: step, usage: usage{Wall: w, TreeRSS: 50 << 20}})
		}
	}
	add(toolOurs, stepPull, 9, 10, 30)
	add(toolJudge, stepPull, 50, 50, 50)
	add(toolTar, stepPull, 20, 20, 20)
	text := r.markdown()
	assert.Contains(t, text, "| pull | base | 10.00 | 0.00 | 50 | 50.00 | 0.00 | 50 | 20.00 | 0.00 | 0.20 (0.22) | 0.50 (0.48) **!** |")
	assert.NotContains(t, text, "| oci |")
	v, ok := r.middle("base", toolOurs, stepPull, wall)
	assert.True(t, ok)
	assert.InDelta(t, 10, v, 0)
}
