// TFLite announces XNNPACK's delegate on standard error, at each start: that would be the first line
// of every container's log. Warnings and errors stay.

#include "tensorflow/lite/minimal_logging.h"

namespace {

[[maybe_unused]] const auto before =
    tflite::logging_internal::MinimalLogger::SetMinimumLogSeverity(tflite::TFLITE_LOG_WARNING);

}  // namespace
