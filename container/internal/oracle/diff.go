package oracle

import (
	"fmt"
	"strings"
	"testing"
)

// Same fails the test when two listings differ, showing the first lines that
// only one of them has.
func Same(t testing.TB, want, got, what string) bool {
	t.Helper()
	if want == got {
		return true
	}
	t.Errorf("%s: listings differ (- wanted, + got)\n%s", what, diff(want, got, 12))
	return false
}

func diff(want, got string, limit int) string {
	count := map[string]int{}
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, l := range a {
		count[l]++
	}
	for _, l := range b {
		count[l]--
	}
	var out strings.Builder
	n := 0
	show := func(sign string, lines []string, left func(int) bool) {
		for _, l := range lines {
			if !left(count[l]) {
				continue
			}
			if n++; n > limit {
				continue
			}
			if len(l) > 400 {
				l = l[:300] + "..." + l[len(l)-97:]
			}
			fmt.Fprintf(&out, "%s %q\n", sign, l)
		}
	}
	show("-", a, func(c int) bool { return c > 0 })
	n = 0
	show("+", b, func(c int) bool { return c < 0 })
	if out.Len() == 0 {
		return "the same lines in another order"
	}
	return out.String()
}
