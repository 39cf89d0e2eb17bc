"""Why a demo ends without success."""

from __future__ import annotations


class DemoFault(Exception):
    """Something did not work, or differs from what it should be; the text is for the person who watches."""
