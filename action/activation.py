"""One activation: parameters -> pictures -> classes -> an answer, whatever happens; logged."""

import sys
from importlib import import_module
from time import perf_counter

from action.bootstrap import PackedZip, is_http_request, run_in_background
from action.request import Request, parse, read_image
from action.response import Answer, error_answer, rss_megabytes


class Handler:
    """Answers activations, one at a time, with a model that is loaded."""

    def __init__(self, files: PackedZip) -> None:
        """Import the packages and load the model of a zip; raises whatever keeps it from that."""
        self.begin()
        from action.classifier import load  # numpy, the interpreter: a part of init

        # Pillow is imported while XNNPACK packs the weights: no Python in that.
        run_in_background(import_module, ["action.picture"])
        self.classifier = load(files)
        self._decode = import_module("action.picture").decode
        self._start, self._init_ms = "cold", self._milliseconds()["total"]

    def begin(self) -> None:
        """Start the clock of an activation."""
        self._began = perf_counter()
        self._seconds = {"decode": 0.0, "classify": 0.0}

    def _milliseconds(self) -> dict[str, float]:
        seconds = {**self._seconds, "total": perf_counter() - self._began}
        return {name: round(each * 1000, 3) for name, each in seconds.items()}

    def __call__(self, params: Answer) -> Answer:
        """Answer one activation with plain Python values, and log it; never raises an Exception."""
        self.begin()
        if is_http_request(params):
            from action import web  # 0.3 ms, which plain activations do not need

            model = {"model": self.classifier.name, "classes": len(self.classifier.labels)}
            answer, pictures, note = web.answer(params, model, self._classify)
        else:
            try:
                answer = self._classify(params)
            except Exception as error:
                answer = error_answer(error)
            pictures, note = answer.get("predictions", [answer]), ""
        failed = sum("error" in each for each in pictures)
        stages = "".join(f" {name}={ms:.1f}ms" for name, ms in self._milliseconds().items())
        init = f" init={self._init_ms:.0f}ms" if self._start == "cold" else ""
        counts = f"images={len(pictures)} failed={failed}"
        print(f"classify {self._start} {counts}{stages}{init} rss={rss_megabytes():.0f}MB{note}")
        self._start = "warm"
        return answer

    def _classify(self, params: object) -> Answer:
        return self.answer(parse(params, len(self.classifier.labels)))

    def answer(self, request: Request) -> Answer:
        """Classify the pictures; of several, one that fails is an `error`, of one it is raised."""
        answers = [self._picture(image, request) for image in request.images]
        answer: Answer = {"predictions": answers} if request.batch else answers[0]
        if request.options.details:
            answer.setdefault("details", {}).update(
                model=self.classifier.description(),
                python="{}.{}.{}".format(*sys.version_info),
                start=self._start,
                timings={**self._milliseconds(), "init": self._init_ms},
                memory={"rss": rss_megabytes()},
            )
        return answer

    def _picture(self, image: object, request: Request) -> Answer:
        model, options = self.classifier, request.options
        try:
            data = read_image(image)
            began = perf_counter()
            picture = self._decode(data, model.width, model.height, model.channels, model.crop)
            between = perf_counter()
            self._seconds["decode"] += between - began
            answer: Answer = {"results": model.rank(picture.pixels, options)}
            self._seconds["classify"] += perf_counter() - between
        except Exception as error:
            if not request.batch:
                raise
            return error_answer(error)
        if options.details:
            size = {"width": picture.width, "height": picture.height}
            answer["details"] = {"image": {"format": picture.format, **size, "bytes": len(data)}}
        return answer
