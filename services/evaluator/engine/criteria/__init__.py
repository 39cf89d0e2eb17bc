"""One file a kind: each keeps the bits of its criteria right, and tells which of them turn as facts arrive and time passes."""
