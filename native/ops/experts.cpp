#include "ops/experts.h"

#include "core/check.h"
#include "ops/backend.h"
#include "ops/packed_weight.h"

namespace mamba {

void linear_route(Stream& stream, Tensor ids, Tensor weights, Tensor logits, Tensor x, Tensor weight,
                  std::optional<Tensor> bias, std::optional<Tensor> slots, int64_t score, int64_t groups,
                  int64_t kept_groups, bool normalise, double scale) {
  Checker check("linear_route", stream.device());
  check.rows(x, "x", {"tokens", "width"});
  check_packed(check, weight, "weight", {"experts", "width"});
  const RouteParams route =
      checked_route(check, ids, weights, logits, bias, slots, score, groups, kept_groups, normalise, scale);
  if (ids.elements() == 0) return;
  backend_of(stream).linear_route(stream, {.linear = product(logits, x, weight), .route = route});
}

namespace {

// What the expert that every token uses is given, if there is one.
struct SharedExpert {
  std::optional<Tensor> up, down, gate, between, factors;
};

// Its ops, after those of the routed experts: `p.combine` is filled, and out gets more. Binds shared_n and shared_size.
void add_shared(Checker& check, ExpertsParams& p, const SharedExpert& shared, const Tensor& out, const Tensor& x,
                Activation activation, bool gated) {
  if (shared.up.has_value() != shared.down.has_value() || shared.up.has_value() != shared.between.has_value())
    check.refuse("shared_up, shared_down and shared_between belong together: one of them is missing");
  if (shared.gate.has_value() != shared.factors.has_value() || (shared.gate && !shared.up))
    check.refuse("shared_gate and shared_factors belong together, and to a shared expert: one of them is missing");
  p.shared = shared.up.has_value(), p.gated = shared.gate.has_value();
  if (!p.shared) return;
  check.apart(out, x, "x", "the shared expert still reads x");
  const Tensor& between = *shared.between;
  check_packed(check, *shared.up, "shared_up", {"shared_n", "width"});
  check_packed(check, *shared.down, "shared_down", {"width", "shared_size"});
  check.dense(between, "shared_between", {"tokens", "shared_n"}, x.dtype);
  const int64_t size = check.size("shared_size"), n = check.size("shared_n"), expected = gated ? 2 * size : size;
  if (n != expected) check.refuse("shared_up has " + std::to_string(n) + " rows, expected " + std::to_string(expected));
  p.shared_up = product(between, x, *shared.up);
  p.shared_activation = {
      .rows = x.size(0),
      .width = size,
      .x = between.data,
      .x_stride = n,
      .up = gated ? between.as<char>() + static_cast<size_t>(size) * size_of(x.dtype) : nullptr,
      .up_stride = gated ? n : 0,
      .out = between.data,
      .out_stride = n,
      .scale = 1,
      .activation = activation,
      .broadcast = false,
      .x_dtype = x.dtype,
      .out_dtype = x.dtype,
  };
  if (p.gated) {
    check_packed(check, *shared.gate, "shared_gate", {"1", "width"});
    check.dense(*shared.factors, "shared_factors", {"tokens", "1"}, x.dtype);
    p.shared_gate = product(*shared.factors, x, *shared.gate);
    p.shared_gating = p.shared_activation;
    p.shared_gating.x = shared.factors->data, p.shared_gating.x_stride = 1, p.shared_gating.broadcast = true;
    p.shared_gating.up = between.data, p.shared_gating.up_stride = n;
    p.shared_gating.activation = Activation::sigmoid;
  }
  p.shared_down = product(out, between, *shared.down);
  p.shared_down.alpha = p.combine.alpha, p.shared_down.accumulate = true;
}

}  // namespace

void experts(Stream& stream, Tensor out, Tensor x, Tensor ids, Tensor weights, Tensor up, Tensor down, Tensor sorted,
             Tensor between, Tensor products, std::optional<Tensor> shared_up, std::optional<Tensor> shared_down,
             std::optional<Tensor> shared_gate, std::optional<Tensor> shared_between,
             std::optional<Tensor> shared_factors, int64_t activation, bool gated, double alpha, bool accumulate) {
  Checker check("experts", stream.device());
  check.rows(x, "x", {"tokens", "width"});
  check.dense(ids, "ids", {"tokens", "k"}, DType::i32);
  check.dense(weights, "weights", {"tokens", "k"}, DType::f32);
  check_packed(check, up, "up", {"experts", "n", "width"});
  check_packed(check, down, "down", {"experts", "width", "size"});
  const int64_t tokens = check.size("tokens"), count = check.size("experts"), k = check.size("k");
  const int64_t width = check.size("width"), size = check.size("size"), pairs = tokens * k, products_of = gated ? 2 : 1;
  if (check.size("n") != products_of * size)
    check.refuse("up has n = " + std::to_string(check.size("n")) + " rows, expected " +
                 std::to_string(products_of * size) + ", " + (gated ? "a gate's and as many more" : "down's size"));
  if (count > kMostExperts)
    check.refuse("experts = " + std::to_string(count) + ", expected at most " + std::to_string(kMostExperts));
  check.dense(sorted, "sorted", {"words"}, DType::i32);
  if (pairs > kMostPairs || check.size("words") != 2 * pairs + count + 1)
    check.refuse("sorted is " + sorted.shape_text() + ", expected 2 tokens k + experts + 1 = " +
                 std::to_string(2 * pairs + count + 1) + " words, of at most 2^30 pairs");
  check.dense(between, "between", {"pairs", "size"}, x.dtype);
  check.dense(products, "products", {"pairs", "width"}, x.dtype);
  if (check.size("pairs") != pairs)
    check.refuse("between is " + between.shape_text() + ", expected tokens k = " + std::to_string(pairs) + " rows");
  check.rows(out, "out", {"tokens", "width"}, {DType::f32, x.dtype});
  const Activation chosen = checked_activation(check, activation);

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
  add_shared(check, p, {shared_up, shared_down, shared_gate, shared_between, shared_factors}, out, x, chosen, gated);
  if (out.elements() == 0) return;
  backend_of(stream).experts(stream, p);
}

}  // namespace mamba
