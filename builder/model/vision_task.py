"""Tell image classifiers from models for other tasks, by their tensors and operators."""

from __future__ import annotations

from typing import NoReturn

from builder.base.errors import ModelError
from builder.model.tflite import Tensor, TFLiteModel

_INPUT_DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float32", "float16")
_OUTPUT_DTYPES = ("float32", "float16", "uint8", "int8", "int16")
# Operators that pass scores on as they are, up to quantization; the first of them in their order.
SAME_ORDER = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
PASS_ON = (*SAME_ORDER, "CAST", "TRANSPOSE")
_OTHER_TASK = (
    "a classifier gives a score per class; detectors (boxes), segmenters (maps), landmarks, poses "
    "and text are other kinds of models"
)
# Beginnings of operators' names that a converter or another tool adds.
_CUSTOM_HINTS = {
    "TFLite_Detection_PostProcess": "this is another kind of model: a detector, which gives boxes",
    "edgetpu-custom-op": "it was compiled for Edge TPUs: take the .tflite of before",
    "Flex": "convert the model without SELECT_TF_OPS (TensorFlow's operators)",
    "": "convert the model with builtin operators only",
}


def find_picture_input(model: TFLiteModel) -> Tensor:
    """Return the input tensor; raise ModelError if there are several, or it cannot hold pixels."""
    if len(model.inputs) != 1:
        raise ModelError(
            f"{model.name}: expected one input, a picture, found {_list_tensors(model.inputs)}",
            "this is another kind of model: it needs more than a picture",
        )
    source = model.inputs[0]
    if source.dtype not in _INPUT_DTYPES:
        raise ModelError(
            f"{model.name}: expected an input of {', '.join(_INPUT_DTYPES)}, found {source.name}: "
            f"{source}",
            "convert the model with uint8, int8 or float32 inputs",
        )
    return source


def refuse_input(model: TFLiteModel, source: Tensor) -> NoReturn:
    """Raise ModelError for an input whose shape is not a picture's."""
    raise ModelError(
        f"{model.name}: expected an input of shape [1, height, width, 3 or 1], found {source}",
        "this is another kind of model, as for sound or text; if it is a picture laid flat, "
        "convert the model with its own shape",
    )


def check_batch(model: TFLiteModel, tensor: Tensor, batch: int) -> None:
    """Raise ModelError unless a batch is one picture, or free."""
    if batch not in (1, -1):
        raise ModelError(
            f"{model.name}: expected a batch of 1 picture, found {batch}: {tensor.name}: {tensor}",
            "convert the model with a batch size of 1, or a free one",
        )


def count_outputs(model: TFLiteModel) -> int:
    """Return how many scores a model gives: one per class, or 1 for a score of two classes.

    Raises:
        ModelError: the model is of another kind; says what was found.
    """
    _check_custom_operators(model)
    if len(model.outputs) != 1:
        raise ModelError(
            f"{model.name}: expected one output, a score per class, found "
            + _list_tensors(model.outputs),
            _OTHER_TASK,
        )
    output = model.outputs[0]
    _check_last_operator(model, output)
    if output.dtype not in _OUTPUT_DTYPES or (output.is_integer and not output.scale):
        found = f"{output.name}: {output}" + (", without a scale" if output.is_integer else "")
        raise ModelError(
            f"{model.name}: expected an output of {', '.join(_OUTPUT_DTYPES)}, integers with a "
            f"scale and a zero point, found {found}",
            "convert the model with float32 or quantized outputs",
        )
    if output.shape == (-1,):  # one number for each picture
        return 1
    sizes = output.shape
    if len(sizes) > 1:
        check_batch(model, output, sizes[0])
        sizes = sizes[1:]
    sizes = tuple(size for size in sizes if size != 1) or (1,)
    if len(sizes) > 1 or sizes[0] < 1:
        raise ModelError(
            f"{model.name}: expected an output of shape [1, classes], found {output.name}: "
            f"{output}",
            _OTHER_TASK,
        )
    return sizes[0]


def _check_custom_operators(model: TFLiteModel) -> None:
    """Raise ModelError if an operator is not built into TFLite."""
    custom = next((each.name for each in model.operators if each.is_custom), "")
    if custom:
        raise ModelError(
            f"{model.name} uses an operator that is not built into TFLite: {custom}",
            next(hint for start, hint in _CUSTOM_HINTS.items() if custom.startswith(start)),
        )


def _check_last_operator(model: TFLiteModel, output: Tensor) -> None:
    """Raise ModelError if the last operator gives something else than a score per class."""
    *_, last = model.trace_back(output, PASS_ON) or (None,)
    if last is None:
        return
    scores = last.inputs[0].shape if last.inputs and last.inputs[0] else ()
    found, hint = "", "convert the model without its last operator"
    if last.name in ("ARG_MAX", "ARG_MIN", "TOPK_V2"):
        found = "the number of a class"
    elif last.name == "REDUCE_MAX" and abs(output.element_count) == 1 and scores[-1:] > (1,):
        found = "that of the likeliest"
    elif last.name == "L2_NORMALIZATION":
        found = "a vector of length 1"
        hint = "this is another kind of model: an embedding, which is compared with others"
    if found:
        raise ModelError(
            f"{model.name}: expected a score per class, found {found}, by {last.name}", hint
        )


def _list_tensors(tensors: tuple[Tensor, ...]) -> str:
    return f"{len(tensors)}: " + ", ".join(f"{each.name} ({each})" for each in tensors[:6])
