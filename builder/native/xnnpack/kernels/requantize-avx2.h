// The last step of every AVX2 kernel here: from accumulators to int8, as XNNPACK's kernels do it.

#pragma once

#include <immintrin.h>
#include <string.h>

#include "kernels.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

struct requantization {
  __m256 max_less_zero_point;
  __m256i zero_point;
  __m128i min;
};

ALWAYS_INLINE struct requantization load_requantization(const struct minmax_params* params) {
  return (struct requantization) {
      _mm256_set1_ps((float) (params->output_max - params->output_zero_point)),
      _mm256_set1_epi16(params->output_zero_point),
      _mm_set1_epi8((char) params->output_min),
  };
}

ALWAYS_INLINE __m256i scaled(__m256i acc, const float* scale, struct requantization to) {
  const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(scale));
  return _mm256_cvtps_epi32(_mm256_min_ps(product, to.max_less_zero_point));
}

// 16 channels in order.
ALWAYS_INLINE __m128i requantize16(
    __m256i low, __m256i high, const float* scale, struct requantization to) {
  const __m256i words = _mm256_adds_epi16(
      _mm256_packs_epi32(scaled(low, scale, to), scaled(high, scale + 8, to)), to.zero_point);
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  // packs_epi32 works in halves: 0-3 8-11 | 4-7 12-15.
  return _mm_max_epi8(_mm_shuffle_epi32(bytes, 0xd8), to.min);
}

ALWAYS_INLINE void store16(int8_t* out, __m128i bytes, size_t count) {
  if (count >= 16) {
    _mm_storeu_si128((__m128i*) out, bytes);
  } else {
    int8_t all[16];
    _mm_storeu_si128((__m128i*) all, bytes);
    memcpy(out, all, count);
  }
}
