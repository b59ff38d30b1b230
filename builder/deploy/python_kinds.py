"""Choose the kind that runs a zip, and the image to precompile for, among those of a host."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from builder.base import runtime_images
from builder.base.console import Console
from builder.base.errors import BuildError


@dataclass(frozen=True)
class Kind:
    """A kind of the platform: name, Python version, and the image's name if the host says it."""

    name: str
    python: str
    image: str = ""


class PythonKinds:
    """The Python kinds of a host that are not deprecated.

    Attributes:
        images: name of the kind -> its image; None if the host does not publish its kinds.
    """

    def __init__(self, host: str, runtimes: Any) -> None:
        """Read the `runtimes` of what the host publishes."""
        self._host = host
        self.images: dict[str, str] | None = None
        self._default = ""
        if not isinstance(runtimes, dict):
            return
        self.images = {}
        for each in runtimes.get("python", []):
            if isinstance(each, dict) and "kind" in each and not each.get("deprecated"):
                self.images[str(each["kind"])] = str(each.get("image", ""))
                self._default = str(each["kind"]) if each.get("default") else self._default

    def sort_pythons(self, supported: Sequence[str]) -> list[str]:
        """Return these Python versions, that of the host's default kind first."""
        default = self._python_of(self._default)
        return list(dict.fromkeys(sorted(supported, key=lambda python: python != default)))

    def choose(self, pythons: Sequence[str], named: str | None = None) -> Kind:
        """Return the kind that the user named, or the first that runs one of these Pythons.

        Raise BuildError if the host has none; the message names those it has.
        """
        if self.images is None:
            python = self._python_of(named or "") or pythons[0]
            return Kind(named or f"python:{pythons[0]}", python)
        known = ", ".join(sorted(self.images)) or "none for Python"
        if named and named not in self.images:
            hint = "choose one of these with --kind"
            raise BuildError(f"{self._host} has no kind {named}; it has {known}", hint)
        names = [named] if named else [*(f"python:{each}" for each in pythons), *self.images]
        for name in names:
            if name in self.images and (python := self._python_of(name)) in pythons:
                return Kind(name, python, self.images[name])
        wanted = " or ".join(pythons)
        raise BuildError(
            f"{named} of {self._host} runs Python {self._python_of(named)}, the zip is for {wanted}"
            if named
            else f"{self._host} has no kind for Python {wanted}; it has {known}",
            "build for one of its kinds with --python X.Y, or ask the platform's operator",
        )

    def _python_of(self, kind: str) -> str:
        """Return the Python version of a kind, as the host's image says; empty if unknown."""
        if exact := re.fullmatch(r"python:(\d+\.\d+)", kind):
            return exact[1]
        image = runtime_images.identify_image((self.images or {}).get(kind, ""))
        known = [image] if image else runtime_images.images_of_kind(kind)
        return known[0].python if known else ""

    def choose_environment(self, kind: Kind, wanted: bool | None, console: Console) -> str:
        """Return OW_EXECUTION_ENV of the image to precompile for; empty for a portable zip.

        With `wanted`, raise BuildError if the image is not known; None means where that is safe.
        """
        image = runtime_images.identify_image(kind.image)
        if wanted is None and image and image.execution_env:
            wanted = image.survives_upgrades
            if not wanted:
                console.note(
                    f"a portable zip: an upgrade of {image.platform}'s image would break a "
                    "precompiled one. --precompiled makes one, which starts in half the time"
                )
        if not wanted:
            return ""
        if image and image.execution_env:
            return image.execution_env
        raise BuildError(
            f"--precompiled: {self._host} runs {kind.name} in {kind.image or 'an image'}, whose "
            "OW_EXECUTION_ENV is not known",
            "pass it with --execution-env, or build with --portable",
        )

    def check_environment(self, kind: Kind, execution_env: str) -> None:
        """Raise BuildError if a precompiled zip is for another image than the kind's."""
        image = runtime_images.identify_image(kind.image)
        if execution_env and image and image.execution_env not in ("", execution_env):
            raise BuildError(
                f"the zip is precompiled for {execution_env}, {kind.name} of {self._host} is "
                f"{image.execution_env}",
                "build it again for this platform: deploy without ZIP; or choose another --kind",
            )
