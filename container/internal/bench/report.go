package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// results is what a run leaves as JSON.
type results struct {
	Time     string
	Machine  []string
	Versions []string
	Images   []imageStats
	Runs     int
	Checks   []string
	Samples  []sample
}

func measureAll(ctx context.Context, o options) error {
	for _, program := range []string{o.ours, o.judge} {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("%w (make build judge)", err)
		}
	}
	if err := errors.Join(adoptOrphans(), (&bench{options: o}).makeWork(ctx)); err != nil {
		return err
	}
	r, err := startRegistry(ctx, o.cache)
	if err != nil {
		return err
	}
	b := &bench{options: o, registry: r, images: map[string]map[string]*layout{}, trees: map[string]map[string]string{}, fscked: map[string]bool{}}
	err = func() error {
		for _, kind := range o.kinds {
			b.images[kind] = map[string]*layout{}
			for _, v := range versions {
				if kind == kindLarge && v == "v2" {
					continue
				}
				l, err := openLayout(imageDir(o.cache, kind, v))
				if err != nil {
					return err
				}
				b.images[kind][v] = l
				if kind == kindLarge {
					continue
				}
				if err := r.push(ctx, l, kind, v); err != nil {
					return err
				}
			}
		}
		return b.all(ctx)
	}()
	if err := errors.Join(err, r.stop()); err != nil {
		return err
	}
	return table(o)
}

// finished returns how often every kind was measured to the end.
func (b *bench) finished() int {
	n := b.options.runs
	for _, kind := range b.kinds {
		last := 0
		for _, s := range b.samples {
			if s.Kind == kind {
				last = max(last, s.Run)
			}
		}
		n = min(n, last)
	}
	return n
}

func (b *bench) save() error {
	stats, err := statImages(b.cache)
	if err != nil {
		return err
	}
	res := results{Time: time.Now().UTC().Format(time.RFC3339), Machine: machine(b.work), Versions: versionsOf(b.ours),
		Images: stats, Runs: b.finished(), Checks: b.checks, Samples: b.samples}
	data, err := json.MarshalIndent(res, "", " ")
	if err != nil {
		return err
	}
	return writeFile(b.json, data)
}

func machine(work string) []string {
	cpu := "unknown CPU"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				cpu = strings.Trim(name, "\t :\n")
				break
			}
		}
	}
	var u syscall.Utsname
	kernel := ""
	if syscall.Uname(&u) == nil {
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			kernel += string(rune(c))
		}
	}
	var mem syscall.Sysinfo_t
	_ = syscall.Sysinfo(&mem)
	return []string{fmt.Sprintf("%d × %s", runtime.NumCPU(), cpu), fmt.Sprintf("%.0f GiB memory", float64(mem.Totalram)/(1<<30)),
		"Linux " + kernel, "file system " + firstLine("findmnt", "-n", "-o", "FSTYPE", "-T", work)}
}

func versionsOf(ours string) []string {
	return []string{firstLine(ours, "--version"), "libostree " + strings.Trim(secondLine("ostree", "--version"), "' "),
		firstLine("skopeo", "--version"), firstLine("gzip", "--version"), firstLine("tar", "--version"), runtime.Version(), "ostree-ext 0.15.3"}
}

func lines(name string, args ...string) []string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return []string{name + ": " + err.Error(), ""}
	}
	return append(strings.Split(string(out), "\n"), "", "")
}

func firstLine(name string, args ...string) string { return lines(name, args...)[0] }

func secondLine(name string, args ...string) string {
	return strings.TrimPrefix(strings.TrimSpace(lines(name, args...)[1]), "Version: ")
}

// Targets of the project: ours against the judge and against tar, medians.
var targets = map[string][2]float64{
	stepPull: {0.22, 0.48}, stepOCI: {0.17, 0.36}, stepUpdate: {0.10, 0}, stepAgain: {1, 0}, stepDeploy: {1, 0}, stepPrune: {0.5, 0},
	stepCopy: {0.10, 0}, stepEncapsulate: {0.25, 0},
}

const memoryTarget = 110 // MiB, of what pulls

// middle returns the median of what f says of the samples of a kind, tool and step; false if there are none.
func (r *results) middle(kind, tool, step string, f func(sample) float64) (float64, bool) {
	var v []float64
	for _, s := range r.Samples {
		if s.Kind == kind && s.Tool == tool && s.Step == step {
			v = append(v, f(s))
		}
	}
	if len(v) == 0 {
		return 0, false
	}
	slices.Sort(v)
	return (v[len(v)/2] + v[(len(v)-1)/2]) / 2, true
}

func wall(s sample) float64   { return s.Wall }
func cpu(s sample) float64    { return s.User + s.Sys }
func memory(s sample) float64 { return float64(s.TreeRSS) / (1 << 20) }

// markdown writes the tables.
func (r *results) markdown() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s; medians of %d interleaved runs. %s.\n%s.\n\n", r.Time, r.Runs, strings.Join(r.Machine, ", "), strings.Join(r.Versions, "; "))
	for _, s := range r.Images {
		fmt.Fprintf(&b, "- %s %s: %d layers, %.0f MB compressed, manifest `%.19s`\n", s.Kind, s.Version, s.Layers, float64(s.Compressed)/1e6, s.Digest)
	}
	b.WriteString("\nSeconds of wall and CPU time (user + system) and peak memory of the whole process tree in MiB; ratios of wall times,\nin brackets the target; **!** marks a target that is missed.\n\n")
	b.WriteString("| work | image | ours: wall | CPU | MiB | ostree-ext: wall | CPU | MiB | tar: wall | CPU | ours / ostree-ext | ours / tar |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	cell := func(kind, tool, step string, f func(sample) float64, digits int) string {
		v, ok := r.middle(kind, tool, step, f)
		if !ok {
			return ""
		}
		return fmt.Sprintf("%.*f", digits, v)
	}
	for _, step := range steps {
		for _, kind := range append(kinds[:len(kinds):len(kinds)], kindLarge) {
			ours, ok := r.middle(kind, toolOurs, step, wall)
			if !ok {
				continue
			}
			d := 2
			if ours < 1 {
				d = 3
			}
			mib := cell(kind, toolOurs, step, memory, 0)
			if v, _ := r.middle(kind, toolOurs, step, memory); v > memoryTarget && step != stepEncapsulate {
				mib += " **!**"
			}
			tarWall, tarCPU, tarRatio := "", "", ""
			if step == stepPull || step == stepOCI {
				tarWall, tarCPU = cell(kind, toolTar, stepPull, wall, 2), cell(kind, toolTar, stepPull, cpu, 2)
				tarRatio = r.ratio(ours, kind, toolTar, stepPull, targets[step][1])
			}
			fmt.Fprintf(&b, "| %s | %s | %.*f | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", step, kind, d, ours,
				cell(kind, toolOurs, step, cpu, d), mib, cell(kind, toolJudge, step, wall, d), cell(kind, toolJudge, step, cpu, d),
				cell(kind, toolJudge, step, memory, 0), tarWall, tarCPU, r.ratio(ours, kind, toolJudge, step, targets[step][0]), tarRatio)
		}
	}
	b.WriteString("\n| beside | " + strings.Join(kinds, " | ") + " |\n|---|--:|--:|--:|\n")
	row := func(name string, f func(kind string) string) {
		line, measured := "| "+name+" |", false
		for _, kind := range kinds {
			text := f(kind)
			line, measured = line+" "+text+" |", measured || text != ""
		}
		if measured {
			b.WriteString(line + "\n")
		}
	}
	less := func(kind, step, other string) string {
		v, ok := r.middle(kind, toolOurs, step, wall)
		w, ok2 := r.middle(kind, toolOurs, other, wall)
		if !ok || !ok2 {
			return ""
		}
		return fmt.Sprintf("%.3f", v-w)
	}
	row("`skopeo copy` registry to `dir:`, s", func(kind string) string { return cell(kind, toolSkopeo, stepPull, wall, 2) })
	row("transfer of the update's layers, s", func(kind string) string { return cell(kind, toolOurs, stepTransfer, wall, 3) })
	row("our update without that, s", func(kind string) string { return less(kind, stepUpdate, stepTransfer) })
	row("objects our update wrote", func(kind string) string {
		return cell(kind, toolOurs, stepUpdate, func(s sample) float64 { return float64(s.Objects) }, 0)
	})
	row("`ostree admin deploy` of the same commit, s", func(kind string) string { return cell(kind, toolOurs, stepFloor, wall, 3) })
	row("our deploy less that, s (negative: ours is quicker)", func(kind string) string { return less(kind, stepDeploy, stepFloor) })
	for _, size := range []struct{ tool, name string }{{toolOurs, "ours"}, {toolJudge, "ostree-ext's"}} {
		row("compressed by "+size.name+" encapsulate, MB", func(kind string) string {
			return cell(kind, size.tool, stepEncapsulate, func(s sample) float64 { return float64(s.Bytes) / 1e6 }, 1)
		})
	}
	b.WriteString("\nChecked in the same run:\n\n")
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "- %s\n", c)
	}
	return b.String()
}

// ratio formats ours against the median of another tool.
func (r *results) ratio(ours float64, kind, tool, step string, target float64) string {
	v, ok := r.middle(kind, tool, step, wall)
	if !ok || v == 0 {
		return ""
	}
	out := fmt.Sprintf("%.2f", ours/v)
	if target > 0 {
		out += fmt.Sprintf(" (%.2f)", target)
		if ours/v > target {
			out += " **!**"
		}
	}
	return out
}

const (
	docBegin = "<!-- bench: begin -->\n"
	docEnd   = "<!-- bench: end -->\n"
)

// table prints the tables of the results file and puts them into the document.
func table(o options) error {
	var r results
	if err := readJSON(o.json, &r); err != nil {
		return err
	}
	text := r.markdown()
	fmt.Print(text)
	if o.doc == "" {
		return nil
	}
	data, err := os.ReadFile(o.doc)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), docBegin)
	_, after, ok2 := strings.Cut(rest, docEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s: no bench markers", o.doc)
	}
	return writeFile(o.doc, []byte(before+docBegin+text+docEnd+after))
}
