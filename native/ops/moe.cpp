#include "ops/moe.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {
namespace {

RouterScore checked_score(Checker& check, int64_t code) {
  if (code != 0 && code != 1)
    check.refuse("score is " + std::to_string(code) + ", expected 0 (softmax) or 1 (sigmoid)");
  return static_cast<RouterScore>(code);
}

// Every token must find k experts in the groups that are kept.
void check_groups(Checker& check, int64_t groups, int64_t kept_groups) {
  const int64_t experts = check.size("experts"), k = check.size("k");
  if (groups < 1 || experts % groups != 0 || (groups > 1 && experts / groups < 2))
    check.refuse("groups is " + std::to_string(groups) +
                 ", expected 1, or a divisor of experts = " + std::to_string(experts) + " that leaves two in a group");
  if (kept_groups < 1 || kept_groups > groups)
    check.refuse("kept_groups is " + std::to_string(kept_groups) +
                 ", expected 1 to groups = " + std::to_string(groups));
  if (k > experts / groups * kept_groups)
    check.refuse("k = " + std::to_string(k) + " experts of a token, expected at most the " +
                 std::to_string(experts / groups * kept_groups) + " of its groups");
}

}  // namespace

RouteParams checked_route(Checker& check, Tensor ids, Tensor weights, Tensor logits, std::optional<Tensor> bias,
                          std::optional<Tensor> slots, int64_t score, int64_t groups, int64_t kept_groups,
                          bool normalise, double scale) {
  check.rows(logits, "logits", {"tokens", "experts"}, {DType::f32});
  check.dense(ids, "ids", {"tokens", "k"}, DType::i32);
  check.dense(weights, "weights", {"tokens", "k"}, DType::f32);
  if (bias) check.dense(*bias, "bias", {"experts"}, DType::f32);
  if (slots) check.dense(*slots, "slots", {"tokens"}, DType::i32);
  if (check.size("experts") > kMostExperts)
    check.refuse("experts = " + std::to_string(check.size("experts")) + ", expected at most " +
                 std::to_string(kMostExperts));
  const RouterScore chosen = checked_score(check, score);
  check_groups(check, groups, kept_groups);
  return {
      .tokens = check.size("tokens"),
      .experts = check.size("experts"),
      .k = check.size("k"),
      .groups = groups,
      .kept_groups = kept_groups,
      .logits = logits.as<float>(),
      .logits_stride = logits.stride(0),
      .bias = bias ? bias->as<float>() : nullptr,
      .slots = slots ? slots->as<int32_t>() : nullptr,
      .ids = ids.as<int32_t>(),
      .weights = weights.as<float>(),
      .score = chosen,
      .normalise = normalise,
      .scale = static_cast<float>(scale),
  };
}

void route(Stream& stream, Tensor ids, Tensor weights, Tensor logits, std::optional<Tensor> bias,
           std::optional<Tensor> slots, int64_t score, int64_t groups, int64_t kept_groups, bool normalise,
           double scale) {
  Checker check("route", stream.device());
  const RouteParams params =
      checked_route(check, ids, weights, logits, bias, slots, score, groups, kept_groups, normalise, scale);
  if (ids.elements() == 0) return;
  backend_of(stream).route(stream, params);
}

void local_experts(Stream& stream, Tensor ids, int64_t first) {
  Checker check("local_experts", stream.device());
  check.dense(ids, "ids", {"tokens", "k"}, DType::i32);
  if (first < 0 || first >= kMostExperts)
    check.refuse("first is " + std::to_string(first) + ", expected 0 to " + std::to_string(kMostExperts - 1));
  if (ids.elements() == 0) return;
  backend_of(stream).local_experts(
      stream, {.pairs = ids.elements(), .first = static_cast<int32_t>(first), .ids = ids.as<int32_t>()});
}

void sort_by_expert(Stream& stream, Tensor row_token, Tensor offsets, Tensor positions, Tensor ids) {
  Checker check("sort_by_expert", stream.device());
  check.dense(ids, "ids", {"tokens", "k"}, DType::i32);
  check.dense(positions, "positions", {"tokens", "k"}, DType::i32);
  check.dense(row_token, "row_token", {"rows"}, DType::i32);
  check.dense(offsets, "offsets", {"offsets"}, DType::i32);
  const int64_t pairs = ids.elements(), experts = check.size("offsets") - 1;
  if (check.size("rows") != pairs || pairs > kMostPairs)
    check.refuse("row_token is " + row_token.shape_text() + ", expected tokens k = " + std::to_string(pairs) +
                 " rows, at most 2^30");
  if (experts < 1 || experts > kMostExperts)
    check.refuse("offsets is " + offsets.shape_text() + ", expected one more than 1 to " +
                 std::to_string(kMostExperts) + " experts");
  backend_of(stream).sort_by_expert(stream, {
                                                .pairs = pairs,
                                                .k = check.size("k"),
                                                .experts = experts,
                                                .ids = ids.as<int32_t>(),
                                                .row_token = row_token.as<int32_t>(),
                                                .offsets = offsets.as<int32_t>(),
                                                .positions = positions.as<int32_t>(),
                                            });
}

void moe_combine(Stream& stream, Tensor out, Tensor y, Tensor weights, Tensor positions, double alpha,
                 bool accumulate) {
  Checker check("moe_combine", stream.device());
  check.rows(y, "y", {"rows", "width"});
  check.dense(weights, "weights", {"tokens", "k"}, DType::f32);
  check.dense(positions, "positions", {"tokens", "k"}, DType::i32);
  check.rows(out, "out", {"tokens", "width"});
  if (out.elements() == 0) return;
  backend_of(stream).moe_combine(stream, {
                                             .tokens = check.size("tokens"),
                                             .k = check.size("k"),
                                             .rows = check.size("rows"),
                                             .width = check.size("width"),
                                             .y = y.data,
                                             .y_stride = y.stride(0),
                                             .weights = weights.as<float>(),
                                             .positions = positions.as<int32_t>(),
                                             .out = out.data,
                                             .out_stride = out.stride(0),
                                             .alpha = static_cast<float>(alpha),
                                             .accumulate = accumulate,
                                             .y_dtype = y.dtype,
                                             .out_dtype = out.dtype,
                                         });
}

}  // namespace mamba
