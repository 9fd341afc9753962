package testimage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// DefaultJudge is where the reference program is built; the environment
// variable JUDGE names another one.
const DefaultJudge = "/var/cache/ostree-container/judge/target/release/judge"

// Judge is the path of the reference program. The test is skipped, or fails
// with REQUIRE_ALL=1, when there is none. JUDGE=none says that it cannot be
// built here, which is no failure: make test says so where cargo is missing.
func Judge(t testing.TB) string {
	t.Helper()
	path := os.Getenv("JUDGE")
	switch path {
	case "":
		path = DefaultJudge
	case "none":
		t.Skip("missing: the reference program, JUDGE=none")
	}
	if _, err := os.Stat(path); err != nil {
		Missing(t, "the reference program: "+err.Error())
	}
	return path
}

// NeedTool skips the test, or fails it with REQUIRE_ALL=1, when a program is
// not in PATH.
func NeedTool(t testing.TB, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			Missing(t, err.Error())
		}
	}
}

// NeedRoot skips the test, or fails it with REQUIRE_ALL=1, without root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root")
	}
}

// Missing skips the test with the reason, or fails it with REQUIRE_ALL=1.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatalf("REQUIRE_ALL=1 and missing: %s", what)
	}
	t.Skipf("missing: %s", what)
}

// Run runs a command in the C.UTF-8 locale and returns its standard output;
// the test fails with both outputs when it fails.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := Output(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Output runs a command in the C.UTF-8 locale; its error holds the command
// line and what it wrote to standard error.
func Output(name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "G_MESSAGES_DEBUG=")
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// BaseOptions describes an ostree-native base image.
type BaseOptions struct {
	// Members is the tree of the commit, with usr/etc as an ostree commit has
	// it and every parent directory named. nil means BaseMembers(). At most
	// one xattr each: the ostree command gets them wrong otherwise (B21).
	Members []Member
	// Components gives the chunk layers: name and path prefix; a file belongs
	// to the first that fits, else to "rest". Empty means a single layer.
	Components  []Component
	Subject     string
	Label       bool     // give every file the label of the SELinux policy in the tree; needs root
	Bootable    bool     // ostree commit --bootable: needs usr/lib/modules/V/vmlinuz
	Encapsulate []string // more arguments for the reference, e.g. "--label", "a=b"
	// Sign is called with the repository and the commit before the image is made of it; nil: no signature.
	Sign func(repo, commit string)
}

// Component is a chunk of a base image.
type Component struct{ Name, Prefix string }

// EncapsulatedImage is an ostree-native image.
type EncapsulatedImage struct {
	Base          // for Image.Base
	Ref    string // "oci:DIR:latest"
	Tag    string // "latest"
	Commit string // the ostree commit inside, 64 hex digits
	Repo   string // archive repository that holds the commit as ref "base"
}

// BaseMembers is a small tree with a kernel, a shell, configuration, a
// symlinked toplevel, a setuid file, a capability and an empty file.
func BaseMembers() []Member {
	return []Member{
		Dir("./", 0o755),
		Dir("boot", 0o755), Dir("sysroot", 0o755), Dir("var", 0o755),
		Symlink("bin", "usr/bin"), Symlink("ostree", "sysroot/ostree"),
		Dir("usr", 0o755), Dir("usr/bin", 0o755),
		File("usr/bin/sh", 0o755, "#!shell\n"), File("usr/bin/su", 0o4755, "su\n"),
		File("usr/bin/ping", 0o755, "ping\n").With("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		Symlink("usr/bin/bash", "sh"),
		Dir("usr/etc", 0o755), File("usr/etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n"),
		File("usr/etc/shadow", 0o000, "root:*::\n"), File("usr/etc/empty", 0o644, ""),
		Dir("usr/etc/private", 0o700).Owned(7, 8), File("usr/etc/private/key", 0o600, "key\n").Owned(7, 8),
		Dir("usr/lib", 0o755), File("usr/lib/os-release", 0o644, "ID=test\nVERSION_ID=1\n"),
		Dir("usr/lib/modules", 0o755), Dir("usr/lib/modules/6.1.0-test", 0o755),
		File("usr/lib/modules/6.1.0-test/vmlinuz", 0o644, "kernel 6.1\n"),
		File("usr/lib/modules/6.1.0-test/initramfs.img", 0o644, "initramfs\n"),
		Dir("usr/share", 0o755), BigFile("usr/share/data", 0o644, 300_000, 1),
		File("usr/share/zz", 0o644, "zz\n"),
	}
}

// EncapsulatedBase makes an ostree-native image with the ostree command and
// the reference's "container encapsulate". Its history carries the time of
// day, so its manifest digest differs from run to run; commit, layers and
// diff_ids do not.
func EncapsulatedBase(t testing.TB, opts BaseOptions) *EncapsulatedImage {
	t.Helper()
	judge := Judge(t)
	NeedTool(t, "ostree", "skopeo")
	dir := t.TempDir()
	img := &EncapsulatedImage{Tag: "latest", Repo: filepath.Join(dir, "repo")}
	img.Dir = filepath.Join(dir, "oci")
	img.Ref = "oci:" + img.Dir + ":" + img.Tag
	if opts.Members == nil {
		opts.Members = BaseMembers()
	}
	if opts.Subject == "" {
		opts.Subject = "test base"
	}
	Run(t, "ostree", "--repo="+img.Repo, "init", "--mode=archive")
	tarFile := filepath.Join(dir, "base.tar")
	if err := os.WriteFile(tarFile, Tar(opts.Members...), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--repo=" + img.Repo, "commit", "--branch=base", "--no-bindings", "--timestamp=@1700000000", "--subject=" + opts.Subject,
	}
	if opts.Label {
		NeedRoot(t)
		root := filepath.Join(dir, "root")
		Run(t, "ostree", append(args, "--tree=tar="+tarFile)...)
		Run(t, "ostree", "--repo="+img.Repo, "checkout", "base", root)
		args = append(args, "--tree=dir="+root, "--selinux-policy="+root)
	} else {
		args = append(args, "--tree=tar="+tarFile)
	}
	if opts.Bootable {
		args = append(args, "--bootable")
	}
	img.Commit = strings.TrimSpace(Run(t, "ostree", args...))
	if opts.Sign != nil {
		opts.Sign(img.Repo, img.Commit)
	}
	args = append([]string{"container", "encapsulate", "--repo=" + img.Repo}, opts.Encapsulate...)
	if len(opts.Components) > 0 {
		args = append(args, "--contentmeta="+img.contentMeta(t, dir, opts.Components))
	}
	Run(t, judge, append(args, "base", img.Ref)...)
	base, err := LoadBase(img.Dir, img.Tag)
	if err != nil {
		t.Fatal(err)
	}
	img.Base = *base
	return img
}

// contentMeta writes the JSON document that maps each file object to a chunk.
// A component that owns nothing is left out: the reference panics (B34).
func (img *EncapsulatedImage) contentMeta(t testing.TB, dir string, comps []Component) string {
	mapping := map[string]string{}
	used := map[string]bool{}
	for _, line := range strings.Split(Run(t, "ostree", "--repo="+img.Repo, "ls", "-R", "-C", "base"), "\n") {
		f := strings.Fields(line)
		if len(f) < 6 || f[0][0] == 'd' {
			continue
		}
		name := "rest"
		for _, c := range comps {
			if strings.HasPrefix(strings.TrimPrefix(f[5], "/"), strings.TrimPrefix(c.Prefix, "/")) {
				name = c.Name
				break
			}
		}
		if _, ok := mapping[f[4]]; !ok {
			mapping[f[4]] = name
			used[name] = true
		}
	}
	var layers strings.Builder // an object whose order counts
	for _, c := range append(comps[:len(comps):len(comps)], Component{Name: "rest"}) {
		if used[c.Name] {
			used[c.Name] = false
			if layers.Len() > 0 {
				layers.WriteByte(',')
			}
			fmt.Fprintf(&layers, "%q:%q", c.Name, c.Name)
		}
	}
	m, err := json.Marshal(mapping)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "contentmeta.json")
	doc := fmt.Sprintf(`{"version":1,"layers":{%s},"mapping":%s}`, layers.String(), m)
	if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
