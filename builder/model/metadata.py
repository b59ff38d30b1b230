"""Read TensorFlow Lite's model metadata: how pictures are scaled, and which files are labels.

The schema is metadata_schema.fbs of the TFLite Support library, which no maintained package offers
for reading: fields are found by their positions in it. The files that the metadata names are in a
zip archive behind the model.
"""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass, field
from typing import Any

from flatbuffers.number_types import Float32Flags, UOffsetTFlags
from flatbuffers.table import Table

# Fields by their positions, and members of enumerations and unions by their numbers.
_MODEL_GRAPHS = 3
_GRAPH_INPUTS, _GRAPH_OUTPUTS = 2, 3
_TENSOR_UNITS, _TENSOR_STATS, _TENSOR_FILES = 4, 5, 6
_UNIT_TYPE, _UNIT_OPTIONS, _NORMALIZATION = 0, 1, 1
_MEAN, _STD = 0, 1
_MAX, _MIN = 0, 1
_FILE_NAME, _FILE_TYPE, _FILE_LOCALE = 0, 2, 3
_KINDS = {
    0: "of no stated type",
    1: "descriptions",
    2: "labels of an axis",
    3: "labels of values",
    4: "score calibration",
    5: "a vocabulary",
    6: "an index",
}
AXIS_LABELS, VALUE_LABELS = _KINDS[2], _KINDS[3]


@dataclass(frozen=True)
class File:
    """A file behind the model, as the metadata names it.

    Attributes:
        name: in the archive.
        kind: AXIS_LABELS, VALUE_LABELS, or what else it is.
        locale: of labels, such as "de"; empty for the unmarked ones.
    """

    name: str
    kind: str
    locale: str


@dataclass(frozen=True)
class Metadata:
    """What the metadata says.

    Attributes:
        mean, std: per channel, of the first input; empty if it says nothing.
        low, high: least and largest value of the first input; empty if it says nothing.
        files: those of the first output's tensor.
        archive: name -> content of every file behind the model, named or not.
        problem: what is wrong with the archive or the metadata; empty if nothing is.
        present: whether there is metadata.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    files: tuple[File, ...] = ()
    archive: dict[str, bytes] = field(default_factory=dict)
    problem: str = ""
    present: bool = False


NOTHING = Metadata()


def read(table: bytes, content: bytes, name: str) -> Metadata:
    """The metadata of a model.

    Args:
        table: the buffer TFLITE_METADATA; empty if the model has none.
        content: of the whole file, with the archive at its end.
        name: of the model, for `problem`.
    """
    archive, problem = _archive(content)
    try:
        found = _metadata(table, archive) if table else Metadata(archive=archive)
    except (struct.error, IndexError, ValueError, TypeError):
        found = Metadata(archive=archive)
        problem = f"{name}: its metadata is damaged"
    missing = [file.name for file in found.files if file.name not in archive]
    if missing and not problem:
        problem = f"{name}: its metadata names {', '.join(missing)}, which is not in the file"
    return Metadata(**{**vars(found), "problem": problem, "present": bool(table)})


def _archive(content: bytes) -> tuple[dict[str, bytes], str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            return {name: archive.read(name) for name in names}, ""
    except zipfile.BadZipFile:
        return {}, ""
    except Exception as error:  # an archive fails in any way: encrypted, another compression
        return {}, f"the archive behind the model cannot be read: {error}"


def _metadata(table: bytes, archive: dict[str, bytes]) -> Metadata:
    root = Table(table, UOffsetTFlags.py_type(struct.unpack_from("<I", table)[0]))
    graph = next(iter(_tables(root, _MODEL_GRAPHS)), None)
    if graph is None:
        return Metadata(archive=archive)
    source = next(iter(_tables(graph, _GRAPH_INPUTS)), None)
    sink = next(iter(_tables(graph, _GRAPH_OUTPUTS)), None)
    mean, std = _normalization(source) if source else ((), ())
    stats = _table(source, _TENSOR_STATS) if source else None
    return Metadata(
        mean=mean,
        std=std,
        low=_floats(stats, _MIN) if stats else (),
        high=_floats(stats, _MAX) if stats else (),
        files=tuple(map(_file, _tables(sink, _TENSOR_FILES))) if sink else (),
        archive=archive,
    )


def _normalization(tensor: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of a tensor's NormalizationOptions; empty if it has none."""
    for unit in _tables(tensor, _TENSOR_UNITS):
        options = _table(unit, _UNIT_OPTIONS)
        if options and _byte(unit, _UNIT_TYPE) == _NORMALIZATION:
            return _floats(options, _MEAN), _floats(options, _STD)
    return (), ()


def _file(table: Table) -> File:
    kind = _KINDS.get(_byte(table, _FILE_TYPE), "of an unknown type")
    return File(_string(table, _FILE_NAME), kind, _string(table, _FILE_LOCALE))


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
