package chunking

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

const (
	// DefaultBins is how many chunks an image has if nothing else is asked for.
	DefaultBins = 64
	// MinBins is how many bins there must be at least.
	MinBins = 4
)

// threshold is how many deviations from the middle make a size or frequency high or low.
const threshold = 2.0

// Pack distributes components, which are sorted by falling size, over at most limit bins. The last one is empty: it is for components that
// a later build adds. Without components there are no bins.
func Pack(components []*Component, limit int) ([]Bin, error) {
	if limit < MinBins {
		return nil, fmt.Errorf("%d chunks: there must be at least %d", limit, MinBins)
	}
	if len(components) == 0 {
		return nil, nil
	}
	if len(components) < limit {
		bins := make([]Bin, 0, len(components)+1)
		for _, c := range components {
			bins = append(bins, Bin{c})
		}
		return append(bins, Bin{}), nil
	}
	var regular, always Bin
	for _, c := range components {
		if c.Frequency == AlwaysChanges {
			always = append(always, c)
		} else {
			regular = append(regular, c)
		}
	}
	var bins []Bin
	if len(regular) > 0 {
		var err error
		if bins, err = packRegular(regular, limit, min(len(always), 1)); err != nil {
			return nil, err
		}
	}
	if len(always) > 0 {
		bins = append(bins, always)
	}
	return append(bins, Bin{}), nil
}

// Names of the partitions; bins follow their order.
const (
	highPartition = "1hs"
	lowPartition  = "2ls"
)

// packRegular leaves room for the bins for low sizes, for new components and, if always is 1, for those that always change.
func packRegular(components Bin, limit, always int) ([]Bin, error) {
	const low, reserved = 1, 1
	var highShare float32 = 0.6 // single precision, as in the reference
	high := int(highShare * float32(limit-low-reserved-always))
	medium := limit - high - low - reserved - always
	if medium <= 0 {
		return nil, fmt.Errorf("%d chunks: there must be at least %d", limit, MinBins)
	}
	partitions := partition(components, high)
	perBin := (len(components) - high - len(partitions[lowPartition])) / medium
	if perBin < 0 {
		perBin = math.MaxInt
	}
	perBin = max(perBin, 1)

	var bins []Bin
	for _, name := range slices.Sorted(maps.Keys(partitions)) {
		switch members := partitions[name]; name {
		case highPartition:
			for _, c := range members {
				bins = append(bins, Bin{c})
			}
		case lowPartition:
			bins = append(bins, members)
		default:
			for len(members) > 0 {
				n := min(perBin, len(members))
				bins = append(bins, members[:n:n])
				members = members[n:]
			}
		}
	}
	return merge(bins, low+high, limit-reserved-always), nil
}

// partition sorts components into high sizes (at most high of them), low ones, and those between by frequency and size.
func partition(components Bin, high int) map[string]Bin {
	sizes := make([]uint64, len(components))
	for i, c := range components {
		sizes[i] = c.Size
	}
	median, mad := medianDeviation(sizes)
	lowLimit, highLimit := 0.5*math.Abs(median-threshold*mad), median+threshold*mad
	parts := map[string]Bin{}
	var large, between Bin
	for _, c := range components {
		switch size := float64(c.Size); {
		case size >= highLimit:
			large = append(large, c)
		case size <= lowLimit:
			parts[lowPartition] = append(parts[lowPartition], c)
		default:
			between = append(between, c)
		}
	}
	if len(large) > high {
		between = append(large[high:len(large):len(large)], between...)
		large = large[:high]
	}
	parts[highPartition] = large
	if len(between) == 0 {
		return parts
	}
	slices.SortStableFunc(between, func(a, b *Component) int {
		switch {
		case a.Frequency < b.Frequency:
			return -1
		case a.Frequency > b.Frequency:
			return 1
		}
		return 0
	})
	sizes, frequencies := sizes[:0], make([]uint64, 0, len(between))
	for _, c := range between {
		sizes, frequencies = append(sizes, c.Size), append(frequencies, uint64(c.Frequency))
	}
	size, frequency := limitsOf(sizes), limitsOf(frequencies)
	for _, c := range between {
		// The digits keep the partitions in the order of the frequencies.
		name := frequency.choose(float64(c.Frequency), "3hf", "4mf", "5lf") + "_" + size.choose(float64(c.Size), "hs", "ms", "ls")
		parts[name] = append(parts[name], c)
	}
	return parts
}

type limits struct{ low, high float64 }

func limitsOf(data []uint64) limits {
	m, d := mean(data), deviation(data)
	return limits{low: 0.5 * math.Abs(m-threshold*d), high: m + threshold*d}
}

func (l limits) choose(v float64, high, medium, low string) string {
	switch {
	case v >= l.high:
		return high
	case v <= l.low:
		return low
	}
	return medium
}

// merge joins pairs of bins, from the end and from first on, until there are no more than limit. A joined pair goes behind the bin that
// followed it, as in the reference.
func merge(bins []Bin, first, limit int) []Bin {
	for len(bins) > limit {
		before := len(bins)
		var pairs []int
		for i := first; i < len(bins)-1; i += 2 {
			pairs = append(pairs, i)
		}
		for _, i := range slices.Backward(pairs) {
			if len(bins) <= limit || i < 1 {
				break
			}
			joined := slices.Concat(bins[i-1], bins[i])
			bins = slices.Delete(bins, i-1, i+1)
			bins = slices.Insert(bins, i, joined)
		}
		if len(bins) == before { // nothing left to choose from
			last := slices.Concat(bins[before-2], bins[before-1])
			bins = append(bins[:before-2], last)
		}
	}
	return bins
}

// PackLike distributes components as a previous build did, whose chunks had the given components (ParseNames of their annotations, without
// the commit's layer). What is new goes into the last bin. It reports false if that is not possible: Pack then starts afresh.
func PackLike(components []*Component, limit int, previous [][]string) ([]Bin, bool) {
	if len(previous) == 0 || len(previous) > limit || limit < MinBins {
		return nil, false
	}
	byName := make(map[string]*Component, len(components))
	for _, c := range components {
		if byName[c.Name] != nil {
			return nil, false
		}
		byName[c.Name] = c
	}
	bins := make([]Bin, len(previous))
	placed := make(map[string]bool, len(components))
	for i, names := range previous {
		bins[i] = Bin{}
		for _, name := range names {
			if placed[name] {
				return nil, false
			}
			placed[name] = true
			if c := byName[name]; c != nil {
				bins[i] = append(bins[i], c)
			}
		}
	}
	last := &bins[len(bins)-1]
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if !placed[name] {
			*last = append(*last, byName[name])
		}
	}
	return bins, true
}
