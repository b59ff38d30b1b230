// One source for several instruction sets. What includes this is compiled for AVX2 and for AVX512 as
// Skylake-SP has it, or for those two with VNNI, and has vectors of 32 or 64 bytes:
//
//   MM(op)         Intel's intrinsic of that name and of that width: _mm256_op or _mm512_op
//   FOR_CPU(name)  the name of a function that is seen from outside
//
// Here is all that is written differently for the two, and the last step of every kernel: from
// accumulators to int8, as XNNPACK's kernels do it.

#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernels.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))

#ifdef __AVX512BW__

#define MM(op) _mm512_##op
#ifdef __AVX512VNNI__
#define FOR_CPU(name) name##_avx512vnni
#else
#define FOR_CPU(name) name##_avx512skx
#endif

typedef __m512i vector;
typedef __m512 floats;
typedef __mmask64 byte_mask;

enum {
  VECTOR_BYTES = 64,
  MASK_BYTES = 1,  // masks are for so many bytes at a time
};

ALWAYS_INLINE vector load(const void* bytes) { return _mm512_loadu_si512(bytes); }

ALWAYS_INLINE void store(void* bytes, vector from) { _mm512_storeu_si512(bytes, from); }

ALWAYS_INLINE vector zeros(void) { return _mm512_setzero_si512(); }

ALWAYS_INLINE vector xor (vector a, vector b) { return _mm512_xor_si512(a, b); }

ALWAYS_INLINE bool is_zero(vector a) { return _mm512_test_epi8_mask(a, a) == 0; }

ALWAYS_INLINE byte_mask mask_of(size_t bytes) {
  return bytes < 64 ? (UINT64_C(1) << bytes) - 1 : ~UINT64_C(0);
}

// Zeros where the mask has none.
ALWAYS_INLINE vector load_masked(const void* bytes, byte_mask mask) {
  return _mm512_maskz_loadu_epi8(mask, bytes);
}

ALWAYS_INLINE void store_masked(void* bytes, vector from, byte_mask mask) {
  _mm512_mask_storeu_epi8(bytes, mask, from);
}

// Writes the first bytes of a vector.
ALWAYS_INLINE void store_first(int8_t* bytes, vector from, size_t count) {
  store_masked(bytes, from, mask_of(count));
}

// Half as many bytes, each as int16.
ALWAYS_INLINE vector load_words(const int8_t* bytes) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*) bytes));
}

// Of 32-bit values: 4j to 4j + 3, and those that lie 16, 32 and 48 behind. The order that
// interleaving bytes makes, since it works in lanes of 16 bytes.
ALWAYS_INLINE vector load_interleaved(const void* values, size_t j) {
  const __m128i* fours = (const __m128i*) values + j;
  vector all = _mm512_castsi128_si512(_mm_loadu_si128(fours));
  all = _mm512_inserti32x4(all, _mm_loadu_si128(fours + 4), 1);
  all = _mm512_inserti32x4(all, _mm_loadu_si128(fours + 8), 2);
  return _mm512_inserti32x4(all, _mm_loadu_si128(fours + 12), 3);
}

// Of groups of four bytes: the first two of all, then the last two of all.
ALWAYS_INLINE vector split_pairs(vector quads) {
  const vector even_odd = _mm512_broadcast_i32x4(
      _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
  return _mm512_permutexvar_epi64(
      _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), _mm512_shuffle_epi8(quads, even_odd));
}

// What packing four vectors of int32 to int8 left in lanes: vector after vector.
ALWAYS_INLINE vector in_order(vector packed) {
  return _mm512_permutexvar_epi32(
      _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), packed);
}

// Writes a quarter of a vector.
ALWAYS_INLINE void store_quarter(int8_t* out, vector from, size_t quarter) {
  const __m128i quarters[] = {
      _mm512_castsi512_si128(from), _mm512_extracti32x4_epi32(from, 1),
      _mm512_extracti32x4_epi32(from, 2), _mm512_extracti32x4_epi32(from, 3)};
  _mm_storeu_si128((__m128i*) out, quarters[quarter]);
}

#else

#define MM(op) _mm256_##op
#ifdef __AVXVNNI__
#define FOR_CPU(name) name##_avxvnni
#else
#define FOR_CPU(name) name##_avx2
#endif

typedef __m256i vector;
typedef __m256 floats;
typedef __m256i byte_mask;

enum {
  VECTOR_BYTES = 32,
  MASK_BYTES = 4,
};

ALWAYS_INLINE vector load(const void* bytes) { return _mm256_loadu_si256((const __m256i*) bytes); }

ALWAYS_INLINE void store(void* bytes, vector from) {
  _mm256_storeu_si256((__m256i*) bytes, from);
}

ALWAYS_INLINE vector zeros(void) { return _mm256_setzero_si256(); }

ALWAYS_INLINE vector xor (vector a, vector b) { return _mm256_xor_si256(a, b); }

ALWAYS_INLINE bool is_zero(vector a) { return _mm256_testz_si256(a, a); }

ALWAYS_INLINE byte_mask mask_of(size_t bytes) {
  return _mm256_cmpgt_epi32(
      _mm256_set1_epi32((int) bytes / MASK_BYTES), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

ALWAYS_INLINE vector load_masked(const void* bytes, byte_mask mask) {
  return _mm256_maskload_epi32((const int*) bytes, mask);
}

ALWAYS_INLINE void store_masked(void* bytes, vector from, byte_mask mask) {
  _mm256_maskstore_epi32((int*) bytes, mask, from);
}

// Of at most half a vector.
ALWAYS_INLINE void store_first(int8_t* bytes, vector from, size_t count) {
  if (count == 16) {
    _mm_storeu_si128((__m128i*) bytes, _mm256_castsi256_si128(from));
  } else {
    int8_t all[VECTOR_BYTES];
    store(all, from);
    memcpy(bytes, all, count);
  }
}

ALWAYS_INLINE vector load_words(const int8_t* bytes) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*) bytes));
}

ALWAYS_INLINE vector load_interleaved(const void* values, size_t j) {
  const __m128i* fours = (const __m128i*) values + j;
  return _mm256_inserti128_si256(
      _mm256_castsi128_si256(_mm_loadu_si128(fours)), _mm_loadu_si128(fours + 4), 1);
}

ALWAYS_INLINE vector split_pairs(vector quads) {
  const vector even_odd = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
  return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(quads, even_odd), 0xd8);
}

ALWAYS_INLINE vector in_order(vector packed) {
  return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

ALWAYS_INLINE void store_quarter(int8_t* out, vector from, size_t quarter) {
  const __m128i halves[] = {_mm256_castsi256_si128(from), _mm256_extracti128_si256(from, 1)};
  const __m128 half = _mm_castsi128_ps(halves[quarter / 2]);
  if (quarter % 2 == 0) {
    _mm_storel_pi((__m64*) out, half);
  } else {
    _mm_storeh_pi((__m64*) out, half);
  }
}

#endif

enum {
  VECTOR_LANES = VECTOR_BYTES / 4,  // of 32 bits
  QUAD_K = 4,                       // products that lie together in the weights of a GEMM
};

ALWAYS_INLINE size_t quads_of(size_t k) { return (k + QUAD_K - 1) / QUAD_K; }

struct requantization {
  floats max_less_zero_point;
  vector zero_point;
  vector min;
};

ALWAYS_INLINE struct requantization load_requantization(const struct minmax_params* params) {
  return (struct requantization) {
      MM(set1_ps)((float) (params->output_max - params->output_zero_point)),
      MM(set1_epi16)(params->output_zero_point),
      MM(set1_epi8)((char) params->output_min),
  };
}

ALWAYS_INLINE vector scaled(vector acc, floats scale, struct requantization to) {
  const floats product = MM(mul_ps)(MM(cvtepi32_ps)(acc), scale);
  return MM(cvtps_epi32)(MM(min_ps)(product, to.max_less_zero_point));
}

// Four vectors of scaled accumulators as int8, lane by lane of 16 bytes.
ALWAYS_INLINE vector narrowed(
    vector a, vector b, vector c, vector d, struct requantization to) {
  const vector low = MM(adds_epi16)(MM(packs_epi32)(a, b), to.zero_point);
  const vector high = MM(adds_epi16)(MM(packs_epi32)(c, d), to.zero_point);
  return MM(max_epi8)(MM(packs_epi16)(low, high), to.min);
}
