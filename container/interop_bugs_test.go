package container_test

import "testing"

func interopDifferences(t *testing.T, p programs) {}
func interopSELinux(t *testing.T, p programs)     {}
