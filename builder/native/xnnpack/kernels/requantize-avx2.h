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

// Two rows of 16 channels, one after the other.
ALWAYS_INLINE __m256i requantize2x16(
    const __m256i first[2], const __m256i second[2], const float* scale,
    struct requantization to) {
  const __m256i words0 = _mm256_adds_epi16(
      _mm256_packs_epi32(scaled(first[0], scale, to), scaled(first[1], scale + 8, to)),
      to.zero_point);
  const __m256i words1 = _mm256_adds_epi16(
      _mm256_packs_epi32(scaled(second[0], scale, to), scaled(second[1], scale + 8, to)),
      to.zero_point);
  const __m256i bytes = _mm256_max_epi8(_mm256_packs_epi16(words0, words1), to.min);
  // The packs work in halves of a vector.
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
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
