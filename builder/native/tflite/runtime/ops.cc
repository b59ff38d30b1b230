// The ops of an image classifier: what MobileNet v1 to v3, EfficientNet-Lite, ResNet, Inception and
// SqueezeNet consist of, and what converters put around them. `--ops all` takes upstream's list.
//
// XNNPACK runs nearly all of them. What it declines falls to the kernels named here: the reference
// ones where that is rare (they are small), the optimized ones where it happens in every inference
// (pooling, softmax and mean of quantized models).

#include "tensorflow/lite/core/c/common.h"
#include "tensorflow/lite/core/kernels/register.h"
#include "tensorflow/lite/kernels/register_ref.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "tensorflow/lite/tflite_with_xnnpack_optional.h"

// op, function that registers its kernel, highest version of the op that the kernel knows
//
// FULLY_CONNECTED: upstream's kernel is registered up to 10. A converter gives all dense layers of a
// model the highest version that one of them needs, 11 and 12 too, where the kernel knows the other
// layers: float32, and int8 with a scale per channel. What it does not know, float32 with int8
// weights that have several scales, builder/model/operators.py keeps away from it.
#define CLASSIFIER_OPS(X)                                      \
  X(ADD, ADD_REF, 5)                                           \
  X(ARG_MAX, ARG_MAX, 3)                                       \
  X(AVERAGE_POOL_2D, AVERAGE_POOL_2D, 3)                       \
  X(CAST, CAST, 5)                                             \
  X(CONCATENATION, CONCATENATION_REF, 4)                       \
  X(CONV_2D, CONVOLUTION_REF, 7)                               \
  X(DEPTHWISE_CONV_2D, DEPTHWISE_CONVOLUTION_REF, 7)           \
  X(DEQUANTIZE, DEQUANTIZE_REF, 5)                             \
  X(DIV, DIV_REF, 2)                                           \
  X(EXPAND_DIMS, EXPAND_DIMS, 1)                               \
  X(FULLY_CONNECTED, FULLY_CONNECTED_REF, 12)                  \
  X(HARD_SWISH, HARD_SWISH_REF, 1)                             \
  X(L2_NORMALIZATION, L2NORM_REF, 2)                           \
  X(LEAKY_RELU, LEAKY_RELU_REF, 2)                             \
  X(LOGISTIC, LOGISTIC_REF, 3)                                 \
  X(MAX_POOL_2D, MAX_POOL_REF, 3)                              \
  X(MAXIMUM, MAXIMUM_REF, 4)                                   \
  X(MEAN, MEAN, 3)                                             \
  X(MINIMUM, MINIMUM_REF, 4)                                   \
  X(MUL, MUL_REF, 7)                                           \
  X(PACK, PACK, 4)                                             \
  X(PAD, PAD_REF, 4)                                           \
  X(PADV2, PADV2_REF, 4)                                       \
  X(PRELU, PRELU_REF, 1)                                       \
  X(QUANTIZE, QUANTIZE_REF, 3)                                 \
  X(RELU, RELU, 3)                                             \
  X(RELU6, RELU6, 3)                                           \
  X(RELU_N1_TO_1, RELU_N1_TO_1, 1)                             \
  X(RESHAPE, RESHAPE, 1)                                       \
  X(RESIZE_BILINEAR, RESIZE_BILINEAR_REF, 4)                   \
  X(SHAPE, SHAPE, 1)                                           \
  X(SLICE, SLICE_REF, 6)                                       \
  X(SOFTMAX, SOFTMAX, 3)                                       \
  X(SPLIT, SPLIT, 4)                                           \
  X(SQUEEZE, SQUEEZE, 2)                                       \
  X(STRIDED_SLICE, STRIDED_SLICE_REF, 8)                       \
  X(SUB, SUB_REF, 5)                                           \
  X(TANH, TANH_REF, 3)                                         \
  X(TRANSPOSE, TRANSPOSE_REF, 6)

namespace tflite::ops::builtin {

#define DECLARE(op, kernel, version) TfLiteRegistration* Register_##kernel();
CLASSIFIER_OPS(DECLARE)
#undef DECLARE

namespace {

void AddClassifierOps(MutableOpResolver* resolver) {
#define ADD(op, kernel, version) \
  resolver->AddBuiltin(BuiltinOperator_##op, Register_##kernel(), 1, version);
  CLASSIFIER_OPS(ADD)
#undef ADD
}

}  // namespace

BuiltinOpResolver::BuiltinOpResolver() {
  AddClassifierOps(this);
  may_directly_contain_user_defined_ops_ = false;
  delegate_creators_.push_back([](TfLiteContext* context) {
    return MaybeCreateXNNPACKDelegate(context, XNNPackQS8Options::default_value);
  });
}

// What `experimental_op_resolver_type=BUILTIN_REF` of the Python API asks for.
BuiltinRefOpResolver::BuiltinRefOpResolver() { AddClassifierOps(this); }

const TfLiteRegistration* BuiltinRefOpResolver::FindOp(BuiltinOperator op, int version) const {
  return MutableOpResolver::FindOp(op, version);
}

const TfLiteRegistration* BuiltinRefOpResolver::FindOp(const char* op, int version) const {
  return MutableOpResolver::FindOp(op, version);
}

}  // namespace tflite::ops::builtin
