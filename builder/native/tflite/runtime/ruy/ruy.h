// The part of ruy's interface that TFLite's sources use, written for size.
//
// XNNPACK takes every matrix product of an image classifier. What TFLite's own kernels multiply is
// what XNNPACK declines (an unusual type, an op of `--ops all`), so a plain loop is enough here.
// The rounding is the one TFLite's integer kernels document: both steps round half away from zero.

#ifndef NATIVE_TFLITE_RUY_H_
#define NATIVE_TFLITE_RUY_H_

#include <xmmintrin.h>

#include <cstdint>
#include <limits>
#include <type_traits>

namespace ruy {

namespace profiler {
struct ScopeLabel {
  template <typename... Args>
  explicit ScopeLabel(Args...) {}
};
}  // namespace profiler

// Flushes denormal floats to zero while it lives: they are many times slower.
class ScopedSuppressDenormals {
 public:
  ScopedSuppressDenormals() : saved_(_mm_getcsr()) {
    constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
    _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero);
  }
  ~ScopedSuppressDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
};

struct Task {
  virtual ~Task() {}
  virtual void Run() = 0;
};

// One thread: the platform runs one activation at a time, and XNNPACK has a pool of its own.
class ThreadPool {
 public:
  template <typename TaskType>
  void Execute(int count, TaskType* tasks) {
    for (int i = 0; i < count; ++i) tasks[i].Run();
  }
};

class Context {
 public:
  ThreadPool* mutable_thread_pool() { return &thread_pool_; }
  int max_num_threads() const { return max_num_threads_; }
  void set_max_num_threads(int count) { max_num_threads_ = count; }
  void ClearPrepackedCache() {}

 private:
  ThreadPool thread_pool_;
  int max_num_threads_ = 1;
};

enum class CachePolicy : std::uint8_t { kNeverCache, kCacheIfLargeSpeedup, kAlwaysCache };
enum class Order : std::uint8_t { kColMajor, kRowMajor };

class Layout {
 public:
  int rows() const { return rows_; }
  int cols() const { return cols_; }
  Order order() const { return order_; }
  int offset(int row, int col) const {
    return order_ == Order::kRowMajor ? row * cols_ + col : col * rows_ + row;
  }
  void set(int rows, int cols, Order order) {
    rows_ = rows;
    cols_ = cols;
    order_ = order;
  }

 private:
  int rows_ = 0;
  int cols_ = 0;
  Order order_ = Order::kColMajor;
};

inline void MakeSimpleLayout(int rows, int cols, Order order, Layout* layout) {
  layout->set(rows, cols, order);
}

template <typename Scalar>
class Matrix {
 public:
  const Layout& layout() const { return layout_; }
  Layout* mutable_layout() { return &layout_; }
  Scalar* data() const { return data_; }
  void set_data(const Scalar* data) { data_ = const_cast<Scalar*>(data); }
  Scalar zero_point() const { return zero_point_; }
  void set_zero_point(Scalar value) { zero_point_ = value; }
  void set_cache_policy(CachePolicy) {}

 private:
  Layout layout_;
  Scalar* data_ = nullptr;
  Scalar zero_point_ = 0;
};

template <typename AccumScalar, typename DstScalar>
class MulParams {
 public:
  void set_bias(const AccumScalar* value) { bias_ = value; }
  void set_clamp_min(DstScalar value) { clamp_min_ = value; }
  void set_clamp_max(DstScalar value) { clamp_max_ = value; }
  void set_multiplier_fixedpoint(AccumScalar value) { fixedpoint_ = value; }
  void set_multiplier_exponent(int value) { exponent_ = value; }
  void set_multiplier_fixedpoint_perchannel(const AccumScalar* value) { fixedpoints_ = value; }
  void set_multiplier_exponent_perchannel(const int* value) { exponents_ = value; }

  // The value of row `row` of the result, from its sum of products.
  DstScalar Finish(AccumScalar sum, DstScalar zero_point, int row) const {
    if (bias_) sum += bias_[row];
    if constexpr (std::is_floating_point<DstScalar>::value) {
      return Clamp(sum);
    } else if constexpr (sizeof(DstScalar) == sizeof(AccumScalar)) {
      return sum;
    } else {
      const int exponent = exponents_ ? exponents_[row] : exponent_;
      const AccumScalar fixedpoint = fixedpoints_ ? fixedpoints_[row] : fixedpoint_;
      return Clamp(Scale(sum, fixedpoint, exponent) + zero_point);
    }
  }

 private:
  DstScalar Clamp(AccumScalar value) const {
    if (value < static_cast<AccumScalar>(clamp_min_)) return clamp_min_;
    if (value > static_cast<AccumScalar>(clamp_max_)) return clamp_max_;
    return static_cast<DstScalar>(value);
  }

  // value * fixedpoint / 2^31 * 2^exponent, rounded after the product and after the shift.
  static std::int32_t Scale(std::int32_t value, std::int32_t fixedpoint, int exponent) {
    const int left = exponent > 0 ? exponent : 0;
    const int right = exponent > 0 ? 0 : -exponent;
    const std::int64_t shifted = static_cast<std::int32_t>(static_cast<std::uint32_t>(value) << left);
    const std::int64_t product = shifted * fixedpoint;
    const std::int64_t nudge = product >= 0 ? (1 << 30) : 1 - (1 << 30);
    const auto high = static_cast<std::int32_t>((product + nudge) / (std::int64_t{1} << 31));
    const std::int32_t mask = static_cast<std::int32_t>((std::int64_t{1} << right) - 1);
    const std::int32_t threshold = (mask >> 1) + (high < 0 ? 1 : 0);
    return (high >> right) + ((high & mask) > threshold ? 1 : 0);
  }

  const AccumScalar* bias_ = nullptr;
  AccumScalar fixedpoint_ = 0;
  const AccumScalar* fixedpoints_ = nullptr;
  int exponent_ = 0;
  const int* exponents_ = nullptr;
  DstScalar clamp_min_ = std::numeric_limits<DstScalar>::lowest();
  DstScalar clamp_max_ = std::numeric_limits<DstScalar>::max();
};

template <typename Lhs, typename Rhs, typename Accum, typename Dst>
void Mul(const Matrix<Lhs>& lhs, const Matrix<Rhs>& rhs, const MulParams<Accum, Dst>& params,
         Context*, Matrix<Dst>* dst) {
  const int depth = lhs.layout().cols();
  for (int col = 0; col < dst->layout().cols(); ++col) {
    for (int row = 0; row < dst->layout().rows(); ++row) {
      Accum sum = 0;
      for (int k = 0; k < depth; ++k) {
        const Accum left = static_cast<Accum>(lhs.data()[lhs.layout().offset(row, k)]);
        const Accum right = static_cast<Accum>(rhs.data()[rhs.layout().offset(k, col)]);
        sum += (left - lhs.zero_point()) * (right - rhs.zero_point());
      }
      dst->data()[dst->layout().offset(row, col)] = params.Finish(sum, dst->zero_point(), row);
    }
  }
}

}  // namespace ruy

#endif  // NATIVE_TFLITE_RUY_H_
