// Rows of activations for the GEMMs: copied once per call, as uint8 (a + 128, a XOR), with the taps
// of a convolution side by side.
//
// What includes this has defined ROWS, the most rows of a call, and ROW_STRIDE, of their copies.

#pragma once

#include "vector.h"

// Rows of activations. A GEMM has one tap.
struct rows {
  const int8_t* const* pixels;  // [tap][per_tap]
  size_t per_tap;               // ROWS or 1; beyond the call's rows the last one is repeated
  size_t taps;
  size_t kc;
  size_t offset;  // to add to all pixels but `zero`
  const int8_t* zero;
};

ALWAYS_INLINE void copy4(uint8_t* out, const int8_t* in) {
  uint32_t bytes;
  memcpy(&bytes, in, sizeof(bytes));
  bytes ^= UINT32_C(0x80808080);
  memcpy(out, &bytes, sizeof(bytes));
}

ALWAYS_INLINE void copy8(uint8_t* out, const int8_t* in) {
  uint64_t bytes;
  memcpy(&bytes, in, sizeof(bytes));
  bytes ^= UINT64_C(0x8080808080808080);
  memcpy(out, &bytes, sizeof(bytes));
}

ALWAYS_INLINE void copy32(uint8_t* out, const int8_t* in) {
  const __m256i bytes = _mm256_loadu_si256((const __m256i*) in);
  _mm256_storeu_si256((__m256i*) out, _mm256_xor_si256(bytes, _mm256_set1_epi8(-128)));
}

// The last bytes of all that is not a multiple are copied together with some before.
ALWAYS_INLINE void copy_as_uint8(uint8_t* out, const int8_t* in, size_t n) {
  if (n >= 32) {
    for (size_t i = 0; i < n - 32; i += 32) {
      copy32(out + i, in + i);
    }
    copy32(out + n - 32, in + n - 32);
  } else if (n >= 8) {
    for (size_t i = 0; i < n - 8; i += 8) {
      copy8(out + i, in + i);
    }
    copy8(out + n - 8, in + n - 8);
  } else if (n >= 4) {
    copy4(out, in);
    copy4(out + n - 4, in + n - 4);
  } else {
    for (size_t i = 0; i < n; i++) {
      out[i] = (uint8_t) in[i] ^ 0x80;
    }
  }
}

ALWAYS_INLINE const int8_t* pixel(const struct rows* rows, const int8_t* in) {
  return in == rows->zero ? in : in + rows->offset;
}

// Whether, in all rows, the pixel of the next tap lies behind the one of this tap.
ALWAYS_INLINE bool are_neighbours(
    const struct rows* rows, size_t per_tap, const int8_t* const* pixels) {
  if (per_tap == 1) {
    return pixels[0] != rows->zero && pixels[1] != rows->zero && pixels[1] == pixels[0] + rows->kc;
  }
#ifdef __AVX512F__
  const __m512i zero = _mm512_set1_epi64((intptr_t) rows->zero);
  const __m512i kc = _mm512_set1_epi64((intptr_t) rows->kc);
  __mmask8 all = 0xff;
#pragma GCC unroll 2
  for (size_t row = 0; row < ROWS; row += 8) {
    const __mmask8 mask = ROWS - row < 8 ? (1 << (ROWS - row)) - 1 : 0xff;
    const __m512i here = _mm512_maskz_loadu_epi64(mask, pixels + row);
    const __m512i next = _mm512_maskz_loadu_epi64(mask, pixels + row + per_tap);
    all &= ~mask | (_mm512_cmpneq_epi64_mask(here, zero) & _mm512_cmpneq_epi64_mask(next, zero) &
                    _mm512_cmpeq_epi64_mask(next, _mm512_add_epi64(here, kc)));
  }
  return all == 0xff;
#else
  const __m256i zero = _mm256_set1_epi64x((intptr_t) rows->zero);
  const __m256i kc = _mm256_set1_epi64x((intptr_t) rows->kc);
  __m256i all = _mm256_set1_epi8(-1);
#pragma GCC unroll 4
  for (size_t row = 0; row < ROWS; row += 4) {
    const int8_t* const* four = pixels + (row + 4 <= ROWS ? row : ROWS - 4);
    const __m256i here = _mm256_loadu_si256((const __m256i*) four);
    const __m256i next = _mm256_loadu_si256((const __m256i*) (four + per_tap));
    const __m256i padding =
        _mm256_or_si256(_mm256_cmpeq_epi64(here, zero), _mm256_cmpeq_epi64(next, zero));
    const __m256i behind = _mm256_cmpeq_epi64(next, _mm256_add_epi64(here, kc));
    all = _mm256_and_si256(all, _mm256_andnot_si256(padding, behind));
  }
  return _mm256_movemask_epi8(all) == -1;
#endif
}

// Copies products first to first + n of all rows, and zeros up to the end of a quad. Neighbours
// in the picture lie side by side: mostly a row of a convolution's window is one copy.
ALWAYS_INLINE void copy_rows(
    const struct rows* rows, uint8_t bytes[][ROW_STRIDE], size_t per_tap, size_t first, size_t n) {
  const size_t tap = first == 0 ? 0 : first / rows->kc;
  const int8_t* const* pixels = rows->pixels + tap * per_tap;
  size_t start = first - tap * rows->kc;
  for (size_t done = 0; done < n; start = 0) {
    const int8_t* const* from = pixels;
    size_t count = rows->kc - start;
    while (count < n - done && are_neighbours(rows, per_tap, pixels)) {
      count += rows->kc;
      pixels += per_tap;
    }
    pixels += per_tap;
    count = count < n - done ? count : n - done;
    if (8 <= count && count <= 16) {  // as below; three colours in a window of 3x3 to 5x5
#pragma GCC unroll 8
      for (size_t row = 0; row < per_tap; row++) {
        const int8_t* in = pixel(rows, from[row]) + start;
        uint8_t* out = bytes[row] + done;
        copy8(out, in);
        copy8(out + count - 8, in + count - 8);
      }
    } else {
      for (size_t row = 0; row < per_tap; row++) {
        copy_as_uint8(bytes[row] + done, pixel(rows, from[row]) + start, count);
      }
    }
    done += count;
  }
  for (size_t row = 0; row < per_tap; row++) {
    memset(bytes[row] + n, 0, QUAD_K);
  }
}

// Four bytes in every lane.
ALWAYS_INLINE vector broadcast(const void* bytes) {
  int32_t value;
  memcpy(&value, bytes, sizeof(value));
  return MM(set1_epi32)(value);
}
