// mask_logits on CUDA, and add_logit_bias: a thread an entry, few of them.
//
// Idea. A masked logit is written and never read, and one that is allowed is not touched at all.
//
// Layout. A mask is a bit for each token, lowest first, in words of 32: eight threads with four logits each share one.
// Logits are written 16 bytes at a time where rows start on 16 bytes and four neighbours are masked.
//
// Mapping. 256 threads for 4096 tokens of a row, the loads of all words in flight at once; a block of a row without a
// mask reads four bytes and ends.
//
// Bound. Four bytes for each masked logit, an eighth of a byte for each token of the vocabulary. For few rows, the
// latency of two loads one after the other: the row's number, then its mask.
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/mask.h"

namespace mamba::cuda {
namespace {

constexpr int kThreads = 256, kLoads = 4;
constexpr int kPiece = kThreads * kLoads * 4;  // tokens of the vocabulary

// Logits are written V at a time, and V * loads is the same for every V.
template <int V>
__global__ void __launch_bounds__(kThreads) mask_logits_kernel(const __grid_constant__ MaskLogitsParams p) {
  let_next_start();
  wait_for_inputs();
  const int mask = p.mask_of[blockIdx.x];
  if (mask < 0 || mask >= p.masks) return;
  const uint32_t* words = p.table + mask * p.table_stride;
  float* logits = p.logits + blockIdx.x * p.logits_stride;
  constexpr int kEach = kLoads * 4 / V;
  constexpr uint32_t kAll = (1u << V) - 1;
  const float masked = -__int_as_float(0x7f800000);
  const int64_t first = int64_t{blockIdx.y} * kPiece + threadIdx.x * V;
  uint32_t allowed[kEach];  // V bits
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int64_t at = first + e * kThreads * V;
    allowed[e] = at < p.vocab ? words[at / kMaskBits] >> (at % kMaskBits) & kAll : kAll;
  }
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int64_t at = first + e * kThreads * V;
    if (allowed[e] == 0 && at + V <= p.vocab) {
      Vec<float, V> v;
#pragma unroll
      for (int i = 0; i < V; ++i) v.elements[i] = masked;
      store<V>(logits + at, v);
    } else if (allowed[e] != kAll) {
#pragma unroll
      for (int i = 0; i < V; ++i) {
        if (!(allowed[e] >> i & 1) && at + i < p.vocab) logits[at + i] = masked;
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads) add_logit_bias_kernel(const __grid_constant__ AddLogitBiasParams p) {
  let_next_start();
  wait_for_inputs();
  const int64_t e = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (e >= p.entries) return;
  const int64_t row = p.row[e], token = p.token[e];
  if (row < 0 || row >= p.rows || token < 0 || token >= p.vocab) return;
  p.logits[row * p.logits_stride + token] += p.bias[e];
}

}  // namespace

void run_mask_logits(const MaskLogitsParams& p, Context& context) {
  const LaunchShape shape = {.grid = {p.rows, ceil_div(p.vocab, kPiece)}, .block = kThreads};
  const bool wide = aligned_rows(p.logits, p.logits_stride, sizeof(float));
  launch(context, shape, wide ? mask_logits_kernel<4> : mask_logits_kernel<1>, p);
}

void run_add_logit_bias(const AddLogitBiasParams& p, Context& context) {
  launch(context, {.grid = ceil_div(p.entries, kThreads), .block = kThreads}, add_logit_bias_kernel, p);
}

}  // namespace mamba::cuda
