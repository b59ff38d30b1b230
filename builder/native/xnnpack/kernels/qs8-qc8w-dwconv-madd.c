// int8 depthwise convolution of 9 or 25 taps (3x3, 5x5): 32 channels at a time for AVX2, 64 for
// AVX512 without VNNI.
//
// XNNPACK's kernels widen every factor to int32 and multiply with vpmulld. Here two taps of
// a channel are neighbours: bytes of two pixels interleaved, widened with zeros, and vpmaddwd by
// pairs of int16 weights. Activations are made uint8 first (a XOR), for which 128 times the sum of
// the weights leaves the bias.
//
// Taps come column by column. Pairs are within a column, and of the last pixels of two neighbouring
// columns. Where the windows of two outputs overlap (stride 1), both are computed from one pass over
// their columns, each of which is interleaved once.
//
// Weights are as XNNPACK packs them: per tile int32 bias[channels], int8 weights[taps][channels],
// float scale[channels]. They are widened once per call, that is per row of output, for CHUNK_TILES tiles
// at a time.
//
// Exactness: vpmaddwd is exact for uint8 by int8, and the rest is int32 arithmetic modulo 2^32.
//
// Limits: none. No channel beyond the last is read or written.

#include "vector.h"

enum {
  TILE_CHANNELS = VECTOR_BYTES,
  CHUNK_TILES = 4,
  MAX_SIDE = 5,
  MAX_PAIRS = (MAX_SIDE * MAX_SIDE + 1) / 2,
};

// A tile, in the order that interleaving makes: vectors are as load_interleaved's.
// Weights: of each column side / 2 pairs; then pairs of the columns' last, 0 and 1 (2 and 3), and
// zero and the last.
struct tile {
  vector bias[4];
  vector weights[MAX_PAIRS][4];
  float scale[TILE_CHANNELS];
};

ALWAYS_INLINE vector widened(vector twice) { return MM(srai_epi16)(twice, 8); }

ALWAYS_INLINE void widen_pair(struct tile* tile, size_t pair, vector even, vector odd) {
  const vector k128 = MM(set1_epi16)(128);
  const vector low = MM(unpacklo_epi8)(even, odd), high = MM(unpackhi_epi8)(even, odd);
  const vector wide[4] = {
      widened(MM(unpacklo_epi8)(low, low)), widened(MM(unpackhi_epi8)(low, low)),
      widened(MM(unpacklo_epi8)(high, high)), widened(MM(unpackhi_epi8)(high, high))};
  for (size_t j = 0; j < 4; j++) {
    tile->weights[pair][j] = wide[j];
    tile->bias[j] = MM(sub_epi32)(tile->bias[j], MM(madd_epi16)(wide[j], k128));
  }
}

ALWAYS_INLINE void widen_tile(struct tile* tile, const uint8_t* packed, size_t side) {
  const uint8_t* weights = packed + TILE_CHANNELS * sizeof(int32_t);
  const uint8_t* scale = weights + side * side * TILE_CHANNELS;
  for (size_t j = 0; j < 4; j++) {
    tile->bias[j] = load_interleaved(packed, j);
    store(tile->scale + j * VECTOR_LANES, load_interleaved(scale, j));
  }
  const size_t column_bytes = side * TILE_CHANNELS;
  size_t pair = 0;
  for (size_t column = 0; column < side; column++) {
    for (size_t row = 0; row < side - 1; row += 2) {
      const uint8_t* even = weights + column * column_bytes + row * TILE_CHANNELS;
      widen_pair(tile, pair++, load(even), load(even + TILE_CHANNELS));
    }
  }
  const uint8_t* last = weights + column_bytes - TILE_CHANNELS;
  for (size_t column = 0; column < side - 1; column += 2, last += 2 * column_bytes) {
    widen_pair(tile, pair++, load(last), load(last + column_bytes));
  }
  widen_pair(tile, pair++, zeros(), load(last));
}

ALWAYS_INLINE vector load_pixel(const int8_t* pixel, byte_mask mask, bool masked) {
  return xor(masked ? load_masked(pixel, mask) : load(pixel), MM(set1_epi8)(-128));
}

// Adds a pair of pixels to one output or both: those that have weights for it.
ALWAYS_INLINE void add_pair(
    vector acc0[4], vector acc1[4], vector even, vector odd, const vector* weights0,
    const vector* weights1) {
  const vector zero = zeros();
  const vector low = MM(unpacklo_epi8)(even, odd), high = MM(unpackhi_epi8)(even, odd);
#pragma GCC unroll 4
  for (size_t j = 0; j < 4; j++) {
    const vector half = j < 2 ? low : high;
    const vector words =
        j % 2 == 0 ? MM(unpacklo_epi8)(half, zero) : MM(unpackhi_epi8)(half, zero);
    // One after the other: there are no registers for more.
    if (weights0 != NULL) {
      acc0[j] = MM(add_epi32)(acc0[j], MM(madd_epi16)(words, weights0[j]));
      __asm__("" : "+v"(acc0[j]));
    }
    if (weights1 != NULL) {
      acc1[j] = MM(add_epi32)(acc1[j], MM(madd_epi16)(words, weights1[j]));
      __asm__("" : "+v"(acc1[j]));
    }
  }
}

// The weights for the last pixels of columns `column` - 1 and `column` of an output's window.
ALWAYS_INLINE const vector* weights_of_last(const struct tile* tile, size_t side, size_t column) {
  if (column >= side || (column % 2 == 0 && column != side - 1)) {
    return NULL;
  }
  return tile->weights[side * (side / 2) + column / 2];
}

// Adds a column of pixels to outputs in whose window it is; `before` is the last pixel of the one
// before. Returns this column's.
ALWAYS_INLINE vector add_column(
    const struct tile* tile, size_t side, size_t outputs, size_t column,
    const int8_t* const* pixels, size_t offset, byte_mask mask, bool masked, vector before,
    vector acc0[4], vector acc1[4]) {
  if (column >= side + outputs - 1) {
    return before;
  }
  const size_t other = outputs == 2 ? column - 1 : side;  // the column in the other window
  const int8_t* const* taps = pixels + column * side;
#pragma GCC unroll 2
  for (size_t row = 0; row < side - 1; row += 2) {
    add_pair(
        acc0, acc1, load_pixel(taps[row] + offset, mask, masked),
        load_pixel(taps[row + 1] + offset, mask, masked),
        column < side ? tile->weights[column * (side / 2) + row / 2] : NULL,
        other < side ? tile->weights[other * (side / 2) + row / 2] : NULL);
  }
  const vector last = load_pixel(taps[side - 1] + offset, mask, masked);
  const vector* weights0 = weights_of_last(tile, side, column);
  const vector* weights1 = other == 0 ? NULL : weights_of_last(tile, side, other);
  if (column != 0 && (weights0 != NULL || weights1 != NULL)) {
    add_pair(acc0, acc1, before, last, weights0, weights1);
  }
  return last;
}

ALWAYS_INLINE vector requantized(
    const vector acc[4], const float* scale, struct requantization to) {
  vector rounded[4];
#pragma GCC unroll 4
  for (size_t j = 0; j < 4; j++) {
    rounded[j] = scaled(acc[j], MM(loadu_ps)(scale + j * VECTOR_LANES), to);
  }
  return narrowed(rounded[0], rounded[1], rounded[2], rounded[3], to);
}

// A tile's channels from `offset` of one pixel of output, or of two whose windows are a column apart.
ALWAYS_INLINE void convolve(
    const struct tile* tile, size_t side, size_t outputs, const int8_t* const* pixels,
    size_t offset, byte_mask mask, bool masked, struct requantization to, vector out[2]) {
  vector acc0[4] = {tile->bias[0], tile->bias[1], tile->bias[2], tile->bias[3]};
  vector acc1[4] = {tile->bias[0], tile->bias[1], tile->bias[2], tile->bias[3]};
  vector last = zeros();
#define ADD_COLUMN(column) \
  last = add_column( \
      tile, side, outputs, column, pixels, offset, mask, masked, last, acc0, acc1)
  ADD_COLUMN(0);
  ADD_COLUMN(1);
  ADD_COLUMN(2);
  ADD_COLUMN(3);
  ADD_COLUMN(4);
  ADD_COLUMN(5);
#undef ADD_COLUMN
  out[0] = requantized(acc0, tile->scale, to);
  if (outputs == 2) {
    out[1] = requantized(acc1, tile->scale, to);
  }
}

// A chunk of tiles: `full` ones and the `rest` of channels of another.
struct chunk {
  struct tile tiles[CHUNK_TILES];
  size_t start;  // its first channel
  size_t full;
  size_t rest;
  size_t input_offset;
  const int8_t* zero;
  size_t output_stride;
  struct requantization to;
};

// The rest of a pixel of output.
ALWAYS_INLINE void convolve_rest(
    const struct chunk* chunk, size_t side, const int8_t* const* pixels, int8_t* out) {
  const size_t offset = chunk->full * TILE_CHANNELS, rest = chunk->rest;
  byte_mask mask = mask_of(rest);
  const int8_t* others[MAX_SIDE * MAX_SIDE];
  int8_t copies[MAX_SIDE * MAX_SIDE][TILE_CHANNELS];
  if (rest % MASK_BYTES != 0) {
    for (size_t tap = 0; tap < side * side; tap++) {
      memcpy(copies[tap], pixels[tap] + offset, rest);
      others[tap] = copies[tap] - offset;
    }
    pixels = others;
    mask = mask_of(TILE_CHANNELS);
  }
  vector bytes[2];
  convolve(&chunk->tiles[chunk->full], side, 1, pixels, offset, mask, true, chunk->to, bytes);
  int8_t all[TILE_CHANNELS];
  store(all, bytes[0]);
  memcpy(out + offset, all, rest);
}

NOINLINE void convolve_rest_3(
    const struct chunk* chunk, const int8_t* const* pixels, int8_t* out) {
  convolve_rest(chunk, 3, pixels, out);
}

NOINLINE void convolve_rest_5(
    const struct chunk* chunk, const int8_t* const* pixels, int8_t* out) {
  convolve_rest(chunk, 5, pixels, out);
}

// A chunk of one pixel of output, or of two.
ALWAYS_INLINE void convolve_pixels(
    const struct chunk* chunk, size_t side, size_t outputs, const int8_t* const* in, int8_t* out) {
  const int8_t* pixels[MAX_SIDE * (MAX_SIDE + 1)];
  for (size_t tap = 0; tap < side * (side + outputs - 1); tap++) {
    const int8_t* pixel = in[tap] == chunk->zero ? in[tap] : in[tap] + chunk->input_offset;
    pixels[tap] = pixel + chunk->start;
  }
  const bool by_mask = MASK_BYTES == 1;  // then the rest is as good as a tile
  for (size_t t = 0; t < chunk->full + (by_mask && chunk->rest != 0); t++) {
    const size_t offset = t * TILE_CHANNELS;
    const byte_mask mask = mask_of(t < chunk->full ? (size_t) TILE_CHANNELS : chunk->rest);
    vector bytes[2];
    convolve(&chunk->tiles[t], side, outputs, pixels, offset, mask, by_mask, chunk->to, bytes);
    for (size_t i = 0; i < outputs; i++) {
      int8_t* at = out + i * chunk->output_stride + offset;
      if (by_mask) {
        store_masked(at, bytes[i], mask);
      } else {
        store(at, bytes[i]);
      }
    }
  }
  for (size_t i = 0; i < outputs && !by_mask && chunk->rest != 0; i++) {
    (side == 3 ? convolve_rest_3 : convolve_rest_5)(
        chunk, pixels + i * side, out + i * chunk->output_stride);
  }
}

ALWAYS_INLINE void convolve_row(
    size_t side, size_t channels, size_t output_width, const int8_t** input, const uint8_t* packed,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params) {
  struct chunk chunk;
  chunk.input_offset = input_offset;
  chunk.zero = zero;
  chunk.output_stride = channels + output_increment;
  chunk.to = load_requantization(params);
  const size_t chunk_channels = CHUNK_TILES * TILE_CHANNELS;
  for (chunk.start = 0; chunk.start < channels; chunk.start += chunk_channels) {
    const size_t left = channels - chunk.start;
    chunk.full = left < chunk_channels ? left / TILE_CHANNELS : (size_t) CHUNK_TILES;
    chunk.rest = left < chunk_channels ? left % TILE_CHANNELS : 0;
    for (size_t t = 0; t < chunk.full + (chunk.rest != 0); t++) {
      widen_tile(&chunk.tiles[t], packed, side);
      packed += TILE_CHANNELS * (side * side + sizeof(int32_t) + sizeof(float));
    }
    const char* in = (const char*) input;
    int8_t* out = output + chunk.start;
    size_t x = output_width;
    for (; x >= 2 && input_stride == (intptr_t) (side * sizeof(void*)); x -= 2) {
      convolve_pixels(&chunk, side, 2, (const int8_t* const*) in, out);
      in += 2 * input_stride;
      out += 2 * chunk.output_stride;
    }
    for (; x != 0; x--) {
      convolve_pixels(&chunk, side, 1, (const int8_t* const*) in, out);
      in += input_stride;
      out += chunk.output_stride;
    }
  }
}

void FOR_CPU(qs8_qc8w_dwconv_9p_madd)(
    size_t channels, size_t output_width, const int8_t** input, const void* weights,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params) {
  convolve_row(
      3, channels, output_width, input, weights, output, input_stride, output_increment,
      input_offset, zero, params);
}

void FOR_CPU(qs8_qc8w_dwconv_25p_madd)(
    size_t channels, size_t output_width, const int8_t** input, const void* weights,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params) {
  convolve_row(
      5, channels, output_width, input, weights, output, input_stride, output_increment,
      input_offset, zero, params);
}
