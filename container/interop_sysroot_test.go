package container_test

import "testing"

func interopSysroot(t *testing.T, p programs)     {}
func interopDifferences(t *testing.T, p programs) {}
func interopSELinux(t *testing.T, p programs)     {}
