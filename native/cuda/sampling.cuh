#pragma once
// What sample and logprobs share: a row of logits in the shared memory of a cluster of blocks, and selection in it.
//
// Idea. A cluster of C blocks owns a row and reads its logits once, into shared memory; everything after works on that
// copy. A logit becomes its distance from the maximum, an integer that orders as floats do. A threshold (of counts for
// top-k and top-n, of probability mass for top-p) is found in a histogram of 2048 bins that are even in the logit; what
// its bin holds is then put in order by counting, or, if that is too much, found by a radix select (11, 11 and 10 bits)
// over the distances. Mass is added in fixed point (2^-40 of the likeliest token), so the order of atomics does not
// matter: the same bits each time, whatever the number of blocks.
//
// Layout. Distances are keys(max) - keys(logit); -0 counts as 0. A histogram is 2048 words of low halves, and as many
// of high halves for mass. The copy starts at the 16-byte boundary before the part's first logit, with -inf around it.
//
// Mapping. 512 threads a block; block c of a cluster has the c-th part of the row. Without clusters (before sm_90) one
// block has the row, and reads it again from the L2 if it does not fit.
#include <algorithm>

#include "cuda/hopper.cuh"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/sampling.h"

namespace mamba::cuda {

constexpr int kSampleThreads = 512, kBins = 2048, kListed = 1024, kMostBlocks = 8;
constexpr float kMassScale = 0x1p40f;
constexpr float kBinsPerLogit = 32, kBinsPerNat = 64;

// Orders as the floats do; both zeros are equal.
__device__ __forceinline__ uint32_t key_of(float x) {
  const uint32_t bits = __float_as_uint(__fadd_rn(x, 0.0f));
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}
__device__ __forceinline__ float value_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

__device__ __forceinline__ float max_or_nan(float a, float b) {
  float most;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(most) : "f"(a), "f"(b));
  return most;
}

__device__ __forceinline__ uint64_t fixed_mass(float distance) { return __float2ull_rn(expf(-distance) * kMassScale); }

__device__ __forceinline__ uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

// A key and the complement of an index: the largest has the lowest index among equal keys.
__device__ __forceinline__ uint64_t pair_of(uint32_t key, uint32_t index) { return uint64_t{key} << 32 | ~index; }
__device__ __forceinline__ uint32_t index_of(uint64_t pair) { return ~static_cast<uint32_t>(pair); }

__device__ __forceinline__ uint64_t warp_max(uint64_t x) {
  const auto high = static_cast<uint32_t>(x >> 32);
  const uint32_t most = __reduce_max_sync(~0u, high);
  return uint64_t{most} << 32 | __reduce_max_sync(~0u, high == most ? static_cast<uint32_t>(x) : 0);
}

// The blocks that own a row. One block is launched without a cluster, where the instructions of clusters are illegal.
struct Cluster {
  uint32_t blocks = 1, rank = 0;

  __device__ __forceinline__ Cluster() {
#if __CUDA_ARCH__ >= 900
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
  }
  __device__ __forceinline__ void arrive() const {
#if __CUDA_ARCH__ >= 900
    if (blocks > 1) asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
  }
  __device__ __forceinline__ void wait() const {
#if __CUDA_ARCH__ >= 900
    if (blocks > 1) {
      asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
      return;
    }
#endif
    __syncthreads();
  }
  __device__ __forceinline__ void sync() const { arrive(), wait(); }

  // The same variable in the shared memory of another block.
  template <class T>
  __device__ __forceinline__ T* at(T* p, uint32_t block) const {
#if __CUDA_ARCH__ >= 900
    if (blocks > 1) {
      T* there;
      asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(p), "r"(block));
      return there;
    }
#endif
    return p;
  }

  // Mailboxes: each block of the cluster sends eight bytes to a block, which waits for all of them. Once a launch.
  __device__ __forceinline__ void open(uint64_t* mailbox) const {
#if __CUDA_ARCH__ >= 900
    hopper::barrier_init(mailbox, 1);
    hopper::barrier_init_fence();
    hopper::barrier_expect(mailbox, 8 * blocks);
#endif
  }
  __device__ __forceinline__ void send(uint64_t* to, uint64_t value, uint64_t* mailbox, uint32_t block) const {
#if __CUDA_ARCH__ >= 900
    if (blocks > 1) {
      const uint32_t there = hopper::address_at(to, static_cast<int>(block));
      const uint32_t barrier = hopper::address_at(mailbox, static_cast<int>(block));
      asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b64 [%0], %1, [%2];" ::"r"(there), "l"(value),
                   "r"(barrier)
                   : "memory");
      return;
    }
#endif
    *to = value;
  }
  // By all threads.
  __device__ __forceinline__ void receive(uint64_t* mailbox) const {
#if __CUDA_ARCH__ >= 900
    if (blocks > 1) {
      asm volatile(
          "{\n.reg .pred done;\nwait:\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], 0;\n"
          "@!done bra wait;\n}" ::"r"(shared_address(mailbox))
          : "memory");
      return;
    }
#endif
    __syncthreads();
  }
};

struct alignas(16) SampleShared {
  union {
    struct {  // this block's histogram
      uint32_t low[kBins], high[kBins];
    };
    struct {  // of block 0: elements as distance and id
      uint64_t listed[kListed], sorted[kListed];
    };
    struct {  // of the bin where a mass is crossed: distances from all blocks, from this one, masses
      uint32_t landed[kListed], own[kListed];
      uint64_t masses[kListed];
    };
  };
  uint64_t totals[2][kBins];  // the cluster's histogram, and zeros for the next one
  uint64_t peaks[kMostBlocks], draws[kMostBlocks], peak_mailbox, draw_mailbox;
  uint64_t warp_values[kSampleThreads / 32], warp_draws[kSampleThreads / 32];
  uint64_t found_before, found_amount, last;
  uint32_t counts[kMostBlocks];
  uint32_t found_bin, list_size, own_size, ahead;  // ahead: in block 0, elements before one that is looked for
};

// Known to every thread after it. No thread may still use the array.
__device__ __forceinline__ uint64_t block_max(uint64_t x, uint64_t (&of_warps)[kSampleThreads / 32]) {
  x = warp_max(x);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
  __syncthreads();
  return warp_max(threadIdx.x % 32 < kSampleThreads / 32 ? of_warps[threadIdx.x % 32] : 0);
}

// Sum over the threads before this one.
__device__ __forceinline__ uint64_t block_exclusive_sum(uint64_t x, SampleShared& s) {
  uint64_t sum = x;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const uint64_t other = __shfl_up_sync(~0u, sum, distance);
    if (lane >= distance) sum += other;
  }
  if (lane == 31) s.warp_values[warp] = sum;
  __syncthreads();
  uint64_t before = 0;
  for (int i = 0; i < warp; ++i) before += s.warp_values[i];
  return before + sum - x;
}

// Resident: the part is in shared memory; else it is read again from the L2.
template <bool Resident>
struct SampleRow {
  SampleShared& s;
  const Cluster cluster;
  float4* copy;
  const float* logits;  // of this block's part
  uint32_t vocab, first, size, shift, words;
  uint32_t peak_key = 0, peak_index = 0;
  bool samplable = false;
  int step = 0;  // which totals are next

  __device__ __forceinline__ SampleRow(SampleShared& shared, const float* row, int64_t width)
      : s(shared), copy(reinterpret_cast<float4*>(&shared + 1)), vocab(static_cast<uint32_t>(width)) {
    const uint32_t each = ((vocab + cluster.blocks - 1) / cluster.blocks + 3) / 4 * 4;
    first = min(cluster.rank * each, vocab);
    size = min(each, vocab - first);
    logits = row + first;
    shift = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(logits) / 4 % 4);
    words = size == 0 ? 0 : (shift + size + 3) / 4;
  }

  // Before wait_for_inputs(): nothing here depends on the logits.
  __device__ __forceinline__ void prepare() const {
    if (threadIdx.x == 0) {
      s.list_size = s.ahead = 0;
      cluster.open(&s.peak_mailbox), cluster.open(&s.draw_mailbox);
    }
    for (int i = threadIdx.x; i < kBins; i += kSampleThreads) s.totals[0][i] = 0;
    cluster.arrive();
  }

  __device__ __forceinline__ float4 fetch(uint32_t word) const {
    const uint32_t at = word * 4 - shift;  // wraps before the part
    if (at < size && at + 4 <= size) return *reinterpret_cast<const float4*>(logits + at);
    float v[4];
#pragma unroll
    for (uint32_t k = 0; k < 4; ++k) v[k] = at + k < size ? logits[at + k] : -INFINITY;
    return {v[0], v[1], v[2], v[3]};
  }

  // f(index in the row of the first, four logits); -inf outside the part.
  template <class F>
  __device__ __forceinline__ void each_four(F f) const {
    constexpr uint32_t kAhead = Resident ? 1 : 4;
    for (uint32_t base = threadIdx.x; base < words; base += kSampleThreads * kAhead) {
      float4 v[kAhead];
#pragma unroll
      for (uint32_t k = 0; k < kAhead; ++k) {
        const uint32_t word = base + k * kSampleThreads;
        if (word < words) v[k] = Resident ? copy[word] : fetch(word);
      }
#pragma unroll
      for (uint32_t k = 0; k < kAhead; ++k) {
        const uint32_t word = base + k * kSampleThreads;
        if (word < words) f(first + word * 4 - shift, v[k]);
      }
    }
  }

  // f(index in the row, logit)
  template <class F>
  __device__ __forceinline__ void each(F f) const {
    each_four([&](uint32_t i, float4 v) {
      const uint32_t at = i - first;
      if (at < size) f(i, v.x);
      if (at + 1 < size) f(i + 1, v.y);
      if (at + 2 < size) f(i + 2, v.z);
      if (at + 3 < size) f(i + 3, v.w);
    });
  }

  // Reads the row; the maximum with its lowest index, in every block, or in block 0 alone, and then without the copy.
  // False in the other blocks, which are done.
  __device__ __forceinline__ bool load(bool maximum_only) {
    bool finite = true;
    float value = -INFINITY;
    uint32_t place = ~0u;  // of the word with the maximum
    constexpr uint32_t kAhead = 8;
    for (uint32_t base = threadIdx.x; base < words; base += kSampleThreads * kAhead) {
      float4 v[kAhead];
#pragma unroll
      for (uint32_t k = 0; k < kAhead; ++k) {
        if (base + k * kSampleThreads < words) v[k] = fetch(base + k * kSampleThreads);
      }
#pragma unroll
      for (uint32_t k = 0; k < kAhead; ++k) {
        const uint32_t word = base + k * kSampleThreads;
        if (word >= words) break;
        if (Resident && !maximum_only) copy[word] = v[k];
        const float most = max_or_nan(max_or_nan(v[k].x, v[k].y), max_or_nan(v[k].z, v[k].w));
        finite &= most < INFINITY;
        if (most > value) value = most, place = word;
      }
    }
    // NaN and +inf are all ones, no finite value is 0. Only the threads with the warp's maximum look for its index.
    const uint32_t key = !finite ? ~0u : place == ~0u ? 0 : key_of(value);
    const uint32_t most = __reduce_max_sync(~0u, key);
    uint32_t index = ~0u;
    if (key == most && key != 0 && key != ~0u) {
      const float4 v = Resident && !maximum_only ? copy[place] : fetch(place);
      index = first + place * 4 - shift + (v.x == value ? 0 : v.y == value ? 1 : v.z == value ? 2 : 3);
    }
    uint64_t best = most == ~0u ? ~uint64_t{0} : pair_of(most, index);
    best = block_max(best, s.warp_values);
    cluster.wait();  // every block has started
    if (threadIdx.x < (maximum_only ? 1 : cluster.blocks)) {
      cluster.send(&s.peaks[cluster.rank], best, &s.peak_mailbox, threadIdx.x);
    }
    if (maximum_only && cluster.rank != 0) return false;
    cluster.receive(&s.peak_mailbox);
    best = 0;
    for (uint32_t i = 0; i < cluster.blocks; ++i) best = larger(best, s.peaks[i]);
    samplable = best != 0 && best != ~uint64_t{0};
    peak_key = static_cast<uint32_t>(best >> 32), peak_index = index_of(best);
    return true;
  }

  __device__ __forceinline__ float peak() const { return value_of(peak_key); }
  __device__ __forceinline__ uint32_t distance(float x) const { return peak_key - key_of(x); }
  __device__ __forceinline__ float logit(uint32_t distance) const { return value_of(peak_key - distance); }
  // Even bins of `scale` bins a logit; the last one takes the rest. (A float too large for an integer is the largest.)
  __device__ __forceinline__ uint32_t even_bin(float x, float scale) const {
    return min(static_cast<uint32_t>((peak() - x) * scale), uint32_t{kBins - 1});
  }

  struct Bin {
    uint32_t index;
    uint64_t before, amount;
  };

  // The bin in which the sum of a histogram over the cluster reaches `wanted` (at least 1, at most the total), what is
  // before it and in it. fill(add) fills this block's histogram through add(bin, amount). With `share`, wanted becomes
  // that share of the total.
  template <bool Mass, class Fill>
  __device__ __forceinline__ Bin find_bin(uint64_t& wanted, Fill fill, const float* share = nullptr) {
    constexpr int kEach = kBins / kSampleThreads;
    uint64_t* totals = s.totals[step & 1];
    uint64_t* next = s.totals[~step & 1];
    ++step;
    for (uint32_t i = threadIdx.x; i < kBins; i += kSampleThreads) {
      s.low[i] = 0;
      if (Mass) s.high[i] = 0;
      next[i] = 0;
    }
    __syncthreads();
    fill([&](uint32_t b, uint64_t x) {
      if constexpr (Mass) {
        const auto below = static_cast<uint32_t>(x);
        uint32_t above = static_cast<uint32_t>(x >> 32);
        const uint32_t old = atomicAdd(s.low + b, below);
        above += old + below < old;
        if (above) atomicAdd(s.high + b, above);
      } else {
        atomicAdd(s.low + b, static_cast<uint32_t>(x));
      }
    });
    __syncthreads();
    for (int b = threadIdx.x; b < kBins; b += kSampleThreads) {
      const uint64_t own = s.low[b] | (Mass ? uint64_t{s.high[b]} << 32 : 0);
      if (own == 0) continue;
      for (uint32_t r = 0; r < cluster.blocks; ++r) {
        atomicAdd(reinterpret_cast<unsigned long long*>(cluster.at(totals, r)) + b,
                  static_cast<unsigned long long>(own));
      }
    }
    cluster.sync();
    uint64_t bins[kEach], sum = 0;
    for (int i = 0; i < kEach; ++i) sum += bins[i] = totals[threadIdx.x * kEach + i];
    uint64_t running = block_exclusive_sum(sum, s);
    if (share) {
      if (threadIdx.x == kSampleThreads - 1) s.last = running + sum;
      __syncthreads();
      wanted = share_of(s.last, *share);
    }
    if (running < wanted && running + sum >= wanted) {
      for (int i = 0; i < kEach; ++i) {
        if (running + bins[i] >= wanted) {
          s.found_bin = threadIdx.x * kEach + i, s.found_before = running, s.found_amount = bins[i];
          break;
        }
        running += bins[i];
      }
    }
    __syncthreads();
    return {s.found_bin, s.found_before, s.found_amount};
  }

  // At least 1, at most the total.
  __device__ __forceinline__ static uint64_t share_of(uint64_t total, float share) {
    const auto wanted = static_cast<uint64_t>(ceil(static_cast<double>(share) * static_cast<double>(total)));
    return max(uint64_t{1}, min(wanted, total));
  }

  // Elements that `keep` (index, logit), to the list of block 0 as distance and id, in any order.
  template <class Keep>
  __device__ __forceinline__ void list(Keep keep) {
    uint64_t* listed = cluster.at(s.listed, 0);
    uint32_t* count = cluster.at(&s.list_size, 0);
    each([&](uint32_t i, float x) {
      if (!keep(i, x)) return;
      const uint32_t at = atomicAdd(count, 1);
      if (at < kListed) listed[at] = uint64_t{distance(x)} << 32 | i;
    });
    cluster.sync();
  }

  // In block 0: the list by distance, then id.
  __device__ __forceinline__ uint32_t sort_list() {
    const uint32_t n = min(s.list_size, uint32_t{kListed});
    for (uint32_t i = threadIdx.x; i < n; i += kSampleThreads) {
      const uint64_t mine = s.listed[i];
      uint32_t place = 0;
      for (uint32_t j = 0; j < n; ++j) place += s.listed[j] < mine;
      s.sorted[place] = mine;
    }
    __syncthreads();
    return n;
  }
};

// What a block takes, where C blocks own a row and keep it.
inline size_t sample_shared_bytes(int64_t vocab, int cluster) {
  const int64_t each = ((vocab + cluster - 1) / cluster + 3) / 4;
  return sizeof(SampleShared) + static_cast<size_t>(each + 1) * 16;
}
inline size_t most_shared_bytes(const Context& context) {
  return context.hopper() ? kHopperShared : context.capability == 80 ? size_t{163} << 10 : kLeastShared;
}

// Blocks of a cluster (1 before sm_90), and whether its row stays in shared memory (which must hold it).
struct SampleShape {
  int cluster;
  bool resident;
};
void sample_as(const SampleParams& p, SampleShape shape, Context& context);
void logprobs_as(const LogprobsParams& p, SampleShape shape, Context& context);

// As measured (native/lab/sampling.cu): a row over many blocks while there are more multiprocessors than rows; and kept
// unless that leaves a multiprocessor a block at a time and others waiting.
inline SampleShape choose_sample_shape(int64_t rows, int64_t vocab, const Context& context) {
  int cluster = !context.clusters() ? 1 : rows <= 16 ? kMostBlocks : rows < context.multiprocessors ? 2 : 1;
  while (cluster > 1 && vocab / cluster < 4096) cluster /= 2;
  constexpr size_t kReserved = 1 << 10;  // of each block, for the system
  const size_t bytes = sample_shared_bytes(vocab, cluster), most = most_shared_bytes(context);
  const bool two = 2 * (bytes + kReserved) <= most + kReserved;
  return {cluster, two || (bytes <= most && rows * cluster <= context.multiprocessors)};
}

// kernel(true_type or false_type) is the one for a resident row or not.
template <class P, class Kernel>
void launch_sample_rows(const P& p, SampleShape shape, Kernel kernel, Context& context) {
  const LaunchShape launch_shape = {
      .grid = shape.cluster * p.rows,
      .block = kSampleThreads,
      .shared_bytes = shape.resident ? sample_shared_bytes(p.vocab, shape.cluster) : sizeof(SampleShared),
      .cluster = shape.cluster};
  launch(context, launch_shape, shape.resident ? kernel(std::true_type{}) : kernel(std::false_type{}), p);
}

}  // namespace mamba::cuda
