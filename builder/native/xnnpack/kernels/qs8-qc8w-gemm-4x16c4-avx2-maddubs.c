// int8 GEMM and IGEMM (convolution by pointers to pixels), 4 rows by 16 channels, AVX2.
//
// vpmaddubsw multiplies uint8 by int8 and adds two neighbouring products in int16: twice the work
// of vpmaddwd. So activations become uint8 (a + 128, a XOR; what that adds to a sum is taken from
// the bias when weights are packed), and the results for two groups of four products are added in
// int16 before vpmaddwd by ones widens them: eight products, a chain.
//
// Exactness: vpmaddubsw saturates. Chains that could reach the limit with some activations are
// flagged in the packed weights (qs8-qc8w-packw-x16c4-avx2-maddubs.c) and take another path, at 0.6
// times the speed: both factors widened to int16, vpmaddwd. All that is left is int32 arithmetic
// modulo 2^32, as in XNNPACK's kernels, where the order does not matter.
//
// Limits: none. Rows of more than BLOCK_K activations are copied anew for every tile of channels.

#include <stdbool.h>

#include "kernels.h"
#include "layout-x16c4-maddubs.h"
#include "requantize-avx2.h"

enum {
  MAX_ROWS = 4,
  BLOCK_K = 2048,   // activations of a row that are on the stack at a time
  ROW_STRIDE = BLOCK_K + 32,  // space for the last chain's zeros
  PREFETCH = 2048,  // bytes ahead in the weights
};

// Rows of activations. A GEMM has one tap.
struct rows {
  const int8_t* const* pixels;  // [tap][pixels_per_tap]
  size_t pixels_per_tap;
  size_t taps;
  size_t kc;
  size_t offset;  // to add to all pixels but `zero`
  const int8_t* zero;
};

// A call, and the activations of its rows as uint8; for unsafe chains, as int16, too.
struct call {
  const struct rows* rows;
  size_t mr;
  size_t k;
  size_t nc;
  const uint8_t* w;
  int8_t* c;
  size_t cm_stride;
  size_t cn_stride;
  const struct minmax_params* params;
  bool has_words;
  uint8_t bytes[MAX_ROWS][ROW_STRIDE] __attribute__((aligned(32)));
  int16_t words[MAX_ROWS][ROW_STRIDE] __attribute__((aligned(32)));
};

ALWAYS_INLINE void copy_as_uint8(uint8_t* out, const int8_t* in, size_t n) {
  const __m256i sign = _mm256_set1_epi8(-128);
  for (; n >= 32; n -= 32, in += 32, out += 32) {
    const __m256i bytes = _mm256_loadu_si256((const __m256i*) in);
    _mm256_storeu_si256((__m256i*) out, _mm256_xor_si256(bytes, sign));
  }
  if (n & 16) {
    const __m128i bytes = _mm_loadu_si128((const __m128i*) in);
    _mm_storeu_si128((__m128i*) out, _mm_xor_si128(bytes, _mm256_castsi256_si128(sign)));
    in += 16, out += 16;
  }
  if (n & 8) {
    const __m128i bytes = _mm_loadl_epi64((const __m128i*) in);
    _mm_storel_epi64((__m128i*) out, _mm_xor_si128(bytes, _mm256_castsi256_si128(sign)));
    in += 8, out += 8;
  }
  for (n &= 7; n != 0; n--) {
    *out++ = (uint8_t) *in++ ^ 0x80;
  }
}

ALWAYS_INLINE const int8_t* pixel(const struct rows* rows, size_t row, size_t tap) {
  const int8_t* in = rows->pixels[tap * rows->pixels_per_tap + row];
  return in == rows->zero ? in : in + rows->offset;
}

// Copies products first to first + n of all rows, and zeros up to the end of a chain.
static void copy_rows(struct call* call, size_t first, size_t n) {
  const struct rows* rows = call->rows;
  for (size_t row = 0; row < call->mr; row++) {
    uint8_t* out = call->bytes[row];
    uint8_t* end = out + n;
    size_t tap = first == 0 ? 0 : first / rows->kc, start = first - tap * rows->kc;
    while (out != end) {
      const int8_t* in = pixel(rows, row, tap);
      const size_t left = (size_t) (end - out);
      size_t count = rows->kc - start;
      tap++;
      // Neighbours in the picture lie side by side: a row of the kernel is one copy.
      while (count < left && pixel(rows, row, tap) == in + start + count) {
        count += rows->kc;
        tap++;
      }
      count = count < left ? count : left;
      copy_as_uint8(out, in + start, count);
      out += count;
      start = 0;
    }
    _mm_storel_epi64((__m128i*) end, _mm_setzero_si128());
  }
  call->has_words = false;
}

static __attribute__((noinline)) void widen_rows(struct call* call, size_t n) {
  for (size_t row = 0; row < call->mr; row++) {
    for (size_t i = 0; i < n; i += 16) {
      const __m128i bytes = _mm_load_si128((const __m128i*) (call->bytes[row] + i));
      _mm256_store_si256((__m256i*) (call->words[row] + i), _mm256_cvtepu8_epi16(bytes));
    }
  }
  call->has_words = true;
}

// Four bytes in every lane.
ALWAYS_INLINE __m256i broadcast(const void* bytes) {
  int32_t value;
  memcpy(&value, bytes, sizeof(value));
  return _mm256_set1_epi32(value);
}

// The functions below work on `mr` rows and on `halves` times 8 channels, which are constants
// wherever they are inlined: loops over them vanish, sums stay in registers.

// Adds a safe chain.
ALWAYS_INLINE void add_safe(
    size_t mr, size_t halves, __m256i acc[][2], const uint8_t* a, const int8_t* w) {
#pragma GCC unroll 2
  for (size_t half = 0; half < halves; half++) {
    const __m256i w0 = _mm256_loadu_si256((const __m256i*) w + half);
    const __m256i w1 = _mm256_loadu_si256((const __m256i*) w + half + 2);
#pragma GCC unroll 4
    for (size_t r = 0; r < mr; r++) {
      const __m256i a0 = broadcast(a + r * ROW_STRIDE);
      const __m256i a1 = broadcast(a + r * ROW_STRIDE + 4);
      const __m256i sum =
          _mm256_add_epi16(_mm256_maddubs_epi16(a0, w0), _mm256_maddubs_epi16(a1, w1));
      const __m256i sum32 = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
      acc[r][half] = _mm256_add_epi32(acc[r][half], sum32);
    }
    // There are too few registers for broadcasts: load them anew for the other half.
    __asm__("" : "+r"(a));
  }
}

// Adds half of any chain.
ALWAYS_INLINE void add_exact(
    size_t mr, size_t halves, __m256i acc[][2], const int16_t* a, const int8_t* w) {
#pragma GCC unroll 4
  for (size_t i = 0; i < 2 * halves; i++) {
    const size_t half = i / 2, pair = i % 2;
    const __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*) w + i));
#pragma GCC unroll 4
    for (size_t r = 0; r < mr; r++) {
      const __m256i a0 = broadcast(a + r * ROW_STRIDE + 2 * pair);
      acc[r][half] = _mm256_add_epi32(acc[r][half], _mm256_madd_epi16(a0, w0));
      __asm__("" : "+x"(acc[r][half]));  // GCC's tree of sums would need more registers
    }
    __asm__("" : "+r"(a));
  }
}

ALWAYS_INLINE void prefetch_weights(const int8_t* w) {
  _mm_prefetch((const char*) w + PREFETCH, _MM_HINT_T0);
  _mm_prefetch((const char*) w + PREFETCH + 64, _MM_HINT_T0);
}

// Adds n products: runs of safe chains, and what is between them.
ALWAYS_INLINE void add_chains(
    size_t mr, size_t halves, __m256i acc[][2], struct call* call, const int8_t* w,
    const uint64_t* unsafe, size_t n) {
  const uint8_t* bytes = call->bytes[0];
  for (size_t chains = chains_of(n); chains != 0;) {
    const size_t count = chains < WORD_CHAINS ? chains : WORD_CHAINS;
    uint64_t flags = *unsafe++;
    chains -= count;
    for (size_t left = count; left != 0;) {
      size_t run = left;
      if (flags != 0) {
        run = (size_t) __builtin_ctzll(flags);
        flags >>= run;
      }
      left -= run;
      for (; run != 0; run--, bytes += CHAIN_K, w += CHAIN_BYTES) {
        prefetch_weights(w);
        add_safe(mr, halves, acc, bytes, w);
      }
      if (flags != 0 && !call->has_words) {
        widen_rows(call, n);
      }
      const int16_t* words = call->words[0] + (bytes - call->bytes[0]);
      for (; flags & 1; flags >>= 1, left--, words += CHAIN_K, w += CHAIN_BYTES) {
        prefetch_weights(w);
        add_exact(mr, halves, acc, words, w);
        add_exact(mr, halves, acc, words + CHAIN_K / 2, w + CHAIN_BYTES / 2);
      }
      bytes = call->bytes[0] + (words - call->words[0]);
    }
  }
}

// Eight channels, or sixteen, of all rows.
ALWAYS_INLINE void convolve_tile(
    size_t mr, size_t halves, struct call* call, const uint8_t* w, int8_t* c, size_t nc) {
  const size_t k = call->k;
  const uint64_t* unsafe = (const uint64_t*) (w + TILE_CHANNELS * sizeof(int32_t));
  const int8_t* weights = (const int8_t*) unsafe + flag_bytes_of(k);
  const float* scale = (const float*) (weights + chains_of(k) * CHAIN_BYTES);
  __m256i acc[MAX_ROWS][2];
#pragma GCC unroll 4
  for (size_t r = 0; r < mr; r++) {
    acc[r][0] = _mm256_loadu_si256((const __m256i*) w);
    acc[r][1] = _mm256_loadu_si256((const __m256i*) w + 1);
  }
  if (k <= BLOCK_K) {
    add_chains(mr, halves, acc, call, weights, unsafe, k);
  } else {
    for (size_t first = 0; first < k; first += BLOCK_K) {
      const size_t n = k - first < BLOCK_K ? k - first : BLOCK_K;
      copy_rows(call, first, n);
      add_chains(
          mr, halves, acc, call, weights + first * TILE_CHANNELS,
          unsafe + first / CHAIN_K / WORD_CHAINS, n);
    }
  }
  const struct requantization to = load_requantization(call->params);
#pragma GCC unroll 2
  for (size_t r = 0; r < mr; r += 2) {
    const size_t other = r + 1 < mr ? r + 1 : r;
    const __m256i out = requantize2x16(acc[r], acc[other], scale, to);
    store16(c + r * call->cm_stride, _mm256_castsi256_si128(out), nc);
    if (other != r) {
      store16(c + other * call->cm_stride, _mm256_extracti128_si256(out, 1), nc);
    }
  }
}

static __attribute__((noinline)) void convolve_4x8(
    struct call* call, const uint8_t* w, int8_t* c, size_t nc) {
  convolve_tile(4, 1, call, w, c, nc);
}

ALWAYS_INLINE void convolve_tiles(size_t mr, struct call* call) {
  const size_t tile_bytes =
      TILE_CHANNELS * qs8_qc8w_packed_stride_x16c4_maddubs(call->k, sizeof(float));
  const uint8_t* w = call->w;
  int8_t* c = call->c;
  size_t nc = call->nc;
  for (; nc > 8; nc -= TILE_CHANNELS, w += tile_bytes, c += call->cn_stride) {
    convolve_tile(mr, 2, call, w, c, nc);
    if (nc <= TILE_CHANNELS) {
      return;
    }
  }
  if (mr == 4) {
    convolve_4x8(call, w, c, nc);
  } else {
    convolve_tile(mr, 2, call, w, c, nc);
  }
}

static __attribute__((noinline)) void convolve_4(struct call* call) { convolve_tiles(4, call); }

static __attribute__((noinline)) void convolve_1(struct call* call) { convolve_tiles(1, call); }

static void convolve(
    size_t mr, struct rows* rows, size_t nc, const uint8_t* w, int8_t* c, size_t cm_stride,
    size_t cn_stride, const struct minmax_params* params) {
  struct call call;
  call.rows = rows;
  call.mr = mr == MAX_ROWS ? MAX_ROWS : 1;
  call.k = rows->taps * rows->kc;
  call.nc = nc;
  call.w = w;
  call.cm_stride = cm_stride;
  call.cn_stride = cn_stride;
  call.params = params;
  for (size_t r = 0; r < mr; r += call.mr, rows->pixels++) {
    call.c = c + r * cm_stride;
    if (call.k <= BLOCK_K) {
      copy_rows(&call, 0, call.k);
    }
    (call.mr == MAX_ROWS ? convolve_4 : convolve_1)(&call);
  }
}

void qs8_qc8w_igemm_1x16c4_avx2_maddubs(
    size_t mr, size_t nc, size_t kc, size_t ks, const int8_t** a, const void* w, int8_t* c,
    size_t cm_stride, size_t cn_stride, size_t a_offset, const int8_t* zero,
    const struct minmax_params* params) {
  struct rows rows = {a, 1, ks / sizeof(void*), kc, a_offset, zero};
  convolve(mr, &rows, nc, w, c, cm_stride, cn_stride, params);
}

void qs8_qc8w_igemm_4x16c4_avx2_maddubs(
    size_t mr, size_t nc, size_t kc, size_t ks, const int8_t** a, const void* w, int8_t* c,
    size_t cm_stride, size_t cn_stride, size_t a_offset, const int8_t* zero,
    const struct minmax_params* params) {
  struct rows rows = {a, MAX_ROWS, ks / MAX_ROWS / sizeof(void*), kc, a_offset, zero};
  convolve(mr, &rows, nc, w, c, cm_stride, cn_stride, params);
}

void qs8_qc8w_gemm_4x16c4_avx2_maddubs(
    size_t mr, size_t nc, size_t kc, const int8_t* a, size_t a_stride, const void* w, int8_t* c,
    size_t cm_stride, size_t cn_stride, const struct minmax_params* params) {
  const int8_t* pixels[MAX_ROWS];
  for (size_t r = 0; r < mr; r++) {
    pixels[r] = a + r * a_stride;
  }
  struct rows rows = {pixels, MAX_ROWS, 1, kc, 0, NULL};
  convolve(mr, &rows, nc, w, c, cm_stride, cn_stride, params);
}
