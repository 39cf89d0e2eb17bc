"""How much a request, a batch and a value may be. Sizes are in bytes of JSON or of the proto message, lengths in characters."""

from __future__ import annotations

REQUEST_MAX_BYTES = 256 * 1024
BATCH_MAX_BYTES = 128 * 1024
BATCHES_MAX = 100
TABLE_MAX_ROWS = 10_000
# Unpacked: a text that is sent once in a dictionary counts as often as it is meant.
TABLE_MAX_BYTES = 16 * 1024 * 1024
# The Segment API.
SEGMENT_MESSAGE_MAX_BYTES = 32 * 1024
SEGMENT_REQUEST_MAX_BYTES = 500 * 1024
SEGMENT_MESSAGES_MAX = 2500
ATTRIBUTES_MAX = 100
# A longer name is cut; a longer value is refused.
NAME_MAX = 256
VALUE_MAX = 4096
ID_MAX = 256
LIST_MAX = 1000
ENTRY_MAX = 512
PRODUCTS_MAX = 1000
IDENTITIES_MAX = 100
# Numbers of more digits than a double can tell the size of serve nobody, and a few characters (1e999999999) could name one.
NUMBER_MAX_EXPONENT = 308

_DAY_MS = 24 * 3600 * 1000
TIME_MIN_MS = 946_684_800_000  # 2000-01-01
TIME_MAX_AHEAD_MS = 3653 * _DAY_MS  # ten years

MPID_MAX = 2**63 - 1
MPID_MIN = -(2**63)
