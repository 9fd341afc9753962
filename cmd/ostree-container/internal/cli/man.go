package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write manual pages of all commands into a directory",
		Long: `Writes a manual page of every command into a directory, which is made if it does not exist.
The date in them is that of SOURCE_DATE_EPOCH if that is set.`,
		Example: "  ostree-container man /usr/share/man/man1",
		Args:    positional("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			return a.writePages(cmd.Root(), args[0])
		},
	}
}

// writePages writes the page of a command and of those below it. The group "container", which may be left out on the
// command line, has none: its commands are on the page of the program.
func (a *app) writePages(cmd *cobra.Command, dir string) error {
	if !isContainerGroup(cmd) {
		cmd.InitDefaultHelpFlag()
		cmd.InitDefaultVersionFlag()
		if err := writeFile(cmd.Context(), filepath.Join(dir, pageName(cmd)+".1"), []byte(a.page(cmd))); err != nil {
			return err
		}
	}
	for _, sub := range cmd.Commands() {
		if !sub.IsAvailableCommand() || isShortForm(sub) {
			continue
		}
		if err := a.writePages(sub, dir); err != nil {
			return err
		}
	}
	return nil
}

func isContainerGroup(cmd *cobra.Command) bool {
	return cmd.Name() == "container" && cmd.HasParent() && !cmd.Parent().HasParent()
}

// isShortForm reports whether a command is one of the group "container", without that word.
func isShortForm(cmd *cobra.Command) bool {
	if !cmd.HasParent() || cmd.Parent().HasParent() {
		return false
	}
	full, _, err := cmd.Parent().Find([]string{"container", cmd.Name()})
	return err == nil && full.Name() == cmd.Name() && full != cmd
}

// pageName is the name of a command's page, such as ostree-container-image-pull.
func pageName(cmd *cobra.Command) string {
	words := strings.Fields(cmd.CommandPath())
	if len(words) > 2 && words[1] == "container" {
		words = append(words[:1], words[2:]...)
	}
	return strings.Join(words, "-")
}

// page is the manual page of a command, in the man macros of roff.
func (a *app) page(cmd *cobra.Command) string {
	var b strings.Builder
	name := pageName(cmd)
	fmt.Fprintf(&b, ".TH %s 1 %s %s OSTree\n", roff(strings.ToUpper(name)), pageDate(), strconv.Quote("ostree-container "+a.version))
	b.WriteString(".nh\n.ad l\n") // names of commands are not divided
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n%s\n", roff(useLine(cmd)))
	if long := cmd.Long; long != "" {
		b.WriteString(".SH DESCRIPTION\n")
		roffText(&b, long)
	}
	if commands := pageCommands(cmd); len(commands) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range commands {
			fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(pageName(sub)), roff(sub.Short))
		}
	}
	b.WriteString(".SH OPTIONS\n")
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { roffOption(&b, f) })
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { roffOption(&b, f) })
	if cmd.HasExample() {
		b.WriteString(".SH EXAMPLES\n")
		roffText(&b, cmd.Example)
	}
	var also []string
	for parent := cmd.Parent(); parent != nil; parent = parent.Parent() {
		if !isContainerGroup(parent) {
			also = append(also, roff(pageName(parent))+" (1)")
		}
	}
	fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s\n", strings.Join(append(also, "ostree (1)"), " ,\n.BR "))
	return b.String()
}

// pageCommands are the commands that a page lists: those of a group, and on the page of the program those of all groups
// that have no page.
func pageCommands(cmd *cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, sub := range cmd.Commands() {
		switch {
		case !sub.IsAvailableCommand() || isShortForm(sub):
		case isContainerGroup(sub):
			list = append(list, pageCommands(sub)...)
		default:
			list = append(list, sub)
		}
	}
	return list
}

func pageDate() string {
	date := time.Now()
	if seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		date = time.Unix(seconds, 0)
	}
	return date.UTC().Format(time.DateOnly)
}

func roffOption(b *strings.Builder, f *pflag.Flag) {
	if f.Hidden {
		return
	}
	b.WriteString(".TP\n")
	if f.Shorthand != "" {
		fmt.Fprintf(b, "\\fB\\-%s\\fR, ", f.Shorthand)
	}
	fmt.Fprintf(b, "\\fB\\-\\-%s\\fR", roff(f.Name))
	value, usage := pflag.UnquoteUsage(f)
	if value != "" {
		fmt.Fprintf(b, " \\fI%s\\fR", roff(value))
	}
	switch f.DefValue {
	case "", "0", "false", "[]":
	default:
		usage += " (default " + f.DefValue + ")"
	}
	fmt.Fprintf(b, "\n%s\n", roff(usage))
}

// roffText writes paragraphs; indented lines stay as they are.
func roffText(b *strings.Builder, text string) {
	verbatim := false
	for line := range strings.Lines(text + "\n") {
		line = strings.TrimSuffix(line, "\n")
		if indented := strings.HasPrefix(line, "  "); line != "" && indented != verbatim {
			verbatim = indented
			b.WriteString(map[bool]string{true: ".EX\n", false: ".EE\n"}[verbatim])
		}
		switch {
		case line != "":
			b.WriteString(roff(line) + "\n")
		case verbatim:
			b.WriteString("\n")
		default:
			b.WriteString(".PP\n")
		}
	}
	if verbatim {
		b.WriteString(".EE\n")
	}
}

// roff escapes a text that begins a line.
func roff(s string) string {
	s = strings.ReplaceAll(s, `\`, `\e`)
	s = strings.ReplaceAll(s, "-", `\-`)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
