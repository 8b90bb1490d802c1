// The ladder of grouped_linear: checks against float64 at drawn places of out, and times, beside the bytes of the
// weights that are read and the rate of the products. native/lab/README.md says how to build and run it.
#include <algorithm>
#include <numeric>

#include "cuda/grouped_linear.cu"
#include "cuda/grouped_linear_walk.cuh"
#include "cuda/tensor_map.h"
#include "lab/context.cuh"
#include "lab/lab.cuh"

namespace {

using namespace mamba;
using namespace mamba::cuda;
using lab::Buffer;

// kAll: for every type, with a gate and without; otherwise one combination, which suffices to time.
template <class Shape, bool kGated, bool kAll = true>
bool walk(const GroupedLinearParams& p, Context& context) {
  if (p.k <= grouped::kStageK * (Shape::kWarpgroups - 1)) return false;  // results pass through so many stages
  const int64_t half = p.n / 2;
  const auto map = encode_tensor_map<5>(p.weight, p.weight_dtype, {p.k, 8, 2, p.n / 16, p.experts},
                                        {p.k, kGated ? half * p.k : 8 * p.k, kGated ? 8 * p.k : 16 * p.k,
                                         static_cast<int64_t>(linear_weight_bytes(p.n, p.k, p.weight_dtype) / 2)},
                                        {grouped::kStageK, 8, 2, Shape::kWeightRows / 16 / Shape::kCluster, 1});
  if (!map) return false;
  launch(context,
         {.grid = context.multiprocessors * Shape::kBlocks / Shape::kCluster * Shape::kCluster,
          .block = Shape::kThreads,
          .shared_bytes = Shape::kShared,
          .cluster = Shape::kCluster},
         p.x_dtype == DType::bf16 ? grouped::walk_kernel<Shape, __nv_bfloat16, bf16, kGated>
                                  : grouped::walk_kernel<Shape, std::conditional_t<kAll, __half, __nv_bfloat16>,
                                                         std::conditional_t<kAll, f16, bf16>, kGated>,
         p, *map);
  return true;
}

using Pairs = grouped::WalkShape<3, 1, 192, 2, 4, 1, 16, 48, 64, 96, 104, 112, 144, 176, 184, 192>;
using Alone = grouped::WalkShape<3, 1, 192, 1, 4, 1, 48, 104, 136, 144, 184, 192>;
using Wide = grouped::WalkShape<2, 1, 256, 2, 4, 1, 64, 128, 176, 192, 208, 256>;
using Tall = grouped::WalkShape<2, 2, 144, 2, 4, 1, 64, 96, 112, 128, 136, 144>;
using TallAlone = grouped::WalkShape<2, 2, 144, 1, 4, 1, 64, 96, 112, 128, 144>;
using Small = grouped::WalkShape<1, 1, 64, 1, 6, 2, 8, 16, 32, 64>;

struct Version {
  const char* name;
  bool (*run)(const GroupedLinearParams&, Context&);
};

template <class Shape>
bool walk_bf16(const GroupedLinearParams& p, Context& c) {
  if (p.x_dtype != DType::bf16) return false;
  return p.gated ? walk<Shape, true, false>(p, c) : walk<Shape, false, false>(p, c);
}
template <class Shape>
bool walk_some(const GroupedLinearParams& p, Context& c) {
  return p.x_dtype == DType::bf16 && !p.gated && walk<Shape, false, false>(p, c);
}
template <int Warps, int Depth, int Blocks>
bool fragments(const GroupedLinearParams& p, Context& c) {
  if (p.k % kStepK != 0) return false;
  const auto bytes = static_cast<int64_t>(linear_weight_bytes(p.n, p.k, p.weight_dtype));
  p.x_dtype == DType::bf16 ? grouped::run_fragments<bf16, Warps, Depth, Blocks>(p, bytes, c)
                           : grouped::run_fragments<f16, Warps, Depth, Blocks>(p, bytes, c);
  return true;
}
bool tiles(const GroupedLinearParams& p, Context& c) {
  const auto bytes = static_cast<int64_t>(linear_weight_bytes(p.n, p.k, p.weight_dtype));
  p.x_dtype == DType::bf16 ? grouped::run_tiles<bf16>(p, bytes, c) : grouped::run_tiles<f16>(p, bytes, c);
  return true;
}
bool general(const GroupedLinearParams& p, Context& c) {
  grouped::run_general(p, static_cast<int64_t>(linear_weight_bytes(p.n, p.k, p.weight_dtype)), c);
  return true;
}

bool dispatch(const GroupedLinearParams& p, Context& c) {
  run_grouped_linear(p, c);
  return true;
}

constexpr Version kVersions[] = {
    {"dispatch", dispatch},
    {"walk 192x192 pairs", walk_bf16<Pairs>},
    {"walk 192x192 alone", walk_some<Alone>},
    {"walk 128x256 pairs", walk_some<Wide>},
    {"walk 256x144 pairs", walk_bf16<Tall>},
    {"walk 256x144 alone", walk_bf16<TallAlone>},
    {"walk 64x64", walk_bf16<Small>},
    {"fragments 8 4 3", fragments<8, 4, 3>},
    {"fragments 4 4 6", fragments<4, 4, 6>},
    {"fragments 2 4 12", fragments<2, 4, 12>},
    {"tiles", tiles},
    {"general", general},
};

struct Case {
  int64_t tokens, top, experts, n, k;
  bool gather, gated;
  Activation activation;
  DType type, out;
  bool one = false;  // all rows in one expert
};

__global__ void reference_kernel(GroupedLinearParams p, int64_t expert_bytes, const int* expert_of, int64_t count,
                                 uint64_t seed, double* want, double* got) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= count) return;
  uint64_t z = (i + seed) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9ull;
  z ^= z >> 32;
  const int64_t row = z % p.rows, column = (z >> 20) % p.columns;
  const int64_t x = (p.row_token ? p.row_token[row] : row) * p.x_stride;
  const char* weight = static_cast<const char*>(p.weight) + expert_of[row] * expert_bytes;
  double sum[2] = {};
  for (int64_t k = 0; k < p.k; ++k) {
    for (int j = 0; j < (p.gated ? 2 : 1); ++j) {
      sum[j] += static_cast<double>(load_any(p.x, p.x_dtype, x + k)) *
                load_any(weight, p.weight_dtype, (column + j * p.columns) * p.k + k);
    }
  }
  double v = sum[0];
  if (p.activation == Activation::relu2) v = v > 0 ? v * v : 0;
  if (p.activation == Activation::silu) v = v / (1 + exp(-v));
  if (p.gated) v *= sum[1];
  want[i] = v;
  got[i] = load_any(p.out, p.out_dtype, row * p.out_stride + column);
}

// Elements of out that were never written.
__global__ void poison_kernel(const uint8_t* out, int64_t elements, int bytes, unsigned long long* left) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < elements; i += int64_t{gridDim.x} * blockDim.x) {
    bool all = true;
    for (int b = 0; b < bytes; ++b) all &= out[i * bytes + b] == 0xff;
    if (all) atomicAdd(left, 1ull);
  }
}

// Tensors of a case.
struct Problem {
  Case c;
  std::vector<int32_t> ids, row_token, offsets, expert_of;
  Buffer x, weight, out, tokens, offs, experts;
  GroupedLinearParams p;

  static std::vector<int32_t> draw(const Case& c) {
    lab::Random random{7};
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < c.tokens; ++t) {
      std::vector<int32_t> all(static_cast<size_t>(c.experts));
      std::iota(all.begin(), all.end(), 0);
      for (int64_t j = 0; j < c.top; ++j) {
        std::swap(all[static_cast<size_t>(j)], all[static_cast<size_t>(j + random.below(c.experts - j))]);
        ids.push_back(c.one ? static_cast<int32_t>(c.experts / 2) : all[static_cast<size_t>(j)]);
      }
    }
    return ids;
  }
  explicit Problem(const Case& of)
      : c(of),
        ids(draw(of)),
        x(static_cast<size_t>((of.gather ? of.tokens : of.tokens * of.top) * of.k * 2)),
        weight(linear_weight_bytes(of.n, of.k, of.type) * static_cast<size_t>(of.experts)),
        out(static_cast<size_t>(of.tokens * of.top * of.n) * 4),
        tokens(ids.size() * 4),
        offs(static_cast<size_t>(of.experts + 1) * 4),
        experts(ids.size() * 4) {
    for (int32_t e = 0; e < c.experts; ++e) {
      offsets.push_back(static_cast<int32_t>(row_token.size()));
      for (size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] == e) {
          row_token.push_back(static_cast<int32_t>(static_cast<int64_t>(i) / c.top));
          expert_of.push_back(e);
        }
      }
    }
    offsets.push_back(static_cast<int32_t>(row_token.size()));
    LAB_CHECK(cudaMemcpy(tokens.data, row_token.data(), row_token.size() * 4, cudaMemcpyHostToDevice));
    LAB_CHECK(cudaMemcpy(offs.data, offsets.data(), offsets.size() * 4, cudaMemcpyHostToDevice));
    LAB_CHECK(cudaMemcpy(experts.data, expert_of.data(), expert_of.size() * 4, cudaMemcpyHostToDevice));
    if (c.type == DType::bf16) {
      lab::fill_random_kernel<__nv_bfloat16><<<1056, 256>>>(x.as<__nv_bfloat16>(), x.bytes / 2, 1);
      lab::fill_random_kernel<__nv_bfloat16><<<1056, 256>>>(weight.as<__nv_bfloat16>(), weight.bytes / 2, 99991);
    } else {
      lab::fill_random_kernel<__half><<<1056, 256>>>(x.as<__half>(), x.bytes / 2, 1);
      lab::fill_random_kernel<__half><<<1056, 256>>>(weight.as<__half>(), weight.bytes / 2, 99991);
    }
    const int64_t columns = c.gated ? c.n / 2 : c.n;
    p = {.rows = static_cast<int64_t>(ids.size()),
         .x_rows = c.gather ? c.tokens : static_cast<int64_t>(ids.size()),
         .experts = c.experts,
         .n = c.n,
         .k = c.k,
         .columns = columns,
         .x = x.data,
         .x_stride = c.k,
         .row_token = c.gather ? tokens.as<int32_t>() : nullptr,
         .offsets = offs.as<int32_t>(),
         .weight = weight.data,
         .out = out.data,
         .out_stride = columns,
         .activation = c.activation,
         .gated = c.gated,
         .x_dtype = c.type,
         .weight_dtype = c.type,
         .out_dtype = c.out};
    LAB_CHECK(cudaDeviceSynchronize());
  }
  int64_t used() const {
    int64_t count = 0;
    for (int64_t e = 0; e < c.experts; ++e)
      count += offsets[static_cast<size_t>(e + 1)] > offsets[static_cast<size_t>(e)];
    return count;
  }
};

std::string name_of_case(const Case& c) {
  char text[128];
  std::snprintf(text, sizeof text, "T=%ld E=%ld top%ld %ld->%ld%s%s%s", static_cast<long>(c.tokens),
                static_cast<long>(c.experts), static_cast<long>(c.top), static_cast<long>(c.k), static_cast<long>(c.n),
                c.gated ? " gated" : "", c.gather ? " gather" : "", c.one ? " one" : "");
  return text;
}

bool check_case(Problem& problem, const Version& version, Context& context) {
  constexpr int64_t kPlaces = 1 << 15;
  static Buffer want(kPlaces * 8), got(kPlaces * 8), left(8), again(size_t{1} << 20);
  problem.out.poison();
  LAB_CHECK(cudaMemset(left.data, 0, 8));
  if (!version.run(problem.p, context)) return true;
  LAB_CHECK(cudaGetLastError());
  LAB_CHECK(cudaStreamSynchronize(context.stream));
  const int64_t elements = problem.p.rows * problem.p.columns;
  poison_kernel<<<1056, 256>>>(problem.out.as<uint8_t>(), elements, static_cast<int>(size_of(problem.c.out)),
                               left.as<unsigned long long>());
  const auto bytes = static_cast<int64_t>(linear_weight_bytes(problem.p.n, problem.p.k, problem.p.weight_dtype));
  reference_kernel<<<kPlaces / 64, 64>>>(problem.p, bytes, problem.experts.as<int>(), kPlaces, 12345, want.as<double>(),
                                         got.as<double>());
  std::vector<double> a(kPlaces), b(kPlaces);
  unsigned long long missing = 0;
  LAB_CHECK(cudaMemcpy(a.data(), want.data, want.bytes, cudaMemcpyDeviceToHost));
  LAB_CHECK(cudaMemcpy(b.data(), got.data, got.bytes, cudaMemcpyDeviceToHost));
  LAB_CHECK(cudaMemcpy(&missing, left.data, 8, cudaMemcpyDeviceToHost));
  lab::Errors errors;
  double scale = 0;
  for (double v : a) scale += v * v;
  scale = std::sqrt(scale / kPlaces);
  for (int64_t i = 0; i < kPlaces; ++i) {
    errors.add(b[static_cast<size_t>(i)], a[static_cast<size_t>(i)], 1e-4 * scale, 1.05 * lab::rounding(problem.c.out));
  }
  const bool good = errors.bad == 0 && missing == 0;
  std::printf("%s %-44s %-20s bad %ld worst %.2f rel %.2e unwritten %llu\n", good ? "ok    " : "FAILED",
              name_of_case(problem.c).c_str(), version.name, static_cast<long>(errors.bad), errors.worst,
              errors.relative(), missing);
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  lab::Bench bench;
  const lab::Workspace workspace;
  Context context = workspace.on(bench.stream());
  const auto b = DType::bf16, h = DType::f16, f = DType::f32;
  int failures = 0;
  if (options.check) {
    const Activation no = Activation::identity, square = Activation::relu2, silu = Activation::silu;
    const Case cases[] = {
        {300, 6, 16, 256, 128, true, false, no, b, b},        {1, 6, 16, 256, 128, true, false, square, b, b},
        {64, 6, 128, 1856, 2688, true, false, square, b, b},  {64, 6, 128, 2688, 1856, false, false, no, b, b},
        {2000, 6, 16, 1856, 2688, true, false, square, b, b}, {2000, 6, 16, 336, 1864, false, false, no, b, f},
        {700, 4, 8, 1024, 512, true, true, silu, b, b},       {700, 4, 8, 272, 520, true, true, silu, b, f},
        {700, 4, 8, 272, 520, true, true, silu, h, h},        {33, 4, 40, 1024, 1536, true, true, silu, b, b},
        {500, 1, 5, 400, 256, true, false, no, h, h, true},   {10, 1, 5, 400, 256, true, false, no, h, f, true},
    };
    for (const Case& c : cases) {
      Problem problem(c);
      for (const Version& version : kVersions) failures += !check_case(problem, version, context);
    }
    for (int64_t rows : {7, 8, 9, 16, 17, 31, 33, 64, 65, 95, 97, 111, 129, 191, 193, 207, 209, 300, 416, 417, 600}) {
      Problem problem({rows, 1, 3, 448, 192, true, false, no, b, b, true});
      for (const Version& version : kVersions) failures += !check_case(problem, version, context);
    }
    std::printf("%d checks failed\n", failures);
  }
  if (options.time) {
    lab::Report report(options);
    const lab::Times empty = bench.empty();
    std::printf("empty %.2f clean %.2f\n", empty.event, empty.clean);
    const Activation no = Activation::identity, square = Activation::relu2, silu = Activation::silu;
    const Case cases[] = {
        {8192, 6, 128, 1856, 2688, true, false, square, b, b},  {8192, 6, 128, 2688, 1856, false, false, no, b, b},
        {64, 6, 128, 1856, 2688, true, false, square, b, b},    {64, 6, 128, 2688, 1856, false, false, no, b, b},
        {8, 6, 128, 1856, 2688, true, false, square, b, b},     {1, 6, 128, 1856, 2688, true, false, square, b, b},
        {1, 6, 128, 2688, 1856, false, false, no, b, b},        {512, 6, 128, 1856, 2688, true, false, square, b, b},
        {2048, 6, 128, 1856, 2688, true, false, square, b, b},  {1024, 6, 128, 1856, 2688, true, false, square, b, b},
        {4096, 6, 128, 1856, 2688, true, false, square, b, b},  {3, 6, 128, 1856, 2688, true, false, square, b, b},
        {16384, 6, 128, 1856, 2688, true, false, square, b, b}, {8192, 6, 64, 1024, 1536, true, true, silu, b, b},
        {64, 6, 64, 1024, 1536, true, true, silu, b, b},
    };
    for (const Case& c : cases) {
      Problem problem(c);
      const double weights = static_cast<double>(problem.used() * c.n * c.k) * 2;
      const double flops = 2.0 * static_cast<double>(problem.p.rows * c.n * c.k);
      for (const Version& version : kVersions) {
        const std::string name = version.name;
        if (name == "general" ||
            (c.tokens > 600 && (name.find("fragments") == 0 || name.find("x64") != std::string::npos)))
          continue;
        if (name == "tiles" && c.tokens != 8192) continue;
        if (name.find("walk 1") == 0 && c.tokens < 500) continue;
        if (!version.run(problem.p, context)) continue;
        const lab::Times us = bench.time([&](cudaStream_t) {
          context.early = false;
          version.run(problem.p, context);
        });
        std::printf("%-40s %-20s %9.2f us  clean %9.2f  %7.1f TFLOP/s  weights %6.0f GB/s\n", name_of_case(c).c_str(),
                    version.name, us.event, us.clean, flops / us.event * 1e-6, weights / us.event * 1e-3);
        std::fflush(stdout);
      }
    }
  }
  return failures > 0;
}
