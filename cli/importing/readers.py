"""Which reader reads a file."""

from __future__ import annotations

from cli.importing.csv_file import CsvFile
from cli.importing.format import Format
from cli.importing.ndjson_file import NdjsonFile
from cli.importing.parquet_file import ParquetFile
from cli.importing.piece import Reader
from cli.importing.source import Source


def reader_of(source: Source, format: Format, delimiter: str) -> Reader:
    """The reader of a file. Raises CliFault for a file that is none of its format."""
    match format:
        case Format.CSV:
            return CsvFile(source, delimiter)
        case Format.NDJSON:
            return NdjsonFile(source)
        case Format.PARQUET:
            return ParquetFile(source)
