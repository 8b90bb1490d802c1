// Ladders of rms_norm, gated_rms_norm, embedding and gather_rows.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/norm.cu -o norm &&
//       ./norm [--json FILE --commit SHA] [--check | --time]
//
// Idea. A row (or a group of a row) is read once into registers, eight channels of a thread at a time; its squares are
// added by shuffles and, if it spans warps, through shared memory once; then it is scaled and written. The weights do
// not depend on the kernel before, so they are loaded before waiting for it.
//
// Mapping. T threads along a row, each with V vectors of eight channels, T apart; R rows a block.
//
// Bound. Bytes: x and out, the residual twice, or x, gate and out. For few rows the latency of one load, one reduction
// and one store.
//
// Measured, us on one H200, between two events around a graph of the launch alone, after a flush of the L2 by writes.
// An empty kernel takes 4.0 of it. x and out in bf16, the residual in float (bf16 in brackets); "early" loads the
// weights before the row.
//
// rms_norm, rows x width               1x2560      64x2560     256x2560    8192x2560     8192x768      8192x4096
//   copy of the same bytes             4.6 (4.4)   5.2 (5.1)   6.8 (5.9)   64.6 (44.3)   23.2 (17.5)   99.1 (68.0)
//   V1 early                           5.6 (5.3)   6.2 (5.4)   7.2 (6.5)   68.3 (44.9)   23.9 (17.7)   103.5 (70.1)
//   V1                                 6.0 (5.4)   6.2 (5.7)   7.2 (6.6)   65.6 (45.1)   24.0 (17.7)   102.3 (70.8)
//   V2                                 6.7 (6.2)   6.9 (6.2)   7.7 (6.8)   66.4 (46.8)   24.4 (18.7)   102.8 (73.4)
//   V4 R4                              6.3 (6.2)   7.5 (6.7)   8.4 (7.5)   83.4 (52.4)   24.5 (19.0)   115.5 (89.7)
//   a warp a row (V10, V3, V16), R4    16.8 (8.7)  17.5 (9.4)  19.2 (10.7) 301.2 (69.4)  24.0 (18.5)   522.3 (370.2)
//   each of 20 in a row, warm L2       2.1 (1.9)   2.3 (2.0)   2.9 (2.5)
//   the same, dependent launches       1.8 (1.6)   2.1 (1.7)   3.2 (2.9)
//
// gated_rms_norm, rows x width/groups  1x5120/1    64x5120/1   256x5120/1  8192x5120/1   1x8192/8      8192x8192/8
//   copy of the same bytes             4.6         5.3         6.7         64.4          4.7           99.2
//   V2 (8192/8: V1) early              5.7         6.4         7.8         68.1          5.3           102.2
//   V2 (8192/8: V1)                    6.1         6.8         8.1         65.4          5.8           103.3
//   each of 20 in a row, warm L2       2.4         2.5         3.4                       1.8
//   the same, dependent launches       2.0         2.4         3.5                       1.5
//
// embedding, rows x width              1x2560      64x2560     256x2560    8192x2560     8192x768      8192x4096
//   copy of the same bytes             4.9         5.0         5.8         25.4          11.0          38.1
//   row: a block a row                 5.2         5.8         6.2         27.8          14.3          42.3
//   flat: threads along all rows       5.4         5.9         6.4         28.2          12.7          41.6
//
// More than 8 vectors a thread spill under the bound of 512 threads. Dependent launches pay up to 64 rows: at 256 rows
// of 2560 and more they lose.
#include <cuda_runtime.h>

#include "lab/lab.cuh"
#include "cuda/vec.cuh"
#include "ops/embedding.h"
#include "ops/norm.h"

namespace mamba::cuda {

constexpr int kVec = 8;

__device__ __forceinline__ void wait_for_previous_kernel() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ void let_next_kernel_start() { asm volatile("griddepcontrol.launch_dependents;"); }

// The sum over blockDim.x threads (whole warps), the same in each of them.
__device__ __forceinline__ float row_sum(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(~0u, x, distance);
  const int warps = blockDim.x / 32;
  if (warps == 1) return x;
  __shared__ float parts[32];
  const int first = threadIdx.y * warps;
  if (threadIdx.x % 32 == 0) parts[first + threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < warps; ++i) sum += parts[first + i];
  return sum;
}

template <class T>
__device__ __forceinline__ void load_floats(const T* from, float (&to)[kVec]) {
  unpack(load<kVec>(from), to);
}

template <class O, int V>
__device__ __forceinline__ void scale_and_store(O* out, float (&values)[V][kVec], float (&weights)[V][kVec],
                                                float scale, int width) {
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int c = (i * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * kVec;
    if (c >= width) break;
#pragma unroll
    for (int k = 0; k < kVec; ++k) values[i][k] *= scale * weights[i][k];
    store<kVec>(out + c, pack<O, kVec>(values[i]));
  }
}

// R is void without a residual. `Early`: weights are loaded before the row, for a start ahead of the kernel before;
// else when the row's sum is known, from the L2 and with fewer registers.
template <class X, class R, class O, int V, bool Early>
__global__ void __launch_bounds__(512) rms_norm_kernel(const __grid_constant__ RmsNormParams p) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const int width = static_cast<int>(p.width);
  const auto channel = [](int i) { return (i * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * kVec; };
  const bool inside = row < p.rows;
  float weights[V][kVec], values[V][kVec];
  const auto load_weights = [&] {
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (channel(i) < width) unpack(load_constant<kVec>(p.weight + channel(i)), weights[i]);
    }
  };
  let_next_kernel_start();
  if constexpr (Early) load_weights();
  wait_for_previous_kernel();
  float squares = 0;
  if (inside) {
    const X* x = static_cast<const X*>(p.x) + row * p.x_stride;
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (channel(i) < width) load_floats(x + channel(i), values[i]);
    }
    if constexpr (!std::is_void_v<R>) {
      R* residual = static_cast<R*>(p.residual) + row * p.width;
      Vec<R, kVec> old[V];
#pragma unroll
      for (int i = 0; i < V; ++i) {
        if (channel(i) < width) old[i] = load<kVec>(residual + channel(i));
      }
#pragma unroll
      for (int i = 0; i < V; ++i) {
        if (channel(i) >= width) break;
        float before[kVec];
        unpack(old[i], before);
#pragma unroll
        for (int k = 0; k < kVec; ++k) values[i][k] += before[k];
        const Vec<R, kVec> updated = pack<R, kVec>(values[i]);
        unpack(updated, values[i]);  // as rounded
        store<kVec>(residual + channel(i), updated);
      }
    }
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (channel(i) >= width) break;
#pragma unroll
      for (int k = 0; k < kVec; ++k) squares = fmaf(values[i][k], values[i][k], squares);
    }
  }
  const float sum = row_sum(squares);
  if (!inside) return;
  if constexpr (!Early) load_weights();
  const float scale = rsqrtf(sum / static_cast<float>(width) + p.eps);
  scale_and_store(static_cast<O*>(p.out) + row * p.width, values, weights, scale, width);
}

// blockIdx.y is the group.
template <class T, int V, bool Early>
__global__ void __launch_bounds__(512) gated_rms_norm_kernel(const __grid_constant__ GatedRmsNormParams p) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const int width = static_cast<int>(p.group_size);
  const int64_t first = int64_t{blockIdx.y} * width;
  const auto channel = [](int i) { return (i * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * kVec; };
  const bool inside = row < p.rows;
  float weights[V][kVec], values[V][kVec];
  const auto load_weights = [&] {
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (channel(i) < width) unpack(load_constant<kVec>(p.weight + first + channel(i)), weights[i]);
    }
  };
  let_next_kernel_start();
  if constexpr (Early) load_weights();
  wait_for_previous_kernel();
  float squares = 0;
  if (inside) {
    const T* x = static_cast<const T*>(p.x) + row * p.x_stride + first;
    const T* gate = static_cast<const T*>(p.gate) + row * p.gate_stride + first;
    Vec<T, kVec> gates[V];
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (channel(i) < width) gates[i] = load<kVec>(gate + channel(i));
    }
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (channel(i) < width) load_floats(x + channel(i), values[i]);
    }
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (channel(i) >= width) break;
      float z[kVec];
      unpack(gates[i], z);
#pragma unroll
      for (int k = 0; k < kVec; ++k) {
        values[i][k] *= silu(z[k]);
        squares = fmaf(values[i][k], values[i][k], squares);
      }
    }
  }
  const float sum = row_sum(squares);
  if (!inside) return;
  if constexpr (!Early) load_weights();
  const float scale = rsqrtf(sum / static_cast<float>(width) + p.eps);
  scale_and_store(static_cast<T*>(p.out) + row * p.width + first, values, weights, scale, width);
}

// Any type, stride and alignment: one element at a time, the row read twice.
__device__ __forceinline__ float load_any(const void* from, int64_t i, DType t) {
  if (t == DType::f32) return static_cast<const float*>(from)[i];
  return t == DType::bf16 ? as_float(static_cast<const bf16*>(from)[i]) : as_float(static_cast<const f16*>(from)[i]);
}
__device__ __forceinline__ void store_any(void* to, int64_t i, float x, DType t) {
  if (t == DType::f32) {
    static_cast<float*>(to)[i] = x;
  } else if (t == DType::bf16) {
    static_cast<bf16*>(to)[i] = rounded<bf16>(x);
  } else {
    static_cast<f16*>(to)[i] = rounded<f16>(x);
  }
}

__global__ void __launch_bounds__(256) rms_norm_general_kernel(const __grid_constant__ RmsNormParams p) {
  const int64_t row = blockIdx.x;
  let_next_kernel_start();
  wait_for_previous_kernel();
  float squares = 0;
  for (int64_t c = threadIdx.x; c < p.width; c += blockDim.x) {
    float v = load_any(p.x, row * p.x_stride + c, p.x_dtype);
    if (p.residual) {
      v += load_any(p.residual, row * p.width + c, p.residual_dtype);
      store_any(p.residual, row * p.width + c, v, p.residual_dtype);
      v = load_any(p.residual, row * p.width + c, p.residual_dtype);
    }
    squares = fmaf(v, v, squares);
  }
  const float scale = rsqrtf(row_sum(squares) / static_cast<float>(p.width) + p.eps);
  for (int64_t c = threadIdx.x; c < p.width; c += blockDim.x) {
    const float v = p.residual ? load_any(p.residual, row * p.width + c, p.residual_dtype)
                               : load_any(p.x, row * p.x_stride + c, p.x_dtype);
    store_any(p.out, row * p.width + c, v * scale * p.weight[c], p.out_dtype);
  }
}

__global__ void __launch_bounds__(256) gated_rms_norm_general_kernel(const __grid_constant__ GatedRmsNormParams p) {
  const int64_t row = blockIdx.x, first = blockIdx.y * p.group_size;
  let_next_kernel_start();
  wait_for_previous_kernel();
  const auto value = [&](int64_t c) {
    return load_any(p.x, row * p.x_stride + first + c, p.dtype) *
           silu(load_any(p.gate, row * p.gate_stride + first + c, p.dtype));
  };
  float squares = 0;
  for (int64_t c = threadIdx.x; c < p.group_size; c += blockDim.x) squares = fmaf(value(c), value(c), squares);
  const float scale = rsqrtf(row_sum(squares) / static_cast<float>(p.group_size) + p.eps);
  for (int64_t c = threadIdx.x; c < p.group_size; c += blockDim.x) {
    store_any(p.out, row * p.width + first + c, value(c) * scale * p.weight[first + c], p.dtype);
  }
}

// Rows of a table by index, eight elements a thread; a row of zeros for an index outside it. One row a blockIdx.x, or
// (Flat) all threads along all rows.
template <class W, class O, bool Flat>
__global__ void __launch_bounds__(512)
    copy_rows_kernel(const W* __restrict__ table, const int32_t* __restrict__ index, O* __restrict__ out, uint32_t rows,
                     int64_t table_rows, int64_t stride, uint32_t vectors) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  const auto move = [&](uint32_t row, uint32_t v) {
    const int32_t from = __ldg(index + row);
    const int64_t to = (int64_t{row} * vectors + v) * kVec;
    if (from < 0 || from >= table_rows) {
      store<kVec>(out + to, zeros<O, kVec>());
      return;
    }
    const Vec<W, kVec> values = load_constant<kVec>(table + from * stride + int64_t{v} * kVec);
    if constexpr (std::is_same_v<W, O>) {
      store<kVec>(out + to, values);
    } else {
      float f[kVec];
      unpack(values, f);
      store<kVec>(out + to, pack<O, kVec>(f));
    }
  };
  if constexpr (Flat) {
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * vectors) move(i / vectors, i % vectors);
  } else {
    for (uint32_t v = threadIdx.x; v < vectors; v += blockDim.x) move(blockIdx.x, v);
  }
}

__global__ void __launch_bounds__(256)
    copy_rows_general_kernel(const void* table, const int32_t* index, void* out, int64_t table_rows, int64_t stride,
                             int64_t width, DType from_dtype, DType to_dtype) {
  const int64_t row = blockIdx.x, from = index[row];
  const bool inside = from >= 0 && from < table_rows;
  for (int64_t c = threadIdx.x; c < width; c += blockDim.x) {
    store_any(out, row * width + c, inside ? load_any(table, from * stride + c, from_dtype) : 0.0f, to_dtype);
  }
}

// `early`: may start while the kernel before it in the stream still runs (programmatic dependent launch).
template <class Kernel, class... Args>
void launch(Kernel kernel, dim3 grid, dim3 block, bool early, cudaStream_t stream, const Args&... args) {
  cudaLaunchConfig_t config = {};
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.gridDim = grid, config.blockDim = block, config.stream = stream;
  config.attrs = &attribute, config.numAttrs = early;
  LAB_CHECK(cudaLaunchKernelEx(&config, kernel, args...));
}

// How a row lies over threads: V vectors each; R rows a block.
struct Spread {
  int vectors = 1, rows = 1;
  bool early_weights = true, dependent = true;
};

inline unsigned threads_for(int64_t width, int vectors) {
  return static_cast<unsigned>((width / kVec + vectors * 32 - 1) / (vectors * 32) * 32);
}

template <class F>
void with_vectors(int vectors, F f) {
  const auto is = [&]<int V>() {
    if (vectors == V) f.template operator()<V>();
  };
  is.template operator()<1>(), is.template operator()<2>(), is.template operator()<3>(), is.template operator()<4>();
  is.template operator()<6>(), is.template operator()<10>(), is.template operator()<16>();
}

inline bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

inline bool tuned(const RmsNormParams& p) {
  return p.x_dtype == DType::bf16 && p.out_dtype == DType::bf16 && (!p.residual || p.residual_dtype != DType::f16) &&
         p.width % kVec == 0 && p.x_stride % kVec == 0 && aligned(p.x) && aligned(p.residual) && aligned(p.out) &&
         aligned(p.weight);
}
inline bool tuned(const GatedRmsNormParams& p) {
  return p.dtype == DType::bf16 && p.group_size % kVec == 0 && p.x_stride % kVec == 0 && p.gate_stride % kVec == 0 &&
         aligned(p.x) && aligned(p.gate) && aligned(p.out) && aligned(p.weight);
}
template <class P>
bool fits(const P& p, int64_t width, const Spread& l) {
  return tuned(p) && threads_for(width, l.vectors) * l.rows <= 512 && threads_for(width, l.vectors) > 0;
}

void launch_rms_norm(const RmsNormParams& p, const Spread& l, cudaStream_t stream) {
  const dim3 block(threads_for(p.width, l.vectors), static_cast<unsigned>(l.rows));
  const unsigned grid = static_cast<unsigned>((p.rows + l.rows - 1) / l.rows);
  with_vectors(l.vectors, [&]<int V>() {
    const auto go = [&](auto kernel) { launch(kernel, grid, block, l.dependent, stream, p); };
    const auto with_residual = [&]<class R>() {
      l.early_weights ? go(rms_norm_kernel<bf16, R, bf16, V, true>) : go(rms_norm_kernel<bf16, R, bf16, V, false>);
    };
    if (!p.residual) return with_residual.template operator()<void>();
    p.residual_dtype == DType::f32 ? with_residual.template operator()<float>()
                                   : with_residual.template operator()<bf16>();
  });
}

void launch_gated(const GatedRmsNormParams& p, const Spread& l, cudaStream_t stream) {
  const dim3 block(threads_for(p.group_size, l.vectors), static_cast<unsigned>(l.rows));
  const dim3 grid(static_cast<unsigned>((p.rows + l.rows - 1) / l.rows), static_cast<unsigned>(p.width / p.group_size));
  with_vectors(l.vectors, [&]<int V>() {
    l.early_weights ? launch(gated_rms_norm_kernel<bf16, V, true>, grid, block, l.dependent, stream, p)
                    : launch(gated_rms_norm_kernel<bf16, V, false>, grid, block, l.dependent, stream, p);
  });
}

template <class P>
Spread choose(const P& p, int64_t width) {
  for (const int vectors : {1, 2, 4, 10, 16}) {
    const Spread l{vectors, 1, p.rows <= 256, p.rows <= 64};
    if (fits(p, width, l)) return l;
  }
  return {0, 0};
}

void rms_norm(const RmsNormParams& p, cudaStream_t stream) {
  if (p.rows == 0) return;
  const Spread l = choose(p, p.width);
  if (l.vectors) return launch_rms_norm(p, l, stream);
  launch(rms_norm_general_kernel, static_cast<unsigned>(p.rows), 256, true, stream, p);
}

void gated_rms_norm(const GatedRmsNormParams& p, cudaStream_t stream) {
  if (p.rows == 0) return;
  const Spread l = choose(p, p.group_size);
  if (l.vectors) return launch_gated(p, l, stream);
  const dim3 grid(static_cast<unsigned>(p.rows), static_cast<unsigned>(p.width / p.group_size));
  launch(gated_rms_norm_general_kernel, grid, 256, true, stream, p);
}

enum class CopyRows { dispatch, row, flat, general };

void copy_rows(const void* table, const int32_t* index, void* out, int64_t rows, int64_t table_rows, int64_t stride,
               int64_t width, DType from, DType to, CopyRows how, cudaStream_t stream) {
  if (rows == 0) return;
  const bool wide = width % kVec == 0 && stride % kVec == 0 && aligned(table) && aligned(out);
  if (how == CopyRows::dispatch) how = CopyRows::row;
  if (how == CopyRows::general || !wide || rows * width / kVec >= (int64_t{1} << 32)) {
    copy_rows_general_kernel<<<static_cast<unsigned>(rows), 256, 0, stream>>>(table, index, out, table_rows, stride,
                                                                              width, from, to);
    return;
  }
  const auto vectors = static_cast<uint32_t>(width / kVec);
  const auto with_type = [](DType t, auto f) {
    t == DType::f32 ? f(float()) : t == DType::bf16 ? f(bf16()) : f(f16());
  };
  with_type(from, [&](auto w) {
    with_type(to, [&](auto o) {
      using W = decltype(w);
      using O = decltype(o);
      const auto* source = static_cast<const W*>(table);
      auto* target = static_cast<O*>(out);
      const auto count = static_cast<uint32_t>(rows);
      if (how == CopyRows::flat) {
        launch(copy_rows_kernel<W, O, true>, (count * vectors + 255) / 256, 256, true, stream, source, index, target,
               count, table_rows, stride, vectors);
      } else {
        launch(copy_rows_kernel<W, O, false>, count, std::min(512u, (vectors + 31) / 32 * 32), true, stream, source,
               index, target, count, table_rows, stride, vectors);
      }
    });
  });
}

void embedding(const EmbeddingParams& p, CopyRows how, cudaStream_t stream) {
  copy_rows(p.weight, p.ids, p.out, p.tokens, p.vocab, p.hidden, p.hidden, p.weight_dtype, p.out_dtype, how, stream);
}
void gather_rows(const GatherRowsParams& p, CopyRows how, cudaStream_t stream) {
  copy_rows(p.x, p.index, p.out, p.rows, p.source_rows, p.x_stride, p.width, p.dtype, p.dtype, how, stream);
}

}  // namespace mamba::cuda

namespace {

using namespace mamba;
using namespace mamba::cuda;
using lab::Buffer;
using lab::Host;

struct Verdict {
  int64_t checks = 0, failed = 0;
  double worst = 0;
  void add(const char* what, const std::string& version, int64_t rows, int64_t width, const lab::Errors& e) {
    ++checks;
    worst = std::max(worst, e.worst);
    if (e.bad == 0) return;
    ++failed;
    std::printf("FAILED %s %s: rows %ld width %ld: %ld wrong (rel %.2e)\n", what, version.c_str(),
                static_cast<long>(rows), static_cast<long>(width), static_cast<long>(e.bad), e.relative());
  }
};

const Spread kSpreads[] = {
    {1, 1, true, true},   {2, 1, true, true},   {4, 1, true, true},   {1, 1, false, true},
    {2, 1, false, true},  {1, 2, false, true},  {1, 4, false, true},  {2, 2, false, true},
    {2, 4, false, true},  {4, 4, false, true},  {3, 4, false, true},  {6, 4, false, true},
    {10, 4, false, true}, {10, 1, false, true}, {16, 4, false, true}, {1, 1, true, false},
};

std::string name_of_spread(const Spread& l, int64_t width) {
  return "T" + std::to_string(threads_for(width, l.vectors)) + " V" + std::to_string(l.vectors) + " R" +
         std::to_string(l.rows) + (l.early_weights ? " early" : "") + (l.dependent ? "" : " serial");
}

double silu64(double x) { return x / (1 + std::exp(-x)); }

// Versions: the layouts, then the op, then the general kernel. Each is run twice for the same bits.
template <class P, class Run>
void each_version(const P& p, int64_t width, Run run) {
  for (const Spread& l : kSpreads) {
    if (fits(p, width, l))
      run(name_of_spread(l, width), [&] {
        if constexpr (std::is_same_v<P, RmsNormParams>) {
          launch_rms_norm(p, l, nullptr);
        } else {
          launch_gated(p, l, nullptr);
        }
      });
  }
  run("dispatch", [&] {
    if constexpr (std::is_same_v<P, RmsNormParams>) {
      rms_norm(p, nullptr);
    } else {
      gated_rms_norm(p, nullptr);
    }
  });
  run("general", [&] {
    if constexpr (std::is_same_v<P, RmsNormParams>) {
      launch(rms_norm_general_kernel, static_cast<unsigned>(p.rows), 256, false, nullptr, p);
    } else {
      const dim3 grid(static_cast<unsigned>(p.rows), static_cast<unsigned>(p.width / p.group_size));
      launch(gated_rms_norm_general_kernel, grid, 256, false, nullptr, p);
    }
  });
}

void check_rms(int64_t rows, int64_t width, int64_t extra, DType xt, DType ot, bool has_residual, DType rt,
               Verdict& verdict) {
  lab::Random random{lab::mix(std::time(nullptr) * 977 + rows * 31 + width)};
  const int64_t stride = width + extra;
  Host x(xt, rows * stride), residual(rt, rows * width), weight(DType::f32, width);
  x.fill_normal(random), residual.fill_normal(random, 3), weight.fill_uniform(random, 0.2, 2);
  const Buffer dx(x), dweight(weight);
  Buffer dresidual(residual), out(static_cast<size_t>(rows * width) * size_of(ot));
  RmsNormParams p = {
      rows,  width, dx.data, stride, has_residual ? dresidual.data : nullptr, dweight.as<float>(), out.data,
      1e-5f, xt,    rt,      ot};
  std::vector<double> expected(static_cast<size_t>(rows * width)), sums(expected.size());
  for (int64_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (int64_t c = 0; c < width; ++c) {
      const size_t at = static_cast<size_t>(r * width + c);
      Host one(rt, 1);
      sums[at] = x.get(r * stride + c);
      if (has_residual) {
        // In float, as the op adds, then as the residual's type rounds.
        one.set(0, static_cast<float>(x.get(r * stride + c)) + static_cast<float>(residual.get(r * width + c)));
        sums[at] = one.get(0);
      }
      squares += sums[at] * sums[at];
    }
    const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + 1e-5f);
    for (int64_t c = 0; c < width; ++c) {
      const size_t at = static_cast<size_t>(r * width + c);
      expected[at] = sums[at] * scale * weight.get(c);
    }
  }
  each_version(p, width, [&](const std::string& name, const auto& run) {
    std::vector<uint8_t> first;
    for (int turn = 0; turn < 2; ++turn) {
      dresidual.upload(residual);
      out.poison();
      run();
      LAB_CHECK(cudaGetLastError());
      LAB_CHECK(cudaDeviceSynchronize());
      const Host got = out.download(ot), after = dresidual.download(rt);
      lab::Errors errors;
      for (int64_t i = 0; i < rows * width; ++i) {
        errors.add(got.get(i), expected[static_cast<size_t>(i)], 1e-7, lab::rounding(ot));
        if (has_residual) errors.add(after.get(i), sums[static_cast<size_t>(i)], 1e-300, 0);
      }
      if (turn == 1 && got.bytes != first) errors.bad += 1000000;
      first = got.bytes;
      verdict.add("rms_norm", name, rows, width, errors);
    }
  });
}

void check_gated(int64_t rows, int64_t width, int64_t groups, int64_t extra, DType t, bool in_place, Verdict& verdict) {
  lab::Random random{lab::mix(std::time(nullptr) * 983 + rows * 37 + width)};
  const int64_t group = width / groups, x_stride = in_place ? width : width + extra, gate_stride = width + 2 * extra;
  Host x(t, rows * x_stride), gate(t, rows * gate_stride), weight(DType::f32, width);
  x.fill_normal(random), gate.fill_normal(random, 2), weight.fill_uniform(random, 0.2, 2);
  const Buffer dgate(gate), dweight(weight);
  Buffer dx(x), out(static_cast<size_t>(rows * width) * size_of(t));
  const GatedRmsNormParams p = {rows,
                                width,
                                group,
                                dx.data,
                                x_stride,
                                dgate.data,
                                gate_stride,
                                dweight.as<float>(),
                                in_place ? dx.data : out.data,
                                1e-5f,
                                t};
  std::vector<double> expected(static_cast<size_t>(rows * width));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t first = 0; first < width; first += group) {
      double squares = 0;
      for (int64_t c = first; c < first + group; ++c) {
        const double v = x.get(r * x_stride + c) * silu64(gate.get(r * gate_stride + c));
        expected[static_cast<size_t>(r * width + c)] = v;
        squares += v * v;
      }
      const double scale = 1 / std::sqrt(squares / static_cast<double>(group) + 1e-5f);
      for (int64_t c = first; c < first + group; ++c) {
        expected[static_cast<size_t>(r * width + c)] *= scale * weight.get(c);
      }
    }
  }
  each_version(p, group, [&](const std::string& name, const auto& run) {
    std::vector<uint8_t> first;
    for (int turn = 0; turn < 2; ++turn) {
      dx.upload(x);
      out.poison();
      run();
      LAB_CHECK(cudaGetLastError());
      LAB_CHECK(cudaDeviceSynchronize());
      const Host got = in_place ? dx.download(t) : out.download(t);
      lab::Errors errors;
      for (int64_t i = 0; i < rows * width; ++i) {
        errors.add(got.get(i), expected[static_cast<size_t>(i)], 1e-7, lab::rounding(t) + 2e-6);
      }
      if (turn == 1 && got.bytes != first) errors.bad += 1000000;
      first = got.bytes;
      verdict.add("gated_rms_norm", name, rows, width, errors);
    }
  });
}

void check_copy(int64_t rows, int64_t table_rows, int64_t width, int64_t extra, DType from, DType to,
                Verdict& verdict) {
  lab::Random random{lab::mix(std::time(nullptr) * 991 + rows * 41 + width)};
  const int64_t stride = width + extra;
  Host table(from, table_rows * stride);
  table.fill_normal(random);
  std::vector<int32_t> index(static_cast<size_t>(rows));
  for (int32_t& i : index) i = static_cast<int32_t>(random.below(table_rows + 2) - 1);
  index[0] = -1, index.back() = static_cast<int32_t>(table_rows);
  const Buffer dtable(table), dindex(index);
  Buffer out(static_cast<size_t>(rows * width) * size_of(to));
  for (const CopyRows how : {CopyRows::row, CopyRows::flat, CopyRows::general}) {
    out.poison();
    if (from == to) {
      gather_rows({rows, table_rows, width, dtable.data, stride, dindex.as<int32_t>(), out.data, from}, how, nullptr);
    } else {
      embedding({rows, width, table_rows, dtable.data, dindex.as<int32_t>(), out.data, from, to}, how, nullptr);
    }
    LAB_CHECK(cudaGetLastError());
    LAB_CHECK(cudaDeviceSynchronize());
    const Host got = out.download(to);
    Host expected(to, rows * width);
    lab::Errors errors;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t source = index[static_cast<size_t>(r)];
      for (int64_t c = 0; c < width; ++c) {
        const bool inside = source >= 0 && source < table_rows;
        expected.set(r * width + c, inside ? table.get(source * stride + c) : 0);
        errors.add(got.get(r * width + c), expected.get(r * width + c), 1e-300, 0);
      }
    }
    verdict.add("copy_rows", std::to_string(static_cast<int>(how)), rows, width, errors);
  }
}

bool check_all() {
  Verdict verdict;
  const DType f32 = DType::f32, bf = DType::bf16, f16 = DType::f16;
  for (const int64_t width : {768, 2560, 4096, 1000, 8192}) {
    for (const int64_t rows : {1, 7, 33}) {
      check_rms(rows, width, 0, bf, bf, true, f32, verdict);
      check_rms(rows, width, 8, bf, bf, true, bf, verdict);
      check_rms(rows, width, 3, bf, bf, false, f32, verdict);
      check_rms(rows, width, 0, bf, bf, false, f32, verdict);
    }
  }
  for (const DType t : {f32, bf, f16}) {
    for (const DType r : {f32, bf, f16}) check_rms(5, 331, 1, t, t, true, r, verdict);
    check_rms(5, 96, 0, t, f32, true, t, verdict);
    check_gated(5, 330, 2, 1, t, false, verdict);
  }
  for (const int64_t rows : {1, 7, 33}) {
    for (const bool in_place : {false, true}) {
      check_gated(rows, 1536, 1, 8, bf, in_place, verdict);
      check_gated(rows, 5120, 1, 16, bf, in_place, verdict);
      check_gated(rows, 8192, 8, 8, bf, in_place, verdict);
      check_gated(rows, 512, 8, 8, bf, in_place, verdict);
    }
  }
  for (const DType from : {f32, bf, f16}) {
    for (const DType to : {f32, bf, f16}) {
      check_copy(37, 50, 2560, 0, from, to, verdict);
      check_copy(5, 9, 331, 0, from, to, verdict);
    }
    check_copy(37, 50, 4096, 8, from, from, verdict);
    check_copy(37, 50, 770, 1, from, from, verdict);
  }
  std::printf("norm: %ld checks, %ld failed, worst %.3f of the allowed distance\n", static_cast<long>(verdict.checks),
              static_cast<long>(verdict.failed), verdict.worst);
  return verdict.failed == 0;
}

constexpr int kChain = 20;

template <class P, class Launch>
void time_spreads(const char* op, const std::string& name, const P& p, int64_t width, double bytes, lab::Bench& bench,
                  lab::Report& report, Launch go) {
  const lab::Times copy = bench.copy(bytes);
  for (const Spread& l : kSpreads) {
    if (!fits(p, width, l)) continue;
    report.line(op, name, name_of_spread(l, width), bench.time([&](cudaStream_t s) { go(p, l, s); }), bytes, copy);
  }
  // Launches one after another, as in a model: the time of each, with and without an early start.
  if (p.rows > 256) return;
  Spread l = choose(p, width);
  for (const bool dependent : {false, true}) {
    l.dependent = dependent;
    lab::Times us = bench.time([&](cudaStream_t s) {
      for (int i = 0; i < kChain; ++i) go(p, l, s);
    });
    us.event /= kChain, us.clean /= kChain;
    report.line(op, name, std::string("each of 20 ") + (dependent ? "dependent" : "serial"), us, bytes, copy);
  }
}

void time_all(lab::Bench& bench, lab::Report& report) {
  constexpr int64_t kRows = 8192, kWidth = 8192;
  const Buffer x(kRows * kWidth * 2), gate(kRows * kWidth * 2), residual(kRows * 4096 * 4), out(kRows * kWidth * 2),
      weight(kWidth * 4);
  lab::fill_random_kernel<<<1056, 256>>>(x.as<__nv_bfloat16>(), kRows * kWidth, 1);
  lab::fill_random_kernel<<<1056, 256>>>(gate.as<__nv_bfloat16>(), kRows * kWidth, 2);
  lab::fill_random_kernel<<<1056, 256>>>(weight.as<float>(), kWidth, 3);
  for (const DType type : {DType::f32, DType::bf16}) {
    LAB_CHECK(cudaMemset(residual.data, 0, residual.bytes));
    for (const int64_t width : {768, 2560, 4096}) {
      for (const int64_t rows : {1, 8, 64, 256, 8192}) {
        const RmsNormParams p = {rows,     width, x.data,      width, residual.data, weight.as<float>(),
                                 out.data, 1e-5f, DType::bf16, type,  DType::bf16};
        const double bytes = static_cast<double>(rows * width) * (4 + 2.0 * size_of(type)) + 4.0 * width;
        const std::string name = std::string(name_of(type)) + " " + std::to_string(rows) + "x" + std::to_string(width);
        time_spreads("rms_norm", name, p, width, bytes, bench, report, launch_rms_norm);
      }
    }
  }
  for (const auto& [width, groups] : {std::pair<int64_t, int64_t>{1536, 1}, {5120, 1}, {8192, 8}}) {
    for (const int64_t rows : {1, 8, 64, 256, 8192}) {
      const GatedRmsNormParams p = {rows,   width, width / groups, x.data, width, gate.data, width, weight.as<float>(),
                                    x.data, 1e-5f, DType::bf16};
      const double bytes = static_cast<double>(rows * width) * 6 + 4.0 * width;
      const std::string name = std::to_string(rows) + "x" + std::to_string(width) + "/" + std::to_string(groups);
      time_spreads("gated_rms_norm", name, p, width / groups, bytes, bench, report, launch_gated);
    }
  }
  constexpr int64_t kVocab = 50288;
  lab::Random random{9};
  std::vector<int32_t> ids(kRows);
  for (const int64_t width : {768, 2560, 4096}) {
    const Buffer table(static_cast<size_t>(kVocab * width) * 2);
    lab::fill_random_kernel<<<1056, 256>>>(table.as<__nv_bfloat16>(), kVocab * width, 4);
    for (const int64_t rows : {1, 8, 64, 256, 8192}) {
      for (const bool gather : {false, true}) {
        if (gather && rows > 256) continue;
        const int64_t source = gather ? 8192 : kVocab;
        for (int32_t& i : ids) i = static_cast<int32_t>(random.below(source));
        const Buffer index(ids);
        const double bytes = static_cast<double>(rows) * (4.0 * width + 4);
        const std::string name = std::to_string(rows) + "x" + std::to_string(width);
        const lab::Times copy = bench.copy(bytes);
        for (const CopyRows how : {CopyRows::row, CopyRows::flat}) {
          const lab::Times us = bench.time([&](cudaStream_t s) {
            if (gather) {
              gather_rows({rows, source, width, x.data, width, index.as<int32_t>(), out.data, DType::bf16}, how, s);
            } else {
              embedding({rows, width, source, table.data, index.as<int32_t>(), out.data, DType::bf16, DType::bf16}, how,
                        s);
            }
          });
          report.line(gather ? "gather_rows" : "embedding", name, how == CopyRows::row ? "row" : "flat", us, bytes,
                      copy);
        }
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  if (options.check && !check_all()) return 1;
  if (!options.time) return 0;
  lab::Bench bench;
  lab::Report report(options);
  report.line("empty", "", "", bench.empty(), 0, {});
  time_all(bench, report);
  return 0;
}
