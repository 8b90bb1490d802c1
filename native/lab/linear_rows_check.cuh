#pragma once
// Checks of linear_rows.cu. Everything is on the device: inputs from a copy that a kernel ahead makes late, so that a
// block that reads too early gets NaNs, and the product in float64.
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "cuda/hopper.cuh"
#include "cuda/kernels.h"
#include "cuda/linear_rows.cuh"
#include "cuda/linear_rows.h"
#include "lab/lab.cuh"
#include "lab/linear_exact.cuh"
#include "lab/linear_workspace.cuh"

namespace {

using lab::Buffer;
using lab::Host;
using mamba::DType;
using mamba::LinearParams;
using mamba::cuda::Context;
using mamba::cuda::RowsPlan;
using Workspace = lab::LinearWorkspace;

std::string name_of(const RowsPlan& plan) {
  return "N" + std::to_string(plan.tile) + " C" + std::to_string(plan.columns) + " S" + std::to_string(plan.splits);
}

constexpr int64_t kGuard = 16;  // elements before and after out

struct Case {
  int64_t m, n, k;
  DType type, out;
  bool bias = false, accumulate = false;
  int x_pad = 0, out_pad = 0, shift = 0;  // elements; the shift is of out's first element
};

// The product, and the sum of its terms' sizes.
__global__ void reference_kernel(const LinearParams p, double* values, double* sizes) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= p.m * p.n) return;
  const int64_t row = i / p.n, n = i % p.n;
  auto [value, size] = lab::exact_sum(p, row, n);
  if (p.bias) value += p.bias[n];
  if (p.accumulate) value += mamba::cuda::load_any(p.out, p.out_dtype, row * p.out_stride + n);
  values[i] = value, sizes[i] = size;
}

// Elements of 32-bit words; a buffer holds as many 16-bit ones, and then some NaNs.
struct Area {
  DType type;
  int64_t count;
  Buffer data, from;  // `from`: what it is set to
  Area(DType t, int64_t n) : type(t), count((n + 1) / 2 * 2), data(bytes(t, count)), from(bytes(t, count)) {
    poison(), from.poison();
  }
  void poison() const { LAB_CHECK(cudaMemset(data.data, 0xff, data.bytes)); }
  static size_t bytes(DType t, int64_t n) { return static_cast<size_t>(n) * mamba::size_of(t); }
  int64_t words() const { return static_cast<int64_t>(data.bytes / 4); }
};

struct Checks {
  const Case& c;
  Workspace& workspace;
  int64_t x_stride, out_stride, out_first;
  Area x, out;
  Buffer weight, bias;
  std::vector<double> expected, sizes;

  Checks(const Case& row, Workspace& w, uint64_t seed)
      : c(row),
        workspace(w),
        x_stride(c.k + c.x_pad),
        out_stride(c.n + c.out_pad),
        out_first(kGuard + c.shift),
        x(c.type, c.m * x_stride + 64 * 64),
        out(c.out, out_first + c.m * out_stride + kGuard),
        weight(static_cast<size_t>((c.n + 64) * c.k) * 2),
        bias(static_cast<size_t>(c.n) * 4) {
    lab::Random random{lab::mix(seed)};
    Host values(c.type, x.count);
    std::memset(values.bytes.data(), 0xff, values.bytes.size());
    for (int64_t i = 0; i < c.m * c.k; ++i) values.set(i / c.k * x_stride + i % c.k, random.uniform(-1, 1));
    x.from.upload(values);
    weight.poison();  // what lies beyond n is not read
    Host weights(c.type, c.n * c.k), biases(DType::f32, c.n);
    weights.fill_uniform(random, -1, 1), biases.fill_uniform(random, -1, 1);
    LAB_CHECK(cudaMemcpy(weight.data, weights.bytes.data(), weights.bytes.size(), cudaMemcpyHostToDevice));
    bias.upload(biases);
    if (c.accumulate) {
      Host before(c.out, out.count);
      std::memset(before.bytes.data(), 0xff, before.bytes.size());
      for (int64_t i = 0; i < c.m * c.n; ++i) {
        before.set(out_first + i / c.n * out_stride + i % c.n, random.uniform(-1, 1));
      }
      out.from.upload(before);
    }
    LinearParams p = params(c.m);
    p.x = x.from.data, p.out = out.from.as<char>() + offset();
    const int64_t count = c.m * c.n;
    const Buffer values_of(static_cast<size_t>(count) * 8), sizes_of(static_cast<size_t>(count) * 8);
    reference_kernel<<<static_cast<unsigned>((count + 127) / 128), 128>>>(p, values_of.as<double>(),
                                                                          sizes_of.as<double>());
    expected.resize(static_cast<size_t>(count)), sizes.resize(static_cast<size_t>(count));
    LAB_CHECK(cudaMemcpy(expected.data(), values_of.data, values_of.bytes, cudaMemcpyDeviceToHost));
    LAB_CHECK(cudaMemcpy(sizes.data(), sizes_of.data, sizes_of.bytes, cudaMemcpyDeviceToHost));
  }

  size_t offset() const { return Area::bytes(c.out, out_first); }

  LinearParams params(int64_t m) const {
    LinearParams p = {};
    p.m = m, p.n = c.n, p.k = c.k, p.x = x.data.data, p.x_stride = x_stride, p.weight = weight.data;
    p.bias = c.bias ? bias.as<float>() : nullptr, p.out = out.data.as<char>() + offset(), p.out_stride = out_stride;
    p.accumulate = c.accumulate, p.x_dtype = p.weight_dtype = c.type, p.out_dtype = c.out;
    return p;
  }

  // `times` products, each after a kernel that writes its inputs.
  template <class Run>
  void chain(const Run& run, bool early, int times) const {
    Context context = workspace.context;
    for (int i = 0; i < times; ++i) {
      context.early = context.early && early;
      mamba::cuda::launch(context, {.grid = 64, .block = 256}, lab::late_copy_kernel, x.data.as<uint32_t>(),
                          x.from.as<const uint32_t>(), x.words(), out.data.as<uint32_t>(),
                          out.from.as<const uint32_t>(), out.words());
      context.early = context.early && early;
      run(context);
    }
  }

  template <class Run>
  Host result(const Run& run, bool early, bool graph) const {
    const cudaStream_t stream = workspace.context.stream;
    x.poison(), out.poison();
    LAB_CHECK(cudaDeviceSynchronize());
    if (graph) {
      cudaGraph_t made;
      cudaGraphExec_t executable;
      LAB_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
      chain(run, early, 2);
      LAB_CHECK(cudaStreamEndCapture(stream, &made));
      LAB_CHECK(cudaGraphInstantiate(&executable, made, 0));
      for (int i = 0; i < 2; ++i) LAB_CHECK(cudaGraphLaunch(executable, stream));
      LAB_CHECK(cudaStreamSynchronize(stream));
      LAB_CHECK(cudaGraphExecDestroy(executable));
      LAB_CHECK(cudaGraphDestroy(made));
    } else {
      chain(run, early, early ? 2 : 1);
    }
    LAB_CHECK(cudaDeviceSynchronize());
    return out.data.download(c.out);
  }

  // Guard cells keep the bits they were set to.
  bool guarded(const Host& got, int64_t m) const {
    const Host set = out.from.download(c.out);
    const size_t size = mamba::size_of(c.out);
    for (int64_t i = 0; i < out.count; ++i) {
      const int64_t at = i - out_first;
      if (at >= 0 && at < m * out_stride && at % out_stride < c.n) continue;
      if (std::memcmp(got.bytes.data() + i * size, set.bytes.data() + i * size, size) != 0) return false;
    }
    return true;
  }

  bool same_rows(const Host& a, const Host& b, int64_t m) const {
    const size_t size = mamba::size_of(c.out);
    for (int64_t row = 0; row < m; ++row) {
      const size_t at = static_cast<size_t>(out_first + row * out_stride) * size;
      if (std::memcmp(a.bytes.data() + at, b.bytes.data() + at, static_cast<size_t>(c.n) * size) != 0) return false;
    }
    return true;
  }

  // run_rows(params, context) is asked for all rows and for 17 of them.
  template <class Run>
  bool pass(const std::string& version, const Run& run_rows) const {
    const auto all = [&](Context& context) { run_rows(params(c.m), context); };
    const auto few = [&](Context& context) { run_rows(params(17), context); };
    const Host first = result(all, false, false);
    const bool steady = result(all, false, false).bytes == first.bytes,
               early = result(all, true, false).bytes == first.bytes,
               graph = result(all, true, true).bytes == first.bytes;
    const Host alone = result(few, true, false);
    const bool same = same_rows(first, alone, 17);
    const bool inside = guarded(first, c.m) && guarded(alone, 17);
    lab::Errors errors;
    for (int64_t i = 0; i < c.m * c.n; ++i) {
      const auto at = static_cast<size_t>(i);
      errors.add(first.get(out_first + i / c.n * out_stride + i % c.n), expected[at], 1e-6 * sizes[at] + 1e-5,
                 lab::rounding(c.out));
    }
    if (errors.bad == 0 && steady && early && graph && same && inside) return true;
    std::printf(
        "FAILED %s: m %ld n %ld k %ld %s -> %s bias %d accumulate %d pads %d %d shift %d: %ld bad (rel "
        "%.2e)%s%s%s%s%s\n",
        version.c_str(), static_cast<long>(c.m), static_cast<long>(c.n), static_cast<long>(c.k), mamba::name_of(c.type),
        mamba::name_of(c.out), c.bias, c.accumulate, c.x_pad, c.out_pad, c.shift, static_cast<long>(errors.bad),
        errors.relative(), steady ? "" : ", not the same bits again", early ? "" : ", an early start changes bits",
        graph ? "" : ", a graph changes bits", same ? "" : ", a row depends on others",
        inside ? "" : ", wrote outside");
    return false;
  }
};

constexpr int kCuts[][2] = {{2, 1}, {4, 1}, {8, 1}, {1, 2}, {2, 2}, {4, 2}, {1, 4}, {2, 4}, {1, 8}};  // columns, splits

bool check_case(const Case& c, uint64_t seed, Workspace& workspace, int64_t& runs) {
  const Checks checks(c, workspace, seed);
  lab::Random random{lab::mix(seed + 1)};
  const auto forced = [&](const RowsPlan& plan) {
    ++runs;
    return checks.pass(name_of(plan), [&](const LinearParams& p, Context& context) {
      if (!mamba::cuda::rows_fit(p, context) || !mamba::cuda::run_linear_rows(p, plan, context)) {
        throw lab::Failure(name_of(plan) + ": refused");
      }
    });
  };
  bool good = true;
  for (int i = 0; i < 3; ++i) {
    const auto& [columns, splits] = kCuts[random.below(std::size(kCuts))];
    const int tile = mamba::cuda::kRowTiles[random.below(std::size(mamba::cuda::kRowTiles))];
    good = forced({.tile = tile, .columns = columns, .splits = splits}) && good;
  }
  const auto chosen = mamba::cuda::rows_plan(c.n, c.k, workspace.context);
  if (!chosen) return good;
  good = forced(*chosen) && good;
  ++runs;
  return checks.pass("op", [](const LinearParams& p, Context& context) { mamba::cuda::run_linear(p, context); }) &&
         good;
}

// Each tile and cut once, whatever the draws were.
bool check_cuts(Workspace& workspace, int64_t& runs) {
  bool good = true;
  for (const DType type : {DType::bf16, DType::f16}) {
    for (const int64_t m : {37, 61}) {
      const Case c = {m, 1000, 3112, type, m == 37 ? DType::f32 : type, true, true, 8, 4};
      const Checks checks(c, workspace, 77);
      for (const int tile : mamba::cuda::kRowTiles) {
        for (const auto& [columns, splits] : kCuts) {
          const RowsPlan plan = {.tile = tile, .columns = columns, .splits = splits};
          ++runs;
          good = checks.pass(name_of(plan), [&](const LinearParams& p, Context& context) {
            mamba::cuda::run_linear_rows(p, plan, context);
          }) && good;
        }
      }
    }
  }
  return good;
}

// Addresses without memory, in a capture that is thrown away.
void check_captures(Workspace& workspace) {
  for (const uintptr_t base : {uintptr_t{4096}, uintptr_t{1} << 45}) {
    LinearParams p = {};
    p.m = 33, p.n = 2048, p.k = 1536, p.x = reinterpret_cast<void*>(base), p.x_stride = 1536;
    p.weight = reinterpret_cast<void*>(base + (1 << 30)), p.out_stride = 2048;
    p.out = reinterpret_cast<void*>(base + (2u << 30));
    p.x_dtype = p.weight_dtype = p.out_dtype = DType::bf16;
    Context context = workspace.context;
    cudaGraph_t graph;
    bool launched = false;
    LAB_CHECK(cudaStreamBeginCapture(context.stream, cudaStreamCaptureModeThreadLocal));
    launched = mamba::cuda::run_linear_rows(p, {.tile = 48, .columns = 2, .splits = 1}, context);
    LAB_CHECK(cudaStreamEndCapture(context.stream, &graph));
    LAB_CHECK(cudaGraphDestroy(graph));
    LAB_CHECK(cudaDeviceSynchronize());
    if (!launched) std::printf("note: no tensor map over %zx\n", static_cast<size_t>(base));
  }
}

bool check_all(bool quick, Workspace& workspace) {
  const int64_t ms[] = {17, 18, 24, 25, 31, 32, 33, 48, 63, 64};
  const int64_t shapes[][2] = {{333, 1000},  {1040, 2560}, {77, 136},   {257, 776},  {3352, 768}, {768, 1536},
                               {2560, 5120}, {5, 8},       {1001, 328}, {200, 4096}, {131, 64},   {2049, 72}};
  const uint64_t seed = static_cast<uint64_t>(std::time(nullptr)) << 20;
  int64_t cases = 0, runs = 0, failed = 0;
  const auto check = [&](const Case& c) {
    failed += !check_case(c, seed + static_cast<uint64_t>(cases++), workspace, runs);
  };
  for (const DType type : {DType::bf16, DType::f16}) {
    for (const DType out : {DType::f32, type}) {
      for (size_t i = 0; i < std::size(ms); ++i) {
        for (int j = 0; j < (quick ? 1 : 3); ++j) {
          const auto turn = static_cast<size_t>(cases);
          const auto& [n, k] = shapes[turn % std::size(shapes)];
          const int pads[] = {0, 8, 24}, out_pads[] = {0, 5, 8, 3}, shifts[] = {0, 0, 1, 2, 4};
          if (quick && n * k > 1 << 20) {
            ++cases;
            continue;
          }
          check({ms[i], n, k, type, out, turn % 3 == 1, turn % 2 == 1, pads[turn % 3], out_pads[turn / 2 % 4],
                 shifts[turn % 5]});
        }
      }
    }
  }
  if (!quick) {
    check({64, 10576, 2560, DType::bf16, DType::bf16});
    check({64, 2560, 5120, DType::bf16, DType::f32, false, true, 10576 - 5120});
    check({40, 18560, 4096, DType::bf16, DType::bf16});
    check({23, 4096, 8192, DType::f16, DType::f32, false, true});
    failed += !check_cuts(workspace, runs);
  }
  check_captures(workspace);
  std::printf("rows: %ld cases, %ld runs, %ld failed\n", static_cast<long>(cases), static_cast<long>(runs),
              static_cast<long>(failed));
  return failed == 0;
}

}  // namespace
