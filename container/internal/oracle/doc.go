// Package oracle computes what an import must give, by means that are not the
// code under test: a simple model of layers and their union over maps, and the
// ostree command's own checkouts and commits. A result is a listing in the
// exact form of "ostree ls -R -X -C", so two results are compared as strings,
// every object checksum included.
//
// Layer applies the import rules (reference.md, section 5, with the decisions
// of section 15) to one layer's tar members; Merge applies the union rules
// (section 7); CLI makes the union with "ostree checkout --union --whiteouts".
// Merge notes what the stack made it do, because there are stacks that the
// command of libostree 2022.7 gets wrong: see Notes.
package oracle
