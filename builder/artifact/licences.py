"""Write LICENSES.txt: the licences of everything in the zip."""

from collections.abc import Sequence

from builder.packages import Component

LICENCES = "LICENSES.txt"


def collect_licences(components: Sequence[Component]) -> str:
    """Return a line per component, then each licence text once, under all titles it applies to."""
    everything = [each for component in components for each in (component, *component.linked)]
    titles: dict[str, list[str]] = {}
    for component in everything:
        for title, text in component.licence_texts:
            known = titles.setdefault(text.strip(), [])
            if title not in known:
                known.append(title)
    summary = dict.fromkeys(
        f"{component.name} {component.version}".strip() + f": {component.licence}\n"
        for component in everything
    )
    rule = "=" * 79
    texts = (f"\n{rule}\n{', '.join(names)}\n{rule}\n\n{text}\n" for text, names in titles.items())
    return "".join(summary) + "".join(texts)
