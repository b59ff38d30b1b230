// int8 GEMM and IGEMM (convolution by pointers to pixels): 6 rows by 64 channels for AVX512 with VNNI,
// by 16 for AVX-VNNI.
//
// vpdpbusd multiplies uint8 by int8. XNNPACK's kernel makes its activations uint8 in the innermost
// loop, for each 8 of them and each 16 channels, on the ports that vpdpbusd needs. Here that is
// done once per call (rows.h); what it adds to a sum left the bias when weights were packed. Four
// products of a channel lie together, so that nothing is added across lanes at the end, and all
// channels of a tile share a broadcast.
//
// Exactness: vpdpbusd adds four products in int32 without saturation; int32 arithmetic modulo 2^32
// does not depend on the order.
//
// Limits: none. Of more than BLOCK_K products, activations are copied again for each tile.

#include "layout-c4-vnni.h"

enum {
  ROWS = 6,
  BLOCK_K = 2048,
  ROW_STRIDE = BLOCK_K + 64,  // no two rows at the same place of a page; space for a quad's zeros
};

#include "gemm.h"

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
  uint8_t bytes[ROWS][ROW_STRIDE] __attribute__((aligned(64)));
};

NOINLINE void copy_all(struct call* call, size_t first, size_t n) {
  copy_rows(call->rows, call->bytes, ROWS, first, n);
}

NOINLINE void copy_one(struct call* call, size_t first, size_t n) {
  copy_rows(call->rows, call->bytes, 1, first, n);
}

static void copy_block(struct call* call, size_t first, size_t n) {
  (call->rows->per_tap == 1 ? copy_one : copy_all)(call, first, n);
}

// The functions below work on `mr` rows and the first `vectors` of a tile, which are constants
// wherever they are inlined: loops over them vanish, sums stay in registers.

// As an intrinsic, gcc 12 copies and spills every sum.
ALWAYS_INLINE void add_products(vector* sum, vector bytes, vector weights) {
#ifdef __AVX512F__
  __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(bytes), "v"(weights));
#else
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(*sum) : "x"(bytes), "x"(weights));
#endif
}

ALWAYS_INLINE void add_block(
    size_t mr, size_t vectors, vector acc[ROWS][TILE_VECTORS], const uint8_t* a, const uint8_t* w,
    size_t n) {
  for (size_t i = 0; i < n; i += QUAD_K, w += QUAD_BYTES) {
    vector weights[TILE_VECTORS];
#pragma GCC unroll 4
    for (size_t v = 0; v < vectors; v++) {
      weights[v] = load(w + v * VECTOR_BYTES);
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < mr; r++) {
      const vector bytes = broadcast(a + r * ROW_STRIDE + i);
#pragma GCC unroll 4
      for (size_t v = 0; v < vectors; v++) {
        add_products(&acc[r][v], bytes, weights[v]);
      }
    }
  }
}

ALWAYS_INLINE void store_rows(
    size_t mr, size_t vectors, vector acc[ROWS][TILE_VECTORS], const uint8_t* scale, int8_t* c,
    size_t c_stride, size_t nc, const struct minmax_params* params) {
  const struct requantization to = load_requantization(params);
#pragma GCC unroll 6
  for (size_t r = 0; r < mr; r++) {
    vector all[4] = {zeros(), zeros(), zeros(), zeros()};
#pragma GCC unroll 4
    for (size_t v = 0; v < vectors; v++) {
      const floats scales = MM(loadu_ps)((const float*) scale + v * VECTOR_LANES);
      all[v] = scaled(acc[r][v], scales, to);
    }
    const vector bytes = in_order(narrowed(all[0], all[1], all[2], all[3], to));
    store_first(c + r * c_stride, bytes, nc < TILE_CHANNELS ? nc : TILE_CHANNELS);
  }
}

// `mr` rows from `row` of one tile, of which nc channels are wanted; returns the next tile.
ALWAYS_INLINE const uint8_t* convolve_tile(
    size_t mr, size_t vectors, struct call* call, size_t row, const uint8_t* w, int8_t* c,
    size_t nc) {
  vector acc[ROWS][TILE_VECTORS];
#pragma GCC unroll 4
  for (size_t v = 0; v < vectors; v++) {
    acc[0][v] = load(w + v * VECTOR_BYTES);
#pragma GCC unroll 6
    for (size_t r = 1; r < mr; r++) {
      acc[r][v] = acc[0][v];
    }
  }
  w += TILE_CHANNELS * sizeof(int32_t);
  for (size_t first = 0; first < call->k; first += BLOCK_K) {
    const size_t n = call->k - first < BLOCK_K ? call->k - first : BLOCK_K;
    if (call->k > BLOCK_K) {
      copy_block(call, first, n);
    }
    add_block(mr, vectors, acc, call->bytes[row], w, n);
    w += quads_of(n) * QUAD_BYTES;
  }
  store_rows(mr, vectors, acc, w, c, call->cm_stride, nc, call->params);
  return w + TILE_CHANNELS * sizeof(float);
}

ALWAYS_INLINE void convolve_rows(size_t mr, struct call* call, size_t row) {
  const uint8_t* w = call->w;
  int8_t* c = call->c + row * call->cm_stride;
  size_t nc = call->nc;
  for (; nc > TILE_CHANNELS / 2; nc -= TILE_CHANNELS, c += call->cn_stride) {
    w = convolve_tile(mr, TILE_VECTORS, call, row, w, c, nc);
    if (nc <= TILE_CHANNELS) {
      return;
    }
  }
  if (nc > VECTOR_LANES) {
    convolve_tile(mr, 2, call, row, w, c, nc);
  } else if (nc != 0) {
    convolve_tile(mr, 1, call, row, w, c, nc);
  }
}

NOINLINE void convolve_6(struct call* call) { convolve_rows(6, call, 0); }

NOINLINE void convolve_4(struct call* call, size_t row) { convolve_rows(4, call, row); }

NOINLINE void convolve_1(struct call* call, size_t row) { convolve_rows(1, call, row); }

// Pictures are squares, mostly: beyond whole tiles there are 4 pixels, or one.
static void convolve(
    size_t mr, const struct rows* rows, size_t nc, const uint8_t* w, int8_t* c, size_t cm_stride,
    size_t cn_stride, const struct minmax_params* params) {
  struct call call;
  call.rows = rows;
  call.mr = mr;
  call.k = rows->taps * rows->kc;
  call.nc = nc;
  call.w = w;
  call.c = c;
  call.cm_stride = cm_stride;
  call.cn_stride = cn_stride;
  call.params = params;
  if (call.k <= BLOCK_K) {
    copy_block(&call, 0, call.k);
  }
  if (mr == ROWS) {
    convolve_6(&call);
    return;
  }
  size_t row = 0;
  if (mr >= 4) {
    convolve_4(&call, row);
    row = 4;
  }
  for (; row < mr; row++) {
    convolve_1(&call, row);
  }
}

DEFINE_GEMM(c4)
