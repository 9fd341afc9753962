package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/ostree-container/ostree-container/container/host"
	"github.com/ostree-container/ostree-container/ostree"
)

const formatYAML format = "yaml"

// statusFormat is the value of --format where YAML is one.
type statusFormat struct{ format }

func (f *statusFormat) Set(s string) error {
	if format(s) == formatYAML {
		f.format = formatYAML
		return nil
	}
	if f.format.Set(s) != nil {
		return errors.New("text, json or yaml")
	}
	return nil
}

func (a *app) hostStatusCommand() *cobra.Command {
	var sysroot string
	var as statusFormat
	var booted bool
	cmd := &cobra.Command{
		Use:   "status [OPTION...]",
		Short: "Show what is deployed, what is booted next, and which update was seen",
		Long: `Shows the deployments in boot order: which is booted, staged or the one to go back to, the image it
is of, and an update that "host upgrade --check" or "image pull" has seen. Nothing is fetched. With
--verbose also kernel arguments and origins.

The document of --format json and yaml has the fields of "bootc status --json" under the same
names, and some of its own. Fields may be added to its apiVersion; none changes its meaning.`,
		Example: `  ostree-container host status

  # For programs
  ostree-container host status --format json | jq -r .status.booted.image.imageDigest
  ostree-container host status --format json | jq -r '.status.staged.image.version // "nothing staged"'`,
		Args: positional(),
	}
	sysrootFlag(cmd, &sysroot)
	cmd.Flags().BoolVar(&booted, "booted", false, "Show only the booted deployment")
	as.format = formatText
	cmd.Flags().Var(&as, "format", "text, json or yaml")
	_ = cmd.RegisterFlagCompletionFunc("format",
		cobra.FixedCompletions([]string{string(formatText), string(formatJSON), string(formatYAML)}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		details, err := cmd.Flags().GetBool("verbose")
		if err != nil {
			return err
		}
		return a.readingSysroot(cmd.Context(), sysroot, func(sysroot *ostree.Sysroot) error {
			h, err := host.Read(cmd.Context(), sysroot, &host.ReadOptions{Details: details})
			if err != nil {
				return err
			}
			if booted {
				if h.Status.Booted == nil {
					return fmt.Errorf("sysroot %s: %w", sysroot.Path(), ostree.ErrNotBooted)
				}
				h.Status.Staged, h.Status.Rollback, h.Status.Others = nil, nil, []host.Entry{}
			}
			return a.printStatus(h, as.format)
		})
	}
	return cmd
}

func (a *app) printStatus(h *host.Host, as format) error {
	switch as {
	case formatJSON:
		return a.printJSON(h)
	case formatYAML:
		text, err := yamlOf(h)
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	default:
		printDeployments(a.out, h)
		return nil
	}
}

// yamlOf returns the JSON of a value as YAML, its fields in the same order.
func yamlOf(v any) ([]byte, error) {
	var text bytes.Buffer
	if err := json.NewEncoder(jsonOutput{&text, true}).Encode(v); err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text.Bytes(), &doc); err != nil { // JSON is YAML, without control characters
		return nil, err
	}
	plain(&doc)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(&doc), enc.Close()); err != nil {
		return nil, err
	}
	// The encoder writes those that format text as they are.
	var out bytes.Buffer
	for _, r := range b.String() {
		if hidden(r) && r != '\n' {
			out.WriteString(escape(r))
		} else {
			out.WriteRune(r)
		}
	}
	return out.Bytes(), nil
}

// plain leaves it to the encoder how a node is written, but for texts in which something has to be escaped.
func plain(n *yaml.Node) {
	switch {
	case n.Kind == yaml.ScalarNode && strings.ContainsFunc(n.Value, func(r rune) bool { return hidden(r) && r != '\n' }):
		n.Style = yaml.DoubleQuotedStyle
	case len(n.Content) > 0 || n.Kind == yaml.ScalarNode:
		n.Style = 0
	}
	for _, child := range n.Content {
		plain(child)
	}
}

// printDeployments writes the text form: the deployments in boot order.
func printDeployments(w io.Writer, h *host.Host) {
	entries := map[int]host.Entry{}
	roles := map[int]string{}
	add := func(e *host.Entry, role string) {
		if e != nil {
			entries[e.OSTree.Index], roles[e.OSTree.Index] = *e, role
		}
	}
	add(h.Status.Staged, "staged")
	add(h.Status.Booted, "booted")
	add(h.Status.Rollback, "rollback")
	for n := range h.Status.Others {
		role := ""
		if h.Status.Others[n].NextBoot && h.Status.Booted != nil {
			role = "pending"
		}
		add(&h.Status.Others[n], role)
	}
	if len(entries) == 0 {
		fmt.Fprintln(w, "No deployments.")
		return
	}
	blank := ""
	for index, left := 0, len(entries); left > 0; index++ {
		if e, ok := entries[index]; ok {
			fmt.Fprint(w, blank)
			printDeployment(w, &e, roles[index])
			blank, left = "\n", left-1
		}
	}
}

func printDeployment(w io.Writer, e *host.Entry, role string) {
	words := []string{}
	if role != "" {
		words = append(words, role)
	}
	if e.NextBoot && role != "staged" {
		words = append(words, "next boot")
	}
	if e.Pinned {
		words = append(words, "pinned")
	}
	head := fmt.Sprintf("Deployment %d", e.OSTree.Index)
	if len(words) > 0 {
		head += ": " + strings.Join(words, ", ")
	}
	fmt.Fprintln(w, head)
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-13s %s\n", name+":", oneLine(value))
		}
	}
	switch {
	case e.Image != nil:
		printImage(field, e.Image)
	case e.Error == "":
		field("Image", "none: not from a container image")
	}
	field("Error", e.Error)
	field("Stateroot", e.OSTree.Stateroot)
	field("Commit", fmt.Sprintf("%s.%d", e.OSTree.Checksum, e.OSTree.DeploySerial))
	if u := e.CachedUpdate; u != nil {
		text := u.ImageDigest.String()
		if u.Version != nil {
			text = *u.Version + " (" + text + ")"
		}
		field("Update seen", text)
	}
	if e.DownloadOnly {
		field("Finalization", "locked: not applied at shutdown before host upgrade --from-downloaded")
	}
	if e.SoftRebootTarget {
		field("Soft reboot", "target of the next one")
	}
	if e.Incompatible {
		field("Changes", "of rpm-ostree, which a new deployment would lose")
	}
	field("Kernel args", strings.Join(e.OSTree.KernelArgs, " "))
	if e.Origin != "" {
		fmt.Fprintln(w, "  Origin:")
		for line := range strings.Lines(strings.TrimSpace(e.Origin)) {
			fmt.Fprintf(w, "    %s\n", oneLine(line))
		}
	}
}

func printImage(field func(name, value string), image *host.Image) {
	text := image.Image.Transport + ":" + image.Image.Image
	if image.Image.Transport == "registry" {
		text = image.Image.Image
	}
	field("Image", text)
	field("Signature", image.Image.Signature.String())
	field("Digest", image.ImageDigest.String())
	if image.Version != nil {
		field("Version", *image.Version)
	}
	if image.Timestamp != nil {
		field("Created", image.Timestamp.String())
	}
}
