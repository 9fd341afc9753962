package container_test

import "testing"

func interopDifferences(t *testing.T, p programs) {}
