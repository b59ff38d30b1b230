"""The zip's software bill of materials, as CycloneDX JSON."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model import component as cyclonedx
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from builder.packages import NO_LICENCE, Component


def sbom(parts: Sequence[Component], date: tuple[int, int, int, int, int, int]) -> bytes:
    """The bill of materials: the parts, and in them what is statically linked into them.

    Args:
        parts: of the zip; the first is the function itself.
        date: what it says of when it was made; a fixed one, so that equal zips have equal bytes.

    Returns:
        UTF-8 JSON of CycloneDX 1.6.
    """
    function, *others = parts
    made_of = "\n".join(f"{part.name} {part.version} {part.sha256}" for part in parts)
    root = _component(function, ComponentType.APPLICATION)
    components = [_component(part) for part in others]
    bom = Bom(
        components=components,
        serial_number=uuid5(NAMESPACE_URL, hashlib.sha256(made_of.encode()).hexdigest()),
        metadata=BomMetaData(
            component=root,
            timestamp=datetime(*date, tzinfo=timezone.utc),
        ),
    )
    bom.register_dependency(root, components)
    writer = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6)
    return (writer.output_as_string()).encode()


def _component(
    part: Component, kind: ComponentType = ComponentType.LIBRARY, within: str = ""
) -> cyclonedx.Component:
    python = f"python{part.python}/" if part.python and not within else ""
    reference = f"{within}{python}{part.name}@{part.version}"
    if part.name.startswith("model "):
        kind = ComponentType.MACHINE_LEARNING_MODEL
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=part.sha256)] if part.sha256 else []
    licences = []
    if part.licence != NO_LICENCE:
        licences = [LicenseFactory().make_from_string(part.licence)]
    return cyclonedx.Component(
        name=part.name,
        type=kind,
        bom_ref=reference,
        version=part.version or None,
        description=part.source,
        purl=PackageURL.from_string(part.purl) if part.purl else None,
        cpe=part.cpe or None,
        hashes=hashes,
        licenses=licences,
        components=[_component(linked, within=f"{reference}/") for linked in part.linked],
    )
