"""One activation, plain or over HTTP: received, answered whatever happens, timed and logged."""

from __future__ import annotations

from time import perf_counter

from action.packages import over_http
from action.packed import in_background
from action.request import parse
from action.response import Timings, failure, rss_mb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from action.packed import Packed
    from action.response import Answer


def start(files: Packed) -> Handler:
    """Load the model, once per container; the packages are in use already.

    Args:
        files: of the zip.

    Returns:
        The function that answers activations.

    Raises:
        Exception: of any kind: the packages or the model cannot be loaded.
    """
    return Handler(files)


class Handler:
    """Answers activations with a model that is loaded."""

    def __init__(self, files: Packed) -> None:
        """Import the packages and load the model."""
        began = perf_counter()
        from action.classifier import load  # numpy, the interpreter: a part of init

        loading = in_background(lambda: load(files))  # XNNPACK packs the weights: no Python in that
        from action.pipeline import Pipeline  # Pillow

        self.pipeline = Pipeline(loading())
        self._init_ms = round((perf_counter() - began) * 1000, 3)
        self._start = "cold"

    def __call__(self, params: Any) -> Answer:
        """Answer one activation with plain Python values, and log it; never raises an Exception."""
        timings = Timings(self._start, self._init_ms)
        answered = self._over_http if over_http(params) else self._plainly
        answer, pictures, note = answered(params, timings)
        self._log(pictures, timings, note)
        self._start = "warm"
        return answer

    def _plainly(self, params: Any, timings: Timings) -> tuple[Answer, list[Answer], str]:
        """The answer, that of each picture, and what the log line ends in."""
        try:
            request = parse(params, len(self.pipeline.classifier.labels))
            answer = self.pipeline.answer(request, timings)
        except Exception as error:
            answer = failure(error)
        return answer, answer.get("predictions", [answer]), ""

    def _over_http(
        self, params: dict[str, Any], timings: Timings
    ) -> tuple[Answer, list[Answer], str]:
        from action import web, web_request  # 0.3 ms, which plain invocations do not need

        try:
            params = web_request.translated(params)
            answer = web.answer(params, self.pipeline, timings)
        except Exception as error:
            answer = web.reply(getattr(error, "status", 500), failure(error))
        return answer, *web.logged(params, answer)

    def _log(self, pictures: list[Answer], timings: Timings, note: str) -> None:
        failed = sum("error" in each for each in pictures)
        stages = "".join(f" {name}={ms:.1f}ms" for name, ms in timings.milliseconds().items())
        init = f" init={timings.init_ms:.0f}ms" if timings.start == "cold" else ""
        counts = f"images={len(pictures)} failed={failed}"
        print(f"classify {timings.start} {counts}{stages}{init} rss={rss_mb():.0f}MB{note}")
