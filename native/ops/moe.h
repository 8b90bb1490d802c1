#pragma once
#include <optional>

#include "core/tensor.h"

namespace mamba {

class Checker;

// What the router's logits become. The order is that of src/ops/codes.ts.
enum class RouterScore : int32_t { softmax = 0, sigmoid = 1 };

// Lanes of a warp times what each holds: the router of one token on a GPU.
inline constexpr int64_t kMostExperts = 1024;
// Pairs (token, one of its experts) of a step: their numbers are words.
inline constexpr int64_t kMostPairs = int64_t{1} << 30;

struct RouteParams {
  int64_t tokens, experts, k;  // k: experts of a token
  int64_t groups, kept_groups;
  const float* logits;  // [tokens, experts], row stride logits_stride
  int64_t logits_stride;
  const float* bias;     // [experts] or null: of the scores, for the selection only
  const int32_t* slots;  // [tokens] or null: a negative one marks padding
  int32_t* ids;          // [tokens, k] contiguous
  float* weights;        // [tokens, k] contiguous
  RouterScore score;
  bool normalise;
  float scale;
};

// What an op that ends in a choice is given; binds tokens, experts and k.
RouteParams checked_route(Checker& check, Tensor ids, Tensor weights, Tensor logits, std::optional<Tensor> bias,
                          std::optional<Tensor> slots, int64_t score, int64_t groups, int64_t kept_groups,
                          bool normalise, double scale);

struct LocalExpertsParams {
  int64_t pairs;
  int32_t first;
  int32_t* ids;  // [pairs], in place
};

struct SortByExpertParams {
  int64_t pairs, k, experts;  // pairs: tokens k
  const int32_t* ids;         // [tokens, k] contiguous; one outside [0, experts) is padding
  int32_t* row_token;         // [pairs]
  int32_t* offsets;           // [experts + 1]
  int32_t* positions;         // [tokens, k] contiguous
};

struct MoeCombineParams {
  int64_t tokens, k, rows, width;
  const void* y;  // [rows, width], row stride y_stride
  int64_t y_stride;
  const float* weights;      // [tokens, k] contiguous
  const int32_t* positions;  // [tokens, k] contiguous; one outside [0, rows) adds nothing
  void* out;                 // [tokens, width], row stride out_stride
  int64_t out_stride;
  float alpha;
  bool accumulate;  // out += instead of out =
  DType y_dtype, out_dtype;
};

}  // namespace mamba
