// linear and rms_norm_linear of one row with a weight of codes: whether quantized_ring.cuh takes it, and its launch.
#include <algorithm>
#include <optional>

#include "cuda/dispatch.h"
#include "cuda/quantized_ring.cuh"
#include "cuda/quantized_ring.h"

namespace mamba::cuda {
namespace codes {
namespace {

// A block's: more than half of a multiprocessor's 228 KB, and what fits three stages of eight bits.
constexpr uint32_t kRingMemory = 120 << 10;
constexpr int64_t kLeastBlocks = 128;  // of the weight for a multiprocessor: 8192 -> 4096, the least measured

// None where the weight is small, its tiles leave more than an eighth of the multiprocessors' time unused, or row and
// sums leave less than two stages.
std::optional<RingPlan> ring_plan(const LinearParams& p, const Context& context) {
  const bool takes = p.weight_dtype == DType::e4m3 || p.weight_dtype == DType::i8 || p.weight_dtype == DType::u4;
  if (p.m != 1 || !takes || !context.hopper() || context.deterministic) return std::nullopt;
  if (p.x_dtype == DType::f32 || p.k % 8 != 0 || !aligned(p.x)) return std::nullopt;
  const int64_t all = ceil_div(p.n, kRows), steps = steps_of(p.k), tiles = ceil_div(all, context.multiprocessors);
  if (tiles * steps < kLeastBlocks || 8 * all < 7 * tiles * context.multiprocessors) return std::nullopt;
  const int64_t x = steps * kStep * 2, sums = tiles * kRingWarps * kRows * 4, squares = kRingWarps * 4;
  const int64_t stage = kRingWarps * block_bytes(p.weight_dtype);
  const int64_t stages = (kRingMemory - x - sums - squares) / (stage + 16);
  if (stages < 2) return std::nullopt;
  RingPlan plan = {.stages = static_cast<int>(stages)};
  plan.x = static_cast<uint32_t>(stages * stage);
  plan.sums = plan.x + static_cast<uint32_t>(x);
  plan.squares = plan.sums + static_cast<uint32_t>(sums);
  plan.barriers = plan.squares + static_cast<uint32_t>(squares);
  return plan;
}

template <class T, DType C, class X>
void launch_ring(const LinearParams& p, const RingNorm& norm, const RingPlan& plan, Context& context) {
  const auto kernel = ring_kernel<T, C, X>;
  static thread_local const cudaError_t mostly_l1 = prefer_l1(kernel, kRingMemory, 1);
  check(mostly_l1, "L1 for a product of one row");
  const auto blocks = std::min<int64_t>(ceil_div(p.n, kRows), context.multiprocessors);
  launch(context, {.grid = blocks, .block = kRingThreads, .shared_bytes = kRingMemory}, kernel, p, norm, plan);
}

template <class T, class X>
bool run_ring(const LinearParams& p, const RingNorm& norm, Context& context) {
  const auto plan = ring_plan(p, context);
  if (!plan) return false;
  switch (p.weight_dtype) {
    case DType::i8:
      launch_ring<T, DType::i8, X>(p, norm, *plan, context);
      return true;
    case DType::e4m3:
      launch_ring<T, DType::e4m3, X>(p, norm, *plan, context);
      return true;
    default:
      launch_ring<T, DType::u4, X>(p, norm, *plan, context);
      return true;
  }
}

}  // namespace
}  // namespace codes

bool run_quantized_ring(const LinearParams& p, Context& context) {
  return p.x_dtype == DType::bf16 ? codes::run_ring<bf16, void>(p, {}, context)
                                  : codes::run_ring<f16, void>(p, {}, context);
}

// bf16 alone: x w is not normalised, and may be too large for f16.
bool run_normed_quantized_ring(const RmsNormLinearParams& p, Context& context) {
  if (p.linear.x_dtype != DType::bf16 || !aligned(p.x) || !aligned(p.norm_weight)) return false;
  const codes::RingNorm norm = {p.x, p.norm_weight, p.eps};
  if (p.x_dtype == DType::f32) return codes::run_ring<bf16, float>(p.linear, norm, context);
  return p.x_dtype == DType::bf16 && codes::run_ring<bf16, bf16>(p.linear, norm, context);
}

}  // namespace mamba::cuda
