// int8 GEMM and IGEMM (convolution by pointers to pixels): 8 rows by 8 channels for AVX2, 16
// by 16 for AVX512 without VNNI.
//
// vpmaddubsw multiplies uint8 by int8 and adds two neighbouring products in int16: twice the work
// of vpmaddwd. So activations become uint8 (a + 128, a XOR; what that adds to a sum is taken from
// the bias when weights are packed), and the results for a chain of up to four quads, 16 products,
// are added in int16 before vpmaddwd by ones widens them.
//
// Exactness: vpmaddubsw saturates. Which quads can share a chain for any activations is found when
// weights are packed (qs8-qc8w-packw-c4-maddubs.c), and the quads are sorted by it, so that
// nothing is decided here but where a kind ends. Quads that are too large even alone are computed
// with both factors widened to int16, by vpmaddwd. All that is left is int32 arithmetic modulo
// 2^32, as in XNNPACK's kernels, where the order does not matter.
//
// Limits: none. Of more than BLOCK_K products, sums are kept in memory between blocks.

#include "layout-c4-maddubs.h"

enum {
  ROWS = VECTOR_LANES,
  ROW_STRIDE = BLOCK_K + 32,  // no two rows at the same place of a page; space for a quad's zeros
  GROUP_TILES = 16,           // that share copies of rows of more than BLOCK_K activations
  PREFETCH = 2048,            // bytes ahead in the weights
};

#include "gemm.h"

// A call's rows: one block of them as uint8 and, for quads that need it, as int16. Where there are
// more blocks: sums of all that were before.
struct call {
  const struct rows* rows;
  size_t mr;
  size_t k;
  bool has_words;
  uint8_t bytes[ROWS][ROW_STRIDE] __attribute__((aligned(32)));
  int16_t words[ROWS][ROW_STRIDE] __attribute__((aligned(32)));
  vector sums[GROUP_TILES][ROWS];
};

// Products first to first + n of consecutive tiles.
struct block {
  size_t first;
  size_t n;
  const uint8_t* w;
  size_t tile_bytes;
  size_t nc;
  int8_t* c;
  size_t cm_stride;
  size_t cn_stride;
  const struct minmax_params* params;
};

NOINLINE void copy_all(struct call* call, size_t first, size_t n) {
  copy_rows(call->rows, call->bytes, ROWS, first, n);
}

NOINLINE void copy_one(struct call* call, size_t first, size_t n) {
  copy_rows(call->rows, call->bytes, 1, first, n);
}

NOINLINE void widen_rows(struct call* call, size_t n) {
  for (size_t row = 0; row < call->mr; row++) {
    for (size_t i = 0; i < n; i += 16) {
      const __m128i bytes = _mm_load_si128((const __m128i*) (call->bytes[row] + i));
      _mm256_store_si256((__m256i*) (call->words[row] + i), _mm256_cvtepu8_epi16(bytes));
    }
  }
  call->has_words = true;
}

ALWAYS_INLINE void prefetch(const int8_t* at, size_t bytes) {
#pragma GCC unroll 4
  for (size_t i = 0; i < bytes; i += 64) {
    _mm_prefetch((const char*) at + i, _MM_HINT_T0);
  }
}

// The functions below work on `mr` rows and chains of `quads`, which are constants wherever they
// are inlined: loops over them vanish, sums stay in registers.

ALWAYS_INLINE void add_chain(
    size_t mr, size_t quads, vector acc[], const uint8_t* a, const uint8_t* quad,
    const int8_t* weights) {
  vector w[4];
  const uint8_t* at[4];
#pragma GCC unroll 4
  for (size_t i = 0; i < quads; i++) {
    w[i] = load(weights + i * QUAD_BYTES);
    at[i] = a + (size_t) quad[i] * QUAD_K;
  }
#pragma GCC unroll 16
  for (size_t r = 0; r < mr; r++) {
    vector sum = MM(maddubs_epi16)(broadcast(at[0] + r * ROW_STRIDE), w[0]);
#pragma GCC unroll 3
    for (size_t i = 1; i < quads; i++) {
      const vector products = MM(maddubs_epi16)(broadcast(at[i] + r * ROW_STRIDE), w[i]);
      sum = MM(add_epi16)(sum, products);
    }
    acc[r] = MM(add_epi32)(acc[r], MM(madd_epi16)(sum, MM(set1_epi16)(1)));
    __asm__("" : "+v"(acc[r]));  // row after row: there are no registers for more
  }
}

ALWAYS_INLINE void add_exact(
    size_t mr, vector acc[], const int16_t* a, const uint8_t* quad, const int8_t* weights) {
  const int16_t* at = a + (size_t) *quad * QUAD_K;
#pragma GCC unroll 2
  for (size_t pair = 0; pair < 2; pair++) {
    const vector w = load_words(weights + pair * QUAD_BYTES / 2);
#pragma GCC unroll 16
    for (size_t r = 0; r < mr; r++) {
      const vector products = MM(madd_epi16)(broadcast(at + r * ROW_STRIDE + 2 * pair), w);
      acc[r] = MM(add_epi32)(acc[r], products);
      __asm__("" : "+v"(acc[r]));
    }
  }
}

ALWAYS_INLINE void add_block(
    size_t mr, vector acc[], struct call* call, size_t row, const struct block_head* head,
    size_t n) {
  const uint8_t* bytes = call->bytes[row];
  const uint8_t* quad = head->quad;
  const int8_t* w = (const int8_t*) head + head_bytes_of(quads_of(n));
  for (size_t i = head->count[FOURS]; i != 0; i -= 4, quad += 4, w += 4 * QUAD_BYTES) {
    prefetch(w + PREFETCH, 4 * QUAD_BYTES);
    add_chain(mr, 4, acc, bytes, quad, w);
  }
  for (size_t i = head->count[TWOS]; i != 0; i -= 2, quad += 2, w += 2 * QUAD_BYTES) {
    prefetch(w + PREFETCH, 2 * QUAD_BYTES);
    add_chain(mr, 2, acc, bytes, quad, w);
  }
  for (size_t i = head->count[ONES]; i != 0; i--, quad++, w += QUAD_BYTES) {
    prefetch(w + PREFETCH, QUAD_BYTES);
    add_chain(mr, 1, acc, bytes, quad, w);
  }
  if (head->count[EXACT] == 0) {
    return;
  }
  if (!call->has_words) {
    widen_rows(call, n);
  }
  const int16_t* words = call->words[row];
  for (size_t i = head->count[EXACT]; i != 0; i--, quad++, w += QUAD_BYTES) {
    prefetch(w + PREFETCH, QUAD_BYTES);
    add_exact(mr, acc, words, quad, w);
  }
}

ALWAYS_INLINE void store_rows(
    size_t mr, const vector acc[], const float* scale, int8_t* c, size_t c_stride, size_t nc,
    const struct minmax_params* params) {
  const struct requantization to = load_requantization(params);
  const floats scales = MM(loadu_ps)(scale);
#pragma GCC unroll 4
  for (size_t r = 0; r < mr; r += 4) {
    const size_t count = mr - r < 4 ? mr - r : 4;
    vector rows[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
      rows[i] = i < count ? scaled(acc[r + i], scales, to) : rows[i - 1];
    }
    const vector bytes = in_order(narrowed(rows[0], rows[1], rows[2], rows[3], to));
    int8_t* out = c + r * c_stride;
    if (nc < TILE_CHANNELS) {
      int8_t all[4][TILE_CHANNELS];
      store(all, bytes);
      for (size_t i = 0; i < count; i++) {
        memcpy(out + i * c_stride, all[i], nc);
      }
      continue;
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < count; i++) {
      store_quarter(out + i * c_stride, bytes, i);
    }
  }
}

// Adds the products of a block to `mr` rows from `row`; with the last block, stores the outputs.
ALWAYS_INLINE void convolve_rows(
    size_t mr, struct call* call, size_t row, const struct block block) {
  const size_t head_at =
      TILE_CHANNELS * sizeof(int32_t) + block.first / BLOCK_K * block_bytes_of(BLOCK_K);
  const bool is_last = block.first + block.n == call->k;
  const uint8_t* w = block.w;
  vector* sums = &call->sums[0][row];
  int8_t* c = block.c + row * block.cm_stride;
  for (size_t nc = block.nc;; nc -= TILE_CHANNELS) {
    vector acc[ROWS];
#pragma GCC unroll 16
    for (size_t r = 0; r < mr; r++) {
      acc[r] = block.first == 0 ? load(w) : sums[r];
    }
    add_block(mr, acc, call, row, (const struct block_head*) (w + head_at), block.n);
    w += block.tile_bytes;
    if (is_last) {
      const float* scale = (const float*) w - TILE_CHANNELS;
      store_rows(mr, acc, scale, c, block.cm_stride, nc, block.params);
    } else {
#pragma GCC unroll 16
      for (size_t r = 0; r < mr; r++) {
        sums[r] = acc[r];
      }
    }
    if (nc <= TILE_CHANNELS) {
      return;
    }
    sums += ROWS;
    c += block.cn_stride;
  }
}

NOINLINE void convolve_all(struct call* call, const struct block* block) {
  convolve_rows(ROWS, call, 0, *block);
}

NOINLINE void convolve_4(struct call* call, size_t row, const struct block* block) {
  convolve_rows(4, call, row, *block);
}

NOINLINE void convolve_1(struct call* call, size_t row, const struct block* block) {
  convolve_rows(1, call, row, *block);
}

// Pictures are squares, mostly: beyond whole tiles there are multiples of 4 pixels, or one more.
static void convolve_block(struct call* call, const struct block* block) {
  (call->rows->per_tap == 1 ? copy_one : copy_all)(call, block->first, block->n);
  call->has_words = false;
  size_t row = 0;
  if (call->mr == ROWS) {
    convolve_all(call, block);
    row = ROWS;
  }
  for (; row + 4 <= call->mr; row += 4) {
    convolve_4(call, row, block);
  }
  for (; row < call->mr; row++) {
    convolve_1(call, row, block);
  }
}

// What the call for the next rows needs, most likely: outputs are stored where they were not for
// long, and pointers to pixels are more than a cache holds.
ALWAYS_INLINE void prefetch_next(
    size_t mr, const struct rows* rows, size_t nc, const int8_t* c, size_t cm_stride) {
  for (size_t r = 0; r < mr; r++) {
    for (size_t i = 0; i < nc; i += 64) {
      _mm_prefetch((const char*) c + (mr + r) * cm_stride + i, _MM_HINT_T0);
    }
  }
  const size_t pointers = rows->taps == 1 ? 0 : rows->taps * rows->per_tap;
  for (size_t i = 0; i < pointers; i += 64 / sizeof(void*)) {
    _mm_prefetch((const char*) (rows->pixels + 2 * pointers + i), _MM_HINT_T0);
  }
}

static void convolve(
    size_t mr, const struct rows* rows, size_t nc, const uint8_t* w, int8_t* c, size_t cm_stride,
    size_t cn_stride, const struct minmax_params* params) {
  prefetch_next(mr, rows, nc, c, cm_stride);
  struct call call;
  call.rows = rows;
  call.mr = mr;
  call.k = rows->taps * rows->kc;
  struct block block = {
      .n = call.k,
      .w = w,
      .tile_bytes = TILE_CHANNELS * packed_stride(call.k, sizeof(float)),
      .nc = nc,
      .c = c,
      .cm_stride = cm_stride,
      .cn_stride = cn_stride,
      .params = params,
  };
  if (call.k <= BLOCK_K) {
    convolve_block(&call, &block);
    return;
  }
  const size_t group = GROUP_TILES * TILE_CHANNELS;
  for (;; nc -= group, block.w += GROUP_TILES * block.tile_bytes,
          block.c += GROUP_TILES * cn_stride) {
    block.nc = nc < group ? nc : group;
    for (block.first = 0; block.first < call.k; block.first += BLOCK_K) {
      const size_t left = call.k - block.first;
      block.n = left < BLOCK_K ? left : BLOCK_K;
      convolve_block(&call, &block);
    }
    if (nc <= group) {
      return;
    }
  }
}

DEFINE_GEMM(c4_maddubs)
