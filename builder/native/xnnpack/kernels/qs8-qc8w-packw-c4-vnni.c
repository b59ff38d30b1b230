// Packs int8 weights for the GEMM of qs8-qc8w-gemm-c4-vnni.c, which says how they lie.

#include "layout-c4-vnni.h"
#include "packw.h"

static uint8_t* pack(
    const int8_t* k, size_t nc, size_t kc, size_t stride_n, size_t stride_k, const int32_t* b,
    uint8_t* out, size_t extra_bytes, const struct packing_params* params) {
  const vector factor = MM(set1_epi32)(128 + params->input_zero_point);
  const vector ones = MM(set1_epi8)(1), word_ones = MM(set1_epi16)(1);
  for (size_t n = 0; n < nc; n += TILE_CHANNELS) {
    const size_t count = nc - n < TILE_CHANNELS ? nc - n : TILE_CHANNELS;
    int32_t bias[TILE_CHANNELS] = {0};
    if (b != NULL) {
      memcpy(bias, b + n, count * sizeof(int32_t));
    }
    uint8_t* weights = out + sizeof(bias);
    copy_weights(k + n * stride_n, count, kc, stride_n, stride_k, (int8_t*) weights);
    vector sums[TILE_VECTORS] = {0};
    for (size_t quad = 0; quad < quads_of(kc); quad++, weights += QUAD_BYTES) {
      for (size_t v = 0; v < TILE_VECTORS; v++) {
        const vector pairs = MM(maddubs_epi16)(ones, load(weights + v * VECTOR_BYTES));
        sums[v] = MM(add_epi32)(sums[v], MM(madd_epi16)(pairs, word_ones));
      }
    }
    for (size_t v = 0; v < TILE_VECTORS; v++) {
      const vector added = MM(mullo_epi32)(sums[v], factor);
      const vector corrected = MM(sub_epi32)(load(bias + v * VECTOR_LANES), added);
      store(out + v * VECTOR_BYTES, corrected);
    }
    out = weights + extra_bytes;
  }
  return out;
}

DEFINE_PACKW(c4)
