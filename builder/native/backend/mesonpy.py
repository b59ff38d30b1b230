"""Stand in for numpy's build backend while pip downloads numpy's source.

pip asks a source package's backend for the metadata even if it only downloads. The real backend
would configure all of numpy for that, which takes minutes; the package has the metadata already.
"""

import shutil
from email import message_from_string
from pathlib import Path


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: dict[str, str] | None = None
) -> str:
    """Copy the package's own metadata to where pip wants it; called in its source folder."""
    info = message_from_string(Path("PKG-INFO").read_text("utf-8"))
    folder = Path(metadata_directory) / f"{info['Name']}-{info['Version']}.dist-info"
    folder.mkdir()
    shutil.copy("PKG-INFO", folder / "METADATA")
    return folder.name
