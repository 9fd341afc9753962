package container

import "time"

// SetBlameTime changes how long the rest of a bad blob is waited for and returns what sets it back.
func SetBlameTime(d time.Duration) (back func()) {
	old := blameTime
	blameTime = d
	return func() { blameTime = old }
}
