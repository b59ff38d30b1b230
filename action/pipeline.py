"""One request -> its answer: every picture is decoded, classified, and its classes told."""

from __future__ import annotations

import sys
from time import perf_counter

from action import picture, response
from action.request import image_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from action.classifier import Classifier
    from action.request import Options, Request
    from action.response import Answer, Timings


class Pipeline:
    """From the pictures of a request to an answer, with a model that is loaded."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

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

    def _part(self, image: Any, request: Request, timings: Timings) -> Answer:
        try:
            return self._classify(image, request.options, timings)
        except Exception as error:
            return response.failure(error)

    def _classify(self, image: Any, options: Options, timings: Timings) -> Answer:
        model = self.classifier
        data = image_bytes(image)
        began = perf_counter()
        decoded = picture.decode(data, model.width, model.height, model.channels, model.crop)
        between = perf_counter()
        timings.decode += between - began
        ranked = model.rank(decoded.pixels, options.top_k, options.threshold, options.asked)
        timings.classify += perf_counter() - between
        answer: Answer = {"results": response.results(ranked, options.details)}
        if options.details:
            size = {"width": decoded.width, "height": decoded.height}
            answer["details"] = {"image": {"format": decoded.format, **size, "bytes": len(data)}}
        return answer

    def _details(self, timings: Timings) -> Answer:
        return {
            "model": self.classifier.about(),
            "python": "{}.{}.{}".format(*sys.version_info),
            "start": timings.start,
            "timings": {**timings.milliseconds(), "init": timings.init_ms},
            "memory": {"rss": response.rss_mb()},
        }
