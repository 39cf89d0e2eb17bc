"""The JSON Schema of a file, for editors: made from the classes that read files."""

from __future__ import annotations

import json

from cli.code.document import Document

FILE_NAME = "audience.schema.json"


def text() -> str:
    """The schema as it is written to a file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
