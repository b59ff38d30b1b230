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
    graphs = _tables(root, _MODEL_GRAPHS)[:1]
    sources = [each for graph in graphs for each in _tables(graph, _GRAPH_INPUTS)[:1]]
    outputs = [each for graph in graphs for each in _tables(graph, _GRAPH_OUTPUTS)[:1]]
    mean, std = _read_normalization(sources[0]) if sources else ((), ())
    files = [
        AssociatedFile(_text(file, _FILE_NAME), _byte(file, _FILE_TYPE), _text(file, _FILE_LOCALE))
        for output in outputs
        for file in _tables(output, _TENSOR_FILES)
    ]
    return Metadata(mean, std, tuple(files))


def _read_normalization(tensor: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of a tensor's NormalizationOptions; empty if it has none."""
    for unit in _tables(tensor, _TENSOR_UNITS):
        offset = _offset(unit, _UNIT_OPTIONS)
        if offset and _byte(unit, _UNIT_TYPE) == _NORMALIZATION:
            options = Table(unit.Bytes, unit.Indirect(unit.Pos + offset))
            return _floats(options, _MEAN), _floats(options, _STD)
    return (), ()


def _offset(table: Table, field: int) -> int:
    """Return where a field is, from the table's start; 0 if the table lacks it."""
    return int(table.Offset(4 + 2 * field))


def _byte(table: Table, field: int) -> int:
    offset = _offset(table, field)
    return int(table.Bytes[table.Pos + offset]) if offset else 0


def _text(table: Table, field: int) -> str:
    offset = _offset(table, field)
    return bytes(table.String(table.Pos + offset)).decode("utf-8", "replace") if offset else ""


def _elements(table: Table, field: int) -> range:
    """Return the places of a vector's elements of four bytes; empty if the table lacks it."""
    offset = _offset(table, field)
    if not offset:
        return range(0)
    start = table.Vector(offset)
    return range(start, start + 4 * table.VectorLen(offset), 4)


def _tables(table: Table, field: int) -> list[Table]:
    places = _elements(table, field)
    return [Table(table.Bytes, table.Indirect(place)) for place in places]


def _floats(table: Table, field: int) -> tuple[float, ...]:
    return tuple(float(table.Get(Float32Flags, place)) for place in _elements(table, field))
