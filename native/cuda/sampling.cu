// sample on CUDA.
//
// Idea. sampling.cuh holds the row and finds the thresholds; this draws. When few tokens are left after the bins of
// top-k they go to one block, which sorts them by counting and finishes alone. A token's Gumbel noise is computed only
// if its hash could make it win: -log(-log1p(-u)) > t needs u < exp(-t).
//
// Bound. One read of the logits; for few rows the latency of the cluster's exchanges (1 for greedy, 2 for a draw, 1 or
// 2 more for each filter). For many rows and a draw, the 64-bit hash of each token.
//
// Measured on one H200 (us, the launch's 3.9 in it; native/lab/sampling.cu has the ladder), a vocabulary of 50288: for
// one row greedy 6.8, a draw 9.2, with top-k, top-p and min-p 15.3, with top-p alone 23.0 (in a chain of dependent
// launches 2.4, 4.6, 10.8 and 18.7); for 256 rows 23.4, 51.4, 63.9 and 104.7, where a copy of as many bytes takes 17.8.
#include "cuda/kernels.h"
#include "cuda/sampling.cuh"

namespace mamba::cuda {
namespace {

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;

// Finalizer of SplitMix64 (Steele, Lea & Flood 2014).
__device__ __forceinline__ uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// The noise of a token, from the 32 bits that its counter gives. A counter is a row's key + (token + 1) * kGolden.
__device__ __forceinline__ uint32_t bits_of(uint64_t counter) { return static_cast<uint32_t>(mix(counter) >> 32); }
__device__ __forceinline__ float uniform_of(uint32_t bits) { return (static_cast<float>(bits) + 0.5f) * 0x1p-32f; }
__device__ __forceinline__ float gumbel_of(uint32_t bits) { return -logf(-log1pf(-uniform_of(bits))); }
// A little less, in ten instructions.
__device__ __forceinline__ float least_gumbel_of(uint32_t bits) {
  const float u = uniform_of(bits);
  return -__logf(u < 0.01f ? u + 0.5f * u * u : -__logf(1 - u)) - 1e-3f;
}

// Gumbel-max among what is offered, which must hold the peak's token: no other one with less noise is looked at.
struct Draw {
  uint64_t key;
  float best, bound;
  uint32_t token = ~0u;

  __device__ __forceinline__ Draw(const SamplingRow& row, uint32_t peak_index) {
    key = mix((static_cast<uint64_t>(row.seed_high) << 32 | row.seed_low) +
              static_cast<uint64_t>(static_cast<uint32_t>(row.position)) * kGolden);
    set_best(least_gumbel_of(bits_of(counter_of(peak_index))));
  }
  __device__ __forceinline__ uint64_t counter_of(int64_t id) const {
    return key + static_cast<uint64_t>(id + 1) * kGolden;
  }
  __device__ __forceinline__ void set_best(float noisy) { best = noisy, bound = 32.0015f - noisy * kLog2e; }

  // Whether the noise of these bits can lift a score (in octaves) to the best. None can lift -inf.
  __device__ __forceinline__ bool close(float octaves, uint32_t bits) const {
    return static_cast<float>(bits) <= fast_exp2(octaves + bound);
  }
  __device__ __forceinline__ void take(uint32_t id, float score, uint32_t bits) {
    const float noisy = score + gumbel_of(bits);
    if (noisy > best || (noisy == best && id < token)) set_best(noisy), token = id;
  }
  __device__ __forceinline__ void offer(uint32_t id, float score) {
    const uint32_t bits = bits_of(counter_of(id));
    if (close(score * kLog2e, bits)) take(id, score, bits);
  }
  __device__ __forceinline__ uint64_t packed() const { return token == ~0u ? 0 : pair_of(key_of(best), token); }
};

// A row with its parameters. Limits are distances: a token is kept up to its limit.
template <bool Resident>
struct Sampler : SampleRow<Resident> {
  using Base = SampleRow<Resident>;
  using Base::cluster, Base::distance, Base::each, Base::even_bin, Base::logit, Base::peak, Base::s;
  const SamplingRow& params;
  const float inverse;
  bool greedy;

  __device__ __forceinline__ Sampler(SampleShared& shared, const SampleParams& p, int64_t row,
                                     const SamplingRow& row_params)
      : Base(shared, p.logits + row * p.logits_stride, p.vocab),
        params(row_params),
        inverse(1.0f / row_params.temperature),
        greedy(!(row_params.temperature > 0) || !(inverse < INFINITY)) {}

  __device__ __forceinline__ float nats(float x) const { return (peak() - x) * inverse; }

  __device__ __forceinline__ uint32_t apply_min_p(uint32_t limit) const {
    if (!(params.min_p > 0)) return limit;
    const float least = peak() + params.temperature * logf(params.min_p);
    if (isnan(least)) return limit;
    return least >= peak() ? 0 : min(limit, distance(least));
  }

  // The distance at which the sum over all amounts reaches `wanted`, by its digits; amount(index, logit, distance).
  template <bool Mass, class Amount>
  __device__ __forceinline__ uint32_t select(uint64_t wanted, Amount amount) {
    uint32_t prefix = 0;
#pragma unroll 1
    for (int level = 0; level < 3; ++level) {
      const int shift = level == 0 ? 21 : level == 1 ? 10 : 0, above = level == 1 ? 21 : 10;
      const auto bin = this->template find_bin<Mass>(wanted, [&](auto add) {
        each([&](uint32_t i, float x) {
          const uint32_t d = distance(x);
          if (level > 0 && d >> above != prefix) return;
          if (const uint64_t a = amount(i, x, d)) add(level == 2 ? d & 1023 : d >> shift & 2047, a);
        });
      });
      prefix = level == 0 ? bin.index : prefix << (level == 1 ? 11 : 10) | bin.index;
      wanted -= bin.before;
    }
    return prefix;
  }

  // The limit of top-k; or, where few tokens compete, the token drawn of the list in block 0 (`drawn`, all done).
  __device__ __forceinline__ uint32_t apply_top_k(uint32_t limit, bool& done, int32_t& drawn) {
    uint64_t wanted = static_cast<uint64_t>(params.top_k);
    const auto bin = this->template find_bin<false>(wanted, [&](auto add) {
      each([&](uint32_t, float x) { add(even_bin(x, kBinsPerLogit), 1); });  // -inf counts, as it does on the CPU
    });
    if (bin.before + bin.amount <= kListed) {
      this->list([&](uint32_t, float x) { return even_bin(x, kBinsPerLogit) <= bin.index && distance(x) <= limit; });
      done = true;
      if (cluster.rank == 0) drawn = draw_from_list();
      return 0;
    }
    wanted -= bin.before;
    return min(limit, select<false>(wanted, [&](uint32_t, float x, uint32_t) -> uint64_t {
                 return even_bin(x, kBinsPerLogit) == bin.index;
               }));
  }

  // In block 0: all filters and the draw over what list() brought.
  __device__ __forceinline__ int32_t draw_from_list() {
    constexpr int kOwn = kListed / kSampleThreads;
    const uint32_t n = this->sort_list();
    uint32_t limit = static_cast<uint32_t>(s.sorted[min(static_cast<uint32_t>(params.top_k), n) - 1] >> 32);
    if (params.top_p < 1) {
      uint64_t mass[kOwn] = {}, own = 0;
      uint32_t distances[kOwn] = {};
      for (int i = 0; i < kOwn; ++i) {
        const uint32_t at = threadIdx.x * kOwn + i;
        if (at < n) distances[i] = static_cast<uint32_t>(s.sorted[at] >> 32);
        if (at < n && distances[i] <= limit) own += mass[i] = fixed_mass(nats(logit(distances[i])));
      }
      uint64_t running = block_exclusive_sum(own, s);
      if (threadIdx.x == kSampleThreads - 1) s.last = running + own;
      __syncthreads();
      const uint64_t wanted = this->share_of(s.last, params.top_p);
      for (int i = 0; i < kOwn; ++i) {
        if (running < wanted && running + mass[i] >= wanted) s.found_bin = distances[i];
        running += mass[i];
      }
      __syncthreads();
      limit = s.found_bin;
    }
    limit = apply_min_p(limit);
    Draw draw(params, this->peak_index);
    for (uint32_t i = threadIdx.x; i < n; i += kSampleThreads) {
      const auto d = static_cast<uint32_t>(s.sorted[i] >> 32);
      if (d <= limit) draw.offer(static_cast<uint32_t>(s.sorted[i]), -nats(logit(d)));
    }
    return static_cast<int32_t>(index_of(block_max(draw.packed(), s.warp_draws)));
  }

  // The limit of top-p among the tokens up to `limit`.
  __device__ __forceinline__ uint32_t apply_top_p(uint32_t limit) {
    const auto mass_of = [&](float x, uint32_t d) { return d <= limit ? fixed_mass(nats(x)) : 0; };
    const float scale = inverse * kBinsPerNat;
    uint64_t wanted = 0;
    const auto bin = this->template find_bin<true>(
        wanted,
        [&](auto add) {
          each([&](uint32_t, float x) {
            if (const uint64_t mass = mass_of(x, distance(x))) add(even_bin(x, scale), mass);
          });
        },
        &params.top_p);
    wanted -= bin.before;
    // The tokens of the bin, each block's share of the list to all blocks, if none has too many.
    const uint32_t most = kListed / cluster.blocks;
    if (threadIdx.x == 0) s.own_size = 0;
    __syncthreads();
    each([&](uint32_t, float x) {
      const uint32_t d = distance(x);
      if (even_bin(x, scale) != bin.index || mass_of(x, d) == 0) return;
      const uint32_t at = atomicAdd(&s.own_size, 1);
      if (at < most) s.own[at] = d;
    });
    __syncthreads();
    const uint32_t own = s.own_size;
    if (threadIdx.x < cluster.blocks) *cluster.at(&s.counts[cluster.rank], threadIdx.x) = own;
    if (own <= most) {
      for (uint32_t i = threadIdx.x; i < own * cluster.blocks; i += kSampleThreads) {
        cluster.at(s.landed, i / own)[cluster.rank * most + i % own] = s.own[i % own];
      }
    }
    cluster.sync();
    bool fits = true;
    for (uint32_t r = 0; r < cluster.blocks; ++r) fits &= s.counts[r] <= most;
    if (!fits) {
      return min(limit, select<true>(wanted, [&](uint32_t, float x, uint32_t d) -> uint64_t {
                   return even_bin(x, scale) == bin.index ? mass_of(x, d) : 0;
                 }));
    }
    const auto landed = [&](uint32_t i) { return i % most < s.counts[i / most]; };
    for (uint32_t i = threadIdx.x; i < kListed; i += kSampleThreads) {
      s.masses[i] = landed(i) ? fixed_mass(nats(logit(s.landed[i]))) : 0;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < kListed; i += kSampleThreads) {
      if (!landed(i)) continue;
      const uint32_t d = s.landed[i];
      uint64_t before = 0, with = 0;
      for (uint32_t r = 0; r < cluster.blocks; ++r) {
        for (uint32_t j = r * most; j < r * most + s.counts[r]; ++j) {
          before += s.landed[j] < d ? s.masses[j] : 0;
          with += s.landed[j] <= d ? s.masses[j] : 0;
        }
      }
      if (before < wanted && with >= wanted) s.found_bin = d;  // the same from each of equals
    }
    __syncthreads();
    return min(limit, s.found_bin);
  }

  // Draws from all tokens up to `limit`; true in block 0, which then knows it.
  __device__ __forceinline__ bool draw_from_row(uint32_t limit, int32_t& token) {
    Draw draw(params, this->peak_index);
    const float threshold = logit(limit), octaves = inverse * kLog2e;
    constexpr uint64_t kStep = uint64_t{kSampleThreads} * 4 * kGolden;
    uint64_t counter = draw.counter_of(int64_t{this->first} + int64_t{threadIdx.x} * 4 - this->shift) - kStep;
    this->each_four([&](uint32_t i, float4 x) {
      counter += kStep;
      if (!(fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w)) >= threshold)) return;
      const float v[4] = {x.x, x.y, x.z, x.w};
      uint32_t bits[4];
      bool close[4], any = false;
#pragma unroll
      for (int k = 0; k < 4; ++k) {  // side by side
        bits[k] = bits_of(counter + k * kGolden);
        close[k] = v[k] >= threshold && draw.close((v[k] - peak()) * octaves, bits[k]);
        any |= close[k];
      }
      if (!any) return;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (close[k]) draw.take(i + k, -nats(v[k]), bits[k]);
      }
    });
    uint64_t best = block_max(draw.packed(), s.warp_draws);
    if (threadIdx.x == 0) cluster.send(&s.draws[cluster.rank], best, &s.draw_mailbox, 0);
    if (cluster.rank != 0) return false;
    cluster.receive(&s.draw_mailbox);
    best = 0;
    for (uint32_t i = 0; i < cluster.blocks; ++i) best = larger(best, s.draws[i]);
    token = static_cast<int32_t>(index_of(best));
    return true;
  }
};

// One cluster a row.
template <bool Resident>
__global__ void __launch_bounds__(kSampleThreads, 2) sample_kernel(const __grid_constant__ SampleParams p) {
  extern __shared__ __align__(16) uint8_t memory[];
  const int64_t row = blockIdx.x / Cluster().blocks;
  let_next_start();
  const SamplingRow* at = p.params + row;
  auto& shared = *reinterpret_cast<SampleShared*>(memory);
  SampleRow<Resident>(shared, p.logits + row * p.logits_stride, p.vocab).prepare();
  wait_for_inputs();
  const SamplingRow params = *at;
  Sampler<Resident> r(shared, p, row, params);
  if (!r.load(r.greedy)) return;
  int32_t token = r.samplable ? static_cast<int32_t>(r.peak_index) : -1;
  if (r.samplable && !r.greedy) {
    uint32_t limit = r.distance(-3.402823466e38f);  // all but -inf
    bool done = false;
    if (params.top_k > 0 && params.top_k < p.vocab) limit = r.apply_top_k(limit, done, token);
    if (!done) {
      if (params.top_p < 1) limit = r.apply_top_p(limit);
      if (!r.draw_from_row(r.apply_min_p(limit), token)) return;
    }
  }
  if (r.cluster.rank == 0 && threadIdx.x == 0) p.tokens[row] = token;
}

}  // namespace

void sample_as(const SampleParams& p, SampleShape shape, Context& context) {
  launch_sample_rows(
      p, shape, []<class Resident>(Resident) { return sample_kernel<Resident::value>; }, context);
}

void run_sample(const SampleParams& p, Context& context) {
  if (p.rows > 0) sample_as(p, choose_sample_shape(p.rows, p.vocab, context), context);
}

}  // namespace mamba::cuda
