"""Tell image classifiers from models for other vision tasks; the error names the task."""

from __future__ import annotations

from typing import NoReturn

from builder.base.errors import ModelError
from builder.model.tflite import Tensor, TFLiteModel

_INPUT_DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float32", "float16")
_OUTPUT_DTYPES = ("float32", "float16", "uint8", "int8", "int16")
# Operators that pass scores on as they are, up to quantization; the first of them in their order.
SAME_ORDER = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
PASS_ON = (*SAME_ORDER, "CAST", "TRANSPOSE")
_OTHER = "this looks like another kind of model: "


def find_picture_input(model: TFLiteModel) -> Tensor:
    """Return the input tensor; raise ModelError if there are several, or it cannot hold pixels."""
    if len(model.inputs) != 1:
        listed = ", ".join(f"{each.name} ({each})" for each in model.inputs[:4])
        raise ModelError(
            f"{model.name}: expected one input, a picture, found {len(model.inputs)}: {listed}",
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
    shape = source.shape
    kind = "what enters is not a picture"
    if len([size for size in shape if size not in (1, 3)]) <= 1:
        kind = (
            "a vector enters, such as sound, text or measurements. If it is a picture laid flat, "
            "convert the model with its own shape"
        )
    elif len(shape) >= 3 and (shape[-1] in (2, 4) or shape[-1] > 4):
        kind = f"{shape[-1]} channels are not an RGB or grey picture"
    raise ModelError(
        f"{model.name}: expected an input of shape [1, height, width, 3 or 1], found {source}",
        _OTHER + kind,
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
        ModelError: the model is of another kind; says of which.
    """
    _check_custom_operators(model)
    if len(model.outputs) != 1:
        raise ModelError(
            f"{model.name}: expected one output, a score per class, found {len(model.outputs)}: "
            + ", ".join(f"{each.name} ({each})" for each in model.outputs[:6]),
            _OTHER + _guess_by_outputs(model.outputs),
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
            _OTHER + _guess_by_shape(model.inputs[0], output),
        )
    return sizes[0]


def _check_custom_operators(model: TFLiteModel) -> None:
    """Raise ModelError if an operator is not built into TFLite."""
    custom = next((each.name for each in model.operators if each.is_custom), "")
    if not custom:
        return
    hint = "convert the model with builtin operators only"
    if custom == "TFLite_Detection_PostProcess":
        hint = "this is another kind of model: a detector, which gives boxes"
    elif custom == "edgetpu-custom-op":
        hint = "it was compiled for Edge TPUs: take the .tflite that was given to the compiler"
    elif custom.startswith("Flex"):
        hint = "convert the model without SELECT_TF_OPS (TensorFlow's operators)"
    raise ModelError(f"{model.name} uses an operator that is not built into TFLite: {custom}", hint)


def _check_last_operator(model: TFLiteModel, output: Tensor) -> None:
    """Raise ModelError if the last operator gives something else than a score per class."""
    *_, last = model.trace_back(output, PASS_ON) or (None,)
    if last is None:
        return
    hint, found = "convert the model without its last operator", ""
    source = last.inputs[0] if last.inputs else None
    if last.name in ("ARG_MAX", "ARG_MIN", "TOPK_V2"):
        found = f"the number of a class, by {last.name}"
    elif last.name == "REDUCE_MAX" and source is not None and abs(output.element_count) == 1:
        found = "that of the likeliest, by REDUCE_MAX" if source.shape[-1:] > (1,) else ""
    elif last.name == "L2_NORMALIZATION":
        found = "a vector of length 1 (its last operator is L2_NORMALIZATION)"
        hint = "this is another kind of model: an embedding, which is compared with others"
    if found:
        raise ModelError(f"{model.name}: expected a score per class, found {found}", hint)


def _guess_by_outputs(outputs: tuple[Tensor, ...]) -> str:
    shapes = [tensor.shape for tensor in outputs]
    names = " ".join(tensor.name.lower() for tensor in outputs)
    sizes = [tensor.element_count for tensor in outputs]
    has_boxes = any(len(shape) >= 3 and shape[-1] == 4 for shape in shapes) or "box" in names
    if has_boxes or all(len(shape) == 3 and shape[1] == shapes[0][1] > 100 for shape in shapes):
        return "a detector, which gives boxes and scores"
    if any(len(shape) == 4 and min(shape[1:3]) > 1 for shape in shapes):
        return "a detector, or one of poses or outlines, which gives maps"
    if "landmark" in names or all(size == 1 or (size % 3 == 0 and size > 9) for size in sizes):
        return "one of landmarks: points of a face, a hand or a body"
    return "one with several answers; convert it with the one output that has a score per class"


def _guess_by_shape(source: Tensor, output: Tensor) -> str:
    shape = output.shape
    if len(shape) == 4 and min(shape[1:3]) > 1:
        if shape[3] in (1, 3) and shape[1:3] == source.shape[1:3]:
            return "an image for an image (a mask, depth, a style)"
        return "a segmenter, or one of poses: a score per class for each of many places"
    if len(shape) == 4 and shape[2:] == (17, 3):
        return "one of poses: 17 points of the body"
    if len(shape) == 3:
        if shape[2] == 4 or (shape[1] != shape[2] and max(shape[1:]) > 500):
            return "a detector, which gives boxes"
        if shape[2] in (2, 3):
            return "one of landmarks: points of a face, a hand or a body"
        return "a sequence, as for reading text, or a segmenter: a score per class for each place"
    return "more than one score per class, as a segmenter or a detector gives"
