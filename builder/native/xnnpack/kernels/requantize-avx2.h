// The last step of every AVX2 kernel here: from accumulators to int8, as XNNPACK's kernels do it.

#pragma once

#include <immintrin.h>
#include <string.h>

#include "kernels.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

struct requantization {
  __m256 max_less_zero_point;
  __m256i zero_point;
  __m256i min;
};

ALWAYS_INLINE struct requantization load_requantization(const struct minmax_params* params) {
  return (struct requantization) {
      _mm256_set1_ps((float) (params->output_max - params->output_zero_point)),
      _mm256_set1_epi16(params->output_zero_point),
      _mm256_set1_epi8((char) params->output_min),
  };
}

ALWAYS_INLINE __m256i scaled(__m256i acc, const float* scale, struct requantization to) {
  const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(scale));
  return _mm256_cvtps_epi32(_mm256_min_ps(product, to.max_less_zero_point));
}

// `count` rows of 8 channels, one after the other; what is left of four repeats the last.
ALWAYS_INLINE __m256i requantize4x8(
    const __m256i acc[], size_t count, const float* scale, struct requantization to) {
  __m256i rows[4];
#pragma GCC unroll 4
  for (size_t r = 0; r < 4; r++) {
    rows[r] = r < count ? scaled(acc[r], scale, to) : rows[r - 1];
  }
  const __m256i words0 = _mm256_adds_epi16(_mm256_packs_epi32(rows[0], rows[1]), to.zero_point);
  const __m256i words1 = _mm256_adds_epi16(_mm256_packs_epi32(rows[2], rows[3]), to.zero_point);
  const __m256i bytes = _mm256_max_epi8(_mm256_packs_epi16(words0, words1), to.min);
  // The packs work in halves of a vector.
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
