// How weights lie in memory for the GEMM: what packs them and what reads them agree here.
//
// K counts all products of an output: the channels of a GEMM; taps times channels, tap by tap, of
// a convolution. A *quad* is 4 of them for all channels of a tile, a vector: products 0 to 3 of
// channel 0, of channel 1 ... A tile serves 8 output channels with AVX2 and 16 with AVX512:
//
//   int32 bias[]      less (128 + the input's zero point) times the sum of the channel's weights
//   blocks            one per BLOCK_K products
//   float scale[]     written by XNNPACK after packing
//
// A block has its quads sorted by how they are computed, and says which they are:
//
//   uint16 count[4]   quads of each kind
//   uint8 quad[]      in order of the weights: their products are 4 * quad to 4 * quad + 3; padded
//                     so that the weights begin at a multiple of a vector
//   int8 weights[]    the quads; zeros where K or the channels end early
//
// All parts are multiples of a vector long, so that none lies across two cache lines.

#pragma once

#include "vector.h"

enum {
  TILE_CHANNELS = VECTOR_LANES,
  QUAD_BYTES = VECTOR_BYTES,
  BLOCK_K = 1024,
  BLOCK_QUADS = BLOCK_K / QUAD_K,  // a quad's number is a byte
};

// Chains of 4, 2 and 1 quads that are summed in int16, a chain's quads side by side; quads that
// are too large even alone, each as products 0 and 1 of all channels, then 2 and 3.
enum kind { FOURS, TWOS, ONES, EXACT, KINDS };

struct block_head {
  uint16_t count[KINDS];
  uint8_t quad[];
};

static inline size_t head_bytes_of(size_t quads) {
  return (sizeof(struct block_head) + quads + VECTOR_BYTES - 1) / VECTOR_BYTES * VECTOR_BYTES;
}

static inline size_t block_bytes_of(size_t k) {
  return head_bytes_of(quads_of(k)) + quads_of(k) * QUAD_BYTES;
}

// All blocks of a tile.
static inline size_t blocks_bytes_of(size_t k) {
  return k / BLOCK_K * block_bytes_of(BLOCK_K) + (k % BLOCK_K ? block_bytes_of(k % BLOCK_K) : 0);
}

// Bytes per output channel.
static inline size_t packed_stride(size_t k, size_t extra_bytes) {
  return sizeof(int32_t) + blocks_bytes_of(k) / TILE_CHANNELS + extra_bytes;
}
