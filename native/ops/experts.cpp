#include "ops/experts.h"

#include "core/check.h"
#include "ops/backend.h"
#include "ops/packed_weight.h"

namespace mamba {
void linear_route(Stream& stream, Tensor ids, Tensor weights, Tensor logits, Tensor x, Tensor weight,
                  std::optional<Tensor> bias, std::optional<Tensor> slots, int64_t score, int64_t groups,
                  int64_t kept_groups, bool normalise, double scale) {
  Checker check("linear_route", stream.device());
  check.shape(x, "x", {"tokens", "width"}).dtype(x, "x", kFloatTypes).last_contiguous(x, "x");
  check_packed(check, weight, "weight", {"experts", "width"});
  const RouteParams route =
      checked_route(check, ids, weights, logits, bias, slots, score, groups, kept_groups, normalise, scale);
  if (ids.elements() == 0) return;
  backend_of(stream).linear_route(stream, {.linear = product(logits, x, weight), .route = route});
}

void experts(Stream& stream, Tensor out, Tensor x, Tensor ids, Tensor weights, Tensor up, Tensor down, Tensor sorted,
             Tensor between, Tensor products, std::optional<Tensor> shared_up, std::optional<Tensor> shared_down,
             std::optional<Tensor> shared_gate, std::optional<Tensor> shared_between,
             std::optional<Tensor> shared_factors, int64_t activation, bool gated, double alpha, bool accumulate) {
  Checker check("experts", stream.device());
  check.shape(x, "x", {"tokens", "width"}).dtype(x, "x", kFloatTypes).last_contiguous(x, "x");
  check.shape(ids, "ids", {"tokens", "k"}).dtype(ids, "ids", {DType::i32}).contiguous(ids, "ids");
  check.shape(weights, "weights", {"tokens", "k"})
      .dtype(weights, "weights", {DType::f32})
      .contiguous(weights, "weights");
  check_packed(check, up, "up", {"experts", "n", "width"});
  check_packed(check, down, "down", {"experts", "width", "size"});
  const int64_t tokens = check.size("tokens"), count = check.size("experts"), k = check.size("k");
  const int64_t width = check.size("width"), size = check.size("size"), pairs = tokens * k, products_of = gated ? 2 : 1;
  if (check.size("n") != products_of * size)
    check.refuse("up has n = " + std::to_string(check.size("n")) + " rows, expected " +
                 std::to_string(products_of * size) + ", " + (gated ? "a gate's and as many more" : "down's size"));
  if (count > kMostExperts)
    check.refuse("experts = " + std::to_string(count) + ", expected at most " + std::to_string(kMostExperts));
  constexpr int64_t kMostPairs = int64_t{1} << 30;
  check.shape(sorted, "sorted", {"words"}).dtype(sorted, "sorted", {DType::i32}).contiguous(sorted, "sorted");
  if (pairs > kMostPairs || check.size("words") != 2 * pairs + count + 1)
    check.refuse("sorted is " + sorted.shape_text() + ", expected 2 tokens k + experts + 1 = " +
                 std::to_string(2 * pairs + count + 1) + " words, of at most 2^30 pairs");
  check.shape(between, "between", {"pairs", "size"}).same_dtype(between, "between", x, "x");
  check.contiguous(between, "between");
  check.shape(products, "products", {"pairs", "width"}).same_dtype(products, "products", x, "x");
  check.contiguous(products, "products");
  if (check.size("pairs") != pairs)
    check.refuse("between is " + between.shape_text() + ", expected tokens k = " + std::to_string(pairs) + " rows");
  check.shape(out, "out", {"tokens", "width"}).dtype(out, "out", {DType::f32, x.dtype}).last_contiguous(out, "out");
  const Activation chosen = checked_activation(check, activation);
  const bool shared = shared_up.has_value();
  if (shared != shared_down.has_value() || shared != shared_between.has_value())
    check.refuse("shared_up, shared_down and shared_between belong together: one of them is missing");
  if (shared_gate.has_value() != shared_factors.has_value() || (shared_gate && !shared))
    check.refuse("shared_gate and shared_factors belong together, and to a shared expert: one of them is missing");

  int32_t* words = sorted.as<int32_t>();
  int32_t *row_token = words, *positions = words + pairs, *offsets = words + 2 * pairs;
  ExpertsParams p = {};
  p.sort = {.pairs = pairs,
            .k = k,
            .experts = count,
            .ids = ids.as<int32_t>(),
            .row_token = row_token,
            .offsets = offsets,
            .positions = positions};
  p.up = {.rows = pairs,
          .x_rows = tokens,
          .experts = count,
          .n = products_of * size,
          .k = width,
          .columns = size,
          .x = x.data,
          .x_stride = x.stride(0),
          .row_token = row_token,
          .offsets = offsets,
          .weight = up.data,
          .out = between.data,
          .out_stride = size,
          .activation = chosen,
          .gated = gated,
          .x_dtype = x.dtype,
          .weight_dtype = up.dtype,
          .out_dtype = x.dtype,
          .weight_group = up.group};
  p.down = {.rows = pairs,
            .x_rows = pairs,
            .experts = count,
            .n = width,
            .k = size,
            .columns = width,
            .x = between.data,
            .x_stride = size,
            .row_token = nullptr,
            .offsets = offsets,
            .weight = down.data,
            .out = products.data,
            .out_stride = width,
            .activation = Activation::identity,
            .gated = false,
            .x_dtype = x.dtype,
            .weight_dtype = down.dtype,
            .out_dtype = x.dtype,
            .weight_group = down.group};
  p.combine = {.tokens = tokens,
               .k = k,
               .rows = pairs,
               .width = width,
               .y = products.data,
               .y_stride = width,
               .weights = weights.as<float>(),
               .positions = positions,
               .out = out.data,
               .out_stride = out.stride(0),
               .alpha = static_cast<float>(alpha),
               .accumulate = accumulate,
               .y_dtype = x.dtype,
               .out_dtype = out.dtype};
  p.shared = shared, p.gated = shared_gate.has_value();
  if (shared) {
    check_packed(check, *shared_up, "shared_up", {"shared_n", "width"});
    check_packed(check, *shared_down, "shared_down", {"width", "shared_size"});
    check.shape(*shared_between, "shared_between", {"tokens", "shared_n"});
    check.same_dtype(*shared_between, "shared_between", x, "x").contiguous(*shared_between, "shared_between");
    const int64_t shared_size = check.size("shared_size"), shared_n = check.size("shared_n");
    if (shared_n != products_of * shared_size)
      check.refuse("shared_up has " + std::to_string(shared_n) + " rows, expected " +
                   std::to_string(products_of * shared_size));
    p.shared_up = product(*shared_between, x, *shared_up);
    const size_t element = size_of(x.dtype);
    p.shared_activation = {
        .rows = tokens,
        .width = shared_size,
        .x = shared_between->data,
        .x_stride = shared_n,
        .up = gated ? static_cast<const char*>(shared_between->data) + static_cast<size_t>(shared_size) * element
                    : nullptr,
        .up_stride = gated ? shared_n : 0,
        .out = shared_between->data,
        .out_stride = shared_n,
        .scale = 1,
        .activation = chosen,
        .broadcast = false,
        .x_dtype = x.dtype,
        .out_dtype = x.dtype};
    if (shared_gate) {
      check_packed(check, *shared_gate, "shared_gate", {"1", "width"});
      check.shape(*shared_factors, "shared_factors", {"tokens", "1"});
      check.same_dtype(*shared_factors, "shared_factors", x, "x").contiguous(*shared_factors, "shared_factors");
      p.shared_gate = product(*shared_factors, x, *shared_gate);
      p.shared_gating = p.shared_activation;
      p.shared_gating.x = shared_factors->data, p.shared_gating.x_stride = 1, p.shared_gating.broadcast = true;
      p.shared_gating.up = shared_between->data, p.shared_gating.up_stride = shared_n;
      p.shared_gating.activation = Activation::sigmoid;
    }
    p.shared_down = product(out, *shared_between, *shared_down);
    p.shared_down.alpha = static_cast<float>(alpha), p.shared_down.accumulate = true;
  }
  if (out.elements() == 0) return;
  backend_of(stream).experts(stream, p);
}

}  // namespace mamba
