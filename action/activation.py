"""Handle an activation: parameters -> pictures -> classes -> an answer, and a line in the log."""

import os
import sys
from importlib import import_module
from time import perf_counter, process_time, time

from action.bootstrap import PackedZip, is_http_request, run_in_background
from action.request import Request, RequestError, parse_request, read_image
from action.response import Answer, error_answer, rss_megabytes

# CPU seconds that reading the pictures of an activation may take before the next one is refused:
# 1 MiB of ordinary pictures takes less than one.
MAX_CPU_SECONDS = 4.0
# Share of the time that the platform gives an activation after which no picture is begun.
_DEADLINE_SHARE = 0.9


class Handler:
    """Answers activations, one at a time, with a model that is loaded."""

    def __init__(self, files: PackedZip) -> None:
        """Import the packages and load the model of a zip; raise whatever prevents it."""
        self.start_clock()
        from action.classifier import load_classifier  # imports numpy and TFLite: a part of init

        # Pillow is imported while XNNPACK packs the weights, which runs no Python.
        run_in_background(import_module, ["action.picture"])
        self.classifier = load_classifier(files)
        self._decode = import_module("action.picture").decode
        self._start = "cold"
        self._init_ms = self._stage_milliseconds()["total"]

    def start_clock(self) -> None:
        """Start the clock of an activation."""
        self._began = perf_counter()
        self._stage_seconds = {"decode": 0.0, "classify": 0.0}
        self._cpu_seconds = 0.0
        now = time()
        # In milliseconds since 1970; launchers set it before they call the function.
        deadline = os.environ.get("__OW_DEADLINE", "")
        left = int(deadline) / 1000 - now if deadline.isdecimal() else 0
        self._last_begin = now + _DEADLINE_SHARE * left if left > 0 else float("inf")

    def _stage_milliseconds(self) -> dict[str, float]:
        seconds = {**self._stage_seconds, "total": perf_counter() - self._began}
        return {stage: round(each * 1000, 3) for stage, each in seconds.items()}

    def __call__(self, params: Answer) -> Answer:
        """Answer one activation with plain Python values, and log it; never raise an Exception."""
        self.start_clock()
        if is_http_request(params):
            from action import web  # takes 0.3 ms, which plain activations do not need

            model = self.classifier.describe_briefly()
            answer, pictures, note = web.respond(params, model, self._classify)
        else:
            try:
                answer = self._classify(params)
            except Exception as error:
                answer = error_answer(error)
            pictures, note = answer.get("predictions", [answer]), ""
        self._log(pictures, note)
        self._start = "warm"
        return answer

    def _log(self, pictures: list[Answer], note: str) -> None:
        failed = sum("error" in each for each in pictures)
        stages = "".join(f" {name}={ms:.1f}ms" for name, ms in self._stage_milliseconds().items())
        init = f" init={self._init_ms:.0f}ms" if self._start == "cold" else ""
        counts = f"images={len(pictures)} failed={failed}"
        print(f"classify {self._start} {counts}{stages}{init} rss={rss_megabytes():.0f}MB{note}")

    def _classify(self, params: object) -> Answer:
        return self.answer(parse_request(params, len(self.classifier.labels)))

    def answer(self, request: Request) -> Answer:
        """Classify the pictures of a request.

        In a batch, a picture that fails has an `error`; the error of a single picture is raised.
        """
        answers = [self._classify_picture(image, request) for image in request.images]
        answer: Answer = {"predictions": answers} if request.batch else answers[0]
        if request.options.details:
            answer.setdefault("details", {}).update(
                model=self.classifier.describe(),
                python="{}.{}.{}".format(*sys.version_info),
                start=self._start,
                timings={**self._stage_milliseconds(), "init": self._init_ms},
                memory={"rss": rss_megabytes()},
            )
        return answer

    def _check_time_left(self) -> None:
        """Raise RequestError if earlier pictures took the time of this activation."""
        if self._cpu_seconds > MAX_CPU_SECONDS:
            needed = f"at most {MAX_CPU_SECONDS:.0f} s to read all pictures, found more before this"
        elif time() > self._last_begin:
            needed = "an answer before the activation's deadline, found no time for this"
        else:
            return
        raise RequestError(f"out of time: expected {needed} picture; send it in another activation")

    def _classify_picture(self, image: object, request: Request) -> Answer:
        model, options = self.classifier, request.options
        try:
            self._check_time_left()
            cpu_began = process_time()
            try:
                data = read_image(image)
                began = perf_counter()
                shape = (model.width, model.height, model.channels)
                picture = self._decode(data, *shape, model.crop, fit=model.fit)
            finally:
                self._cpu_seconds += process_time() - cpu_began
            decoded = perf_counter()
            self._stage_seconds["decode"] += decoded - began
            answer: Answer = {"results": model.rank(picture.pixels, options)}
            self._stage_seconds["classify"] += perf_counter() - decoded
        except Exception as error:
            if not request.batch:
                raise
            return error_answer(error)
        if options.details:
            size = {"width": picture.width, "height": picture.height}
            answer["details"] = {"image": {"format": picture.format, **size, "bytes": len(data)}}
        return answer
