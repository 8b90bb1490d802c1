// grouped_linear with weights of codes: which of grouped_quantized.cuh's two kernels takes it, and their launches.
#include <algorithm>

#include "cuda/grouped_quantized.cuh"
#include "cuda/quantized_linear.h"

namespace mamba::cuda {
namespace grouped {
namespace {

template <class T, DType C>
void launch_quantized(const GroupedLinearParams& p, int64_t expert_bytes, Context& context) {
  constexpr int kWarps = 4;
  const LaunchShape shape = {.grid = {row_tiles(p.columns), most_tiles(p, 8)}, .block = kWarps * 32};
  p.gated ? launch(context, shape, quantized_kernel<T, C, true, kWarps, 5>, p, expert_bytes)
          : launch(context, shape, quantized_kernel<T, C, false, kWarps, 6>, p, expert_bytes);
}

template <class T>
void launch_quantized(const GroupedLinearParams& p, int64_t expert_bytes, Context& context) {
  switch (p.weight_dtype) {
    case DType::i8:
      return launch_quantized<T, DType::i8>(p, expert_bytes, context);
    case DType::e4m3:
      return launch_quantized<T, DType::e4m3>(p, expert_bytes, context);
    case DType::u4:
      return launch_quantized<T, DType::u4>(p, expert_bytes, context);
    default:
      return launch_quantized<T, DType::e2m1>(p, expert_bytes, context);
  }
}

}  // namespace
}  // namespace grouped

void run_grouped_quantized(const GroupedLinearParams& p, Context& context) {
  using namespace grouped;
  const auto expert_bytes = static_cast<int64_t>(quantized_weight_bytes(p.n, p.k, p.weight_dtype));
  const bool vectors = p.x_dtype != DType::f32 && p.k % 8 == 0 && p.k < (1 << 28) && rows_of_eights(p.x, p.x_stride);
  if (vectors && (!p.gated || p.n / 2 % kTileRows == 0) && most_tiles(p, 8) <= kMostBlocksYZ) {
    return p.x_dtype == DType::bf16 ? launch_quantized<bf16>(p, expert_bytes, context)
                                    : launch_quantized<f16>(p, expert_bytes, context);
  }
  const int64_t tiles = most_tiles(p, 8);
  for (int64_t first = 0; first < tiles; first += kMostBlocksYZ) {
    const Grid grid(ceil_div(p.columns, kGeneralWarps), std::min(tiles - first, kMostBlocksYZ));
    launch(context, {.grid = grid, .block = kGeneralWarps * 32},
           p.gated ? quantized_general_kernel<true> : quantized_general_kernel<false>, p, expert_bytes,
           static_cast<int>(first));
  }
}

}  // namespace mamba::cuda
