// rms_norm and gated_rms_norm on CUDA: the general kernels, and the choice among them and the kernels of norm.cuh.
//
// Measured on one H200 (us, the launch's 4.0 in it; native/lab/norm.cu has the ladder): one vector of eight channels a
// thread is the fastest from 1 to 8192 rows, as long as 512 threads have the row. A row of 2560 with a float residual
// takes 5.5 (a copy of the bytes 4.7) and 1.5 in a chain of dependent launches, 8192 rows 65.9 (64.8). A start ahead
// with the weights pays up to 256 rows; for the gated norm the weights ahead always do. 8,192 rows of a gated delta
// net's 32 heads of 128 take 82 with a warp for each, and 50 with 16 lanes for each and four in flight (200 MB).
#include "core/float_type.h"
#include "cuda/norm.cuh"

namespace mamba::cuda {
namespace {

constexpr unsigned kGeneralThreads = 256;

// Any type, stride and alignment: one element at a time, the row read twice.
__global__ void __launch_bounds__(kGeneralThreads) rms_norm_general_kernel(const __grid_constant__ RmsNormParams p) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const int64_t end = row < p.rows ? p.width : 0;
  __shared__ WarpSums sums;
  let_next_start();
  sums.clear();
  wait_for_inputs();
  float squares = 0;
  for (int64_t c = threadIdx.x; c < end; c += blockDim.x) {
    float v = load_any(p.x, p.x_dtype, row * p.x_stride + c);
    if (p.residual) {
      v += load_any(p.residual, p.residual_dtype, row * p.width + c);
      store_any(p.residual, p.residual_dtype, row * p.width + c, v);
      v = load_any(p.residual, p.residual_dtype, row * p.width + c);
    }
    squares = fmaf(v, v, squares);
  }
  const float scale = rsqrtf(sums.add(squares) / static_cast<float>(p.width) + p.eps);
  for (int64_t c = threadIdx.x; c < end; c += blockDim.x) {
    const float v = p.residual ? load_any(p.residual, p.residual_dtype, row * p.width + c)
                               : load_any(p.x, p.x_dtype, row * p.x_stride + c);
    store_any(p.out, p.out_dtype, row * p.width + c, v * scale * p.weight[c]);
  }
}

// Groups of all rows, one after another.
__global__ void __launch_bounds__(kGeneralThreads)
    gated_rms_norm_general_kernel(const __grid_constant__ GatedRmsNormParams p) {
  const int64_t unit = int64_t{blockIdx.x} * blockDim.y + threadIdx.y, groups = p.width / p.group_size;
  const int64_t row = unit / groups, first = unit % groups * p.group_size;
  const int64_t end = row < p.rows ? p.group_size : 0;
  __shared__ WarpSums sums;
  let_next_start();
  sums.clear();
  wait_for_inputs();
  const auto gate = [&](int64_t c) { return silu(load_any(p.gate, p.dtype, row * p.gate_stride + first + c)); };
  const auto value = [&](int64_t c) {
    const float x = load_any(p.x, p.dtype, row * p.x_stride + first + c);
    return p.norm_before_gate ? x : x * gate(c);
  };
  float squares = 0;
  for (int64_t c = threadIdx.x; c < end; c += blockDim.x) {
    const float v = value(c);
    squares = fmaf(v, v, squares);
  }
  const float scale = rsqrtf(sums.add(squares) / static_cast<float>(p.group_size) + p.eps);
  for (int64_t c = threadIdx.x; c < end; c += blockDim.x) {
    const float normed = value(c) * scale * p.weight[first + c];
    store_any(p.out, p.dtype, row * p.width + first + c, p.norm_before_gate ? normed * gate(c) : normed);
  }
}

constexpr int64_t kFewRows = 256;
// Warps of which more than one a block pays: 8,192 of a gated delta net's norm took 8.4 us as blocks of their own.
constexpr int64_t kFewWarps = 4096;
constexpr int64_t kMostUnits = (int64_t{1} << 31) - 1;  // 32-bit indices

bool tuned(const RmsNormParams& p) {
  // One type, beside a residual of it or of floats; or a float residual stream into a product's type, alone or added to
  // rows of that type.
  const bool types = p.x_dtype == p.out_dtype
                         ? !p.residual || p.residual_dtype == DType::f32 || p.residual_dtype == p.x_dtype
                         : p.x_dtype == DType::f32 && (!p.residual || p.residual_dtype == p.out_dtype);
  return types && p.width % kNormVec == 0 && rows_of_eights(p.x, p.x_stride) && aligned(p.residual) && aligned(p.out) &&
         aligned(p.weight);
}

bool tuned(const GatedRmsNormParams& p) {
  return p.group_size % kNormVec == 0 && rows_of_eights(p.x, p.x_stride) && rows_of_eights(p.gate, p.gate_stride) &&
         aligned(p.out) && aligned(p.weight) && p.width / p.group_size <= kMostBlocksYZ;
}

// How rows (or groups of rows) lie over threads.
struct Spread {
  int vectors = 0;  // of each thread: 1, 2 or 4, or 0 for the general kernel
  LaunchShape shape;
};

Spread spread(bool tuned, int64_t rows, int64_t width, int64_t groups) {
  Spread s;
  s.shape.early = rows <= kFewRows;
  if (tuned) {
    for (const int vectors : {1, 2, 4}) {
      const unsigned threads = norm_threads(width, vectors);
      if (threads > kNormThreads) continue;
      const unsigned each = threads == 32 && rows * groups > kFewWarps ? 4 : 1;
      s.vectors = vectors;
      s.shape.block = {threads, each};
      s.shape.grid = {ceil_div(rows, each), groups};
      return s;
    }
  }
  const unsigned threads = width <= 512 ? 32 : kGeneralThreads, each = kGeneralThreads / threads;
  s.shape.block = {threads, each};
  s.shape.grid = ceil_div(rows * groups, each);
  return s;
}

// f(vectors of a thread, whether weights are loaded ahead) as template arguments.
template <class F>
void with_spread(int vectors, bool early_weights, F f) {
  if (vectors == 1) return early_weights ? f.template operator()<1, true>() : f.template operator()<1, false>();
  if (vectors == 2) return early_weights ? f.template operator()<2, true>() : f.template operator()<2, false>();
  f.template operator()<4, false>();
}

template <class X, class R, class O>
void launch_rms_norm(const RmsNormParams& p, const Spread& s, Context& context) {
  with_spread(s.vectors, p.rows <= kFewRows,
              [&]<int V, bool Early>() { launch(context, s.shape, rms_norm_kernel<X, R, O, V, Early>, p); });
}

// T: the type of out.
template <class T>
void launch_rms_norm(const RmsNormParams& p, const Spread& s, Context& context) {
  if (p.x_dtype != p.out_dtype) {
    return p.residual ? launch_rms_norm<float, T, T>(p, s, context) : launch_rms_norm<float, void, T>(p, s, context);
  }
  if (!p.residual) return launch_rms_norm<T, void, T>(p, s, context);
  p.residual_dtype == DType::f32 ? launch_rms_norm<T, float, T>(p, s, context)
                                 : launch_rms_norm<T, T, T>(p, s, context);
}

template <class T, int L>
void launch_gated_groups(const GatedRmsNormParams& p, int64_t units, Context& context) {
  constexpr int kEach = 4;
  launch(context, {.grid = ceil_div(units, kGroupsThreads / L * kEach), .block = kGroupsThreads},
         gated_rms_norm_groups_kernel<T, L, kEach>, p);
}

template <class T>
void launch_gated(const GatedRmsNormParams& p, const Spread& s, Context& context) {
  if (s.vectors == 1) return launch(context, s.shape, gated_rms_norm_kernel<T, 1, true>, p);
  s.vectors == 2 ? launch(context, s.shape, gated_rms_norm_kernel<T, 2, true>, p)
                 : launch(context, s.shape, gated_rms_norm_kernel<T, 4, false>, p);
}

}  // namespace

void run_rms_norm(const RmsNormParams& p, Context& context) {
  if (p.rows == 0 || p.width == 0) return;
  const Spread s = spread(tuned(p), p.rows, p.width, 1);
  if (s.vectors == 0) return launch(context, s.shape, rms_norm_general_kernel, p);
  with_float_type(p.out_dtype, [&](auto t) { launch_rms_norm<decltype(t)>(p, s, context); });
}

void run_gated_rms_norm(const GatedRmsNormParams& p, Context& context) {
  if (p.rows == 0 || p.width == 0) return;
  const int64_t units = p.rows * (p.width / p.group_size);
  if (tuned(p) && units > kFewWarps && units < kMostUnits && (p.group_size == 64 || p.group_size == 128)) {
    return with_float_type(p.dtype, [&](auto t) {
      p.group_size == 64 ? launch_gated_groups<decltype(t), 8>(p, units, context)
                         : launch_gated_groups<decltype(t), 16>(p, units, context);
    });
  }
  const Spread s = spread(tuned(p), p.rows, p.group_size, p.width / p.group_size);
  if (s.vectors == 0) return launch(context, s.shape, gated_rms_norm_general_kernel, p);
  with_float_type(p.dtype, [&](auto t) { launch_gated<decltype(t)>(p, s, context); });
}

}  // namespace mamba::cuda
