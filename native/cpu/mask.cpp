// mask_logits, add_logit_bias. A task masks a piece of one row of logits, word by word of the mask: a word of ones or
// of zeros, which most are, takes no look at its bits. Bound: one write of the masked logits.
#include "cpu/mask.h"

#include <algorithm>
#include <limits>

#include "cpu/cut.h"

namespace mamba::cpu {
namespace {

static_assert(kPiece % kMaskBits == 0);

void mask_piece(float* logits, const uint32_t* mask, int64_t size) {
  constexpr float kMasked = -std::numeric_limits<float>::infinity();
  for (int64_t first = 0; first < size; first += kMaskBits, ++mask) {
    if (*mask == ~0u) continue;
    const int64_t count = std::min(kMaskBits, size - first);
    if (*mask == 0) {
      std::fill_n(logits + first, count, kMasked);
      continue;
    }
    for (int64_t i = 0; i < count; ++i) {
      if (!(*mask >> i & 1)) logits[first + i] = kMasked;
    }
  }
}

}  // namespace

void run_mask_logits(const MaskLogitsParams& p, ThreadPool& pool) {
  for_pieces(pool, p.rows, p.vocab, [&](int64_t row, Range tokens) {
    const int64_t mask = p.mask_of[row];
    if (mask < 0 || mask >= p.masks) return;
    mask_piece(p.logits + row * p.logits_stride + tokens.begin,
               p.table + mask * p.table_stride + tokens.begin / kMaskBits, tokens.end - tokens.begin);
  });
}

void run_add_logit_bias(const AddLogitBiasParams& p, ThreadPool&) {
  for (int64_t e = 0; e < p.entries; ++e) {
    const int64_t row = p.row[e], token = p.token[e];
    if (row < 0 || row >= p.rows || token < 0 || token >= p.vocab) continue;
    p.logits[row * p.logits_stride + token] += p.bias[e];
  }
}

}  // namespace mamba::cpu
