package chunking

import (
	"math"
	"slices"
)

func mean(data []uint64) float64 {
	var sum uint64
	for _, v := range data {
		sum += v
	}
	return float64(sum) / float64(len(data))
}

// deviation is the standard deviation of a whole population.
func deviation(data []uint64) float64 {
	m, sum := mean(data), 0.0
	for _, v := range data {
		d := m - float64(v)
		sum += d * d
	}
	return math.Sqrt(sum / float64(len(data)))
}

// medianDeviation returns the median of sorted data, and the median of the distances from it.
func medianDeviation(data []uint64) (median, mad float64) {
	n := len(data)
	if n%2 == 1 {
		median = float64(data[n/2])
	} else {
		median = 0.5 * float64(data[n/2-1]+data[n/2])
	}
	dist := make([]float64, n)
	for i, v := range data {
		dist[i] = math.Abs(float64(v) - median)
	}
	slices.Sort(dist)
	if n%2 == 1 {
		return median, dist[n/2]
	}
	return median, 0.5 * (dist[n/2-1] + dist[n/2])
}
