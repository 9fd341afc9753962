package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
)

// testApp is an app whose files are buffers.
func testApp() (a *app, out, errOut *bytes.Buffer) {
	out, errOut = &bytes.Buffer{}, &bytes.Buffer{}
	a = &app{out: &output{w: out}, err: &console{w: errOut}}
	a.level.Set(slog.LevelInfo)
	a.log = slog.New(&logHandler{w: a.err, level: &a.level})
	return a, out, errOut
}

func testLayer(index int, kind container.LayerKind, size int64) container.LayerState {
	return container.LayerState{
		Index: index, Kind: kind, Ref: fmt.Sprint("ref", index),
		Descriptor: ocispec.Descriptor{Digest: digest.FromString(fmt.Sprint(index)), Size: size},
	}
}

// startText is the first line of JSON progress, byte for byte.
const startText = `{"type":"Start","version":"0.1.0"}`

// events are those of a pull of two layers.
func events() []container.Event {
	chunk, derived := testLayer(0, container.LayerChunk, 5000), testLayer(1, container.LayerDerived, 102)
	return []container.Event{
		container.PhaseStarted{Phase: container.PhaseResolve},
		container.PhaseDone{Phase: container.PhaseResolve, Elapsed: time.Millisecond},
		container.PhaseStarted{Phase: container.PhaseImport},
		container.LayerStarted{Layer: chunk, N: 1, Total: 2},
		container.LayerStarted{Layer: derived, N: 2, Total: 2},
		container.LayerProgress{Layer: chunk, Done: 2500, Total: 5000},
		container.LayerProgress{Layer: derived, Done: 102, Total: 102},
		container.LayerDone{Layer: derived, N: 1, Total: 2},
		container.LayerProgress{Layer: chunk, Done: 5000, Total: 5000},
		container.LayerDone{Layer: chunk, N: 2, Total: 2},
		container.PhaseDone{Phase: container.PhaseImport, Elapsed: 2 * time.Second},
		container.PhaseStarted{Phase: container.PhaseMerge},
		container.PhaseDone{Phase: container.PhaseMerge},
	}
}

func TestPlainProgress(t *testing.T) {
	t.Parallel()
	a, out, errOut := testApp()
	p := a.newProgress(imageref.OSTreeImageReference{}, false, formatText)
	for _, e := range events() {
		p.event(e)
	}
	p.stop()
	assert.Empty(t, out.String())
	assert.Equal(t, strings.ReplaceAll(`Fetching ostree chunk sha256:5feceb66ffc8 (5.0~kB)
Fetching layer sha256:6b86b273ff34 (102 bytes)
Fetched layer sha256:6b86b273ff34
Fetched ostree chunk sha256:5feceb66ffc8
Merging layers
`, "~", "\u00a0"), errOut.String())
}

func TestQuietProgress(t *testing.T) {
	t.Parallel()
	a, out, errOut := testApp()
	p := a.newProgress(imageref.OSTreeImageReference{}, true, formatJSON)
	for _, e := range events() {
		p.event(e)
	}
	p.stop()
	assert.Empty(t, out.String()+errOut.String())
}

func TestJSONProgress(t *testing.T) {
	t.Parallel()
	a, out, errOut := testApp()
	ref, err := imageref.ParseOSTree("ostree-unverified-registry:example.com/os")
	require.NoError(t, err)
	p := a.newProgress(ref, false, formatJSON).(*jsonProgress)
	layers := []container.LayerState{testLayer(0, container.LayerChunk, 5000), testLayer(1, container.LayerDerived, 102)}
	p.event(container.LayersPlanned{Layers: layers, Stored: 1, StoredBytes: 7, Bytes: 5102})
	for _, e := range events() {
		p.event(e) // all within 200 ms, so no line only counts bytes
	}
	p.stop()
	assert.Empty(t, errOut.String())
	chunk, derived := digest.FromString("0").String(), digest.FromString("1").String()
	steps := func(task, description, subtask, text string, done int) string {
		return fmt.Sprintf(`{"type":"ProgressSteps","task":%q,"description":%q,"id":"ostree-unverified-registry:example.com/os",`+
			`"stepsCached":0,"steps":%d,"stepsTotal":1,"subtasks":[{"subtask":%q,"description":%q,"id":%q,"completed":%v}]}`,
			task, description, done, subtask, text, subtask, done == 1)
	}
	lines := func(bytes, steps int, subtasks ...string) string {
		return fmt.Sprintf(`{"type":"ProgressBytes","task":"pulling","description":"Pulling Image: docker://example.com/os",`+
			`"id":"ostree-unverified-registry:example.com/os","bytesCached":7,"bytes":%d,"bytesTotal":5102,`+
			`"stepsCached":1,"steps":%d,"stepsTotal":2,"subtasks":[%s]}`, bytes, steps, strings.Join(subtasks, ","))
	}
	subtask := func(kind, name, d string, bytes, total int) string {
		return fmt.Sprintf(`{"subtask":%q,"description":"%s %s","id":%q,"bytesCached":0,"bytes":%d,"bytesTotal":%d}`,
			kind, name, d[:19], d, bytes, total)
	}
	assert.Equal(t, strings.Join([]string{
		startText,
		steps("resolving", "Fetching manifest", "resolve", "Fetching manifest", 0),
		steps("resolving", "Fetching manifest", "resolve", "Fetching manifest", 1),
		lines(0, 0, subtask("ostree_chunk", "ostree chunk", chunk, 0, 5000)),
		lines(0, 0, subtask("ostree_chunk", "ostree chunk", chunk, 0, 5000), subtask("layer", "layer", derived, 0, 102)),
		lines(2602, 1, subtask("ostree_chunk", "ostree chunk", chunk, 2500, 5000), subtask("layer", "layer", derived, 102, 102)),
		lines(5102, 2, subtask("ostree_chunk", "ostree chunk", chunk, 5000, 5000)),
		steps("importing", "Importing Image", "merge", "Merging layers", 0),
		steps("importing", "Importing Image", "merge", "Merging layers", 1),
	}, "\n")+"\n", out.String())
}

func TestJSONProgressCountsBytesAtMostFiveTimesASecond(t *testing.T) {
	t.Parallel()
	a, out, _ := testApp()
	p := newJSONProgress(a, imageref.OSTreeImageReference{})
	l := testLayer(0, container.LayerDerived, 1000)
	p.event(container.LayerStarted{Layer: l, N: 1, Total: 1})
	before := strings.Count(out.String(), "\n")
	start := time.Now()
	for n := range int64(500) {
		p.event(container.LayerProgress{Layer: l, Done: n, Total: 1000})
		time.Sleep(time.Millisecond)
	}
	most := int(time.Since(start)/progressInterval) + 1
	assert.LessOrEqual(t, strings.Count(out.String(), "\n")-before, most)
	assert.Greater(t, strings.Count(out.String(), "\n"), before)
}

// terminal opens a pseudo terminal; what is shown on it comes out of the function, which closes it.
func terminal(t *testing.T) (tty *os.File, shown func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		missing(t, "pseudo terminals")
	}
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 120}))
	text := make(chan string)
	go func() {
		data, _ := io.ReadAll(master) // ends with EIO when the last tty is closed
		text <- string(data)
	}()
	return tty, func() string {
		require.NoError(t, tty.Close())
		defer master.Close()
		return <-text
	}
}

func TestTerminalProgress(t *testing.T) {
	t.Setenv("TERM", "xterm")
	tty, shown := terminal(t)
	a, _, _ := testApp()
	a.err.w = tty
	p := a.newProgress(imageref.OSTreeImageReference{}, false, formatText)
	require.IsType(t, &termProgress{}, p)
	p.event(container.LayersPlanned{Layers: []container.LayerState{testLayer(0, container.LayerChunk, 5000), testLayer(1, container.LayerDerived, 102)}, Bytes: 5102})
	for _, e := range events() {
		p.event(e)
		time.Sleep(2 * refreshInterval)
		if _, ok := e.(container.LayerProgress); ok {
			a.warn("something")
		}
	}
	p.event(container.PhaseStarted{Phase: container.PhaseGC}) // never ends: an error came
	p.stop()
	p.stop()
	a.warn("after")
	text := strings.ReplaceAll(shown(), "\u00a0", " ")
	assert.Contains(t, text, "Fetching manifest")
	assert.Contains(t, text, "ostree chunk sha256:5feceb66ffc8  [")
	assert.Contains(t, text, "2.5 kB / 5.0 kB")
	assert.Contains(t, text, "1 of 2 layers")
	assert.Contains(t, text, "/ 5.1 kB")
	assert.Regexp(t, `2\.5 kB / 5\.0 kB +\d\.\d kB/s 00:0\d`, text)
	assert.Regexp(t, `\d\d:\d\d`, text)
	assert.Contains(t, text, "Merging layers")
	assert.Contains(t, text, "Fetched layers: 5.1 kB in 2s (2.6 kB/s)")
	assert.Contains(t, text, "warning: something\r\n")
	assert.Contains(t, text, "warning: after\r\n")
	assert.Equal(t, 3, strings.Count(text, "warning: something"), "a line is printed once")
}

// An interrupted import leaves layers under way.
func TestTerminalProgressStopsInTheMiddle(t *testing.T) {
	t.Setenv("TERM", "xterm")
	tty, shown := terminal(t)
	a, _, _ := testApp()
	a.err.w = tty
	p := a.newProgress(imageref.OSTreeImageReference{}, false, formatText)
	for _, e := range events()[:6] {
		p.event(e)
	}
	done := make(chan struct{})
	go func() { p.stop(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("hangs")
	}
	a.warn("the end")
	assert.True(t, strings.HasSuffix(shown(), "warning: the end\r\n"))
}

func TestTerminalWithoutASize(t *testing.T) {
	t.Setenv("TERM", "linux")
	tty, shown := terminal(t)
	require.NoError(t, unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{}))
	a, _, _ := testApp()
	a.err.w = tty
	p := a.newProgress(imageref.OSTreeImageReference{}, false, formatText)
	p.event(container.PhaseStarted{Phase: container.PhaseMerge})
	p.stop()
	assert.Equal(t, "Merging layers\r\n", shown())
}

func TestTimeLeft(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "00:10", timeLeft(1000, 100))
	assert.Equal(t, "59:59", timeLeft(3599, 1))
	assert.Equal(t, "1:00:00", timeLeft(3600, 1))
	assert.Equal(t, "--:--", timeLeft(3600, 0))
	assert.Equal(t, "--:--", timeLeft(-1, 5))
	assert.Equal(t, "--:--", timeLeft(1<<60, 1))
}

func TestLogLines(t *testing.T) {
	t.Parallel()
	a, _, errOut := testApp()
	log := a.log.With("image", "oci:a b")
	log.Debug("not shown")
	log.Info("Waiting for sysroot lock...")
	log.Warn("odd", "n", 3, "error", fmt.Errorf("a\nb"))
	log.Error("query failed", "x", "")
	a.level.Set(slog.LevelDebug)
	log.Debug("shown")
	assert.Equal(t, `Waiting for sysroot lock... image="oci:a b"
warning: odd image="oci:a b" n=3 error="a b"
warning: query failed image="oci:a b" x=""
debug: shown image="oci:a b"
`, errOut.String())
}
