package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// runMain in the environment makes the test binary be the program.
const runMain = "OSTREE_CONTAINER_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		os.Exit(Main("1.2.3"))
	}
	os.Exit(m.Run())
}

// program returns a path by which the test binary can be called as the program, and the environment it then needs.
func program(t *testing.T) (path string, env []string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	path = filepath.Join(t.TempDir(), "ostree-container")
	require.NoError(t, os.Symlink(self, path))
	return path, append(os.Environ(), runMain+"=1", "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"))
}

// missing skips the test with the reason, or fails it with REQUIRE_ALL=1.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "root")
	}
}

func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		missing(t, name)
	}
}

// tool runs another program and returns its standard output.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s %v: %s", name, args, stderr.String())
	return stdout.String()
}

// result is a run of the program in this process.
type result struct {
	out, err string
	status   int
}

func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return runContext(t, t.Context(), stdin, args...)
}

func runContext(t *testing.T, ctx context.Context, stdin string, args ...string) result { //nolint:revive // t first, as in testify
	t.Helper()
	var out, errOut bytes.Buffer
	status := Run(ctx, "1.2.3", args, Streams{In: strings.NewReader(stdin), Out: &out, Err: &errOut})
	return result{out.String(), errOut.String(), status}
}

// transcript runs command lines and returns what a person would see: each command line after "$ ", standard output as
// it is, lines of standard error after "2> ", and "? STATUS" if that is not 0. What differs from run to run is replaced.
func (i *images) transcript(t *testing.T, commands ...string) string {
	t.Helper()
	var b strings.Builder
	for _, command := range commands {
		b.WriteString("$ " + command + "\n")
		r := run(t, "", strings.Fields(strings.ReplaceAll(command, "DIR", i.dir))...)
		b.WriteString(r.out)
		if r.out != "" && !strings.HasSuffix(r.out, "\n") {
			b.WriteString("(no newline)\n")
		}
		for line := range strings.Lines(r.err) {
			b.WriteString("2> " + line)
		}
		if r.status != 0 {
			b.WriteString("? " + strconv.Itoa(r.status) + "\n")
		}
	}
	return i.normal(b.String())
}

var (
	number = regexp.MustCompile(`\b[0-9]+\b`)
	hex64  = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	hex20  = regexp.MustCompile(`(?m)^[0-9a-f]{20}\b`)
	hex12  = regexp.MustCompile(`sha256:[0-9a-f]{12}\b`)
)

// normal replaces what differs from run to run.
func (i *images) normal(s string) string {
	s = strings.ReplaceAll(s, i.dir, "DIR")
	s = hex64.ReplaceAllString(s, "HEX")
	s = hex20.ReplaceAllString(s, "HEX20")
	s = hex12.ReplaceAllString(s, "sha256:HEX12")
	s = number.ReplaceAllStringFunc(s, i.nominal)
	return strings.ReplaceAll(s, "\u00a0", "~")
}

// images are sample images in the directory dir: the OCI layout dir/image with the tags v1 and v2 of one image.
type images struct {
	dir   string
	sizes map[string]int64 // bytes of the layers base, app, v1 and v2
}

// size is that of layers together, in bytes.
func (i *images) size(layers ...string) (n int64) {
	for _, l := range layers {
		n += i.sizes[l]
	}
	return n
}

// nominal gives a layer's size, or an image's, as it is with GNU tar 1.34. Newer ones leave empty what is zeros there.
func (i *images) nominal(n string) string {
	for _, layers := range [][]string{{"base"}, {"app"}, {"v1"}, {"v2"}, {"base", "app", "v1"}, {"base", "app", "v2"}} {
		if n == strconv.FormatInt(i.size(layers...), 10) {
			of := &images{sizes: map[string]int64{"base": 694, "app": 251, "v1": 232, "v2": 378}}
			return strconv.FormatInt(of.size(layers...), 10)
		}
	}
	return n
}

// measure fills sizes.
func (i *images) measure(t *testing.T) {
	t.Helper()
	read := func(file string, into any) {
		data, err := os.ReadFile(filepath.Join(i.layout(), file))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, into))
	}
	i.sizes = map[string]int64{}
	var index ocispec.Index
	read("index.json", &index)
	for _, m := range index.Manifests {
		var manifest ocispec.Manifest
		read("blobs/sha256/"+m.Digest.Encoded(), &manifest)
		for n, name := range []string{"base", "app", m.Annotations[ocispec.AnnotationRefName]} {
			i.sizes[name] = manifest.Layers[n].Size
		}
	}
}

func makeImages(t *testing.T) *images {
	t.Helper()
	needTool(t, "bash")
	root, err := filepath.Abs("../../../..")
	require.NoError(t, err)
	i := &images{dir: t.TempDir()}
	data := filepath.Join(root, "testdata/demo/image")
	for _, v := range []string{"1", "2"} {
		tool(t, filepath.Join(root, "testdata/oci-image"), i.layout(), "v"+v, v, data+"/base", data+"/app", data+"/v"+v)
	}
	i.measure(t)
	return i
}

func (i *images) layout() string { return filepath.Join(i.dir, "image") }

// retag makes a tag of the layout name the image of another one, as a registry does when an update is pushed.
func (i *images) retag(t *testing.T, tag, from string) {
	t.Helper()
	index := filepath.Join(i.layout(), "index.json")
	data, err := os.ReadFile(index)
	require.NoError(t, err)
	var line string
	var kept []string
	for l := range strings.Lines(string(data)) {
		l = strings.TrimSuffix(l, "\n")
		if strings.Contains(l, `ref.name":"`+from+`"`) {
			line = strings.TrimSuffix(l, ",")
		}
		if !strings.Contains(l, `ref.name":"`+tag+`"`) {
			kept = append(kept, l)
		}
	}
	require.NotEmpty(t, line)
	line = strings.Replace(line, `ref.name":"`+from+`"`, `ref.name":"`+tag+`"`, 1)
	text := strings.Join(kept, "\n") + "\n"
	text = strings.Replace(text, `"manifests":[`, `"manifests":[`+"\n"+line+",", 1)
	text = strings.Replace(text, ",\n]}", "\n]}", 1)
	require.NoError(t, os.WriteFile(index, []byte(text), 0o644))
}

// repo makes an empty repository dir/NAME.
func (i *images) repo(t *testing.T, name, mode string) string {
	t.Helper()
	needTool(t, "ostree")
	path := filepath.Join(i.dir, name)
	tool(t, "ostree", "init", "--repo="+path, "--mode="+mode)
	return path
}

// fsck has the ostree command judge a repository.
func fsck(t *testing.T, repo string) {
	t.Helper()
	tool(t, "ostree", "fsck", "--quiet", "--repo="+repo)
}
