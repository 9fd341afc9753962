package cli

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// group makes a command that only holds others: alone it fails and lists them, as does an unknown word after it.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("a command is missing: %s", strings.Join(commandNames(cmd), ", "))
		}
		if args[0] == "help" {
			return helpFor(cmd, args[1:])
		}
		return unknownCommand(cmd, args[0])
	}
	return cmd
}

func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// helpFor prints the help of the command that words name below cmd.
func helpFor(cmd *cobra.Command, words []string) error {
	sub, rest, err := cmd.Find(words)
	switch {
	case err != nil:
		return &usageError{err}
	case len(rest) > 0 && sub.HasSubCommands():
		return unknownCommand(sub, rest[0])
	case len(rest) > 0:
		return usagef("unexpected argument %q", rest[0])
	}
	sub.InitDefaultHelpFlag()
	return sub.Help()
}

// helpCommand is "help" of the program: cobra's own shows the help of what there is before a word that it does not know.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:                   "help [COMMAND...]",
		Hidden:                true,
		DisableFlagsInUseLine: true,
		RunE:                  func(cmd *cobra.Command, args []string) error { return helpFor(cmd.Root(), args) },
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
			if sub, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				names = slices.DeleteFunc(commandNames(sub), func(name string) bool { return !strings.HasPrefix(name, begun) })
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// strayWord is the first argument of a group that was not called with a command of it, "" if there is none.
func strayWord(cmd *cobra.Command) string {
	if word := cmd.Flags().Arg(0); cmd.HasSubCommands() && word != "help" {
		return word
	}
	return ""
}

// unknownCommand is the error about a word that is no command of cmd, with those that may have been meant.
func unknownCommand(cmd *cobra.Command, word string) error {
	near := similar(cmd, word)
	if len(near) == 0 {
		return usagef("unknown command %q", word)
	}
	for n, name := range near {
		near[n] = strconv.Quote(name)
	}
	return usagef("unknown command %q; did you mean %s?", word, strings.Join(near, " or "))
}

// similar finds commands of cmd, and of the groups in it, by a name that may be misspelt or lack the group.
func similar(cmd *cobra.Command, word string) []string {
	cmd.SuggestionsMinimumDistance = 2
	near := cmd.SuggestionsFor(word)
	var below []string
	for _, sub := range cmd.Commands() {
		if !sub.IsAvailableCommand() || !sub.HasSubCommands() {
			continue
		}
		sub.SuggestionsMinimumDistance = 2
		names := sub.SuggestionsFor(word)
		for _, name := range names {
			below = append(below, sub.Name()+" "+name)
		}
	}
	if exact := slices.DeleteFunc(slices.Clone(below), func(s string) bool { return !strings.HasSuffix(s, " "+word) }); len(exact) > 0 {
		return exact
	}
	if len(near) > 0 {
		return near
	}
	return below
}

// flagError says in the words of this program what is wrong with an option.
func flagError(cmd *cobra.Command, err error) error {
	if word := strayWord(cmd); word != "" { // options of a command that is not there, such as "pull -q" without "image"
		return unknownCommand(cmd, word)
	}
	var unknown *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &unknown):
		dashes := "--"
		if unknown.GetSpecifiedShortnames() != "" {
			dashes = "-"
		}
		return usagef("unknown option: %s%s", dashes, unknown.GetSpecifiedName())
	case errors.As(err, &empty):
		return usagef("the option --%s needs a value", empty.GetFlag().Name)
	case errors.As(err, &invalid):
		return usagef("invalid value %q for --%s: %s", invalid.GetValue(), invalid.GetFlag().Name, wanted(invalid))
	case errors.As(err, &syntax):
		return usagef("invalid option: %s", syntax.GetSpecifiedFlag())
	}
	return &usageError{err}
}

// wanted says which values an option takes.
func wanted(invalid *pflag.InvalidValueError) string {
	var number *strconv.NumError
	if !errors.As(invalid, &number) {
		return invalid.Unwrap().Error()
	}
	switch {
	case errors.Is(number, strconv.ErrRange):
		return "out of range"
	case invalid.GetFlag().Value.Type() == "bool":
		return "true or false"
	}
	return "not a whole number"
}

// helpUnlessStray replaces cobra's: "image pulll --help" is not a question about "image".
func (a *app) helpUnlessStray(help func(*cobra.Command, []string)) func(*cobra.Command, []string) {
	return func(cmd *cobra.Command, args []string) {
		if word := strayWord(cmd); word != "" {
			a.helpError = unknownCommand(cmd, word)
			return
		}
		help(cmd, args)
	}
}
