// Packs int8 weights for the GEMM (layout-c4-maddubs.h).
//
// vpmaddubsw gives the sum of two products, of uint8 and int8, in int16, and saturates. The fewer
// such sums are widened, the better, so quads are put together in chains of up to four whose sums
// are added in int16: where, lane by lane, all positive weights of a chain sum to at most 128 and
// all negative ones to at least -128, no sum of products with uint8 values, nor a part of it,
// leaves +-255 * 128 = +-32640. Which quads share a chain is found greedily: each joins the first
// of a few open chains that has room for it (first fit).

#include "layout-c4-maddubs.h"
#include "packw.h"

enum {
  CHAIN_QUADS = 4,
  OPEN_CHAINS = 8,
};

// Sums of positive weights, and of negated negative ones, of all lanes.
typedef vector lane_sums;

struct chain {
  lane_sums sums;
  size_t count;
  uint8_t quads[CHAIN_QUADS];
};

// The quads of a block by kind.
struct lists {
  size_t count[KINDS];
  uint8_t quads[KINDS][BLOCK_QUADS];
};

static bool is_safe(lane_sums sums) {
  return is_zero(MM(subs_epu8)(sums, MM(set1_epi8)((char) 128)));
}

static void append(struct lists* lists, enum kind kind, const uint8_t* quads, size_t n) {
  memcpy(lists->quads[kind] + lists->count[kind], quads, n);
  lists->count[kind] += n;
}

// Takes chain i from the open ones.
static void close_chain(struct chain* open, size_t* chains, size_t i, struct lists* lists) {
  const struct chain* chain = &open[i];
  const size_t even = chain->count & ~(size_t) 1;
  append(lists, even == CHAIN_QUADS ? FOURS : TWOS, chain->quads, even);
  append(lists, ONES, chain->quads + even, chain->count - even);
  memmove(open + i, open + i + 1, (--*chains - i) * sizeof(*open));
}

// Finds the kinds of a block's quads; returns the sum of each channel's weights.
static vector sort_quads(const int8_t* weights, size_t quads, struct lists* lists) {
  const vector zero = zeros();
  const vector ones8 = MM(set1_epi8)(1), ones16 = MM(set1_epi16)(1);
  vector sum = zero;
  struct chain open[OPEN_CHAINS];
  size_t chains = 0;
  memset(lists->count, 0, sizeof(lists->count));
  for (size_t q = 0; q < quads; q++) {
    const vector w = load((weights + q * QUAD_BYTES));
    const vector positive = MM(maddubs_epi16)(ones8, MM(max_epi8)(w, zero));
    const vector negative = MM(maddubs_epi16)(ones8, MM(min_epi8)(w, zero));
    const vector both = MM(add_epi16)(positive, negative);
    sum = MM(add_epi32)(sum, MM(madd_epi16)(both, ones16));
    const lane_sums sums = MM(packus_epi16)(positive, MM(sub_epi16)(zero, negative));
    const uint8_t quad = (uint8_t) q;
    if (!is_safe(sums)) {
      append(lists, EXACT, &quad, 1);
      continue;
    }
    size_t i = 0;
    while (i < chains && !is_safe(MM(adds_epu8)(open[i].sums, sums))) {
      i++;
    }
    if (i == OPEN_CHAINS) {
      close_chain(open, &chains, 0, lists);
      i--;
    }
    if (i == chains) {
      open[chains++] = (struct chain) {.sums = zero};
    }
    open[i].sums = MM(adds_epu8)(open[i].sums, sums);
    open[i].quads[open[i].count++] = quad;
    if (open[i].count == CHAIN_QUADS) {
      close_chain(open, &chains, i, lists);
    }
  }
  while (chains != 0) {
    close_chain(open, &chains, 0, lists);
  }
  return sum;
}

static void write_block(const int8_t* weights, const struct lists* lists, struct block_head* head) {
  size_t quads = 0;
  for (int kind = 0; kind < KINDS; kind++) {
    head->count[kind] = (uint16_t) lists->count[kind];
    memcpy(head->quad + quads, lists->quads[kind], lists->count[kind]);
    quads += lists->count[kind];
  }
  int8_t* out = (int8_t*) head + head_bytes_of(quads);
  for (size_t i = 0; i < quads; i++) {
    const vector quad = load(weights + head->quad[i] * QUAD_BYTES);
    store(out + i * QUAD_BYTES, i < quads - head->count[EXACT] ? quad : split_pairs(quad));
  }
}

static uint8_t* pack(
    const int8_t* k, size_t nc, size_t kc, size_t stride_n, size_t stride_k, const int32_t* b,
    uint8_t* out, size_t extra_bytes, const struct packing_params* params) {
  const vector factor = MM(set1_epi32)(128 + params->input_zero_point);
  for (size_t n = 0; n < nc; n += TILE_CHANNELS) {
    const size_t count = nc - n < TILE_CHANNELS ? nc - n : TILE_CHANNELS;
    int32_t bias[TILE_CHANNELS] = {0};
    if (b != NULL) {
      memcpy(bias, b + n, count * sizeof(int32_t));
    }
    vector corrected = load(bias);
    uint8_t* block = out + TILE_CHANNELS * sizeof(int32_t);
    for (size_t first = 0; first < kc; first += BLOCK_K) {
      const size_t block_k = kc - first < BLOCK_K ? kc - first : BLOCK_K;
      int8_t weights[BLOCK_QUADS * QUAD_BYTES];
      struct lists lists;
      copy_weights(
          k + n * stride_n + first * stride_k, count, block_k, stride_n, stride_k, weights);
      const vector sum = sort_quads(weights, quads_of(block_k), &lists);
      corrected = MM(sub_epi32)(corrected, MM(mullo_epi32)(sum, factor));
      write_block(weights, &lists, (struct block_head*) block);
      block += block_bytes_of(block_k);
    }
    store(out, corrected);
    out = block + extra_bytes;
  }
  return out;
}

DEFINE_PACKW(c4_maddubs)
