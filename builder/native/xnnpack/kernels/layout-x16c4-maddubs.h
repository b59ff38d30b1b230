// How weights lie in memory for the 4x16c4 kernels: what packs them and what reads them agree here.
//
// K counts all products of an output: the channels of a GEMM; taps times channels, tap by tap, of
// a convolution. A *chain* is 8 of them for 16 output channels, 128 bytes: products 0 to 3 of
// channel 0, of channel 1, ... of channel 15, then products 4 to 7 in the same order. A tile serves
// 16 output channels:
//
//   int32 bias[16]     less (128 + the input's zero point) times the sum of the channel's weights
//   uint64 unsafe[]    one bit per chain, the lowest first; a multiple of 64 bytes
//   int8 weights[]     the chains; zeros where K or the channels end early
//   float scale[16]    written by XNNPACK after packing
//
// All parts are multiples of 64 bytes long, so that no vector lies across two cache lines.

#pragma once

#include <stddef.h>

enum {
  TILE_CHANNELS = 16,
  CHAIN_K = 8,
  CHAIN_BYTES = CHAIN_K * TILE_CHANNELS,
  WORD_CHAINS = 64,  // chains per word of flags
};

static inline size_t chains_of(size_t k) { return (k + CHAIN_K - 1) / CHAIN_K; }

static inline size_t flag_bytes_of(size_t k) { return (chains_of(k) + 511) / 512 * 64; }
