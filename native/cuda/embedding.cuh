#pragma once
// Kernels of embedding, gather_rows and place_drawn_tokens; embedding.cu chooses among them.
//
// Idea. Rows of a table by index, a row of zeros for an index outside it.
//
// Mapping. A block copies a row, a vector a thread at a time.
//
// Bound. Bytes: each row once in and once out. For few rows the latency of two loads, the index and the row.
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/embedding.h"

namespace mamba::cuda {

constexpr unsigned kCopyThreads = 512, kPlaceThreads = 256;

// `width` is a multiple of V.
template <class W, class O, int V>
__global__ void __launch_bounds__(kCopyThreads)
    embedding_kernel(const W* table, const int32_t* ids, O* out, int64_t vocab, int64_t width) {
  let_next_start();
  wait_for_inputs();
  const int64_t id = ids[blockIdx.x];
  const bool known = id >= 0 && id < vocab;
  O* to = out + int64_t{blockIdx.x} * width;
  for (int64_t c = int64_t{threadIdx.x} * V; c < width; c += int64_t{blockDim.x} * V) {
    Vec<O, V> values = zeros<O, V>();
    if (known) {
      const Vec<W, V> from = load_constant<V>(table + id * width + c);
      if constexpr (std::is_same_v<W, O>) {
        values = from;
      } else {
        float f[V];
        unpack(from, f);
        values = pack<O, V>(f);
      }
    }
    store<V>(to + c, values);
  }
}

// Elements as words of any type. The rows may come from the kernel before, so their loads are ordinary ones.
template <class Word>
__global__ void __launch_bounds__(kCopyThreads) gather_rows_kernel(const Word* x, const int32_t* index, Word* out,
                                                                   int64_t source_rows, int64_t stride, int64_t width) {
  let_next_start();
  wait_for_inputs();
  const int64_t row = index[blockIdx.x];
  const bool inside = row >= 0 && row < source_rows;
  Word* to = out + int64_t{blockIdx.x} * width;
  for (int64_t c = threadIdx.x; c < width; c += blockDim.x) to[c] = inside ? x[row * stride + c] : Word{};
}

// A thread a token.
static __global__ void __launch_bounds__(kPlaceThreads)
    place_drawn_tokens_kernel(const __grid_constant__ PlaceDrawnTokensParams p) {
  let_next_start();
  wait_for_inputs();
  const int64_t t = int64_t{blockIdx.x} * kPlaceThreads + threadIdx.x;
  if (t >= p.tokens) return;
  const int64_t draw = -1 - int64_t{p.ids[t]};
  if (draw >= 0 && draw < p.draws) p.ids[t] = p.drawn[draw];
}

}  // namespace mamba::cuda
