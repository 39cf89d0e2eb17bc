"""A faulty text of a definition, shown with its places."""

from __future__ import annotations

import pytest
from muster.definition.v1 import language_service_pb2 as pb

from cli.definition import marked


@pytest.mark.parametrize(
    ("line", "column", "length", "shown", "carets"),
    [
        ("sesions < 3", 1, 7, "sesions < 3", "^^^^^^^"),
        ("sessions <", 11, 0, "sessions <", "          ^"),
        ("名前 @", 4, 1, "名前 @", "     ^"),
        ("a\tb @", 5, 1, "a b @", "    ^"),
        ("", 1, 0, "", "^"),
        ("x" * 500 + "@" + "y" * 500, 501, 1, "x" * 40 + "@" + "y" * 59, " " * 40 + "^"),
        ("x" * 500, 1, 500, "x" * 100, "^" * 100),
    ],
)
def test_a_place_is_marked_under_its_line(line: str, column: int, length: int, shown: str, carets: str) -> None:
    fault = pb.TextFault(line=1, column=column, length=length, description="It is wrong.")
    assert marked(line, fault) == [f"  {shown}", f"  {carets}", "  It is wrong."]
