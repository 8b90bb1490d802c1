#pragma once
// Checks of linear_walk.cu: every plan that fits a case against float64, on the device, in strided rows with guards,
// twice after a kernel that writes its inputs late; without splits the bits are those of run_linear_chains().
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdio>
#include <ctime>
#include <functional>
#include <string>

#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/linear_rows.h"
#include "cuda/linear_walk.h"
#include "cuda/vec.cuh"
#include "lab/lab.cuh"
#include "lab/linear_exact.cuh"
#include "lab/linear_workspace.cuh"

namespace {

using lab::Buffer;
using lab::Host;
using mamba::DType;
using mamba::LinearParams;
using mamba::cuda::Context;
using mamba::cuda::WalkPlan;
using Workspace = lab::LinearWorkspace;

std::string name_of(const WalkPlan& plan) {
  const mamba::cuda::WalkTile& tile = mamba::cuda::walk_tiles()[static_cast<size_t>(plan.tile)];
  return (tile.weight_left ? "W" : "x") + std::to_string(tile.left) + " " + std::to_string(tile.width) +
         (plan.shares_x ? " x" : " W");
}

struct Case {
  int64_t m, n, k;
  DType out;
  bool accumulate;
  int x_pad, out_pad;
  bool gated = false;
};

// The products, and the sums of their terms' sizes.
__global__ void products_kernel(const LinearParams p, double* values, double* sizes) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= p.m * p.n) return;
  const int64_t row = i / p.n, n = i % p.n;
  const auto [value, size] = lab::exact_sum(p, row, n);
  values[i] = value, sizes[i] = size;
}

struct Found {
  unsigned long long bad, other_bits, outside;
};

// Elements of the padded rows of out: inside they are near the reference, and the bits of `same` if there is one;
// outside they are what they were set to.
__global__ void judge_kernel(const LinearParams p, int64_t columns, bool gated, const double* values,
                             const double* sizes, const void* before, const void* same, double rounding, Found* found) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= p.m * p.out_stride) return;
  const int64_t row = i / p.out_stride, n = i % p.out_stride;
  const bool wide = p.out_dtype == DType::f32;
  const auto bits = [&](const void* at) {
    return wide ? static_cast<const uint32_t*>(at)[i] : static_cast<const uint16_t*>(at)[i];
  };
  if (n >= columns) {
    if (bits(p.out) != bits(before)) atomicAdd(&found->outside, 1ull);
    return;
  }
  double expected = values[row * p.n + n], size = sizes[row * p.n + n];
  if (gated) {
    const double up = values[row * p.n + columns + n], of_up = sizes[row * p.n + columns + n];
    const double slope = 1.1, silu = expected / (1 + exp(-expected));
    size = slope * size * fabs(up) + fabs(silu) * of_up;
    expected = silu * up;
  }
  if (p.accumulate) expected += mamba::cuda::load_any(before, p.out_dtype, i);
  const double got = mamba::cuda::load_any(p.out, p.out_dtype, i);
  if (!(fabs(got - expected) <= 1e-6 * size + 1e-5 + rounding * fabs(expected))) atomicAdd(&found->bad, 1ull);
  if (same && bits(p.out) != bits(same)) atomicAdd(&found->other_bits, 1ull);
}

bool check_case(const Case& c, DType type, uint64_t seed, Workspace& workspace, int64_t& runs) {
  const int64_t x_stride = c.k + c.x_pad, columns = c.gated ? c.n / 2 : c.n, out_stride = c.n + c.out_pad;
  const size_t size = mamba::size_of(c.out);
  Buffer x(static_cast<size_t>(c.m * x_stride) * 2), x_from(x.bytes), weight(static_cast<size_t>(c.n * c.k) * 2);
  Buffer out(static_cast<size_t>(c.m * out_stride) * size), out_from(out.bytes), chains(out.bytes);
  const Buffer values(static_cast<size_t>(c.m * c.n) * 8), sizes(values.bytes), found(sizeof(Found));
  const auto fill = [&](const Buffer& to, DType dtype, uint64_t s) {
    if (dtype == DType::f32) {
      lab::fill_random_kernel<<<1056, 256>>>(to.as<float>(), static_cast<int64_t>(to.bytes / 4), s);
    } else if (dtype == DType::bf16) {
      lab::fill_random_kernel<<<1056, 256>>>(to.as<__nv_bfloat16>(), static_cast<int64_t>(to.bytes / 2), s);
    } else {
      lab::fill_random_kernel<<<1056, 256>>>(to.as<__half>(), static_cast<int64_t>(to.bytes / 2), s);
    }
  };
  fill(x_from, type, seed), fill(weight, type, seed + 7), fill(out_from, c.out, seed + 11);
  if (!c.accumulate) out_from.poison();
  LinearParams p = {};
  p.m = c.m, p.n = c.n, p.k = c.k, p.x = x_from.data, p.x_stride = x_stride, p.weight = weight.data;
  p.out = out.data, p.out_stride = out_stride, p.accumulate = c.accumulate, p.x_dtype = p.weight_dtype = type,
  p.out_dtype = c.out;
  products_kernel<<<static_cast<unsigned>((c.m * c.n + 127) / 128), 128>>>(p, values.as<double>(), sizes.as<double>());
  LAB_CHECK(cudaDeviceSynchronize());
  Context context = workspace.context;
  const auto chain = [&](int times, const std::function<void(Context&)>& run) {
    x.poison(), out.poison();
    LAB_CHECK(cudaDeviceSynchronize());
    for (int i = 0; i < times; ++i) {
      mamba::cuda::launch(context, {.grid = 64, .block = 256}, lab::late_copy_kernel, x.as<uint32_t>(),
                          x_from.as<const uint32_t>(), static_cast<int64_t>(x.bytes / 4), out.as<uint32_t>(),
                          out_from.as<const uint32_t>(), static_cast<int64_t>(out.bytes / 4));
      run(context);
    }
    LAB_CHECK(cudaStreamSynchronize(context.stream));
  };
  p.x = x.data;
  if (!c.gated) {
    chain(1, [&](Context& on) { mamba::cuda::run_linear_chains(p, on); });
    LAB_CHECK(cudaMemcpy(chains.data, out.data, out.bytes, cudaMemcpyDeviceToDevice));
  }
  bool good = true;
  const auto tiles = mamba::cuda::walk_tiles();
  const Buffer first(out.bytes);
  for (int tile = 0; tile < static_cast<int>(tiles.size()); ++tile) {
    for (const bool shares_x : {true, false}) {
      const WalkPlan plan = {tile, shares_x};
      if (!mamba::cuda::walk_fits(p, context) || !mamba::cuda::walk_fits(plan)) continue;
      if (c.gated && !tiles[static_cast<size_t>(tile)].gates) continue;
      bool launched = true;
      const auto run = [&](Context& on) {
        if (c.gated) {
          mamba::LinearActivationParams both = {};
          both.linear = p, both.activation.width = columns, both.activation.scale = 1;
          launched &= mamba::cuda::run_linear_walk(both, plan, on);
        } else {
          launched &= mamba::cuda::run_linear_walk(p, plan, on);
        }
      };
      Found got = {};
      bool steady = true;
      for (int times = 1; times <= 3; ++times) {
        chain(times, run);
        if (times == 1) {
          LAB_CHECK(cudaMemcpy(first.data, out.data, out.bytes, cudaMemcpyDeviceToDevice));
          LAB_CHECK(cudaMemset(found.data, 0, found.bytes));
          judge_kernel<<<static_cast<unsigned>((c.m * out_stride + 127) / 128), 128>>>(
              p, columns, c.gated, values.as<double>(), sizes.as<double>(), out_from.data,
              c.gated ? nullptr : chains.data, lab::rounding(c.out), found.as<Found>());
          LAB_CHECK(cudaMemcpy(&got, found.data, sizeof(got), cudaMemcpyDeviceToHost));
        } else {
          Host a(c.out, c.m * out_stride), b = a;
          LAB_CHECK(cudaMemcpy(a.bytes.data(), out.data, out.bytes, cudaMemcpyDeviceToHost));
          LAB_CHECK(cudaMemcpy(b.bytes.data(), first.data, out.bytes, cudaMemcpyDeviceToHost));
          steady &= a.bytes == b.bytes;
        }
      }
      ++runs;
      if (launched && steady && got.bad == 0 && got.other_bits == 0 && got.outside == 0) continue;
      good = false;
      std::printf(
          "FAILED %s: m %ld n %ld k %ld -> %s accumulate %d gated %d: %llu bad, %llu other bits, %llu outside%s%s\n",
          name_of(plan).c_str(), static_cast<long>(c.m), static_cast<long>(c.n), static_cast<long>(c.k),
          mamba::name_of(c.out), c.accumulate, c.gated, got.bad, got.other_bits, got.outside,
          steady ? "" : ", not the same bits again", launched ? "" : ", refused");
    }
  }
  return good;
}

bool check_all(Workspace& workspace) {
  const uint64_t seed = static_cast<uint64_t>(std::time(nullptr)) << 20;
  const DType bf16 = DType::bf16;
  const Case cases[] = {{65, 1040, 136, bf16, false, 0, 0},         {256, 2560, 4096, DType::f32, true, 0, 0},
                        {200, 2576, 1032, DType::f32, false, 8, 4}, {250, 5120, 1160, DType::f32, true, 0, 8},
                        {1193, 1552, 520, bf16, false, 0, 8},       {300, 4096, 640, DType::f32, true, 24, 0},
                        {256, 12352, 328, bf16, false, 0, 0},       {517, 2560, 2304, DType::f32, true, 0, 0},
                        {256, 2080, 768, bf16, false, 0, 0, true},  {1193, 3104, 264, bf16, false, 0, 16, true},
                        {130, 18432, 200, bf16, false, 8, 0, true}};
  int64_t runs = 0, failed = 0;
  for (const DType type : {DType::bf16, DType::f16}) {
    for (Case c : cases) {
      if (c.out == DType::bf16) c.out = type;
      failed += !check_case(c, type, lab::mix(seed + static_cast<uint64_t>(runs)), workspace, runs);
    }
  }
  std::printf("walk: %zu cases, %ld runs, %ld cases failed\n", std::size(cases), static_cast<long>(runs),
              static_cast<long>(failed));
  std::fflush(stdout);
  return failed == 0;
}

}  // namespace
