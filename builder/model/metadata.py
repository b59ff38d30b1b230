"""Read the metadata inside a .tflite file: normalization, label files.

The schema is metadata_schema.fbs of the TFLite Support library, which no maintained package offers
for reading: fields are found by their positions in it. The files that the metadata names are in a
zip archive behind the model.
"""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass, field, replace
from typing import Any

from flatbuffers.number_types import Float32Flags, UOffsetTFlags
from flatbuffers.table import Table

# Fields by their positions, and members of enumerations and unions by their numbers.
_MODEL_GRAPHS = 3
_GRAPH_INPUTS, _GRAPH_OUTPUTS = 2, 3
_TENSOR_UNITS, _TENSOR_FILES = 4, 6
_UNIT_TYPE, _UNIT_OPTIONS, _NORMALIZATION = 0, 1, 1
_MEAN, _STD = 0, 1
_FILE_NAME, _FILE_TYPE, _FILE_LOCALE = 0, 2, 3
AXIS_LABELS, VALUE_LABELS = 2, 3
# Bytes of all files behind a model: labels, not pictures.
_MAX_ARCHIVE = 1 << 24


@dataclass(frozen=True)
class AssociatedFile:
    """A file behind the model that the metadata names.

    Attributes:
        name: in the archive.
        kind: AXIS_LABELS, VALUE_LABELS, or the schema's number of another type.
        locale: of labels, such as "de"; empty if none is stated.
    """

    name: str
    kind: int
    locale: str


@dataclass(frozen=True)
class Metadata:
    """The metadata of a model.

    Attributes:
        mean, std: of the first input, per channel; empty if not stated.
        files: those that belong to the first output.
        archive: name -> content of every file behind the model, named or not.
        problem: what is wrong with the archive or the metadata; empty if nothing is.
        is_present: whether the model has metadata.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    files: tuple[AssociatedFile, ...] = ()
    archive: dict[str, bytes] = field(default_factory=dict)
    problem: str = ""
    is_present: bool = False


def read_metadata(table: bytes, content: bytes, name: str) -> Metadata:
    """Read the metadata of a model.

    The archive of label files is at the end of `content`, the whole .tflite file.
    """
    archive, problem = _read_archive(content)
    metadata = Metadata()
    try:
        metadata = _read_table(table) if table else metadata
    except (struct.error, IndexError, ValueError, TypeError):
        problem = f"{name}: its metadata is damaged"
    missing = [file.name for file in metadata.files if file.name not in archive]
    if missing and not problem:
        problem = f"{name}: its metadata names {', '.join(missing)}, which is not in the file"
    return replace(metadata, archive=archive, problem=problem, is_present=bool(table))


def _read_archive(content: bytes) -> tuple[dict[str, bytes], str]:
    """Return the files behind the model, and what is wrong with their archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            size = sum(info.file_size for info in infos)
            kinds = {info.compress_type for info in infos}
            # Others than these may inflate to more than they state.
            if size > _MAX_ARCHIVE or not kinds <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                limit = f"at most {_MAX_ARCHIVE} bytes, stored or deflated"
                raise ValueError(f"expected {limit}, found {size} bytes")
            return {info.filename: archive.read(info) for info in infos}, ""
    except zipfile.BadZipFile:
        return {}, ""
    except Exception as error:  # an archive fails in any way: encrypted, another compression
        return {}, f"the archive behind the model cannot be read: {error}"


def _read_table(content: bytes) -> Metadata:
    root = Table(content, UOffsetTFlags.py_type(struct.unpack_from("<I", content)[0]))
    graph = _first_table(root, _MODEL_GRAPHS)
    source = graph and _first_table(graph, _GRAPH_INPUTS)
    output = graph and _first_table(graph, _GRAPH_OUTPUTS)
    mean, std = _read_normalization(source) if source else ((), ())
    return Metadata(
        mean=mean,
        std=std,
        files=tuple(map(_read_file, _tables(output, _TENSOR_FILES))) if output else (),
    )


def _read_normalization(tensor: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of a tensor's NormalizationOptions; empty if it has none."""
    for unit in _tables(tensor, _TENSOR_UNITS):
        options = _table(unit, _UNIT_OPTIONS)
        if options and _byte(unit, _UNIT_TYPE) == _NORMALIZATION:
            return _floats(options, _MEAN), _floats(options, _STD)
    return (), ()


def _read_file(table: Table) -> AssociatedFile:
    kind = _byte(table, _FILE_TYPE)
    return AssociatedFile(_string(table, _FILE_NAME), kind, _string(table, _FILE_LOCALE))


def _offset(table: Table, field: int) -> int:
    return int(table.Offset(4 + 2 * field))


def _byte(table: Table, field: int) -> int:
    offset = _offset(table, field)
    return int(table.Bytes[table.Pos + offset]) if offset else 0


def _string(table: Table, field: int) -> str:
    offset = _offset(table, field)
    return bytes(table.String(table.Pos + offset)).decode("utf-8", "replace") if offset else ""


def _table(table: Table, field: int) -> Table | None:
    offset = _offset(table, field)
    return Table(table.Bytes, table.Indirect(table.Pos + offset)) if offset else None


def _first_table(table: Table, field: int) -> Table | None:
    return next(iter(_tables(table, field)), None)


def _tables(table: Table, field: int) -> list[Table]:
    offset = _offset(table, field)
    if not offset:
        return []
    start, length = table.Vector(offset), table.VectorLen(offset)
    return [Table(table.Bytes, table.Indirect(start + 4 * i)) for i in range(length)]


def _floats(table: Any, field: int) -> tuple[float, ...]:
    offset = _offset(table, field)
    if not offset:
        return ()
    start, length = table.Vector(offset), table.VectorLen(offset)
    return tuple(float(table.Get(Float32Flags, start + 4 * i)) for i in range(length))
