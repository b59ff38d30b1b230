// What all packing of int8 weights for a GEMM shares: copies of a tile's weights by quads, and the
// functions that XNNPACK calls, for its four orders of weights.
//
// What includes this has defined TILE_CHANNELS and QUAD_BYTES, and defines `pack`.

#pragma once

#include "vector.h"

enum { LINE_QUADS = 16 };  // in a line of the cache

// Weights of `count` output channels. stride_n, stride_k: distance of neighbours in either
// direction.
static void copy_weights(
    const int8_t* k, size_t count, size_t kc, size_t stride_n, size_t stride_k, int8_t* out) {
  if (count < TILE_CHANNELS || kc % QUAD_K != 0) {
    memset(out, 0, quads_of(kc) * QUAD_BYTES);
  }
  const size_t quads = stride_k == 1 ? kc / QUAD_K : 0;
  for (size_t first = 0; first < quads; first += LINE_QUADS) {
    const size_t end = quads - first < LINE_QUADS ? quads : first + LINE_QUADS;
    for (size_t n = 0; n < count; n++) {
      for (size_t q = first; q < end; q++) {
        memcpy(out + q * QUAD_BYTES + n * QUAD_K, k + n * stride_n + q * QUAD_K, QUAD_K);
      }
    }
  }
  for (size_t i = quads * QUAD_K; i < kc; i++) {
    for (size_t n = 0; n < count; n++) {
      out[i / QUAD_K * QUAD_BYTES + n * QUAD_K + i % QUAD_K] = k[n * stride_n + i * stride_k];
    }
  }
}

// One group: nc output channels of K = kc products. Returns where the next group begins.
static uint8_t* pack(
    const int8_t* k, size_t nc, size_t kc, size_t stride_n, size_t stride_k, const int32_t* b,
    uint8_t* out, size_t extra_bytes, const struct packing_params* params);

// Groups whose weights lie `stride_g` apart.
static void pack_groups(
    size_t g, const int8_t* k, size_t stride_g, size_t nc, size_t kc, size_t stride_n,
    size_t stride_k, const int32_t* b, void* packed_weights, size_t extra_bytes,
    const struct packing_params* params) {
  uint8_t* out = packed_weights;
  for (size_t i = 0; i < g; i++) {
    out = pack(k + i * stride_g, nc, kc, stride_n, stride_k, b, out, extra_bytes, params);
    b = b == NULL ? NULL : b + nc;
  }
}

// The functions that pack for the kernels `layout`, whose header has `packed_stride`.
#define DEFINE_PACKW(layout) \
  size_t FOR_CPU(qs8_qc8w_packed_stride_##layout)(size_t k, size_t extra_bytes) { \
    return packed_stride(k, extra_bytes); \
  } \
  /* Weights [group][output channel][input channel]. */ \
  void FOR_CPU(qs8_qc8w_packw_gemm_goi_##layout)( \
      size_t g, size_t nc, size_t kc, size_t nr, size_t kr, size_t sr, const int8_t* k, \
      const int32_t* b, const void* scale, void* packed_weights, size_t extra_bytes, \
      const struct packing_params* params) { \
    (void) nr, (void) kr, (void) sr, (void) scale; \
    pack_groups(g, k, nc * kc, nc, kc, kc, 1, b, packed_weights, extra_bytes, params); \
  } \
  /* Weights [group][input channel][output channel], k_stride from one input channel to the next. */ \
  void FOR_CPU(qs8_qc8w_packw_gemm_gio_##layout)( \
      size_t g, size_t nc, size_t kc, size_t nr, size_t kr, size_t sr, size_t k_stride, \
      const int8_t* k, const int32_t* b, const void* scale, void* packed_weights, size_t extra_bytes, \
      const struct packing_params* params) { \
    (void) nr, (void) kr, (void) sr, (void) scale; \
    pack_groups(g, k, nc * kc, nc, kc, 1, k_stride, b, packed_weights, extra_bytes, params); \
  } \
  /* Weights [group][output channel][tap][input channel]. */ \
  void FOR_CPU(qs8_qc8w_packw_conv_goki_##layout)( \
      size_t g, size_t nc, size_t ks, size_t kc, size_t nr, size_t kr, size_t sr, const int8_t* k, \
      const int32_t* b, const void* scale, void* packed_weights, size_t extra_bytes, \
      const struct packing_params* params) { \
    (void) nr, (void) kr, (void) sr, (void) scale; \
    pack_groups( \
        g, k, nc * ks * kc, nc, ks * kc, ks * kc, 1, b, packed_weights, extra_bytes, params); \
  } \
  /* Weights [tap][group][output channel]: one input channel per group. */ \
  void FOR_CPU(qs8_qc8w_packw_conv_kgo_##layout)( \
      size_t g, size_t nc, size_t ks, size_t nr, size_t kr, size_t sr, const int8_t* k, \
      const int32_t* b, const void* scale, void* packed_weights, size_t extra_bytes, \
      const struct packing_params* params) { \
    (void) nr, (void) kr, (void) sr, (void) scale; \
    pack_groups(g, k, nc, nc, ks, 1, g * nc, b, packed_weights, extra_bytes, params); \
  }
