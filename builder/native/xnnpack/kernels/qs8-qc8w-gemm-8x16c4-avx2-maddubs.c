// int8 GEMM and IGEMM (convolution by pointers to pixels), 8 rows by 16 channels, AVX2.
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
// Four rows at a time, so that their sums stay in registers; eight per call, so that weights come
// from a far cache half as often.
//
// Limits: none. Rows of more than BLOCK_K activations are copied anew for every tile of channels.

#include "kernels.h"
#include "layout-x16c4-maddubs.h"
#include "requantize-avx2.h"

enum {
  MAX_ROWS = 8,
  BLOCK_K = 1024,   // activations of a row that are on the stack at a time
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

// Activations as uint8, and the same as int16.
struct block {
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

// Copies products first to first + n of a row, and zeros up to the end of a chain.
static void copy_row(
    struct block* block, const struct rows* rows, size_t row, size_t first, size_t n) {
  uint8_t* out = block->bytes[row];
  uint8_t* end = out + n;
  size_t tap = first / rows->kc, start = first % rows->kc;
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
  for (size_t i = 0; i < n; i += CHAIN_K) {
    const __m128i bytes = _mm_loadl_epi64((const __m128i*) (block->bytes[row] + i));
    _mm_store_si128((__m128i*) (block->words[row] + i), _mm_cvtepu8_epi16(bytes));
  }
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

// Adds `chains` chains: runs of safe ones, and what is between them.
ALWAYS_INLINE void add_chains(
    size_t mr, size_t halves, __m256i acc[][2], const uint8_t* bytes, const int16_t* words,
    const int8_t* w, const uint64_t* unsafe, size_t chains) {
  while (chains != 0) {
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
      words += run * CHAIN_K;
      for (; run != 0; run--, bytes += CHAIN_K, w += CHAIN_BYTES) {
        prefetch_weights(w);
        add_safe(mr, halves, acc, bytes, w);
      }
      for (; flags & 1; flags >>= 1, left--, w += CHAIN_BYTES) {
        prefetch_weights(w);
        add_exact(mr, halves, acc, words, w);
        add_exact(mr, halves, acc, words + CHAIN_K / 2, w + CHAIN_BYTES / 2);
        words += CHAIN_K;
        bytes += CHAIN_K;
      }
    }
  }
}

// A tile of packed weights, of K products.
struct tile {
  const int32_t* bias;
  const uint64_t* unsafe;
  const int8_t* weights;
  const float* scale;
};

ALWAYS_INLINE void convolve_tile(
    size_t mr, size_t halves, struct block* a, const struct rows* rows, size_t row, size_t k,
    struct tile w, int8_t* c, size_t cm_stride, size_t nc, struct requantization to) {
  __m256i acc[4][2];
#pragma GCC unroll 4
  for (size_t r = 0; r < mr; r++) {
    acc[r][0] = _mm256_loadu_si256((const __m256i*) w.bias);
    acc[r][1] = _mm256_loadu_si256((const __m256i*) w.bias + 1);
  }
  if (k <= BLOCK_K) {
    add_chains(
        mr, halves, acc, a->bytes[row], a->words[row], w.weights, w.unsafe, chains_of(k));
  } else {
    for (size_t first = 0; first < k; first += BLOCK_K) {
      const size_t n = k - first < BLOCK_K ? k - first : BLOCK_K;
      for (size_t r = 0; r < mr; r++) {
        copy_row(a, rows, row + r, first, n);
      }
      add_chains(
          mr, halves, acc, a->bytes[row], a->words[row], w.weights + first * TILE_CHANNELS,
          w.unsafe + first / CHAIN_K / WORD_CHAINS, chains_of(n));
    }
  }
#pragma GCC unroll 4
  for (size_t r = 0; r < mr; r++) {
    const __m128i bytes = requantize16(acc[r][0], acc[r][halves - 1], w.scale, to);
    store16(c + r * cm_stride, bytes, nc);
  }
}

static void convolve(
    size_t mr, const struct rows* rows, size_t nc, const uint8_t* w, int8_t* c, size_t cm_stride,
    size_t cn_stride, const struct minmax_params* params) {
  const struct requantization to = load_requantization(params);
  const size_t k = rows->taps * rows->kc;
  struct block a;
  for (size_t r = 0; r < mr && k <= BLOCK_K; r++) {
    copy_row(&a, rows, r, 0, k);
  }
  for (;;) {
    struct tile tile;
    tile.bias = (const int32_t*) w;
    tile.unsafe = (const uint64_t*) (tile.bias + TILE_CHANNELS);
    tile.weights = (const int8_t*) tile.unsafe + flag_bytes_of(k);
    tile.scale = (const float*) (tile.weights + chains_of(k) * CHAIN_BYTES);
    size_t r = 0;
    for (; r + 4 <= mr; r += 4) {
      if (nc > 8) {
        convolve_tile(4, 2, &a, rows, r, k, tile, c + r * cm_stride, cm_stride, nc, to);
      } else {
        convolve_tile(4, 1, &a, rows, r, k, tile, c + r * cm_stride, cm_stride, nc, to);
      }
    }
    for (; r < mr; r++) {
      convolve_tile(1, 2, &a, rows, r, k, tile, c + r * cm_stride, cm_stride, nc, to);
    }
    if (nc <= TILE_CHANNELS) {
      return;
    }
    nc -= TILE_CHANNELS;
    c += cn_stride;
    w = (const uint8_t*) (tile.scale + TILE_CHANNELS);
  }
}

void qs8_qc8w_igemm_1x16c4_avx2_maddubs(
    size_t mr, size_t nc, size_t kc, size_t ks, const int8_t** a, const void* w, int8_t* c,
    size_t cm_stride, size_t cn_stride, size_t a_offset, const int8_t* zero,
    const struct minmax_params* params) {
  const struct rows rows = {a, 1, ks / sizeof(void*), kc, a_offset, zero};
  convolve(mr, &rows, nc, w, c, cm_stride, cn_stride, params);
}

void qs8_qc8w_igemm_8x16c4_avx2_maddubs(
    size_t mr, size_t nc, size_t kc, size_t ks, const int8_t** a, const void* w, int8_t* c,
    size_t cm_stride, size_t cn_stride, size_t a_offset, const int8_t* zero,
    const struct minmax_params* params) {
  const struct rows rows = {a, MAX_ROWS, ks / MAX_ROWS / sizeof(void*), kc, a_offset, zero};
  convolve(mr, &rows, nc, w, c, cm_stride, cn_stride, params);
}

void qs8_qc8w_gemm_8x16c4_avx2_maddubs(
    size_t mr, size_t nc, size_t kc, const int8_t* a, size_t a_stride, const void* w, int8_t* c,
    size_t cm_stride, size_t cn_stride, const struct minmax_params* params) {
  const int8_t* pixels[MAX_ROWS];
  for (size_t r = 0; r < mr; r++) {
    pixels[r] = a + r * a_stride;
  }
  const struct rows rows = {pixels, MAX_ROWS, 1, kc, 0, NULL};
  convolve(mr, &rows, nc, w, c, cm_stride, cn_stride, params);
}
