package chunking

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// AlwaysChanges is the frequency of a component that differs in every build.
const AlwaysChanges = math.MaxUint32

// Component is a package, or whatever else content comes from.
type Component struct {
	ID        string
	Name      string // the same in every version, without commas
	Size      uint64 // bytes
	Frequency uint32 // how often it changes, in any unit
}

// Bin is what goes into one layer.
type Bin []*Component

// Label describes a bin in the history of an image.
func (b Bin) Label() string {
	switch {
	case len(b) == 0:
		return "Reserved for new packages"
	case len(b) <= 5:
		ids := make([]string, len(b))
		for i, c := range b {
			ids[i] = c.ID
		}
		return strings.Join(ids, " and ")
	}
	return fmt.Sprintf("%d components", len(b))
}

// Annotation is the key of the layer annotation that names the components in a layer.
const Annotation = "ostree.components"

// separator stands between names in an annotation.
const separator = ","

// Names is the value of the annotation: sorted, separated by commas.
func (b Bin) Names() string {
	names := make([]string, len(b))
	for i, c := range b {
		names[i] = c.Name
	}
	slices.Sort(names)
	return strings.Join(names, separator)
}

// ParseNames reads what Names returned.
func ParseNames(s string) []string {
	return slices.DeleteFunc(strings.Split(s, separator), func(name string) bool { return name == "" })
}
