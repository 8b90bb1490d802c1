// Checks of route, sort_by_expert, moe_combine, activation and scale on a GPU against plain host code, and their times
// at the shapes of a mixture of experts. native/lab/README.md says how to build and run it.
#include <algorithm>
#include <numeric>

#include "cuda/kernels.h"
#include "cuda/moe_combine.h"
#include "lab/context.cuh"
#include "lab/lab.cuh"

namespace {

using namespace mamba;
using lab::Buffer;
using lab::Host;

int failures = 0;

void verdict(bool good, const char* format, long a = 0, long b = 0, long c = 0) {
  char text[160];
  std::snprintf(text, sizeof text, format, a, b, c);
  if (!good) ++failures;
  std::printf("%s %s\n", good ? "ok    " : "FAILED", text);
}

std::vector<int32_t> ints(const Buffer& buffer, int64_t count) {
  std::vector<int32_t> v(static_cast<size_t>(count));
  LAB_CHECK(cudaMemcpy(v.data(), buffer.data, v.size() * 4, cudaMemcpyDeviceToHost));
  return v;
}

void check_route(cuda::Context& context, RouteParams p, int levels) {
  lab::Random random{3};
  Host logits(DType::f32, p.tokens * p.experts), bias(DType::f32, p.experts);
  logits.fill_normal(random), bias.fill_uniform(random, -3, -1.5);
  if (levels) {
    for (int64_t i = 0; i < logits.size(); ++i) logits.set(i, static_cast<double>(random.below(levels)));
  }
  const bool biased = p.bias != nullptr;
  const Buffer l(logits), b(bias), ids(static_cast<size_t>(p.tokens * p.k) * 4), w(ids.bytes);
  p.logits = l.as<float>(), p.logits_stride = p.experts, p.bias = biased ? b.as<float>() : nullptr;
  p.ids = ids.as<int32_t>(), p.weights = w.as<float>();
  cuda::run_route(p, context);
  LAB_CHECK(cudaStreamSynchronize(context.stream));
  const std::vector<int32_t> got = ints(ids, p.tokens * p.k);
  const Host weights = w.download(DType::f32);
  long bad = 0;
  for (int64_t t = 0; t < p.tokens; ++t) {
    std::vector<double> s(static_cast<size_t>(p.experts));
    double peak = -1e30, total = 0;
    for (int64_t e = 0; e < p.experts; ++e) peak = std::max(peak, logits.get(t * p.experts + e));
    for (int64_t e = 0; e < p.experts; ++e) {
      const double x = logits.get(t * p.experts + e);
      s[e] = p.score == RouterScore::softmax ? std::exp(x - peak) : 1 / (1 + std::exp(-x));
      total += s[e];
    }
    if (p.score == RouterScore::softmax) {
      for (double& x : s) x /= total;
    }
    std::vector<double> ranked(s);
    for (int64_t e = 0; e < p.experts; ++e) ranked[e] += biased ? bias.get(e) : 0;
    const int64_t size = p.experts / p.groups;
    std::vector<std::pair<double, int64_t>> groups;
    for (int64_t g = 0; g < p.groups && size > 1; ++g) {
      std::vector<double> of(ranked.begin() + g * size, ranked.begin() + (g + 1) * size);
      std::sort(of.rbegin(), of.rend());
      groups.push_back({-(of[0] + of[1]), g});
    }
    std::sort(groups.begin(), groups.end());
    for (size_t i = static_cast<size_t>(p.kept_groups); i < groups.size(); ++i) {
      for (int64_t e = 0; e < size; ++e) ranked[groups[i].second * size + e] = -1e30;
    }
    std::vector<int64_t> order(static_cast<size_t>(p.experts));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t c) { return ranked[a] > ranked[c]; });
    double sum = 0;
    for (int64_t j = 0; j < p.k; ++j) sum += s[order[j]];
    for (int64_t j = 0; j < p.k; ++j) {
      const double want = p.scale * s[order[j]] / (p.normalise ? sum : 1);
      bad += got[t * p.k + j] != order[j] || !(std::abs(weights.get(t * p.k + j) - want) < 1e-5 * want + 1e-7);
    }
  }
  verdict(bad == 0, "route: %ld tokens, %ld experts, %ld of each", p.tokens, p.experts, p.k);
}

void check_sort(cuda::Context& context, int64_t tokens, int64_t k, int64_t experts, bool one) {
  lab::Random random{5};
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens * k; ++i) {
    ids.push_back(i / k % 5 == 3 ? -1 : static_cast<int32_t>(one ? experts / 2 : random.below(experts)));
  }
  const Buffer in(ids), token(ids.size() * 4), offsets(static_cast<size_t>(experts + 1) * 4), positions(ids.size() * 4);
  cuda::run_sort_by_expert({static_cast<int64_t>(ids.size()), k, experts, in.as<int32_t>(), token.as<int32_t>(),
                            offsets.as<int32_t>(), positions.as<int32_t>()},
                           context);
  LAB_CHECK(cudaStreamSynchronize(context.stream));
  const auto t = ints(token, tokens * k), o = ints(offsets, experts + 1), q = ints(positions, tokens * k);
  int32_t row = 0;
  bool good = true;
  for (int32_t e = 0; e < experts; ++e) {
    good &= o[e] == row;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] != e) continue;
      good &= q[i] == row && t[row] == static_cast<int32_t>(static_cast<int64_t>(i) / k);
      ++row;
    }
  }
  good &= o[experts] == row;
  for (size_t i = 0; i < ids.size(); ++i) good &= ids[i] >= 0 || q[i] == -1;
  for (size_t r = static_cast<size_t>(row); r < ids.size(); ++r) good &= t[r] == -1;
  verdict(good, "sort_by_expert: %ld tokens, %ld of %ld", tokens, k, experts);
}

void check_combine(cuda::Context& context, int64_t tokens, int64_t k, int64_t width, DType type, DType to, bool add) {
  lab::Random random{9};
  const int64_t pairs = tokens * k;
  Host y(type, pairs * width), w(DType::f32, pairs), before(to, tokens * width);
  y.fill_normal(random), w.fill_uniform(random, 0, 1), before.fill_normal(random);
  std::vector<int32_t> q;
  for (int64_t i = 0; i < pairs; ++i) q.push_back(i % 7 == 5 ? -1 : static_cast<int32_t>(random.below(pairs)));
  const Buffer by(y), bw(w), bq(q), out(before);
  cuda::run_moe_combine(
      {tokens, k, pairs, width, by.data, width, bw.as<float>(), bq.as<int32_t>(), out.data, width, 0.5f, add, type, to},
      context);
  LAB_CHECK(cudaStreamSynchronize(context.stream));
  const Host got = out.download(to);
  lab::Errors errors;
  for (int64_t i = 0; i < tokens * width; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) {
      const int64_t pair = i / width * k + j;
      if (q[pair] >= 0) sum += w.get(pair) * y.get(q[pair] * width + i % width);
    }
    errors.add(got.get(i), 0.5 * sum + (add ? before.get(i) : 0), 2e-6 * static_cast<double>(k), lab::rounding(to));
  }
  verdict(errors.bad == 0, "moe_combine: %ld tokens, %ld of each, width %ld", tokens, k, width);
}

void check_combine_shared(cuda::Context& context, int64_t tokens, int64_t k, int64_t width, DType type, DType to,
                          bool gated) {
  lab::Random random{13};
  const int64_t pairs = tokens * k, stride = width + 8;
  Host y(type, pairs * width), w(DType::f32, pairs), before(to, tokens * width), beside(type, tokens * width),
      x(type, tokens * stride), gate(type, width);
  y.fill_normal(random), w.fill_uniform(random, 0, 1), before.fill_normal(random), beside.fill_normal(random);
  x.fill_normal(random), gate.fill_normal(random, 1 / std::sqrt(static_cast<double>(width)));
  std::vector<int32_t> q;
  for (int64_t i = 0; i < pairs; ++i) q.push_back(i % 7 == 5 ? -1 : static_cast<int32_t>(random.below(pairs)));
  const Buffer by(y), bw(w), bq(q), out(before), bb(beside), bx(x), bg(gate);
  const MoeCombineParams p = {tokens,           k,        pairs, width, by.data, width, bw.as<float>(),
                              bq.as<int32_t>(), out.data, width, 0.5f,  true,    type,  to};
  const cuda::SharedRows shared = {
      .y = bb.data, .x = gated ? bx.data : nullptr, .x_stride = gated ? stride : 0, .gate = gated ? bg.data : nullptr};
  if (!cuda::combines_shared(p, shared)) return verdict(false, "moe_combine with a shared row: does not fit");
  cuda::run_moe_combine_shared(p, shared, context);
  LAB_CHECK(cudaStreamSynchronize(context.stream));
  const Host got = out.download(to);
  lab::Errors errors;
  for (int64_t t = 0; t < tokens; ++t) {
    double logit = 0;
    for (int64_t c = 0; gated && c < width; ++c) logit += x.get(t * stride + c) * gate.get(c);
    const double factor = gated ? 1 / (1 + std::exp(-logit)) : 1;
    for (int64_t c = 0; c < width; ++c) {
      double sum = factor * beside.get(t * width + c);
      for (int64_t j = 0; j < k; ++j) {
        const int64_t pair = t * k + j;
        if (q[pair] >= 0) sum += w.get(pair) * y.get(q[pair] * width + c);
      }
      // The logit is rounded.
      const double allowed =
          2e-6 * static_cast<double>(k) +
          (gated ? std::abs(logit * factor * (1 - factor) * beside.get(t * width + c)) : 0) * lab::rounding(type);
      errors.add(got.get(t * width + c), 0.5 * sum + before.get(t * width + c), allowed, lab::rounding(to));
    }
  }
  verdict(errors.bad == 0, "moe_combine with a shared row: %ld tokens, %ld of each, width %ld", tokens, k, width);
}

void check_pointwise(cuda::Context& context, int64_t rows, int64_t width, DType type, DType to) {
  lab::Random random{11};
  Host x(type, rows * width), up(type, rows * width), before(to, rows * width);
  x.fill_normal(random, 3), up.fill_normal(random), before.fill_normal(random);
  const Buffer bx(x), bup(up);
  Buffer out(before);
  for (int code = 0; code < kActivationCount; ++code) {
    for (const bool broadcast : {false, true}) {
      cuda::run_activation({rows, width, bx.data, broadcast ? 1 : width, bup.data, width, out.data, width, 0.7f,
                            static_cast<Activation>(code), broadcast, type, to},
                           context);
      LAB_CHECK(cudaStreamSynchronize(context.stream));
      const Host got = out.download(to);
      lab::Errors errors;
      for (int64_t i = 0; i < rows * width; ++i) {
        const double v = static_cast<double>(0.7f) * x.get(broadcast ? i / width : i);
        const double tanh_of = std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v));
        const double f[] = {v,
                            v / (1 + std::exp(-v)),
                            v * std::erfc(-v / std::sqrt(2)) / 2,
                            v * (1 + tanh_of) / 2,
                            v > 0 ? v * v : 0,
                            1 / (1 + std::exp(-v))};
        errors.add(got.get(i), f[code] * up.get(i), 1e-5, 2 * lab::rounding(to) + 1e-5);
      }
      verdict(errors.bad == 0, "activation %ld: width %ld, broadcast %ld", code, width, broadcast);
    }
  }
  out.upload(before);
  cuda::run_scale({rows, width, bx.data, width, out.data, width, -1.5f, true, type, to}, context);
  LAB_CHECK(cudaStreamSynchronize(context.stream));
  const Host got = out.download(to);
  lab::Errors errors;
  for (int64_t i = 0; i < rows * width; ++i) {
    errors.add(got.get(i), -1.5 * x.get(i) + before.get(i), 3e-6, lab::rounding(to));
  }
  verdict(errors.bad == 0, "scale: width %ld", width);
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  lab::Bench bench;
  cuda::Context context = lab::context_of(bench.stream());
  const float some = 0;
  RouteParams soft{.tokens = 65,
                   .experts = 128,
                   .k = 6,
                   .groups = 1,
                   .kept_groups = 1,
                   .score = RouterScore::softmax,
                   .normalise = true,
                   .scale = 1};
  RouteParams deepseek = soft;
  deepseek.bias = &some, deepseek.score = RouterScore::sigmoid, deepseek.scale = 2.5f;
  for (const auto& [experts, k] : {std::pair{1, 1}, {5, 5}, {33, 4}, {64, 6}, {128, 6}, {512, 22}, {1000, 40}}) {
    for (RouteParams p : {soft, deepseek}) {
      p.experts = experts, p.k = k;
      check_route(context, p, 0), check_route(context, p, 2);
    }
  }
  deepseek.groups = 8, deepseek.kept_groups = 4;
  check_route(context, deepseek, 0), check_route(context, deepseek, 2);
  soft.normalise = false;
  check_route(context, soft, 0);
  for (const bool one : {false, true}) {
    check_sort(context, 1, 6, 128, one), check_sort(context, 64, 6, 128, one);
    check_sort(context, 900, 6, 128, one), check_sort(context, 2000, 22, 512, one), check_sort(context, 3, 1, 1, one);
    check_sort(context, 8192, 8, 256, one), check_sort(context, 777, 9, 1024, one);
  }
  check_combine(context, 1, 6, 2688, DType::bf16, DType::f32, true);
  check_combine(context, 65, 22, 17, DType::f16, DType::f16, true);
  check_combine(context, 300, 3, 96, DType::bf16, DType::bf16, false);
  for (const bool gated : {false, true}) {
    check_combine_shared(context, 65, 8, 2048, DType::bf16, DType::f32, gated);
    check_combine_shared(context, 33, 5, 264, DType::f16, DType::f16, gated);
    check_combine_shared(context, 9, 3, 4096, DType::f32, DType::f32, gated);
  }
  check_pointwise(context, 33, 264, DType::bf16, DType::bf16), check_pointwise(context, 33, 45, DType::f32, DType::f32);
  check_pointwise(context, 300, 96, DType::f16, DType::f32);
  std::printf("%d checks failed\n", failures);
  struct Shape {
    int64_t experts, k, width;
  };
  for (const auto& [experts, k, width] : {Shape{128, 6, 2688}, Shape{256, 8, 2048}}) {
    for (const int64_t tokens : {1, 64, 512, 1193, 8192}) {
      const int64_t pairs = tokens * k;
      lab::Random random{1};
      Host logits(DType::f32, tokens * experts);
      logits.fill_normal(random);
      Host weights(DType::f32, pairs);
      const auto size = static_cast<size_t>(pairs), row = static_cast<size_t>(width);
      const Buffer l(logits), ids(size * 4), w(weights), token(size * 4), offsets(static_cast<size_t>(experts + 1) * 4),
          positions(size * 4), y(size * row * 2), out(static_cast<size_t>(tokens) * row * 4);
      RouteParams p = soft;
      p.tokens = tokens, p.experts = experts, p.k = k;
      p.logits = l.as<float>(), p.logits_stride = experts, p.ids = ids.as<int32_t>(), p.weights = w.as<float>();
      const auto time = [&](auto&& run) {
        return bench.time([&](cudaStream_t) { context.early = false, run(); }).event;
      };
      const double a = time([&] { cuda::run_route(p, context); });
      const auto sort = [&] {
        cuda::run_sort_by_expert(
            {pairs, k, experts, ids.as<int32_t>(), token.as<int32_t>(), offsets.as<int32_t>(), positions.as<int32_t>()},
            context);
      };
      const double b = time(sort);
      const double c = time([&] {
        cuda::run_moe_combine({tokens, k, pairs, width, y.data, width, w.as<float>(), positions.as<int32_t>(), out.data,
                               width, 1, true, DType::bf16, DType::f32},
                              context);
      });
      const Buffer shared(static_cast<size_t>(tokens) * row * 2), x(shared.bytes), gate(row * 2);
      const double d = time([&] {
        cuda::run_moe_combine_shared({tokens, k, pairs, width, y.data, width, w.as<float>(), positions.as<int32_t>(),
                                      out.data, width, 1, true, DType::bf16, DType::f32},
                                     {shared.data, x.data, width, gate.data}, context);
      });
      std::printf(
          "%ld experts, tokens %5ld: route %.2f us, sort_by_expert %.2f, moe_combine %.2f, with a gated row %.2f "
          "(empty "
          "%.2f)\n",
          static_cast<long>(experts), static_cast<long>(tokens), a, b, c, d, bench.empty().event);
    }
  }
  return failures > 0;
}
