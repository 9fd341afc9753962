package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"

	"github.com/ostree-container/ostree-container/ostree"
)

// kargsDir is where an image says which kernel arguments it wants (bootc's document "Kernel arguments").
const kargsDir = "usr/lib/bootc/kargs.d"

// maxKargsFile and maxKargs are how many bytes one file of kargsDir, and all of them, may have. A kernel takes a few thousand; the time that
// the decoder takes for keys of many parts grows faster than their number.
const (
	maxKargsFile = 8 << 10
	maxKargs     = 64 << 10
)

// maxCommandLine is how many bytes the arguments of an image may have together, with a space between them: the largest COMMAND_LINE_SIZE of
// the kernel's architectures (s390; x86 and arm64 have 2048). A kernel cuts off what is beyond its own without a word, and with it ostree=.
const maxCommandLine = 4096

// Kargs says how the kernel arguments of a new deployment differ from those of the one it takes its configuration from.
type Kargs struct{ Added, Removed []string }

// mergeKargs returns the kernel arguments for a deployment of a commit: those of the merge deployment, which may be nil, with what the images
// of the two ask for changed: what only the new one asks for is added at the end, what only the old one did is removed, as often as it did.
// What else is there, and what the administrator has removed, stays as it is. Nil means that nothing changes.
func mergeKargs(ctx context.Context, repo *ostree.Repo, merge *ostree.Deployment, commit string, log *slog.Logger) ([]string, Kargs, error) {
	var change Kargs
	wanted, err := kargsOf(ctx, repo, commit)
	if err != nil {
		return nil, change, err
	}
	var list, before []string
	if merge != nil {
		list = splitKargs(merge.KernelArgs().String())
		if before, err = kargsOf(ctx, repo, merge.Checksum()); err != nil {
			if ctx.Err() != nil {
				return nil, change, err
			}
			if log != nil {
				log.Warn("no kernel arguments of the old image are removed", "error", err)
			}
			before = common(wanted, list) // another program may have applied them
		}
	}
	gone := without(before, wanted)
	change.Added, change.Removed = without(wanted, before), common(gone, list)
	slices.Reverse(list) // the image's were added at the end: one that was there before is kept
	list = without(list, gone)
	slices.Reverse(list)
	if log != nil {
		for _, arg := range without(common(wanted, before), list) {
			log.Debug("kernel argument of the image was removed on this host, or never applied", "argument", arg)
		}
	}
	if len(change.Added)+len(change.Removed) == 0 {
		return nil, change, nil
	}
	return append(list, change.Added...), change, nil
}

// without returns list without what is in other, each as often as it is there.
func without(list, other []string) (rest []string) {
	times := map[string]int{}
	for _, arg := range other {
		times[arg]++
	}
	for _, arg := range list {
		if times[arg] > 0 {
			times[arg]--
		} else {
			rest = append(rest, arg)
		}
	}
	return rest
}

// common returns what of list is in other, too, each as often as it is in both.
func common(list, other []string) []string { return without(list, without(list, other)) }

// kargsOf returns the kernel arguments that the image of a commit asks for, in the order of the files' names.
func kargsOf(ctx context.Context, repo *ostree.Repo, commit string) ([]string, error) {
	tree, err := repo.FS(ctx, commit)
	if err != nil {
		return nil, err
	}
	list, err := imageKargs(tree, archName(runtime.GOARCH))
	if err != nil {
		return nil, fmt.Errorf("kernel arguments of commit %s: %w", commit, err)
	}
	return list, nil
}

func imageKargs(tree fs.FS, arch string) (list []string, err error) {
	entries, err := fs.ReadDir(tree, kargsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	left, length := maxKargs, 0
	for _, e := range entries {
		if path.Ext(e.Name()) != ".toml" || e.Name() == ".toml" {
			continue
		}
		name := path.Join(kargsDir, e.Name())
		text, err := readAtMost(tree, name, min(left, maxKargsFile))
		if err != nil {
			return nil, err
		}
		left -= len(text)
		args, err := parseKargs(text, arch)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrKargs, name, err)
		}
		for _, arg := range args {
			length += len(arg) + 1
		}
		if length-1 > maxCommandLine {
			return nil, fmt.Errorf("%w: %s: with it the kernel arguments have %d bytes, at most %d are taken", ErrKargs, name, length-1, maxCommandLine)
		}
		list = append(list, args...)
	}
	return list, nil
}

// readAtMost reads a file of at most limit bytes.
func readAtMost(tree fs.FS, name string, limit int) (text string, err error) {
	f, err := tree.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return "", err
	}
	if len(data) > limit {
		return "", fmt.Errorf("%w: %s: more than %d bytes, or %d with the files before it", ErrKargs, name, maxKargsFile, maxKargs)
	}
	return string(data), nil
}

// parseKargs reads a file of kargsDir. As in bootc, kargs must be there, other keys must not, and architectures have the names of Rust.
func parseKargs(text, arch string) (list []string, err error) {
	var file struct {
		Kargs         []string  `toml:"kargs"`
		Architectures *[]string `toml:"match-architectures"`
	}
	meta, err := toml.Decode(text, &file)
	if err != nil {
		return nil, fmt.Errorf("%.200s", err.Error()) // which may repeat a key of any length
	}
	seen := map[string]bool{}
	for _, key := range meta.Keys() { // the decoder takes names in any case, and lists twice
		switch s := key.String(); {
		case s != "kargs" && s != "match-architectures":
			return nil, fmt.Errorf("unknown key %.100q", s)
		case seen[s]:
			return nil, fmt.Errorf("key %q is there twice", s)
		default:
			seen[s] = true
		}
	}
	if !meta.IsDefined("kargs") {
		return nil, errors.New(`no key "kargs"`)
	}
	for _, arg := range file.Kargs {
		// A line break would be one in the boot loader's entry; libostree aborts on a quote that is left open (2024.5 to 2026.1).
		if strings.ContainsFunc(arg, unicode.IsControl) || strings.Count(arg, `"`)%2 != 0 {
			return nil, fmt.Errorf("kernel argument %.100q: a control character, or a quote without its other", arg)
		}
		// Programs look for the first at a space, also one in quotes; with a wrong one libostree loads no deployment at all.
		for _, word := range strings.Fields(arg) {
			if key, _, _ := strings.Cut(strings.Trim(word, `"`), "="); key == "ostree" {
				return nil, fmt.Errorf("kernel argument %.100q: ostree is libostree's own", arg)
			}
		}
		list = append(list, splitKargs(arg)...)
	}
	if file.Architectures != nil && !slices.Contains(*file.Architectures, arch) {
		return nil, nil
	}
	return list, nil
}

// splitKargs splits a command line at spaces, but for those in double quotes, as the kernel does.
func splitKargs(line string) (list []string) {
	start, quoted := 0, false
	add := func(end int) {
		if start < end {
			list = append(list, line[start:end])
		}
		start = end + 1
	}
	for i := range len(line) {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == ' ' && !quoted:
			add(i)
		}
	}
	add(len(line))
	return list
}

// archName is Rust's name of an architecture of Go (std::env::consts::ARCH).
func archName(goarch string) string {
	if name, ok := map[string]string{
		"amd64": "x86_64", "386": "x86", "arm64": "aarch64", "ppc64": "powerpc64", "ppc64le": "powerpc64", "loong64": "loongarch64",
	}[goarch]; ok {
		return name
	}
	return goarch // s390x, riscv64, arm
}
