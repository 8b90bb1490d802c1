// logprobs on CUDA, over a row held as sampling.cuh says.
//
// Idea. The sum of exponents is taken in fixed point, as top-p takes it. The most likely tokens are those up to a
// threshold that lets at most 1024 through, sorted by one block; more than 1024 are taken 1024 at a time.
//
// Bound. One read of the logits; for few rows the latency of the cluster's exchanges (3 or 4).
//
// Measured on one H200 (us, the launch's 3.9 in it), 20 tokens of a vocabulary of 50288: 15.6 for one row (11.2 in a
// chain of dependent launches), 75.5 for 256.
#include "cuda/kernels.h"
#include "cuda/sampling.cuh"

namespace mamba::cuda {
namespace {

// Elements are ordered by distance, then id, and all are different: distance << 32 | id.
template <bool Resident>
struct Ranker : SampleRow<Resident> {
  using Base = SampleRow<Resident>;
  using Base::Base;
  using Base::cluster, Base::distance, Base::each, Base::even_bin, Base::s;

  __device__ __forceinline__ uint64_t element(uint32_t i, float x) const { return uint64_t{distance(x)} << 32 | i; }

  // This block's share of the sum of exponents and of the elements before `given`, to block 0, which reads both after a
  // cluster's sync. In fixed point, so that the sum does not depend on the number of blocks.
  __device__ __forceinline__ void add_up(uint64_t given) {
    uint64_t sum = 0;
    uint32_t ahead = 0;
    each([&](uint32_t i, float x) {
      sum += fixed_mass(this->peak() - x);
      ahead += element(i, x) < given;
    });
    ahead = __reduce_add_sync(~0u, ahead);
    if (threadIdx.x % 32 == 0 && ahead > 0) atomicAdd(cluster.at(&s.ahead, 0), ahead);
    __syncthreads();  // all have read the peak's maxima
    const uint64_t before = block_exclusive_sum(sum, s);
    if (threadIdx.x == kSampleThreads - 1) cluster.at(s.draws, 0)[cluster.rank] = before + sum;
  }
  __device__ __forceinline__ double log_total() const {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < cluster.blocks; ++i) sum += s.draws[i];
    return log(static_cast<double>(sum) / kMassScale) + static_cast<double>(this->peak());
  }

  // The `wanted` first elements after `after` (all, if `first`) and at most kListed of them, to the list.
  __device__ __forceinline__ void list_next(uint64_t wanted, bool first, uint64_t after) {
    if (first) {
      const auto bin = this->template find_bin<false>(
          wanted, [&](auto add) { each([&](uint32_t, float x) { add(even_bin(x, kBinsPerLogit), 1); }); });
      if (bin.before + bin.amount <= kListed) {
        return this->list([&](uint32_t, float x) { return even_bin(x, kBinsPerLogit) <= bin.index; });
      }
    }
    const auto is_next = [&](uint64_t e) { return first || e > after; };
    // Digits of 11, 11 and 10 bits of the distance, then of the id.
    uint64_t prefix = 0, limit = 0, passed = 0;
    int shift = 64;
#pragma unroll 1
    for (int level = 0; level < 6; ++level) {
      const int bits = level % 3 == 2 ? 10 : 11, above = shift;
      shift -= bits;
      uint64_t rest = wanted - passed;
      const auto bin = this->template find_bin<false>(rest, [&](auto add) {
        each([&](uint32_t i, float x) {
          const uint64_t e = element(i, x);
          if (!is_next(e) || (level > 0 && e >> above != prefix)) return;
          add(static_cast<uint32_t>(e >> shift) & ((1u << bits) - 1), 1);
        });
      });
      passed += bin.before;
      prefix = level == 0 ? bin.index : prefix << bits | bin.index;
      limit = shift == 0 ? prefix : ((prefix + 1) << shift) - 1;  // all ones after the last prefix
      if (passed + bin.amount <= kListed) break;
    }
    this->list([&](uint32_t i, float x) {
      const uint64_t e = element(i, x);
      return is_next(e) && e <= limit;
    });
  }
};

// One cluster a row.
template <bool Resident>
__global__ void __launch_bounds__(kSampleThreads, 2) logprobs_kernel(const __grid_constant__ LogprobsParams p) {
  extern __shared__ __align__(16) uint8_t memory[];
  const int64_t row = blockIdx.x / Cluster().blocks;
  const float* logits = p.logits + row * p.logits_stride;
  float* values = p.values + row * (p.top + 1);
  int32_t* ids = p.ids + row * (p.top + 1);
  let_next_start();
  Ranker<Resident> r(*reinterpret_cast<SampleShared*>(memory), logits, p.vocab);
  r.prepare();
  wait_for_inputs();
  const int32_t given = p.tokens[row];
  const bool known = given >= 0 && given < p.vocab;
  r.load(false);
  if (!r.samplable) {
    if (r.cluster.rank != 0) return;
    for (int64_t i = threadIdx.x; i <= p.top; i += kSampleThreads) {
      ids[i] = i == 0 ? 0 : -1;
      values[i] = i == 0 && !known ? -INFINITY : NAN;
    }
    return;
  }
  r.add_up(known ? r.element(static_cast<uint32_t>(given), logits[given]) : 0);
  if (p.top == 0) r.cluster.sync();
  uint64_t after = 0;
  for (int64_t done = 0; done < p.top; done += kListed) {
    const int64_t wanted = min(p.top - done, int64_t{kListed});
    r.list_next(static_cast<uint64_t>(wanted), done == 0, after);
    const bool last = done + wanted == p.top;
    if (r.cluster.rank == 0) {
      r.sort_list();
      const double log_total = r.log_total();
      for (int64_t i = threadIdx.x; i < wanted; i += kSampleThreads) {
        const uint64_t e = r.s.sorted[i];
        ids[done + i + 1] = static_cast<int32_t>(static_cast<uint32_t>(e));
        values[done + i + 1] =
            static_cast<float>(static_cast<double>(r.logit(static_cast<uint32_t>(e >> 32))) - log_total);
      }
      if (!last) {
        if (threadIdx.x < r.cluster.blocks) *r.cluster.at(&r.s.last, threadIdx.x) = r.s.sorted[wanted - 1];
        if (threadIdx.x == 0) r.s.list_size = 0;
      }
    } else if (last) {
      return;
    }
    if (last) break;
    r.cluster.sync();
    after = r.s.last;
  }
  if (r.cluster.rank == 0 && threadIdx.x == 0) {
    ids[0] = known ? static_cast<int32_t>(r.s.ahead + 1) : 0;
    values[0] = known ? static_cast<float>(static_cast<double>(logits[given]) - r.log_total()) : -INFINITY;
  }
}

}  // namespace

void logprobs_as(const LogprobsParams& p, SampleShape shape, Context& context) {
  launch_sample_rows(
      p, shape, []<class Resident>(Resident) { return logprobs_kernel<Resident::value>; }, context);
}

void run_logprobs(const LogprobsParams& p, Context& context) {
  if (p.rows > 0) logprobs_as(p, choose_sample_shape(p.rows, p.vocab, context), context);
}

}  // namespace mamba::cuda
