// linear_route and experts of few tokens: the ops that they stand for beside their own kernels, checked against float64
// and timed in chains of layers. native/lab/README.md says how to build and run it.
#include <cmath>

#include "cuda/dispatch.h"
#include "cuda/experts_few.cuh"
#include "cuda/gemm_plans.h"
#include "cuda/kernels.h"
#include "lab/context.cuh"
#include "lab/lab.cuh"

namespace {
using namespace mamba;
using lab::Buffer;

struct Shape {
  const char* name;
  int experts, k, width, size, shared;
  bool gated, shared_gate, sigmoid;
};
constexpr Shape kShapes[] = {{"granite-4.0-h-tiny", 64, 6, 1536, 512, 1024, true, false, false},
                             {"nemotron-3-nano", 128, 6, 2688, 1856, 3712, false, false, true},
                             {"qwen3.5-35b-a3b", 256, 8, 2048, 512, 512, true, true, false}};
// Rows and pieces that are not whole.
constexpr Shape kOdd[] = {{"odd, gated", 70, 5, 264, 520, 264, true, true, false},
                          {"odd, not gated", 9, 3, 1000, 72, 80, false, true, true}};
constexpr int kLayers = 8;  // tokens of their own, one set of weights: experts differ from layer to layer
constexpr float kAlpha = 0.5f, kEps = 1e-5f;

__global__ void scale_kernel(__nv_bfloat16* x, int64_t n, float factor) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{gridDim.x} * blockDim.x)
    x[i] = __float2bfloat16_rn(__bfloat162float(x[i]) * factor);
}

int64_t padded(int64_t rows) { return (rows + 31) / 32 * 32; }

struct Problem {
  Shape s;
  int tokens, products = s.gated ? 2 : 1;
  // What an expert takes in a packed weight, whose rows are padded.
  int64_t up_elements = padded(int64_t{products} * s.size) * s.width, down_elements = padded(s.width) * s.size;
  int64_t pairs = int64_t{tokens} * s.k;
  Buffer x{size_t{4} * kLayers * tokens * s.width}, norm_weight{size_t{4} * s.width},
      normed{size_t{2} * tokens * s.width}, router{static_cast<size_t>(2 * padded(s.experts) * s.width)},
      bias{size_t{4} * s.experts}, up{static_cast<size_t>(2 * s.experts * up_elements)},
      down{static_cast<size_t>(2 * s.experts * down_elements)},
      shared_up{static_cast<size_t>(2 * padded(int64_t{products} * s.shared) * s.width)},
      shared_down{static_cast<size_t>(2 * padded(s.width) * s.shared)},
      shared_gate{static_cast<size_t>(2 * padded(1) * s.width)}, logits{size_t{4} * tokens * s.experts},
      ids{static_cast<size_t>(4 * pairs)}, weights{static_cast<size_t>(4 * pairs)},
      sorted{static_cast<size_t>(4 * (2 * pairs + s.experts + 1))}, between{static_cast<size_t>(2 * pairs * s.size)},
      rows{static_cast<size_t>(2 * pairs * s.width)}, shared_between{size_t{2} * products * tokens * s.shared},
      shared_factors{size_t{2} * tokens}, out{size_t{4} * tokens * s.width};

  Problem(const Shape& shape, int count) : s(shape), tokens(count) {
    int seed = 1;
    for (auto [buffer, inputs] : {std::pair{&router, s.width},
                                  {&up, s.width},
                                  {&down, s.size},
                                  {&shared_up, s.width},
                                  {&shared_down, s.shared},
                                  {&shared_gate, s.width}}) {
      const auto n = static_cast<int64_t>(buffer->bytes / 2);
      lab::fill_random_kernel<<<1056, 256>>>(buffer->as<__nv_bfloat16>(), n, seed++ * 1000003);
      scale_kernel<<<1056, 256>>>(buffer->as<__nv_bfloat16>(), n, 1.7f / std::sqrt(static_cast<float>(inputs)));
    }
    lab::Random random{7};
    for (auto [buffer, scale, mean] : {std::tuple{&x, 1.7, 0.0}, {&norm_weight, 0.1, 1.0}, {&bias, 0.2, 0.0}}) {
      lab::Host host(DType::f32, static_cast<int64_t>(buffer->bytes / 4));
      for (int64_t i = 0; i < host.size(); ++i) host.set(i, mean + scale * random.uniform(-1, 1));
      buffer->upload(host);
    }
    LAB_CHECK(cudaMemset(out.data, 0, out.bytes));
    LAB_CHECK(cudaDeviceSynchronize());
  }
  double bytes() const {
    return 2.0 * (double{1} * s.experts * s.width + static_cast<double>(pairs) * (up_elements + down_elements) +
                  (products + 1.0) * s.shared * s.width);
  }

  LinearParams linear(const void* in, int64_t k, const Buffer& weight, int64_t n, void* to, DType type) const {
    LinearParams p = {};
    p.m = tokens, p.n = n, p.k = k, p.x = in, p.x_stride = k, p.weight = weight.data, p.out = to, p.out_stride = n;
    p.x_dtype = p.weight_dtype = DType::bf16, p.out_dtype = type;
    return p;
  }
  RmsNormParams norm(int layer) const {
    return {.rows = tokens,
            .width = s.width,
            .x = x.as<float>() + int64_t{layer} * tokens * s.width,
            .x_stride = s.width,
            .residual = nullptr,
            .weight = norm_weight.as<float>(),
            .out = normed.data,
            .eps = kEps,
            .x_dtype = DType::f32,
            .residual_dtype = DType::f32,
            .out_dtype = DType::bf16};
  }
  LinearRouteParams route() const {
    LinearRouteParams p = {};
    p.linear = linear(normed.data, s.width, router, s.experts, logits.data, DType::f32);
    p.route = {.tokens = tokens,
               .experts = s.experts,
               .k = s.k,
               .groups = 1,
               .kept_groups = 1,
               .logits = logits.as<float>(),
               .logits_stride = s.experts,
               .bias = s.sigmoid ? bias.as<float>() : nullptr,
               .slots = nullptr,
               .ids = ids.as<int32_t>(),
               .weights = weights.as<float>(),
               .score = s.sigmoid ? RouterScore::sigmoid : RouterScore::softmax,
               .normalise = true,
               .scale = 1};
    return p;
  }
  ExpertsParams experts() const {
    ExpertsParams p = {};
    int32_t* words = sorted.as<int32_t>();
    const Activation f = s.gated ? Activation::silu : Activation::relu2;
    p.sort = {pairs, s.k, s.experts, ids.as<int32_t>(), words, words + 2 * pairs, words + pairs};
    GroupedLinearParams& u = p.up;
    u.rows = pairs, u.x_rows = tokens, u.experts = s.experts, u.n = products * s.size, u.k = s.width;
    u.columns = s.size, u.x = normed.data, u.x_stride = s.width, u.row_token = words, u.offsets = words + 2 * pairs;
    u.weight = up.data, u.out = between.data, u.out_stride = s.size, u.activation = f, u.gated = s.gated;
    u.x_dtype = u.weight_dtype = u.out_dtype = DType::bf16;
    GroupedLinearParams& d = p.down = u;
    d.x_rows = pairs, d.n = d.columns = d.out_stride = s.width, d.k = d.x_stride = s.size, d.x = between.data;
    d.row_token = nullptr, d.weight = down.data, d.out = rows.data, d.activation = Activation::identity;
    d.gated = false;
    p.combine = {.tokens = tokens,
                 .k = s.k,
                 .rows = pairs,
                 .width = s.width,
                 .y = rows.data,
                 .y_stride = s.width,
                 .weights = weights.as<float>(),
                 .positions = words + pairs,
                 .out = out.data,
                 .out_stride = s.width,
                 .alpha = kAlpha,
                 .accumulate = true,
                 .y_dtype = DType::bf16,
                 .out_dtype = DType::f32};
    p.shared = true, p.gated = s.shared_gate;
    const int64_t wide = int64_t{products} * s.shared;
    p.shared_up = linear(normed.data, s.width, shared_up, wide, shared_between.data, DType::bf16);
    ActivationParams& a = p.shared_activation;
    a.rows = tokens, a.width = s.shared, a.x = a.out = shared_between.data, a.x_stride = a.out_stride = wide;
    a.up = s.gated ? shared_between.as<__nv_bfloat16>() + s.shared : nullptr, a.up_stride = wide, a.scale = 1;
    a.activation = f, a.x_dtype = a.out_dtype = DType::bf16;
    p.shared_gate = linear(normed.data, s.width, shared_gate, 1, shared_factors.data, DType::bf16);
    ActivationParams& g = p.shared_gating = a;
    g.x = shared_factors.data, g.x_stride = 1, g.broadcast = true, g.up = shared_between.data;
    g.activation = Activation::sigmoid;
    p.shared_down = linear(shared_between.data, s.shared, shared_down, s.width, out.data, DType::f32);
    p.shared_down.x_stride = wide, p.shared_down.alpha = kAlpha, p.shared_down.accumulate = true;
    return p;
  }
  cuda::few::Experts few() const {
    const auto at = [](const Buffer& b) { return b.as<bf16>(); };
    return {tokens,
            s.experts,
            s.k,
            s.width,
            s.size,
            s.shared,
            at(normed),
            s.width,
            ids.as<int32_t>(),
            weights.as<float>(),
            at(up),
            at(down),
            up_elements,
            down_elements,
            at(shared_up),
            at(shared_down),
            s.shared_gate ? at(shared_gate) : nullptr,
            at(between),
            at(shared_between),
            int64_t{products} * s.shared,
            at(shared_factors),
            out.data,
            s.width,
            DType::f32,
            s.gated ? Activation::silu : Activation::relu2,
            kAlpha,
            true};
  }

  // out of a layer's token in float64 from the rows and the choice on the device; the choice itself is checked apart.
  std::vector<double> reference(int token) const {
    const lab::Host v = normed.download(DType::bf16), share = weights.download(DType::f32);
    std::vector<int32_t> chosen(static_cast<size_t>(pairs));
    LAB_CHECK(cudaMemcpy(chosen.data(), ids.data, ids.bytes, cudaMemcpyDeviceToHost));
    std::vector<double> result(static_cast<size_t>(s.width));
    const auto add = [&](const Buffer& u, const Buffer& d, int64_t which, int n, double weight) {
      lab::Host hu(DType::bf16, int64_t{products} * n * s.width), hd(DType::bf16, int64_t{n} * s.width);
      LAB_CHECK(
          cudaMemcpy(hu.bytes.data(), u.as<char>() + which * 2 * up_elements, hu.bytes.size(), cudaMemcpyDeviceToHost));
      LAB_CHECK(cudaMemcpy(hd.bytes.data(), d.as<char>() + which * 2 * down_elements, hd.bytes.size(),
                           cudaMemcpyDeviceToHost));
      std::vector<double> h(static_cast<size_t>(n));
      for (int r = 0; r < n; ++r) {
        double sums[2] = {};
        for (int j = 0; j < products; ++j)
          for (int i = 0; i < s.width; ++i)
            sums[j] += v.get(int64_t{token} * s.width + i) * hu.get((int64_t{j} * n + r) * s.width + i);
        h[r] = s.gated ? sums[0] / (1 + std::exp(-sums[0])) * sums[1] : sums[0] > 0 ? sums[0] * sums[0] : 0;
      }
      for (int c = 0; c < s.width; ++c) {
        double sum = 0;
        for (int r = 0; r < n; ++r) sum += h[r] * hd.get(int64_t{c} * n + r);
        result[c] += kAlpha * weight * sum;
      }
    };
    for (int j = 0; j < s.k; ++j) add(up, down, chosen[token * s.k + j], s.size, share.get(token * s.k + j));
    double gate = 1;
    if (s.shared_gate) {
      const lab::Host g = shared_gate.download(DType::bf16);
      double sum = 0;
      for (int i = 0; i < s.width; ++i) sum += g.get(i) * v.get(int64_t{token} * s.width + i);
      gate = 1 / (1 + std::exp(-sum));
    }
    add(shared_up, shared_down, 0, s.shared, gate);
    return result;
  }
};

double relative(const std::vector<float>& got, const std::vector<double>& want, size_t begin) {
  double difference = 0, total = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += (got[begin + i] - want[i]) * (got[begin + i] - want[i]), total += want[i] * want[i];
  }
  return std::sqrt(difference / total);
}

struct Version {
  std::string name;
  std::function<void(int)> run;  // a layer
  bool whole;
};

template <bool Gated, int Depth, int Blocks>
void up(const cuda::few::Experts& p, cuda::Context& c) {
  const int shared = (p.shared_size + (p.shared_gate ? 1 : 0) + 7) / 8;
  launch(c,
         {.grid = p.tokens * (shared + p.k * ((p.size + 7) / 8)),
          .block = 256,
          .shared_bytes = size_t{2} * cuda::few::whole_row(p.width)},
         cuda::few::up_few_kernel<Gated, Depth, Blocks>, p);
}
template <int Splits, int Columns, int Depth, int Blocks>
void down(const cuda::few::Experts& p, cuda::Context& c) {
  constexpr int kColumns = 8 / Splits * Columns;
  launch(c,
         {.grid = p.tokens * ((p.width + kColumns - 1) / kColumns),
          .block = 256,
          .shared_bytes = size_t{2} * between_elements(p)},
         cuda::few::down_few_kernel<Splits, Columns, Depth, Blocks>, p);
}

std::vector<Version> versions(const Problem& problem, cuda::Context& c) {
  const auto normed = [&](int layer) { cuda::run_rms_norm(problem.norm(layer), c); };
  const auto routed = [&, normed](int layer) { normed(layer), cuda::run_linear_route(problem.route(), c); };
  std::vector<Version> list = {
      {"ops apart",
       [&, normed](int layer) {
         const LinearRouteParams r = problem.route();
         const ExpertsParams e = problem.experts();
         normed(layer), cuda::run_linear(r.linear, c), cuda::run_route(r.route, c);
         cuda::run_sort_by_expert(e.sort, c), cuda::run_grouped_linear(e.up, c), cuda::run_grouped_linear(e.down, c);
         cuda::run_moe_combine(e.combine, c), cuda::run_linear(e.shared_up, c);
         cuda::run_activation(e.shared_activation, c);
         if (e.gated) cuda::run_linear(e.shared_gate, c), cuda::run_activation(e.shared_gating, c);
         cuda::run_linear(e.shared_down, c);
       },
       true},
      {"dispatch", [&, routed](int layer) { routed(layer), cuda::run_experts(problem.experts(), c); }, true},
      {"norm", normed, false},
      {"norm, route", routed, false}};
  const auto p = problem.few();
  const auto add = [&](const char* name, auto first, auto second) {
    list.push_back({name, [=, &c](int layer) { routed(layer), first(p, c), second(p, c); }, true});
  };
  const auto first = [&](const char* name, auto kernel) {
    list.push_back({name, [=, &c](int layer) { routed(layer), kernel(p, c); }, false});
  };
  const auto with = [&]<bool Gated> {
    first("norm, route, up 2 5", up<Gated, 2, 5>);
    first("norm, route, up 4 4", up<Gated, 4, 4>);
    first("norm, route, up 8 2", up<Gated, 8, 2>);
    const auto rest = up<Gated, 4, 4>;
    add("up 4 4, down 4 1 4 4", rest, down<4, 1, 4, 4>);
    add("up 4 4, down 8 4 2 3", rest, down<8, 4, 2, 3>);
    add("up 4 4, down 4 4 2 3", rest, down<4, 4, 2, 3>);
    add("up 4 4, down 4 4 4 2", rest, down<4, 4, 4, 2>);
    add("up 4 4, down 2 4 4 2", rest, down<2, 4, 4, 2>);
    add("up 4 4, down 4 8 2 2", rest, down<4, 8, 2, 2>);
    add("up 4 4, down 8 8 2 2", rest, down<8, 8, 2, 2>);
  };
  problem.s.gated ? with.template operator()<true>() : with.template operator()<false>();
  return list;
}

int failures = 0;

void run(const Shape& s, int tokens, lab::Bench& bench, cuda::Context& c) {
  const Problem problem(s, tokens);
  std::printf("%s, %d tokens: bytes of all rows at 4.07 TB/s %.2f us a layer\n", s.name, tokens,
              problem.bytes() / 4.07e6);
  std::vector<int32_t> first_ids;
  std::vector<std::vector<double>> want;
  const auto list = versions(problem, c);
  for (const Version& version : list) {
    double off = 0;
    if (version.whole) {
      std::vector<float> results[2];
      for (auto& got : results) {
        got.resize(problem.out.bytes / 4);
        for (const Buffer* b : {&problem.normed, &problem.ids, &problem.weights, &problem.between, &problem.rows,
                                &problem.shared_between, &problem.shared_factors, &problem.sorted})
          LAB_CHECK(cudaMemset(b->data, 0xff, b->bytes));
        LAB_CHECK(cudaMemset(problem.out.data, 0, problem.out.bytes));
        LAB_CHECK(cudaDeviceSynchronize());
        c.early = false;
        version.run(3);
        LAB_CHECK(cudaDeviceSynchronize());
        LAB_CHECK(cudaMemcpy(got.data(), problem.out.data, problem.out.bytes, cudaMemcpyDeviceToHost));
      }
      std::vector<int32_t> ids(static_cast<size_t>(problem.pairs));
      LAB_CHECK(cudaMemcpy(ids.data(), problem.ids.data, problem.ids.bytes, cudaMemcpyDeviceToHost));
      if (want.empty()) {
        first_ids = ids;
        for (int t = 0; t < tokens; ++t) want.push_back(problem.reference(t));
      }
      for (int t = 0; t < tokens; ++t)
        off = std::max(off, relative(results[0], want[t], static_cast<size_t>(t) * s.width));
      if (ids != first_ids || results[0] != results[1] || !(off < 1e-2)) ++failures, off = 9;
    }
    const lab::Times us = bench.time([&](cudaStream_t) {
      c.early = false;
      for (int layer = 0; layer < kLayers; ++layer) version.run(layer);
    });
    std::printf("  %-30s %8.2f us a layer, clean %8.2f  error %.1e %s\n", version.name.c_str(),
                (us.event - 3.9) / kLayers, (us.clean - 3.9) / kLayers, off,
                !version.whole ? ""
                : off < 1e-2   ? "ok"
                               : "FAILED");
  }
}

// The ops of a layer one by one, for as many tokens as a prompt has.
void run_parts(const Shape& s, int tokens, lab::Bench& bench, cuda::Context& c) {
  const Problem problem(s, tokens);
  const LinearRouteParams r = problem.route();
  const ExpertsParams e = problem.experts();
  std::printf("%s, %d tokens\n", s.name, tokens);
  double total = 0;
  const auto part = [&](const char* name, double flops, double bytes, auto run) {
    const double us = bench.time([&](cudaStream_t) { c.early = false, run(); }).clean - 3.9;
    total += us;
    std::printf("  %-18s %8.1f us  %6.1f TFLOP/s  %5.2f TB/s\n", name, us, flops / us / 1e6, bytes / us / 1e6);
  };
  const double t = tokens, w = s.width, p = static_cast<double>(problem.pairs), products = problem.products;
  part("norm", 0, t * w * 6, [&] { cuda::run_rms_norm(problem.norm(0), c); });
  part("router", 2 * t * w * s.experts, 0, [&] { cuda::run_linear(r.linear, c); });
  part("route", 0, 4 * t * s.experts, [&] { cuda::run_route(r.route, c); });
  part("sort", 0, 12 * p, [&] { cuda::run_sort_by_expert(e.sort, c); });
  part("up", 2 * p * products * s.size * w, 0, [&] { cuda::run_grouped_linear(e.up, c); });
  part("down", 2 * p * s.size * w, 0, [&] { cuda::run_grouped_linear(e.down, c); });
  part("combine", 0, 2 * p * w + 8 * t * w, [&] { cuda::run_moe_combine(e.combine, c); });
  part("shared up", 2 * t * products * s.shared * w, 0, [&] { cuda::run_linear(e.shared_up, c); });
  part("shared activation", 0, 2 * t * s.shared * (products + 1),
       [&] { cuda::run_activation(e.shared_activation, c); });
  if (e.gated) {
    part("shared gate", 0, 2 * t * w, [&] { cuda::run_linear(e.shared_gate, c); });
    part("shared gating", 0, 4 * t * s.shared, [&] { cuda::run_activation(e.shared_gating, c); });
  }
  part("shared down", 2 * t * s.shared * w, 0, [&] { cuda::run_linear(e.shared_down, c); });
  std::printf("  %-18s %8.1f us\n", "all", total);
  part("experts, one op", 0, 0, [&] { cuda::run_experts(e, c); });
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  lab::Bench bench;
  const lab::Workspace workspace;
  cuda::GemmPlans plans;
  cuda::Context c = workspace.on(bench.stream());
  c.gemm_plans = &plans;
  for (const Shape& s : kOdd) {
    for (const int tokens : {1, 3, 6}) run(s, tokens, bench, c);
  }
  for (const Shape& s : kShapes) run(s, 1, bench, c);
  for (const Shape& s : kShapes) run(s, 4, bench, c);
  run(kShapes[2], 2, bench, c);
  for (const Shape& s : kShapes) run_parts(s, 8192, bench, c);
  run_parts(kShapes[2], 1193, bench, c);
  std::printf("%d failures\n", failures);
  return failures > 0;
}
