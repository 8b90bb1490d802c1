// count_tokens and apply_penalties on CUDA.
//
// Idea. A count is one word for each slot and token of the vocabulary, so counting is an atomic on an integer (the
// order does not matter: the same counts each time) and penalising needs no list of the tokens that a sequence has.
//
// Layout. Counts [slots, vocab]: the times generated, and the top bit for the prompt. Read 16 bytes at a time where
// rows start on 16 bytes.
//
// Mapping. Counting: a block for each row, which clears the slot's counts itself where a sequence begins, since no
// other block of the launch touches them. Penalising: 256 threads for 4096 tokens of a row, four loads in flight in
// each; a block of a row without penalties reads 16 bytes and ends.
//
// Bound. Four bytes for each token of the vocabulary and penalised row, and the logits that change. For few rows, the
// latency of two loads one after the other: the row, then its counts.
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/penalties.h"

namespace mamba::cuda {
namespace {

constexpr int kCountThreads = 512, kPenaltyThreads = 256, kLoads = 4;
constexpr int kPiece = kPenaltyThreads * kLoads * 4;  // tokens of the vocabulary

__global__ void __launch_bounds__(kCountThreads) count_tokens_kernel(const __grid_constant__ CountTokensParams p) {
  let_next_start();
  wait_for_inputs();
  const CountedRow row = p.table[blockIdx.x];
  if (row.slot < 0 || row.slot >= p.slots) return;
  uint32_t* counts = p.counts + row.slot * p.counts_stride;
  if (row.fresh) {
    for (int64_t i = threadIdx.x; i < p.vocab; i += kCountThreads) counts[i] = 0;
    __syncthreads();
  }
  for (int64_t i = threadIdx.x; i < row.length; i += kCountThreads) {
    const int64_t at = row.first + i;
    if (at < 0 || at >= p.tokens) continue;
    const int64_t id = p.ids[at];
    if (id < 0 || id >= p.vocab) continue;
    if (i < row.prompt) {
      atomicOr(counts + id, kInPrompt);
    } else {
      atomicAdd(counts + id, 1u);
    }
  }
}

// The roundings of the CPU: no multiply is fused with the subtraction after it.
__device__ __forceinline__ float penalised(float logit, uint32_t count, const PenaltyRow& row) {
  logit = logit > 0 ? __fdiv_rn(logit, row.repetition) : logit * row.repetition;
  if (const uint32_t generated = count & ~kInPrompt) {
    logit = __fsub_rn(logit, __fmul_rn(row.frequency, static_cast<float>(generated)));
    logit = __fsub_rn(logit, row.presence);
  }
  return logit;
}

// Counts are loaded V at a time, and V * loads is the same for every V.
template <int V>
__global__ void __launch_bounds__(kPenaltyThreads)
    apply_penalties_kernel(const __grid_constant__ ApplyPenaltiesParams p) {
  let_next_start();
  wait_for_inputs();
  const PenaltyRow row = p.table[blockIdx.x];
  if (row.slot < 0 || row.slot >= p.slots) return;
  if (row.repetition == 1 && row.presence == 0 && row.frequency == 0) return;
  const uint32_t* counts = p.counts + row.slot * p.counts_stride;
  float* logits = p.logits + blockIdx.x * p.logits_stride;
  constexpr int kEach = kLoads * 4 / V;
  const int64_t first = int64_t{blockIdx.y} * kPiece + threadIdx.x * V;
  uint32_t own[kEach][V];
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int64_t at = first + e * kPenaltyThreads * V;
    if (at + V <= p.vocab) {
      const auto loaded = load<V>(counts + at);
      memcpy(own[e], &loaded, sizeof(own[e]));
    } else {
#pragma unroll
      for (int v = 0; v < V; ++v) own[e][v] = at + v < p.vocab ? counts[at + v] : 0;
    }
  }
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if (own[e][v] == 0) continue;
      float& logit = logits[first + e * kPenaltyThreads * V + v];
      logit = penalised(logit, own[e][v], row);
    }
  }
}

}  // namespace

void run_count_tokens(const CountTokensParams& p, Context& context) {
  launch(context, {.grid = p.rows, .block = kCountThreads}, count_tokens_kernel, p);
}

void run_apply_penalties(const ApplyPenaltiesParams& p, Context& context) {
  const LaunchShape shape = {.grid = {p.rows, ceil_div(p.vocab, kPiece)}, .block = kPenaltyThreads};
  const bool wide = aligned_rows(p.counts, p.counts_stride, sizeof(uint32_t));
  launch(context, shape, wide ? apply_penalties_kernel<4> : apply_penalties_kernel<1>, p);
}

}  // namespace mamba::cuda
