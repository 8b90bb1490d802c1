// Ladders of sample and logprobs.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/sampling.cu
//       native/cpu/sampling.cpp native/cpu/thread_pool.cpp -o sampling &&
//       ./sampling [--json FILE --commit SHA] [--check [--quick] | --time]
//
// Idea. A cluster of C blocks owns a row and reads its logits once, into shared memory; everything after works on that
// copy. A logit becomes its distance from the maximum, an integer that orders as floats do. Thresholds come from a
// radix select (11, 11 and 10 bits) over the distances: of counts for top-k, of probability mass for top-p. Mass is
// added in fixed point (2^-40 of the likeliest token), so the order of atomics does not matter: the same bits each
// time. When few tokens are left after the first digit of top-k, they go to one block, which sorts them by counting and
// finishes alone. A token's Gumbel noise is computed only if its hash could make it win: -log(-log1p(-u)) > t needs u <
// exp(-t).
//
// Layout. Distances are keys(max) - keys(logit); -0 counts as 0. A histogram is 2048 words of low halves, and as many
// of high halves for mass.
//
// Mapping. 512 threads a block; block c of a cluster has the c-th part of the row.
//
// Bound. One read of the logits; for few rows the latency of the cluster's barriers (2 for greedy, 3 for a draw, one
// more for each digit of a filter). For many rows and a draw, the 64-bit hash of each token.
//
// Measured, us on one H200, between two events around a graph of the launch alone, after a flush of the L2 by writes.
// An empty kernel takes 3.9 of it. Logits are normal with a deviation of 3, the temperature 0.8. "reread" reads the
// logits again from the L2; "digits" takes all digits of top-k instead of a list; the others are lists.
//
// Vocabulary 50288, rows                    1       8       64      256
//   a copy of as many bytes                 4.6     5.2     7.9     17.9
//   greedy           C1 reread              9.6     9.9     12.2    24.6
//                    C2                     8.1     8.6     11.2    30.5
//                    C8                     7.0     7.5     15.2    41.2
//   temperature      C1 reread              40.7    42.2    44.4    80.1
//                    C2                     17.4    18.3    20.8    68.5
//                    C8                     10.5    11.2    26.7    76.7
//                    C16                    9.6     11.6    37.6    126.2
//   k 40, p .95,     C1 reread              55.0    57.6    60.2    118.1
//   min-p .05        C2                     19.2    22.4    24.8    73.4
//                    C8                     16.2    18.5    44.8    134.1
//                    C2 digits              34.9    36.1    38.7    137.7
//   p .95            C1 reread              112.2   117.1   121.3   223.6
//                    C2                     36.6    38.6    41.0    142.9
//                    C4                     29.8    31.1    61.1    158.8
//                    C8                     34.2    34.9    122.7   417.5
//   logprobs, top 20 C1 reread              59.0    60.2    63.1    130.2
//                    C2                     19.1    20.8    23.4    70.6
//                    C8                     14.9    16.2    42.8    127.8
//
// Vocabulary 131072, rows                   1       8       64      256
//   a copy of as many bytes                 4.9     6.0     12.7    36.7
//   greedy           C8                     8.1     8.9     23.0    62.4
//   temperature      C8                     14.5    15.4    43.9    129.4
//   k 40, p .95 ..   C8                     22.1    23.0    57.1    170.9
//   p .95            C4                     46.9    47.4    133.0   388.9
//   logprobs, top 20 C8                     17.6    18.7    55.5    168.3
//
// What is left: a digit costs about 5 us in a cluster of 8 and 2 us in one of 2, because each block reads the whole
// histograms of all blocks. "push" adds only the bins that are not empty, to the totals of each block, and hashes four
// tokens at a time; it compiles and is in the check, but has not run on a GPU yet.
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <thread>

#include "cpu/sampling.h"
#include "lab/lab.cuh"
#include "cuda/vec.cuh"
#include "ops/sampling.h"

namespace mamba::cuda {

namespace cg = cooperative_groups;

constexpr int kThreads = 512, kBins = 2048, kListed = 1024, kMostBlocks = 16;
constexpr float kMassScale = 0x1p40f;
constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;

// Orders as the floats do; both zeros are equal.
__device__ __forceinline__ uint32_t key_of(float x) {
  const uint32_t bits = __float_as_uint(__fadd_rn(x, 0.0f));
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}
__device__ __forceinline__ float value_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

// Finalizer of SplitMix64 (Steele, Lea & Flood 2014).
__host__ __device__ __forceinline__ uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
__host__ __device__ __forceinline__ uint64_t noise_key(const SamplingRow& row) {
  return mix((static_cast<uint64_t>(row.seed_high) << 32 | row.seed_low) +
             static_cast<uint64_t>(static_cast<uint32_t>(row.position)) * kGolden);
}
// Of the row's key + (token + 1) * kGolden.
__device__ __forceinline__ float uniform_of(uint64_t counter) {
  const auto bits = static_cast<uint32_t>(mix(counter) >> 32);
  return (static_cast<float>(bits) + 0.5f) * 0x1p-32f;
}

// Push: blocks add what their histograms hold to the totals of all, of which one is zero for the next step; else each
// reads the histograms of all, which alternate.
template <bool Push>
struct alignas(16) Shared {
  uint32_t low[Push ? 1 : 2][kBins], high[Push ? 1 : 2][kBins];
  uint64_t totals[Push ? 2 : 1][Push ? kBins : 2];
  uint64_t listed[kListed], sorted[kListed];
  uint64_t peaks[kMostBlocks], draws[kMostBlocks];
  double sums[kMostBlocks];
  uint64_t warp_values[kThreads / 32];
  double warp_sums[kThreads / 32];
  uint64_t found_before, found_amount;
  uint32_t found_bin, list_size;
};

template <class T, class F>
__device__ __forceinline__ T warp_reduce(T x, F f) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x = f(x, __shfl_xor_sync(~0u, x, distance));
  return x;
}

__device__ __forceinline__ uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

// Known to every thread after it. The array must not be in use.
template <class S>
__device__ __forceinline__ uint64_t block_max(uint64_t x, S& s) {
  x = warp_reduce(x, larger);
  __syncthreads();
  if (threadIdx.x % 32 == 0) s.warp_values[threadIdx.x / 32] = x;
  __syncthreads();
  return warp_reduce(threadIdx.x % 32 < kThreads / 32 ? s.warp_values[threadIdx.x % 32] : 0, larger);
}

// Sum over the threads before this one.
template <class S>
__device__ __forceinline__ uint64_t block_exclusive_sum(uint64_t x, S& s) {
  uint64_t sum = x;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const uint64_t other = __shfl_up_sync(~0u, sum, distance);
    if (lane >= distance) sum += other;
  }
  __syncthreads();
  if (lane == 31) s.warp_values[warp] = sum;
  __syncthreads();
  uint64_t before = 0;
  for (int i = 0; i < warp; ++i) before += s.warp_values[i];
  return before + sum - x;
}

// A block's part of a row, in shared memory (Resident) or read again from the L2.
template <bool Resident>
struct Part {
  const float* logits;  // of this part
  const float* copy;
  uint32_t first, size;

  // f(index in the row, logit)
  template <class F>
  __device__ __forceinline__ void each(F f) const {
    if constexpr (Resident) {
      for (uint32_t i = threadIdx.x * 4; i < size; i += kThreads * 4) {
        const float4 v = *reinterpret_cast<const float4*>(copy + i);  // padded with -inf
        f(first + i, v.x), f(first + i + 1, v.y), f(first + i + 2, v.z), f(first + i + 3, v.w);
      }
    } else {
      for (uint32_t i = threadIdx.x; i < size; i += kThreads) f(first + i, __ldg(logits + i));
    }
  }

  // f(first index, four logits), -inf where there is none.
  template <class F>
  __device__ __forceinline__ void each_four(F f) const {
    static_assert(Resident);
    for (uint32_t i = threadIdx.x * 4; i < size; i += kThreads * 4) {
      f(first + i, *reinterpret_cast<const float4*>(copy + i));
    }
  }
};

template <bool Resident, bool Push>
struct Row {
  Shared<Push>& s;
  cg::cluster_group cluster;
  uint32_t blocks, rank, vocab;
  Part<Resident> part;
  uint32_t peak_key = 0, peak_index = 0;
  bool samplable = false;
  int step = 0;  // which histogram is next

  __device__ __forceinline__ Row(Shared<Push>& shared, float* copy, const float* logits, int64_t width)
      : s(shared),
        cluster(cg::this_cluster()),
        blocks(cluster.num_blocks()),
        rank(cluster.block_rank()),
        vocab(static_cast<uint32_t>(width)) {
    const uint32_t each = ((vocab + blocks - 1) / blocks + 3) / 4 * 4;
    part.first = min(rank * each, vocab);
    part.size = min(each, vocab - part.first);
    part.logits = logits + part.first, part.copy = copy;
  }

  // Reads the row; the maximum with its lowest index, in every block. NaN and +inf are all ones.
  __device__ __forceinline__ void load(float* copy) {
    cluster_arrive();
    if (threadIdx.x == 0) s.list_size = 0;
    if constexpr (Push) {
      for (int i = threadIdx.x; i < kBins; i += kThreads) s.totals[0][i] = 0;
    }
    uint64_t best = 0;
    bool finite = true;
    float value = -INFINITY;
    uint32_t index = ~0u;
    const auto take = [&](uint32_t i, float x) {
      finite &= x < INFINITY;
      if (x > value) value = x, index = i;
    };
    const uint32_t size = part.size;
    if (reinterpret_cast<uintptr_t>(part.logits) % 16 == 0) {
      constexpr int kAhead = 8;
      const uint32_t words = size / 4;
      const auto* from = reinterpret_cast<const float4*>(part.logits);
      for (uint32_t base = threadIdx.x; base < words; base += kThreads * kAhead) {
        float4 v[kAhead];
#pragma unroll
        for (int k = 0; k < kAhead; ++k) {
          if (base + k * kThreads < words) v[k] = __ldg(from + base + k * kThreads);
        }
#pragma unroll
        for (int k = 0; k < kAhead; ++k) {
          const uint32_t w = base + k * kThreads;
          if (w >= words) break;
          if constexpr (Resident) reinterpret_cast<float4*>(copy)[w] = v[k];
          const uint32_t i = part.first + w * 4;
          take(i, v[k].x), take(i + 1, v[k].y), take(i + 2, v[k].z), take(i + 3, v[k].w);
        }
      }
      for (uint32_t i = words * 4 + threadIdx.x; i < size; i += kThreads) {
        const float x = __ldg(part.logits + i);
        if constexpr (Resident) copy[i] = x;
        take(part.first + i, x);
      }
    } else {
      for (uint32_t i = threadIdx.x; i < size; i += kThreads) {
        const float x = __ldg(part.logits + i);
        if constexpr (Resident) copy[i] = x;
        take(part.first + i, x);
      }
    }
    if (Resident && threadIdx.x < 4 && size + threadIdx.x < (size + 3) / 4 * 4) copy[size + threadIdx.x] = -INFINITY;
    if (index != ~0u) best = uint64_t{key_of(value)} << 32 | ~index;
    if (!finite) best = ~uint64_t{0};
    best = block_max(best, s);
    cluster_wait();  // every block has started
    if (threadIdx.x < blocks) cluster.map_shared_rank(s.peaks, threadIdx.x)[rank] = best;
    cluster.sync();
    best = 0;
    for (uint32_t i = 0; i < blocks; ++i) best = larger(best, s.peaks[i]);
    samplable = best != 0 && best != ~uint64_t{0};
    peak_key = static_cast<uint32_t>(best >> 32), peak_index = ~static_cast<uint32_t>(best);
  }

  __device__ __forceinline__ float peak() const { return value_of(peak_key); }
  __device__ __forceinline__ uint32_t distance(float x) const { return peak_key - key_of(x); }
  __device__ __forceinline__ float logit(uint32_t distance) const { return value_of(peak_key - distance); }

  // The bin in which the sum of a histogram over the cluster reaches `wanted` (at least 1, at most the total), what is
  // before it and in it. add(count) fills this block's histogram through a function of bin and amount.
  template <bool Mass, class Fill>
  __device__ __forceinline__ void find_bin(uint64_t wanted, Fill fill, uint32_t& bin, uint64_t& before,
                                           uint64_t& amount, uint64_t* total = nullptr, double share = 0) {
    static_assert(kBins == 4 * kThreads);
    uint32_t* low = s.low[Push ? 0 : step & 1];
    uint32_t* high = s.high[Push ? 0 : step & 1];
    [[maybe_unused]] uint64_t* totals = s.totals[Push ? step & 1 : 0];
    [[maybe_unused]] uint64_t* next = s.totals[Push ? ~step & 1 : 0];
    ++step;
    for (uint32_t i = threadIdx.x; i < kBins; i += kThreads) {
      low[i] = 0;
      if (Mass) high[i] = 0;
      if (Push) next[i] = 0;
    }
    __syncthreads();
    fill([&](uint32_t b, uint64_t x) {
      if constexpr (Mass) {
        const auto below = static_cast<uint32_t>(x);
        uint32_t above = static_cast<uint32_t>(x >> 32);
        const uint32_t old = atomicAdd(low + b, below);
        above += old + below < old;
        if (above) atomicAdd(high + b, above);
      } else {
        atomicAdd(low + b, static_cast<uint32_t>(x));
      }
    });
    uint64_t bins[4] = {};
    if constexpr (Push) {
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kBins / kThreads; ++i) {
        const int b = i * kThreads + static_cast<int>(threadIdx.x);
        const uint64_t own = low[b] | (Mass ? uint64_t{high[b]} << 32 : 0);
        if (own == 0) continue;
        for (uint32_t r = 0; r < blocks; ++r) {
          atomicAdd(reinterpret_cast<unsigned long long*>(cluster.map_shared_rank(totals, r)) + b,
                    static_cast<unsigned long long>(own));
        }
      }
      cluster.sync();
      for (int i = 0; i < 4; ++i) bins[i] = totals[threadIdx.x * 4 + i];
    } else {
      cluster.sync();
      for (uint32_t r = 0; r < blocks; ++r) {
        const uint4 below = reinterpret_cast<const uint4*>(cluster.map_shared_rank(low, r))[threadIdx.x];
        bins[0] += below.x, bins[1] += below.y, bins[2] += below.z, bins[3] += below.w;
        if constexpr (Mass) {
          const uint4 above = reinterpret_cast<const uint4*>(cluster.map_shared_rank(high, r))[threadIdx.x];
          bins[0] += uint64_t{above.x} << 32, bins[1] += uint64_t{above.y} << 32;
          bins[2] += uint64_t{above.z} << 32, bins[3] += uint64_t{above.w} << 32;
        }
      }
    }
    const uint64_t sum = bins[0] + bins[1] + bins[2] + bins[3];
    uint64_t running = block_exclusive_sum(sum, s);
    if (total) {  // wanted is a share of it
      if (threadIdx.x == kThreads - 1) s.found_before = running + sum;
      __syncthreads();
      *total = s.found_before;
      wanted = static_cast<uint64_t>(ceil(share * static_cast<double>(*total)));
      wanted = max(uint64_t{1}, min(wanted, *total));
      *total = wanted;
      __syncthreads();
    }
    if (running < wanted && running + sum >= wanted) {
      for (int i = 0; i < 4; ++i) {
        if (running + bins[i] >= wanted) {
          s.found_bin = threadIdx.x * 4 + i, s.found_before = running, s.found_amount = bins[i];
          break;
        }
        running += bins[i];
      }
    }
    __syncthreads();
    bin = s.found_bin, before = s.found_before, amount = s.found_amount;
    __syncthreads();
  }

  // Gumbel-max among what is offered, the peak's token first.
  struct Draw {
    uint64_t key;
    float best;
    uint32_t token;

    __device__ __forceinline__ void offer(uint32_t id, float score) {
      const float bound = __expf(score - best) * 1.001f;
      if (bound < 0x1p-33f) return;
      const float u = uniform_of(key + (uint64_t{id} + 1) * kGolden);
      if (u > bound) return;
      take(id, score, u);
    }
    // Four tokens in a row, their hashes side by side; a score of -inf is never drawn.
    __device__ __forceinline__ void offer_four(uint32_t id, const float (&scores)[4]) {
      const uint64_t base = key + (uint64_t{id} + 1) * kGolden;
      float u[4];
      bool close[4], any = false;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        u[k] = uniform_of(base + k * kGolden);
        close[k] = u[k] <= __expf(scores[k] - best) * 1.001f;
        any |= close[k];
      }
      if (!any) return;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (close[k]) take(id + k, scores[k], u[k]);
      }
    }
    __device__ __forceinline__ void take(uint32_t id, float score, float u) {
      const float noisy = score - logf(-log1pf(-u));
      if (noisy > best || (noisy == best && id < token)) best = noisy, token = id;
    }
    __device__ __forceinline__ uint64_t packed() const { return uint64_t{key_of(best)} << 32 | ~token; }
  };
  __device__ __forceinline__ Draw start_draw(const SamplingRow& row) const {
    Draw draw{noise_key(row), 0, peak_index};
    draw.best = -logf(-log1pf(-uniform_of(draw.key + (uint64_t{peak_index} + 1) * kGolden)));
    return draw;
  }

  // Tokens with a distance up to the limit, to the list of block 0. The order is arbitrary.
  __device__ __forceinline__ void list(uint32_t limit) {
    uint64_t* listed = cluster.map_shared_rank(s.listed, 0);
    uint32_t* size = cluster.map_shared_rank(&s.list_size, 0);
    part.each([&](uint32_t i, float x) {
      if (i >= vocab) return;
      const uint32_t d = distance(x);
      if (d > limit) return;
      const uint32_t at = atomicAdd(size, 1);
      if (at < kListed) listed[at] = uint64_t{d} << 32 | i;
    });
    cluster.sync();
  }

  // In block 0: the list by distance, then id.
  __device__ __forceinline__ uint32_t sort_list() {
    const uint32_t n = min(s.list_size, uint32_t{kListed});
    for (uint32_t i = threadIdx.x; i < n; i += kThreads) {
      const uint64_t mine = s.listed[i];
      uint32_t place = 0;
      for (uint32_t j = 0; j < n; ++j) place += s.listed[j] < mine;
      s.sorted[place] = mine;
    }
    __syncthreads();
    return n;
  }

  __device__ __forceinline__ static void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  }
  __device__ __forceinline__ static void cluster_wait() {
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
  }
};

__device__ __forceinline__ uint64_t fixed_mass(float distance) { return __float2ull_rn(expf(-distance) * kMassScale); }

__device__ __forceinline__ void wait_for_previous_kernel() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ void let_next_kernel_start() { asm volatile("griddepcontrol.launch_dependents;"); }

// One cluster a row: gridDim = (blocks of the cluster, rows). `Lists`: the short way after top-k.
template <bool Resident, bool Lists, bool Push = false>
__global__ void __launch_bounds__(kThreads, 2) sample_kernel(const __grid_constant__ SampleParams p) {
  extern __shared__ __align__(16) uint8_t memory[];
  auto& s = *reinterpret_cast<Shared<Push>*>(memory);
  float* copy = reinterpret_cast<float*>(memory + sizeof(s));
  let_next_kernel_start();
  wait_for_previous_kernel();
  const SamplingRow row = p.params[blockIdx.y];
  Row<Resident, Push> r(s, copy, p.logits + blockIdx.y * p.logits_stride, p.vocab);
  r.load(copy);
  const float inverse = 1.0f / row.temperature;
  if (!r.samplable || !(row.temperature > 0) || !(inverse < INFINITY)) {
    if (r.rank == 0 && threadIdx.x == 0) {
      p.tokens[blockIdx.y] = r.samplable ? static_cast<int32_t>(r.peak_index) : -1;
    }
    return;
  }
  const float peak = r.peak();
  const auto far = [&](uint32_t d) { return (peak - r.logit(d)) * inverse; };
  const auto limit_of_min_p = [&](uint32_t limit) {
    if (!(row.min_p > 0)) return limit;
    const float least = peak + row.temperature * logf(row.min_p);
    if (isnan(least)) return limit;
    return least >= peak ? 0 : min(limit, r.distance(least));
  };
  uint32_t limit = r.distance(-3.402823466e38f);  // all but -inf
  if (row.top_k > 0 && row.top_k < p.vocab) {
    uint32_t prefix = 0, bin = 0;
    uint64_t wanted = static_cast<uint64_t>(row.top_k), before = 0, amount = 0;
    for (int level = 0; level < 3; ++level) {
      const int shift = level == 0 ? 21 : level == 1 ? 10 : 0, above = level == 1 ? 21 : 10;
      // -inf counts, as it does on the CPU; the padding after the row does not.
      const auto fill = [&](auto add) {
        r.part.each([&](uint32_t i, float x) {
          const uint32_t d = r.distance(x);
          if (i < r.vocab && (level == 0 || d >> above == prefix)) {
            add(level == 2 ? d & 1023 : d >> shift & 2047, 1);
          }
        });
      };
      r.template find_bin<false>(wanted, fill, bin, before, amount);
      if (Lists && level == 0 && before + amount <= kListed) {
        // Everything else concerns what block 0 gets.
        r.list(min(limit, bin << 21 | 0x1fffffu));
        if (r.rank != 0) return;
        const uint32_t n = r.sort_list();
        const uint32_t k = min(static_cast<uint32_t>(row.top_k), n);
        limit = static_cast<uint32_t>(s.sorted[k - 1] >> 32);
        if (row.top_p < 1) {
          uint64_t mass[2] = {};
          uint32_t ds[2] = {};
          for (int i = 0; i < 2; ++i) {
            const uint32_t at = threadIdx.x * 2 + i;
            if (at < n) ds[i] = static_cast<uint32_t>(s.sorted[at] >> 32);
            if (at < n && ds[i] <= limit) mass[i] = fixed_mass(far(ds[i]));
          }
          const uint64_t own = mass[0] + mass[1], running = block_exclusive_sum(own, s);
          if (threadIdx.x == kThreads - 1) s.found_before = running + own;
          __syncthreads();
          const uint64_t total = s.found_before;
          const uint64_t share =
              max(uint64_t{1},
                  min(static_cast<uint64_t>(ceil(static_cast<double>(row.top_p) * static_cast<double>(total))), total));
          if (running < share && running + own >= share) s.found_bin = running + mass[0] >= share ? ds[0] : ds[1];
          __syncthreads();
          limit = s.found_bin;
        }
        limit = limit_of_min_p(limit);
        auto draw = r.start_draw(row);
        for (uint32_t i = threadIdx.x; i < n; i += kThreads) {
          const auto d = static_cast<uint32_t>(s.sorted[i] >> 32);
          if (d <= limit) draw.offer(static_cast<uint32_t>(s.sorted[i]), (r.logit(d) - peak) * inverse);
        }
        const uint64_t drawn = block_max(draw.packed(), s);
        if (threadIdx.x == 0) p.tokens[blockIdx.y] = static_cast<int32_t>(~static_cast<uint32_t>(drawn));
        return;
      }
      prefix = level == 0 ? bin : prefix << (level == 1 ? 11 : 10) | bin;
      wanted -= before;
    }
    limit = min(limit, prefix);
  }
  if (row.top_p < 1) {
    uint32_t prefix = 0, bin = 0;
    uint64_t wanted = 1, before = 0, amount = 0;
    for (int level = 0; level < 3; ++level) {
      const int shift = level == 0 ? 21 : level == 1 ? 10 : 0, above = level == 1 ? 21 : 10;
      const auto fill = [&](auto add) {
        r.part.each([&](uint32_t, float x) {
          const uint32_t d = r.distance(x);
          if (d > limit || (level > 0 && d >> above != prefix)) return;
          const uint64_t mass = fixed_mass((peak - x) * inverse);
          if (mass) add(level == 2 ? d & 1023 : d >> shift & 2047, mass);
        });
      };
      uint64_t total = 0;
      r.template find_bin<true>(wanted, fill, bin, before, amount, level == 0 ? &total : nullptr,
                                static_cast<double>(row.top_p));
      if (level == 0) wanted = total;
      prefix = level == 0 ? bin : prefix << (level == 1 ? 11 : 10) | bin;
      wanted -= before;
    }
    limit = min(limit, prefix);
  }
  limit = limit_of_min_p(limit);
  auto draw = r.start_draw(row);
  const float threshold = r.logit(limit);
  if constexpr (Push) {
    r.part.each_four([&](uint32_t i, float4 x) {
      if (!(fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w)) >= threshold)) return;
      const auto score = [&](float v) { return v >= threshold ? (v - peak) * inverse : -INFINITY; };
      draw.offer_four(i, {score(x.x), score(x.y), score(x.z), score(x.w)});
    });
  } else {
    r.part.each([&](uint32_t i, float x) {
      if (x >= threshold) draw.offer(i, (x - peak) * inverse);
    });
  }
  const uint64_t drawn = block_max(draw.packed(), s);
  if (threadIdx.x == 0) r.cluster.map_shared_rank(s.draws, 0)[r.rank] = drawn;
  r.cluster.sync();
  if (r.rank == 0 && threadIdx.x == 0) {
    uint64_t best = 0;
    for (uint32_t i = 0; i < r.blocks; ++i) best = larger(best, s.draws[i]);
    p.tokens[blockIdx.y] = static_cast<int32_t>(~static_cast<uint32_t>(best));
  }
}

// top <= kListed. Levels 3 and 4 go on over ids where equal logits are too many to list.
template <bool Resident, bool Push = false>
__global__ void __launch_bounds__(kThreads, 2) logprobs_kernel(const __grid_constant__ LogprobsParams p) {
  extern __shared__ __align__(16) uint8_t memory[];
  auto& s = *reinterpret_cast<Shared<Push>*>(memory);
  float* copy = reinterpret_cast<float*>(memory + sizeof(s));
  let_next_kernel_start();
  wait_for_previous_kernel();
  const float* logits = p.logits + blockIdx.y * p.logits_stride;
  const int32_t given = p.tokens[blockIdx.y];
  Row<Resident, Push> r(s, copy, logits, p.vocab);
  r.load(copy);
  float* values = p.values + blockIdx.y * (p.top + 1);
  int32_t* ids = p.ids + blockIdx.y * (p.top + 1);
  const bool known = given >= 0 && given < p.vocab;
  if (!r.samplable) {
    if (r.rank != 0) return;
    for (int64_t i = threadIdx.x; i <= p.top; i += kThreads) {
      ids[i] = i == 0 ? given : -1;
      values[i] = i == 0 && !known ? -INFINITY : NAN;
    }
    return;
  }
  const float peak = r.peak();
  float part_sum = 0;
  r.part.each([&](uint32_t, float x) { part_sum += expf(x - peak); });
  const double sum = warp_reduce(static_cast<double>(part_sum), [](double a, double b) { return a + b; });
  if (threadIdx.x % 32 == 0) s.warp_sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    double all = 0;
    for (const double x : s.warp_sums) all += x;
    r.cluster.map_shared_rank(s.sums, 0)[r.rank] = all;
  }
  if (p.top > 0) {
    // Elements are ordered by distance, then id: digits of 11, 11, 10 bits of the one, then of the other.
    uint64_t wanted = static_cast<uint64_t>(min(p.top, p.vocab)), before = 0, amount = 0, passed = 0;
    uint64_t limit = ~uint64_t{0};
    uint64_t prefix = 0;
    int shift = 64;
    for (int level = 0; level < 6; ++level) {
      const int bits = level % 3 == 2 ? 10 : 11, above = shift;
      shift -= bits;
      uint32_t bin = 0;
      const auto fill = [&](auto add) {
        r.part.each([&](uint32_t i, float x) {
          if (i >= r.vocab) return;
          const uint64_t e = uint64_t{r.distance(x)} << 32 | i;
          if (level == 0 || e >> above == prefix) add(static_cast<uint32_t>(e >> shift) & ((1u << bits) - 1), 1);
        });
      };
      r.template find_bin<false>(wanted - passed, fill, bin, before, amount);
      passed += before;
      prefix = level == 0 ? bin : prefix << bits | bin;
      limit = shift == 0 ? prefix : ((prefix + 1) << shift) - 1;
      if (passed + amount <= kListed) break;
    }
    uint64_t* listed = r.cluster.map_shared_rank(s.listed, 0);
    uint32_t* size = r.cluster.map_shared_rank(&s.list_size, 0);
    r.part.each([&](uint32_t i, float x) {
      const uint64_t e = uint64_t{r.distance(x)} << 32 | i;
      if (i >= r.vocab || e > limit) return;
      const uint32_t at = atomicAdd(size, 1);
      if (at < kListed) listed[at] = e;
    });
  }
  r.cluster.sync();
  if (r.rank != 0) return;
  double all = 0;
  for (uint32_t i = 0; i < r.blocks; ++i) all += s.sums[i];
  const double log_total = log(all) + static_cast<double>(peak);
  if (threadIdx.x == 0) {
    ids[0] = given;
    values[0] = known ? static_cast<float>(static_cast<double>(logits[given]) - log_total) : -INFINITY;
  }
  if (p.top == 0) return;
  r.sort_list();
  for (int64_t i = threadIdx.x; i < p.top; i += kThreads) {
    const bool exists = i < p.vocab;
    ids[i + 1] = exists ? static_cast<int32_t>(static_cast<uint32_t>(s.sorted[i])) : -1;
    const float x = r.logit(static_cast<uint32_t>(s.sorted[exists ? i : 0] >> 32));
    values[i + 1] = exists ? static_cast<float>(static_cast<double>(x) - log_total) : NAN;
  }
}

constexpr size_t kMostShared = 227 * 1024;

// Shared memory of a block of a cluster of C, or 0 if its part of the row does not fit.
inline size_t shared_bytes(int64_t vocab, int cluster, bool push = false) {
  const int64_t each = ((vocab + cluster - 1) / cluster + 3) / 4 * 4;
  const size_t fixed = push ? sizeof(Shared<true>) : sizeof(Shared<false>);
  const size_t bytes = fixed + static_cast<size_t>(each) * 4;
  return bytes <= kMostShared ? bytes : 0;
}

template <class Kernel, class P>
void launch_clusters(Kernel kernel, const P& p, int cluster, size_t shared, cudaStream_t stream) {
  LAB_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMostShared));
  LAB_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
  cudaLaunchConfig_t config = {};
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  config.gridDim = {static_cast<unsigned>(cluster), static_cast<unsigned>(p.rows)};
  config.blockDim = {kThreads}, config.dynamicSmemBytes = shared, config.stream = stream;
  config.attrs = attributes, config.numAttrs = 2;
  LAB_CHECK(cudaLaunchKernelEx(&config, kernel, p));
}

enum class Way { lists, digits, reread, push };  // of sample; logprobs has no digits alone

void launch_sample(const SampleParams& p, int cluster, Way way, cudaStream_t stream) {
  const size_t shared = shared_bytes(p.vocab, cluster, way == Way::push);
  if (way == Way::reread || shared == 0) {
    launch_clusters(sample_kernel<false, true>, p, cluster, sizeof(Shared<false>), stream);
  } else if (way == Way::push) {
    launch_clusters(sample_kernel<true, true, true>, p, cluster, shared, stream);
  } else if (way == Way::lists) {
    launch_clusters(sample_kernel<true, true>, p, cluster, shared, stream);
  } else {
    launch_clusters(sample_kernel<true, false>, p, cluster, shared, stream);
  }
}

void launch_logprobs(const LogprobsParams& p, int cluster, Way way, cudaStream_t stream) {
  const size_t shared = shared_bytes(p.vocab, cluster, way == Way::push);
  if (way == Way::reread || shared == 0) {
    launch_clusters(logprobs_kernel<false>, p, cluster, sizeof(Shared<false>), stream);
  } else if (way == Way::push) {
    launch_clusters(logprobs_kernel<true, true>, p, cluster, shared, stream);
  } else {
    launch_clusters(logprobs_kernel<true>, p, cluster, shared, stream);
  }
}

inline int choose_cluster(int64_t rows, int64_t vocab) {
  int cluster = rows <= 16 ? 8 : 2;
  while (cluster > 1 && vocab / cluster < 4096) cluster /= 2;
  while (cluster < 8 && (shared_bytes(vocab, cluster) == 0 || vocab / cluster >= 32768)) cluster *= 2;
  return cluster;
}

void sample(const SampleParams& p, cudaStream_t stream) {
  if (p.rows > 0) launch_sample(p, choose_cluster(p.rows, p.vocab), Way::lists, stream);
}
void logprobs(const LogprobsParams& p, cudaStream_t stream) {
  if (p.rows > 0) launch_logprobs(p, choose_cluster(p.rows, p.vocab), Way::lists, stream);
}

}  // namespace mamba::cuda

namespace {

using namespace mamba;
using namespace mamba::cuda;
using lab::Buffer;

struct Version {
  int cluster;
  Way way;
  std::string name() const {
    const char* ways[] = {"lists", "digits", "reread", "push"};
    return "C" + std::to_string(cluster) + " " + ways[static_cast<int>(way)];
  }
};
const Version kVersions[] = {{1, Way::reread}, {8, Way::reread}, {1, Way::lists},  {2, Way::lists},  {4, Way::lists},
                             {8, Way::lists},  {16, Way::lists}, {2, Way::digits}, {8, Way::digits}, {1, Way::push},
                             {2, Way::push},   {4, Way::push},   {8, Way::push},   {16, Way::push}};

bool fits(const Version& v, int64_t vocab) {
  return v.way == Way::reread || shared_bytes(vocab, v.cluster, v.way == Way::push) > 0;
}

// Normal numbers for large inputs, each many times.
const std::vector<float>& normals() {
  static const std::vector<float> pool = [] {
    std::vector<float> p(1 << 20);
    lab::Random random{lab::mix(std::time(nullptr))};
    for (float& x : p) x = static_cast<float>(random.normal());
    return p;
  }();
  return pool;
}

struct Rows {
  int64_t rows, vocab, stride;
  std::vector<float> logits;
  std::vector<SamplingRow> params;

  Rows(int64_t n, int64_t v, int64_t extra, lab::Random& random)
      : rows(n),
        vocab(v),
        stride(v + extra),
        logits(static_cast<size_t>(n * (v + extra))),
        params(static_cast<size_t>(n)) {
    const auto& pool = normals();
    for (int64_t r = 0; r < rows; ++r) {
      float* row = logits.data() + r * stride;
      size_t at = static_cast<size_t>(random.below(1 << 20)), step = static_cast<size_t>(random.below(1 << 19)) * 2 + 1;
      const float scale = static_cast<float>(random.uniform(0.3, 6)), shift = static_cast<float>(random.uniform(-9, 9));
      for (int64_t i = 0; i < stride; ++i, at += step) row[i] = pool[at & ((1 << 20) - 1)] * scale + shift;
      const int64_t kind = random.below(40);
      if (kind < 6) {  // many equal
        for (int64_t i = 0; i < vocab; ++i) row[i] = std::round(row[i] * 2) / 2;
      } else if (kind < 9) {  // most impossible
        for (int64_t i = 0; i < vocab; ++i) row[i] = random.below(20) ? -INFINITY : row[i];
      } else if (kind == 9) {
        std::fill_n(row, vocab, shift);
      } else if (kind == 10) {
        row[random.below(vocab)] = random.below(2) ? NAN : -NAN;
      } else if (kind == 11) {
        row[random.below(vocab)] = INFINITY;
      } else if (kind == 12) {
        std::fill_n(row, vocab, -INFINITY);
      } else if (kind == 13) {
        for (int64_t i = 0; i < vocab; ++i)
          row[i] = random.below(2) ? 0.0f : random.below(2) ? -0.0f : -row[i] * row[i];
      } else if (kind == 14) {
        row[random.below(vocab)] += 60;
      }
      SamplingRow& p = params[static_cast<size_t>(r)];
      p = {};
      p.temperature = random.below(8) == 0 ? 0 : static_cast<float>(random.uniform(0.2, 2));
      p.top_k = random.below(2) ? 0 : random.below(3) == 0 ? static_cast<int32_t>(random.below(vocab + 3)) : 40;
      p.top_p = random.below(2) ? 1 : random.below(12) == 0 ? 0 : static_cast<float>(random.uniform(0.2, 0.999));
      p.min_p = random.below(2) ? 0 : static_cast<float>(random.uniform(0, 0.3));
      p.seed_low = static_cast<uint32_t>(lab::mix(random.state++)), p.seed_high = static_cast<uint32_t>(r);
      p.position = static_cast<int32_t>(random.below(5000));
    }
  }
};

int32_t on_cpu(const float* logits, int64_t vocab, const SamplingRow& row, cpu::ThreadPool& pool) {
  int32_t token = -7;
  cpu::run_sample({1, vocab, logits, vocab, &row, &token}, pool);
  return token;
}

// Whether a change of the parameters by a float's rounding, or of the noise, makes the CPU draw it too.
bool near_tie(const float* logits, int64_t vocab, const SamplingRow& row, int32_t got, int32_t cpu_token,
              cpu::ThreadPool& pool) {
  if (got < 0 || got >= vocab || cpu_token < 0) return false;
  for (const float by : {1e-6f, -1e-6f, 1e-5f, -1e-5f}) {
    SamplingRow p = row;
    p.top_p = row.top_p < 1 ? std::min(row.top_p * (1 + by), 0.9999999f) : 1;
    if (on_cpu(logits, vocab, p, pool) == got) return true;
    p = row, p.min_p *= 1 + by;
    if (on_cpu(logits, vocab, p, pool) == got) return true;
  }
  const auto noisy = [&](int32_t token) {
    const uint64_t bits = mamba::cuda::mix(noise_key(row) + (static_cast<uint64_t>(token) + 1) * kGolden);
    const float u = (static_cast<float>(bits >> 32) + 0.5f) * 0x1p-32f;
    return static_cast<double>(logits[token]) / row.temperature - std::log(-std::log1p(-static_cast<double>(u)));
  };
  return std::abs(noisy(got) - noisy(cpu_token)) < 1e-5 * (1 + std::abs(logits[got] / row.temperature));
}

bool check_sample(int64_t rows, int64_t vocab, int64_t extra, cpu::ThreadPool& pool) {
  lab::Random random{lab::mix(std::time(nullptr) * 1009 + rows * 31 + vocab)};
  const Rows input(rows, vocab, extra, random);
  std::vector<int32_t> expected(static_cast<size_t>(rows)), got(expected.size()), first;
  cpu::run_sample({rows, vocab, input.logits.data(), input.stride, input.params.data(), expected.data()}, pool);
  const Buffer logits(input.logits.size() * 4), params(input.params.size() * 32);
  LAB_CHECK(cudaMemcpy(logits.data, input.logits.data(), logits.bytes, cudaMemcpyHostToDevice));
  LAB_CHECK(cudaMemcpy(params.data, input.params.data(), params.bytes, cudaMemcpyHostToDevice));
  Buffer tokens(got.size() * 4);
  const SampleParams p = {
      rows, vocab, logits.as<float>(), input.stride, params.as<SamplingRow>(), tokens.as<int32_t>()};
  bool ok = true;
  int64_t other = 0, wrong = 0, versions = 0;
  for (const Version& v : kVersions) {
    if (!fits(v, vocab)) continue;
    ++versions;
    for (int turn = 0; turn < 2; ++turn) {
      LAB_CHECK(cudaMemset(tokens.data, 0x99, tokens.bytes));
      launch_sample(p, v.cluster, v.way, nullptr);
      LAB_CHECK(cudaGetLastError());
      LAB_CHECK(cudaDeviceSynchronize());
      LAB_CHECK(cudaMemcpy(got.data(), tokens.data, tokens.bytes, cudaMemcpyDeviceToHost));
      if (first.empty()) first = got;
      int64_t differ = 0;
      for (size_t r = 0; r < got.size(); ++r) {
        if (got[r] != first[r] && differ++ < 3) {
          const SamplingRow& s = input.params[r];
          std::printf("  %s row %zu: %d, first version %d, cpu %d (t %g k %d p %g m %g)\n", v.name().c_str(), r, got[r],
                      first[r], expected[r], s.temperature, s.top_k, s.top_p, s.min_p);
        }
      }
      if (differ) ok = false, std::printf("FAILED sample %s: %ld rows differ\n", v.name().c_str(), (long)differ);
    }
  }
  for (size_t r = 0; r < got.size(); ++r) {
    if (first[r] == expected[r]) continue;
    ++other;
    const SamplingRow& s = input.params[r];
    const float* row = input.logits.data() + static_cast<int64_t>(r) * input.stride;
    if (near_tie(row, vocab, s, first[r], expected[r], pool)) continue;
    if (wrong++ < 5) {
      std::printf("  row %zu: %d, cpu %d (t %g k %d p %g m %g)\n", r, first[r], expected[r], s.temperature, s.top_k,
                  s.top_p, s.min_p);
    }
  }
  ok = ok && wrong == 0 && static_cast<double>(other) <= std::max(1.0, 1e-3 * static_cast<double>(rows));
  std::printf("%s sample %ldx%ld+%ld, %ld versions twice: %ld rows not as the CPU, %ld of them no tie\n",
              ok ? "ok" : "FAILED", (long)rows, (long)vocab, (long)extra, (long)versions, (long)other, (long)wrong);
  return ok;
}

bool check_logprobs(int64_t rows, int64_t vocab, int64_t extra, int64_t top, cpu::ThreadPool& pool) {
  lab::Random random{lab::mix(std::time(nullptr) * 1013 + rows * 31 + vocab)};
  const Rows input(rows, vocab, extra, random);
  std::vector<int32_t> given(static_cast<size_t>(rows));
  for (int32_t& t : given) t = static_cast<int32_t>(random.below(vocab + 2) - 1);
  const size_t n = static_cast<size_t>(rows * (top + 1));
  std::vector<float> values(n), expected(n);
  std::vector<int32_t> ids(n), expected_ids(n), first;
  cpu::run_logprobs(
      {rows, vocab, top, input.logits.data(), input.stride, given.data(), expected.data(), expected_ids.data()}, pool);
  const Buffer logits(input.logits.size() * 4), tokens(given);
  LAB_CHECK(cudaMemcpy(logits.data, input.logits.data(), logits.bytes, cudaMemcpyHostToDevice));
  Buffer dvalues(n * 4), dids(n * 4);
  const LogprobsParams p = {rows,
                            vocab,
                            top,
                            logits.as<float>(),
                            input.stride,
                            tokens.as<int32_t>(),
                            dvalues.as<float>(),
                            dids.as<int32_t>()};
  bool ok = true;
  double worst = 0;
  for (const Version& v : kVersions) {
    if (!fits(v, vocab) || v.way == Way::digits) continue;
    std::vector<float> before;
    for (int turn = 0; turn < 2; ++turn) {
      dvalues.poison(), dids.poison();
      LAB_CHECK(cudaMemset(dids.data, 0x99, dids.bytes));
      launch_logprobs(p, v.cluster, v.way, nullptr);
      LAB_CHECK(cudaGetLastError());
      LAB_CHECK(cudaDeviceSynchronize());
      LAB_CHECK(cudaMemcpy(values.data(), dvalues.data, dvalues.bytes, cudaMemcpyDeviceToHost));
      LAB_CHECK(cudaMemcpy(ids.data(), dids.data, dids.bytes, cudaMemcpyDeviceToHost));
      int64_t bad = 0;
      for (size_t i = 0; i < n; ++i) {
        const bool same = values[i] == expected[i] || (std::isnan(values[i]) && std::isnan(expected[i]));
        const double distance = same ? 0 : std::abs(values[i] - expected[i]) / (1 + std::abs(expected[i]));
        worst = std::max(worst, distance);
        if ((ids[i] != expected_ids[i] || !(distance < 2e-6)) && bad++ < 3) {
          std::printf("  %s row %zu column %zu: %d %g, cpu %d %g\n", v.name().c_str(), i / (top + 1), i % (top + 1),
                      ids[i], values[i], expected_ids[i], expected[i]);
        }
      }
      if (turn && std::memcmp(before.data(), values.data(), n * 4) != 0) ++bad, std::printf("  not the same bits\n");
      before = values;
      if (bad) ok = false, std::printf("FAILED logprobs %s: %ld\n", v.name().c_str(), (long)bad);
    }
  }
  std::printf("%s logprobs %ldx%ld+%ld top %ld: worst relative distance %.1e\n", ok ? "ok" : "FAILED", (long)rows,
              (long)vocab, (long)extra, (long)top, worst);
  return ok;
}

bool check_all(bool quick) {
  cpu::ThreadPool pool(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  bool ok = true;
  for (const int64_t vocab : {1, 5, 37, 1000, 5003}) ok &= check_sample(64, vocab, vocab % 7, pool);
  for (const int64_t vocab : {20, 37, 1000, 5003}) ok &= check_logprobs(40, vocab, vocab % 7, 20, pool);
  ok &= check_logprobs(40, 4096, 0, 0, pool);
  if (quick) return ok;
  ok &= check_sample(10000, 4096, 0, pool);
  ok &= check_sample(500, 50288, 0, pool);
  ok &= check_sample(100, 131072, 4, pool);
  ok &= check_logprobs(200, 50288, 0, 20, pool);
  ok &= check_logprobs(50, 131072, 1, 20, pool);
  return ok;
}

void time_all(lab::Bench& bench, lab::Report& report) {
  constexpr int64_t kRows = 256, kVocab = 131072, kTop = 20;
  const auto& pool = normals();
  std::vector<float> host(kRows * kVocab);
  for (size_t i = 0, at = 0; i < host.size(); ++i, at += 7919) host[i] = 3 * pool[(at + i / pool.size()) % pool.size()];
  const Buffer logits(host.size() * 4), tokens(kRows * 4), values(kRows * (kTop + 1) * 4), ids(values.bytes);
  LAB_CHECK(cudaMemcpy(logits.data, host.data(), logits.bytes, cudaMemcpyHostToDevice));
  LAB_CHECK(cudaMemset(tokens.data, 0, tokens.bytes));
  struct Mode {
    const char* name;
    SamplingRow row;
  };
  const Mode modes[] = {{"greedy", {0, 0, 1, 0, 1, 2, 3, 0}},
                        {"temperature", {0.8f, 0, 1, 0, 1, 2, 3, 0}},
                        {"k40 p.95 m.05", {0.8f, 40, 0.95f, 0.05f, 1, 2, 3, 0}},
                        {"p.95", {0.8f, 0, 0.95f, 0, 1, 2, 3, 0}}};
  for (const int64_t vocab : {4096, 32768, 50288, 131072}) {
    for (const int64_t rows : {1, 8, 64, 256}) {
      const double bytes = 4.0 * static_cast<double>(rows * vocab);
      const lab::Times copy = bench.copy(bytes);
      const std::string shape = std::to_string(rows) + "x" + std::to_string(vocab);
      for (const Mode& mode : modes) {
        std::vector<SamplingRow> params(static_cast<size_t>(rows), mode.row);
        for (size_t r = 0; r < params.size(); ++r) params[r].seed_low = static_cast<uint32_t>(r);
        const Buffer dparams(params.size() * 32);
        LAB_CHECK(cudaMemcpy(dparams.data, params.data(), dparams.bytes, cudaMemcpyHostToDevice));
        const SampleParams p = {
            rows, vocab, logits.as<float>(), vocab, dparams.as<SamplingRow>(), tokens.as<int32_t>()};
        for (const Version& v : kVersions) {
          if (!fits(v, vocab)) continue;
          if (v.way == Way::digits && mode.row.top_k == 0) continue;
          const lab::Times us = bench.time([&](cudaStream_t s) { launch_sample(p, v.cluster, v.way, s); });
          report.line("sample", shape + " " + mode.name, v.name(), us, bytes, copy);
        }
      }
      LAB_CHECK(cudaMemset(tokens.data, 0, tokens.bytes));
      const LogprobsParams p = {
          rows, vocab, kTop, logits.as<float>(), vocab, tokens.as<int32_t>(), values.as<float>(), ids.as<int32_t>()};
      for (const Version& v : kVersions) {
        if (!fits(v, vocab) || v.way == Way::digits) continue;
        const lab::Times us = bench.time([&](cudaStream_t s) { launch_logprobs(p, v.cluster, v.way, s); });
        report.line("logprobs", shape + " top 20", v.name(), us, bytes, copy);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  if (options.check && !check_all(options.quick)) return 1;
  if (!options.time) return 0;
  lab::Bench bench;
  lab::Report report(options);
  report.line("empty", "", "", bench.empty(), 0, {});
  time_all(bench, report);
  return 0;
}
