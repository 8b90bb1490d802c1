#pragma once
#include <cstdint>

namespace mamba {

// Tokens in a word of a mask. Bit i of word w is token 32 * w + i, the lowest bit first.
inline constexpr int64_t kMaskBits = 32;

struct MaskLogitsParams {
  int64_t rows, masks, vocab;
  float* logits;  // [rows, vocab], row stride logits_stride
  int64_t logits_stride;
  const uint32_t* table;  // [masks, ceil(vocab / 32)], row stride table_stride; bits past the vocabulary do not count
  int64_t table_stride;
  const int32_t* mask_of;  // [rows]: a row of the table; outside [0, masks) = the logits stay as they are
};

struct AddLogitBiasParams {
  int64_t entries, rows, vocab;
  float* logits;  // [rows, vocab], row stride logits_stride
  int64_t logits_stride;
  const int32_t *row, *token;  // [entries]; an entry outside the logits does nothing. Each pair once.
  const float* bias;           // [entries]
};

}  // namespace mamba
