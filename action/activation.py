"""One activation: request -> image -> classifier -> response, timed and logged."""

from __future__ import annotations

import os
import sys
from time import perf_counter

from action.packages import over_http
from action.request import ActionError, image_bytes, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from action.request import Options, Request

    Answer = dict[str, Any]

_INTERNAL = "internal error: the picture could not be classified; the activation's log says why"


def start(root: str) -> Handler:
    """Load the model in `root`, once per container.

    Args:
        root: folder with `model/`; its packages are in use already.

    Returns:
        The function that answers activations.

    Raises:
        Exception: of any kind: the packages or the model cannot be loaded.
    """
    return Handler(os.path.join(root, "model"))


class Timings:
    """Seconds spent in an activation so far, by stage."""

    def __init__(self) -> None:
        self._began = perf_counter()
        self.decode = 0.0
        self.classify = 0.0

    def milliseconds(self) -> dict[str, float]:
        """The stages and the total up to now, in ms."""
        total = perf_counter() - self._began
        stages = {"decode": self.decode, "classify": self.classify, "total": total}
        return {name: round(seconds * 1000, 3) for name, seconds in stages.items()}


class Handler:
    """Answers activations with a model that is loaded and warmed."""

    def __init__(self, model: str) -> None:
        """Import the packages and load the model in folder `model`."""
        began = perf_counter()
        from action import image, response
        from action.classifier import Classifier

        self.classifier = Classifier(model)
        self._decode = image.decode
        self._response = response
        self._init_ms = round((perf_counter() - began) * 1000, 3)
        self._start = "cold"

    def __call__(self, params: Any) -> Answer:
        """Answer one activation with plain Python values, and log it; never raises an Exception."""
        timings = Timings()
        note = ""
        if over_http(params):
            from action import web  # 0.3 ms, which plain invocations do not need

            params = web.translated(params)
            answer = web.answer(params, self, timings)
            pictures, note = web.logged(params, answer)
        else:
            try:
                answer = self.answer(parse(params, len(self.classifier.labels)), timings)
            except Exception as error:
                answer = failure(error)
            pictures = answer.get("predictions", [answer])
        self._log(pictures, timings, note)
        self._start = "warm"
        return answer

    def answer(self, request: Request, timings: Timings) -> Answer:
        """Classify pictures; of several, one that fails gives an `error` in its place.

        Args:
            request: the pictures, and what to answer.
            timings: where to add the time spent.

        Raises:
            ActionError: the only picture cannot be read or decoded.
        """
        if request.batch:
            answer: Answer = {
                "predictions": [self._part(each, request, timings) for each in request.images]
            }
        else:
            answer = self._classify(request.images[0], request.options, timings)
        if request.options.details:
            answer.setdefault("details", {}).update(self._details(timings))
        return answer

    def _part(self, picture: Any, request: Request, timings: Timings) -> Answer:
        try:
            return self._classify(picture, request.options, timings)
        except Exception as error:
            return failure(error)

    def _classify(self, picture: Any, options: Options, timings: Timings) -> Answer:
        model = self.classifier
        data = image_bytes(picture)
        began = perf_counter()
        found = self._decode(data, model.width, model.height, model.channels, model.crop)
        decoded = perf_counter()
        timings.decode += decoded - began
        ranked = model.rank(found.pixels, options.top_k, options.threshold)
        timings.classify += perf_counter() - decoded
        answer: Answer = {"results": self._response.results(ranked, options.details)}
        if options.details:
            answer["details"] = {
                "image": {
                    "format": found.format,
                    "width": found.width,
                    "height": found.height,
                    "bytes": len(data),
                }
            }
        return answer

    def _log(self, pictures: list[Answer], timings: Timings, note: str) -> None:
        failed = sum("error" in each for each in pictures)
        stages = "".join(f" {name}={ms:.1f}ms" for name, ms in timings.milliseconds().items())
        init = f" init={self._init_ms:.0f}ms" if self._start == "cold" else ""
        memory = f" rss={self._response.rss_mb():.0f}MB"
        counts = f"images={len(pictures)} failed={failed}"
        print(f"classify {self._start} {counts}{stages}{init}{memory}{note}")

    def _details(self, timings: Timings) -> Answer:
        return {
            "model": self.classifier.about(),
            "python": "{}.{}.{}".format(*sys.version_info),
            "start": self._start,
            "timings": {**timings.milliseconds(), "init": self._init_ms},
            "memory": {"rss": self._response.rss_mb()},
        }


def failure(error: Exception) -> Answer:
    """What the client sees of an error: its text if it can mend it, else only that it happened."""
    if isinstance(error, ActionError):
        return {"error": str(error)}
    _trace(error)
    return {"error": _INTERNAL}


def _trace(error: Exception) -> None:
    import traceback  # takes longer to import than the function itself

    traceback.print_exception(error)
