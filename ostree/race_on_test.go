//go:build race

package ostree_test

const raceDetector = true
