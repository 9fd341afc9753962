package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container/host"
	"github.com/ostree-container/ostree-container/ostree"
)

// changedDeployment is the output of the verbs that change deployments, with --format json.
type changedDeployment struct {
	Index        int    `json:"index"` // before the change
	Stateroot    string `json:"stateroot"`
	Checksum     string `json:"checksum"`
	DeploySerial int    `json:"deploySerial"`
	Image        string `json:"image,omitempty"`
	Changed      bool   `json:"changed"` // false: it was so already
}

func jsonChange(c host.Change) changedDeployment {
	return changedDeployment{c.Index, c.Stateroot, c.Checksum, c.DeploySerial, c.Image, c.Changed}
}

// rolledBack is the output of rollback --format json.
type rolledBack struct {
	Next      changedDeployment  `json:"next"`
	Reverted  bool               `json:"reverted"` // a rollback that was queued is none any more
	Discarded *changedDeployment `json:"discarded,omitempty"`
}

func (a *app) hostRollbackCommand() *cobra.Command {
	var sysroot, stateroot string
	var as format
	cmd := &cobra.Command{
		Use:   "rollback [OPTION...]",
		Short: "Boot the previous deployment next",
		Long: `Makes the rollback deployment the one that is booted next. If it is that already, the booted one is
again. What is staged is discarded. Changes in /etc that were made since stay behind: each
deployment has its own.`,
		Example: "  ostree-container host rollback && systemctl reboot",
		Args:    positional(),
	}
	sysrootFlag(cmd, &sysroot)
	cmd.Flags().StringVar(&stateroot, "stateroot", "", "`NAME` of the stateroot (default: that of the booted deployment, else of the first)")
	as.add(cmd, "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withSysroot(cmd.Context(), sysroot, func(sysroot *ostree.Sysroot) error {
			r, err := host.Rollback(cmd.Context(), sysroot, &host.ChangeOptions{Stateroot: stateroot, Logger: a.log})
			if r != nil { // also with an error: the boot order is changed
				a.journalChange(cmd.Context(), sysroot, journalBootOrder, cmd.Name(), "Next boot", r.Next, r.Discarded, err)
			}
			if err != nil {
				return err
			}
			return a.reportRollback(r, as)
		})
	}
	return cmd
}

func (a *app) reportRollback(r *host.RolledBack, as format) error {
	if as == formatJSON {
		out := rolledBack{Next: jsonChange(r.Next), Reverted: r.Reverted}
		if r.Discarded != nil {
			c := jsonChange(*r.Discarded)
			out.Discarded = &c
		}
		return a.printJSON(out)
	}
	if d := r.Discarded; d != nil {
		fmt.Fprintf(a.out, "Discarded the staged deployment: %s\n", changeText(*d))
	}
	what := "rollback deployment"
	if r.Reverted {
		what = "current deployment"
	}
	fmt.Fprintf(a.out, "Next boot: %s: %s\n", what, changeText(r.Next))
	return nil
}

func changeText(c host.Change) string {
	text := fmt.Sprintf("%s %s.%d", c.Stateroot, c.Checksum, c.DeploySerial)
	if c.Image != "" {
		text += " (" + c.Image + ")"
	}
	return oneLine(text)
}

func (a *app) hostPinCommand() *cobra.Command {
	return a.pinning(&cobra.Command{
		Use:   "pin [OPTION...] INDEX...",
		Short: "Keep deployments when new ones come",
		Long: `Pins deployments, by their index in "host status": they stay when new ones are deployed, until they
are unpinned. One that is staged cannot be pinned.`,
		Example: "  ostree-container host pin 0",
	}, ostree.Pinned)
}

func (a *app) hostUnpinCommand() *cobra.Command {
	return a.pinning(&cobra.Command{
		Use:     "unpin [OPTION...] INDEX...",
		Short:   "Let pinned deployments go when new ones come",
		Long:    `Undoes "host pin". The deployments stay until the next one is written.`,
		Example: "  ostree-container host unpin 1 2",
	}, ostree.Unpinned)
}

func (a *app) pinning(cmd *cobra.Command, pinning ostree.Pinning) *cobra.Command {
	var sysroot string
	var as format
	sysrootFlag(cmd, &sysroot)
	as.add(cmd, "text or json")
	cmd.ValidArgsFunction = a.deploymentCompletion(&sysroot)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("the following required arguments were not provided: INDEX")
		}
		indexes := make([]int, len(args))
		for n, text := range args {
			var err error
			if indexes[n], err = parseIndex(text); err != nil {
				return err
			}
		}
		return a.withSysroot(cmd.Context(), sysroot, func(sysroot *ostree.Sysroot) error {
			changes, err := host.SetPinned(cmd.Context(), sysroot, indexes, pinning, &host.ChangeOptions{Logger: a.log})
			if err != nil {
				return err
			}
			if as == formatJSON {
				list := make([]changedDeployment, len(changes))
				for n, c := range changes {
					list[n] = jsonChange(c)
				}
				return a.printJSON(list)
			}
			for _, c := range changes {
				fmt.Fprintf(a.out, "Deployment %d is %s %s\n", c.Index, map[bool]string{true: "now", false: "already"}[c.Changed],
					map[ostree.Pinning]string{ostree.Pinned: "pinned", ostree.Unpinned: "unpinned"}[pinning])
			}
			return nil
		})
	}
	return cmd
}

func (a *app) hostUndeployCommand() *cobra.Command {
	return a.changing(&cobra.Command{
		Use:   "undeploy [OPTION...] INDEX",
		Short: "Remove a deployment",
		Long: `Removes a deployment, by its index in "host status", and what nothing else needs then but its image
(see "image prune-images"). The booted one and pinned ones are refused. Index 0 is the staged one,
where something is staged.`,
		Example: "  ostree-container host undeploy 1",
	}, journalUndeploy, "Removed", host.Undeploy)
}

func (a *app) hostSetDefaultCommand() *cobra.Command {
	return a.changing(&cobra.Command{
		Use:   "set-default [OPTION...] INDEX",
		Short: "Make a deployment the first in boot order",
		Long: `Makes a deployment, by its index in "host status", the one that is booted next and from then on.
While something is staged, which would come before it, that is refused.`,
		Example: "  ostree-container host set-default 1",
	}, journalBootOrder, "Next boot", host.SetDefault)
}

// changing completes a command that changes one deployment.
func (a *app) changing(cmd *cobra.Command, id, done string, do func(context.Context, *ostree.Sysroot, int, *host.ChangeOptions) (host.Change, error)) *cobra.Command {
	var sysroot string
	var as format
	cmd.Args = positional("INDEX")
	sysrootFlag(cmd, &sysroot)
	as.add(cmd, "text or json")
	cmd.ValidArgsFunction = a.deploymentCompletion(&sysroot)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		index, err := parseIndex(args[0])
		if err != nil {
			return err
		}
		return a.withSysroot(cmd.Context(), sysroot, func(sysroot *ostree.Sysroot) error {
			c, err := do(cmd.Context(), sysroot, index, &host.ChangeOptions{Logger: a.log})
			if c.Changed { // also with an error
				a.journalChange(cmd.Context(), sysroot, id, cmd.Name(), done, c, nil, err)
			}
			if err != nil {
				return err
			}
			if as == formatJSON {
				return a.printJSON(jsonChange(c))
			}
			already := ""
			if !c.Changed {
				already = " already"
			}
			fmt.Fprintf(a.out, "%s%s: %s\n", done, already, changeText(c))
			return nil
		})
	}
	return cmd
}

// parseIndex reads the index of a deployment.
func parseIndex(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, usagef("invalid value %q for INDEX: a number from 0, as host status shows it", text)
	}
	return int(n), nil
}

// deploymentCompletion completes the index of a deployment.
func (a *app) deploymentCompletion(sysroot *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
		_ = a.readingSysroot(cmd.Context(), *sysroot, func(sysroot *ostree.Sysroot) error {
			for _, d := range sysroot.Deployments() {
				found = append(found, cobra.CompletionWithDesc(strconv.Itoa(d.Index()), oneLine(d.Stateroot()+" "+d.Checksum())))
			}
			return nil
		})
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
