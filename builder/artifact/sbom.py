"""Write the zip's software bill of materials, as CycloneDX JSON."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, XsUri
from cyclonedx.model import component as cyclonedx
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from builder.packages import NO_LICENCE, Component

SBOM = "sbom.cdx.json"
# A fixed date, so that equal zips have equal bytes.
_DATE = datetime(1980, 1, 1, tzinfo=timezone.utc)


def write_sbom(components: Sequence[Component]) -> bytes:
    """Return the bill of materials, as UTF-8 JSON of CycloneDX 1.6.

    The first component is the function itself.
    """
    function, *others = components
    sources = "\n".join(f"{each.name} {each.version} {each.sha256}" for each in components)
    root = _describe(function, ComponentType.APPLICATION)
    described = [_describe(component) for component in others]
    bom = Bom(
        components=described,
        serial_number=uuid5(NAMESPACE_URL, hashlib.sha256(sources.encode()).hexdigest()),
        metadata=BomMetaData(component=root, timestamp=_DATE),
    )
    bom.register_dependency(root, described)
    writer = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6)
    return writer.output_as_string().encode()


def _describe(
    component: Component, kind: ComponentType = ComponentType.LIBRARY, within: str = ""
) -> cyclonedx.Component:
    """Return a component in CycloneDX's terms; `within` is what it is linked into."""
    python = f"python{component.python}/" if component.python and not within else ""
    reference = f"{within}{python}{component.name}@{component.version}"
    if component.name.startswith("model "):
        kind = ComponentType.MACHINE_LEARNING_MODEL
    hashes = []
    if component.sha256:
        hashes = [HashType(alg=HashAlgorithm.SHA_256, content=component.sha256)]
    licences = []
    if component.licence != NO_LICENCE:
        licences = [LicenseFactory().make_from_string(component.licence)]
    return cyclonedx.Component(
        name=component.name,
        type=kind,
        bom_ref=reference,
        version=component.version or None,
        description=component.source,
        purl=PackageURL.from_string(component.purl) if component.purl else None,
        cpe=component.cpe or None,
        hashes=hashes,
        licenses=licences,
        pedigree=_describe_changes(component),
        components=[_describe(linked, within=f"{reference}/") for linked in component.linked],
    )


def _describe_changes(component: Component) -> cyclonedx.Pedigree | None:
    """Return how a component differs from the file that it was made from; None if it does not."""
    if not (component.patches or component.changes):
        return None
    kind = cyclonedx.PatchClassification.UNOFFICIAL
    patches = [
        cyclonedx.Patch(type=kind, diff=cyclonedx.Diff(url=XsUri(path)))
        for path in component.patches
    ]
    return cyclonedx.Pedigree(notes=component.changes or None, patches=patches)
