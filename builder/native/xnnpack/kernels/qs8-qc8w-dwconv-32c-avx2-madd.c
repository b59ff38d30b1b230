// int8 depthwise convolution of 9 or 25 taps (3x3, 5x5), 32 channels at a time, AVX2.
//
// XNNPACK's kernels for AVX2 widen every factor to int32 and multiply with vpmulld. Here two taps of
// a channel are neighbours: bytes of two pixels interleaved, widened with zeros, and vpmaddwd by
// pairs of int16 weights. Activations are made uint8 first (a XOR), for which 128 times the sum of
// the weights leaves the bias.
//
// Taps come column by column. Pairs are within a column, and of the last pixels of two neighbouring
// columns. Where the windows of two outputs overlap (stride 1), both are computed from one pass over
// their columns, each of which is interleaved once.
//
// Weights are as XNNPACK packs them: per tile of 32 channels int32 bias[32], int8 weights[taps][32],
// float scale[32]. They are widened once per call, that is per row of output, for CHUNK_TILES tiles
// at a time.
//
// Exactness: vpmaddwd is exact for uint8 by int8, and the rest is int32 arithmetic modulo 2^32.
//
// Limits: none. No channel beyond the last is read or written.

#include "kernels.h"
#include "requantize-avx2.h"

enum {
  TILE_CHANNELS = 32,
  CHUNK_TILES = 4,
  MAX_SIDE = 5,
  MAX_PAIRS = (MAX_SIDE * MAX_SIDE + 1) / 2,
};

// A tile, in the order that interleaving makes: vector j has channels 4j to 4j + 3 and 16 more.
// Weights: of each column side / 2 pairs; then pairs of the columns' last, 0 and 1 (2 and 3), and
// zero and the last.
struct tile {
  __m256i bias[4];
  __m256i weights[MAX_PAIRS][4];
  float scale[TILE_CHANNELS];
};

ALWAYS_INLINE __m256i load32(const void* bytes) {
  return _mm256_loadu_si256((const __m256i*) bytes);
}

// Channels 4j to 4j + 3, and 16 more, of 32-bit values.
ALWAYS_INLINE __m256i load_vector(const uint8_t* values, size_t j) {
  const __m128i low = _mm_loadu_si128((const __m128i*) values + j);
  const __m128i high = _mm_loadu_si128((const __m128i*) values + j + 4);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

ALWAYS_INLINE __m256i widened(__m256i twice) { return _mm256_srai_epi16(twice, 8); }

ALWAYS_INLINE void widen_pair(struct tile* tile, size_t pair, __m256i even, __m256i odd) {
  const __m256i k128 = _mm256_set1_epi16(128);
  const __m256i low = _mm256_unpacklo_epi8(even, odd), high = _mm256_unpackhi_epi8(even, odd);
  const __m256i wide[4] = {
      widened(_mm256_unpacklo_epi8(low, low)), widened(_mm256_unpackhi_epi8(low, low)),
      widened(_mm256_unpacklo_epi8(high, high)), widened(_mm256_unpackhi_epi8(high, high))};
  for (size_t j = 0; j < 4; j++) {
    tile->weights[pair][j] = wide[j];
    tile->bias[j] = _mm256_sub_epi32(tile->bias[j], _mm256_madd_epi16(wide[j], k128));
  }
}

ALWAYS_INLINE void widen_tile(struct tile* tile, const uint8_t* packed, size_t side) {
  const uint8_t* weights = packed + TILE_CHANNELS * sizeof(int32_t);
  const uint8_t* scale = weights + side * side * TILE_CHANNELS;
  for (size_t j = 0; j < 4; j++) {
    tile->bias[j] = load_vector(packed, j);
    _mm256_storeu_si256((__m256i*) tile->scale + j, load_vector(scale, j));
  }
  const size_t column_bytes = side * TILE_CHANNELS;
  size_t pair = 0;
  for (size_t column = 0; column < side; column++) {
    for (size_t row = 0; row < side - 1; row += 2) {
      const uint8_t* even = weights + column * column_bytes + row * TILE_CHANNELS;
      widen_pair(tile, pair++, load32(even), load32(even + TILE_CHANNELS));
    }
  }
  const uint8_t* last = weights + column_bytes - TILE_CHANNELS;
  for (size_t column = 0; column < side - 1; column += 2, last += 2 * column_bytes) {
    widen_pair(tile, pair++, load32(last), load32(last + column_bytes));
  }
  widen_pair(tile, pair++, _mm256_setzero_si256(), load32(last));
}

ALWAYS_INLINE __m256i load_pixel(const int8_t* pixel, __m256i mask, int masked) {
  const __m256i bytes = masked ? _mm256_maskload_epi32((const int*) pixel, mask) : load32(pixel);
  return _mm256_xor_si256(bytes, _mm256_set1_epi8(-128));
}

// Adds a pair of pixels to one output or both: those that have weights for it.
ALWAYS_INLINE void add_pair(
    __m256i acc0[4], __m256i acc1[4], __m256i even, __m256i odd, const __m256i* weights0,
    const __m256i* weights1) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i low = _mm256_unpacklo_epi8(even, odd), high = _mm256_unpackhi_epi8(even, odd);
#pragma GCC unroll 4
  for (size_t j = 0; j < 4; j++) {
    const __m256i half = j < 2 ? low : high;
    const __m256i words =
        j % 2 == 0 ? _mm256_unpacklo_epi8(half, zero) : _mm256_unpackhi_epi8(half, zero);
    // One after the other: there are no registers for more.
    if (weights0 != NULL) {
      acc0[j] = _mm256_add_epi32(acc0[j], _mm256_madd_epi16(words, weights0[j]));
      __asm__("" : "+x"(acc0[j]));
    }
    if (weights1 != NULL) {
      acc1[j] = _mm256_add_epi32(acc1[j], _mm256_madd_epi16(words, weights1[j]));
      __asm__("" : "+x"(acc1[j]));
    }
  }
}

// The weights for the last pixels of columns `column` - 1 and `column` of an output's window.
ALWAYS_INLINE const __m256i* weights_of_last(const struct tile* tile, size_t side, size_t column) {
  if (column >= side || (column % 2 == 0 && column != side - 1)) {
    return NULL;
  }
  return tile->weights[side * (side / 2) + column / 2];
}

// Adds a column of pixels to outputs in whose window it is; `before` is the last pixel of the one
// before. Returns this column's.
ALWAYS_INLINE __m256i add_column(
    const struct tile* tile, size_t side, size_t outputs, size_t column,
    const int8_t* const* pixels, size_t offset, __m256i mask, int masked, __m256i before,
    __m256i acc0[4], __m256i acc1[4]) {
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
  const __m256i last = load_pixel(taps[side - 1] + offset, mask, masked);
  const __m256i* weights0 = weights_of_last(tile, side, column);
  const __m256i* weights1 = other == 0 ? NULL : weights_of_last(tile, side, other);
  if (column != 0 && (weights0 != NULL || weights1 != NULL)) {
    add_pair(acc0, acc1, before, last, weights0, weights1);
  }
  return last;
}

ALWAYS_INLINE __m256i requantized(
    const __m256i acc[4], const float* scale, struct requantization to) {
  const __m256i low = _mm256_adds_epi16(
      _mm256_packs_epi32(scaled(acc[0], scale, to), scaled(acc[1], scale + 8, to)), to.zero_point);
  const __m256i high = _mm256_adds_epi16(
      _mm256_packs_epi32(scaled(acc[2], scale + 16, to), scaled(acc[3], scale + 24, to)),
      to.zero_point);
  return _mm256_max_epi8(_mm256_packs_epi16(low, high), to.min);
}

// 32 channels from `offset` of one pixel of output, or of two whose windows are a column apart.
ALWAYS_INLINE void convolve(
    const struct tile* tile, size_t side, size_t outputs, const int8_t* const* pixels,
    size_t offset, __m256i mask, int masked, struct requantization to, __m256i out[2]) {
  __m256i acc0[4] = {tile->bias[0], tile->bias[1], tile->bias[2], tile->bias[3]};
  __m256i acc1[4] = {tile->bias[0], tile->bias[1], tile->bias[2], tile->bias[3]};
  __m256i last = _mm256_setzero_si256();
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
  __m256i mask = _mm256_cmpgt_epi32(
      _mm256_set1_epi32((int) rest / 4), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const int8_t* others[MAX_SIDE * MAX_SIDE];
  int8_t copies[MAX_SIDE * MAX_SIDE][TILE_CHANNELS];
  if (rest % 4 != 0) {
    for (size_t tap = 0; tap < side * side; tap++) {
      memcpy(copies[tap], pixels[tap] + offset, rest);
      others[tap] = copies[tap] - offset;
    }
    pixels = others;
    mask = _mm256_set1_epi32(-1);
  }
  __m256i bytes[2];
  convolve(&chunk->tiles[chunk->full], side, 1, pixels, offset, mask, 1, chunk->to, bytes);
  int8_t all[TILE_CHANNELS];
  _mm256_storeu_si256((__m256i*) all, bytes[0]);
  memcpy(out + offset, all, rest);
}

static __attribute__((noinline)) void convolve_rest_3(
    const struct chunk* chunk, const int8_t* const* pixels, int8_t* out) {
  convolve_rest(chunk, 3, pixels, out);
}

static __attribute__((noinline)) void convolve_rest_5(
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
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256i bytes[2];
  for (size_t t = 0; t < chunk->full; t++) {
    const size_t offset = t * TILE_CHANNELS;
    convolve(&chunk->tiles[t], side, outputs, pixels, offset, lanes, 0, chunk->to, bytes);
    _mm256_storeu_si256((__m256i*) (out + offset), bytes[0]);
    if (outputs == 2) {
      _mm256_storeu_si256((__m256i*) (out + chunk->output_stride + offset), bytes[1]);
    }
  }
  for (size_t i = 0; i < outputs && chunk->rest != 0; i++) {
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

void qs8_qc8w_dwconv_9p32c_avx2_madd(
    size_t channels, size_t output_width, const int8_t** input, const void* weights,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params) {
  convolve_row(
      3, channels, output_width, input, weights, output, input_stride, output_increment,
      input_offset, zero, params);
}

void qs8_qc8w_dwconv_25p32c_avx2_madd(
    size_t channels, size_t output_width, const int8_t** input, const void* weights,
    int8_t* output, intptr_t input_stride, size_t output_increment, size_t input_offset,
    const int8_t* zero, const struct minmax_params* params) {
  convolve_row(
      5, channels, output_width, input, weights, output, input_stride, output_increment,
      input_offset, zero, params);
}
