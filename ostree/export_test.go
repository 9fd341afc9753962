package ostree

// LiveHandles is the number of C references that Go owns.
func LiveHandles() int64 { return liveHandles.Load() }

// OffsetSize is the width of framing offsets.
var OffsetSize = offsetSize

// SlaveMounts is slaveMounts.
var SlaveMounts = slaveMounts
