// How weights lie in memory for the GEMM with vpdpbusd: what packs them and what reads them agree
// here. K counts all products of an output, as in layout-c4-maddubs.h. A tile serves N output channels,
// 64 with AVX512 and 16 without; of the last one, channels that are not there are zeros:
//
//   int32 bias[N]          less (128 + the input's zero point) times the sum of the weights
//   int8 weights[][N][4]   four products of all channels, then the next four; zeros where K ends
//   float scale[N]         written by XNNPACK after packing
//
// XNNPACK's layout for nr N, kr 4, but for the taps of a convolution, which are not padded one by one.

#pragma once

#include "vector.h"

enum {
  TILE_VECTORS = VECTOR_BYTES == 64 ? 4 : 2,  // 6 rows of them fit in the registers
  TILE_CHANNELS = TILE_VECTORS * VECTOR_LANES,
  QUAD_BYTES = TILE_CHANNELS * QUAD_K,
};

// Bytes per output channel.
static inline size_t packed_stride(size_t k, size_t extra_bytes) {
  return sizeof(int32_t) + quads_of(k) * QUAD_K + extra_bytes;
}
