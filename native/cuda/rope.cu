// rope_store_kv: rotary embedding of q in place, and of k on its way with v into the paged KV cache.
//
// Mapping. A block has a token, or some of its heads: angles are taken once, while the projection before runs, and
// where heads are normalised a warp takes each head's root mean square; then threads take V channels of a head's first
// half with their partners of the second, or V channels that are not rotated. Heads of q come first, then those of k,
// whose blocks store v too. Where a warp's lanes have a whole head of V channels each, and it has a norm, it is read
// once: a lane gets its partner's channels by shuffles.
//
// Bound. Bytes: q is read and written, k and v are read and stored. Sines and cosines of far angles reduce exactly.
#include <cuda_fp8.h>

#include <algorithm>

#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"

namespace mamba::cuda {
namespace {

constexpr int kRopeThreads = 256;
constexpr int64_t kFewTokens = 8;  // more blocks than that delayed the attention of 64 tokens by 1 us

template <class P, int V>
__device__ __forceinline__ void store_page(P* to, const float (&values)[V], float) {
  store(to, pack<P, V>(values));
}
template <int V>
__device__ __forceinline__ void store_page(uint8_t* to, const float (&values)[V], float inverse_scale) {
  struct alignas(V) Codes {
    __nv_fp8_storage_t of[V];
  } codes;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    codes.of[i] = __nv_cvt_float_to_fp8(values[i] * inverse_scale, __NV_SATFINITE, __NV_E4M3);
  }
  *reinterpret_cast<Codes*>(to) = codes;
}

// The cosines and sines of a token at its position, by all threads of a block.
template <int kThreads>
__device__ __forceinline__ void take_angles(const RopeStoreKvParams& p, int64_t token, float* cosines, float* sines) {
  const int half = static_cast<int>(p.rotary_dim) / 2;
  const auto position = static_cast<float>(p.positions[token]);
  for (int i = static_cast<int>(threadIdx.x); i < half; i += kThreads) {
    float sine, cosine;
    sincosf(position * p.inv_freq[i], &sine, &cosine);
    cosines[i] = cosine * p.rope_factor, sines[i] = sine * p.rope_factor;
  }
}

template <class T, class P, int V, bool kNormed>
__global__ __launch_bounds__(kRopeThreads) void rope_store_kv_kernel(const __grid_constant__ RopeStoreKvParams p,
                                                                     int heads_of_block) {
  __shared__ float cosines[kMaxHeadDim / 2], sines[kMaxHeadDim / 2];
  extern __shared__ float inverse_rms[];  // of each head of the block, where q or k has a norm
  const KvPages& pages = p.pages;
  const int64_t token = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x), head_dim = static_cast<int>(pages.head_dim);
  const int half = static_cast<int>(p.rotary_dim) / 2, heads = static_cast<int>(p.heads);
  const int kv_heads = static_cast<int>(pages.kv_heads);
  const int first = static_cast<int>(blockIdx.y) * heads_of_block, end = min(first + heads_of_block, heads + kv_heads);
  take_angles<kRopeThreads>(p, token, cosines, sines);
  const int64_t slot = p.slot_mapping[token];
  const bool there = slot >= 0 && slot < pages.pages * pages.page_size;
  const int64_t page = slot / pages.page_size, offset = slot % pages.page_size;
  wait_for_inputs();
  let_next_start();
  const T* k = static_cast<const T*>(p.k) + token * p.k_stride;
  const T* v = static_cast<const T*>(p.v) + token * p.v_stride;
  T* q = static_cast<T*>(p.q) + token * p.q_stride;
  if constexpr (kNormed) {
    for (int head = first + thread / 32; head < end; head += kRopeThreads / 32) {
      const T* from = head >= heads ? k + (head - heads) * head_dim : q + head * head_dim;
      float squares = 0;
      for (int channel = thread % 32 * V; channel < head_dim; channel += 32 * V) {
        float values[V];
        unpack(load<V>(from + channel), values);
#pragma unroll
        for (int j = 0; j < V; ++j) squares = fmaf(values[j], values[j], squares);
      }
      squares = warp_sum(squares);
      if (thread % 32 == 0) inverse_rms[head - first] = rsqrtf(squares / static_cast<float>(head_dim) + p.norm_eps);
    }
  }
  // Channels of a head of q, or from `heads` on of k.
  const auto load_head = [&](int head, int channel, float(&values)[V]) {
    const bool of_k = head >= heads;
    unpack(load<V>((of_k ? k + (head - heads) * head_dim : q + head * head_dim) + channel), values);
    if constexpr (kNormed) {
      const float* weight = of_k ? p.k_norm : p.q_norm;
      if (weight == nullptr) return;
#pragma unroll
      for (int j = 0; j < V; ++j) values[j] *= inverse_rms[head - first] * weight[channel + j];
    }
  };
  __syncthreads();
  const auto in_page = [&](int head) { return (head * pages.page_size + offset) * head_dim; };
  P* k_to = static_cast<P*>(pages.k) + page * pages.k_page_stride;
  P* v_to = static_cast<P*>(pages.v) + page * pages.v_page_stride;
  const float k_inverse = 1 / pages.k_scale, v_inverse = 1 / pages.v_scale;
  const int pairs = half / V, rotated = ((there ? end : min(end, heads)) - first) * pairs;
  for (int i = thread; i < rotated; i += kRopeThreads) {
    const int head = first + i / pairs, channel = i % pairs * V;
    const bool of_k = head >= heads;
    float a[V], b[V], low[V], high[V];
    load_head(head, channel, a);
    load_head(head, half + channel, b);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      const float c = cosines[channel + j], s = sines[channel + j];
      low[j] = a[j] * c - b[j] * s, high[j] = b[j] * c + a[j] * s;
    }
    if (of_k) {
      P* to = k_to + in_page(head - heads) + channel;
      store_page(to, low, k_inverse);
      store_page(to + half, high, k_inverse);
    } else {
      T* to = q + head * head_dim + channel;
      store(to, pack<T, V>(low));
      store(to + half, pack<T, V>(high));
    }
  }
  const int rest = (head_dim - 2 * half) / V, all = head_dim / V;
  if constexpr (kNormed) {  // the other channels of q stay as they are without a norm
    for (int i = thread; p.q_norm != nullptr && i < (min(end, heads) - first) * rest; i += kRopeThreads) {
      const int head = first + i / rest, channel = i % rest * V + 2 * half;
      float values[V];
      load_head(head, channel, values);
      store(q + head * head_dim + channel, pack<T, V>(values));
    }
  }
  if (!there) return;
  // The other channels of k, and all of v.
  const int first_kv = max(first - heads, 0), count = max(end - heads - first_kv, 0);
  for (int i = thread; i < count * (rest + all); i += kRopeThreads) {
    const bool of_k = i < count * rest;
    const int j = of_k ? i : i - count * rest, width = of_k ? rest : all;
    const int head = first_kv + j / width, channel = j % width * V + (of_k ? 2 * half : 0);
    float values[V];
    if (of_k) {
      load_head(heads + head, channel, values);
    } else {
      unpack(load<V>(v + head * head_dim + channel), values);
    }
    store_page((of_k ? k_to : v_to) + in_page(head) + channel, values, of_k ? k_inverse : v_inverse);
  }
}

constexpr int kHeadWarps = 10, kHeadsAhead = 2;

// Heads of 32 V channels. v's are the last ones, neither normed nor rotated.
template <class T, class P, int V>
__global__ __launch_bounds__(kHeadWarps * 32) void rope_heads_kernel(const __grid_constant__ RopeStoreKvParams p) {
  __shared__ float cosines[16 * V], sines[16 * V];
  constexpr int kHeadDim = 32 * V;
  const KvPages& pages = p.pages;
  const int64_t token = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, channel = lane * V;
  const int half = static_cast<int>(p.rotary_dim) / 2, heads = static_cast<int>(p.heads);
  const int kv_heads = static_cast<int>(pages.kv_heads), all = heads + 2 * kv_heads;
  take_angles<kHeadWarps * 32>(p, token, cosines, sines);
  const int64_t slot = p.slot_mapping[token];
  const bool there = slot >= 0 && slot < pages.pages * pages.page_size;
  const int64_t page = slot / pages.page_size, offset = slot % pages.page_size;
  const int partner = lane < half / V ? lane + half / V : lane < half / V * 2 ? lane - half / V : lane;
  const bool low = lane < half / V, rotates = lane < half / V * 2;
  wait_for_inputs();
  let_next_start();
  T* q = static_cast<T*>(p.q) + token * p.q_stride + channel;
  const T* k = static_cast<const T*>(p.k) + token * p.k_stride + channel;
  const T* v = static_cast<const T*>(p.v) + token * p.v_stride + channel;
  const auto work = [&](int first) {
    Vec<T, V> rows[kHeadsAhead];
#pragma unroll
    for (int i = 0; i < kHeadsAhead; ++i) {
      const int head = first + i * kHeadWarps;
      if (head >= all) break;
      rows[i] = load<V>(head < heads              ? q + head * kHeadDim
                        : head < heads + kv_heads ? k + (head - heads) * kHeadDim
                                                  : v + (head - heads - kv_heads) * kHeadDim);
    }
    if (first < kHeadWarps) __syncthreads();  // the angles; every warp has a first head or none, and comes here
#pragma unroll
    for (int i = 0; i < kHeadsAhead; ++i) {
      const int head = first + i * kHeadWarps;
      if (head >= all) break;
      float values[V];
      unpack(rows[i], values);
      const bool of_q = head < heads, of_v = head >= heads + kv_heads;
      const int kv_head = of_v ? head - heads - kv_heads : head - heads;
      if (!of_v) {
        if (const float* weight = of_q ? p.q_norm : p.k_norm) {
          float squares = 0;
#pragma unroll
          for (int j = 0; j < V; ++j) squares = fmaf(values[j], values[j], squares);
          const float inverse_rms = rsqrtf(warp_sum(squares) / static_cast<float>(kHeadDim) + p.norm_eps);
#pragma unroll
          for (int j = 0; j < V; ++j) values[j] *= inverse_rms * weight[channel + j];
        }
#pragma unroll
        for (int j = 0; j < V; ++j) {
          const float other = __shfl_sync(~0u, values[j], partner);
          if (!rotates) continue;
          const float c = cosines[channel % half + j], s = sines[channel % half + j];
          values[j] = low ? values[j] * c - other * s : values[j] * c + other * s;
        }
      }
      if (of_q) {
        store(q + head * kHeadDim, pack<T, V>(values));
      } else if (there) {
        P* to = static_cast<P*>(of_v ? pages.v : pages.k) + page * (of_v ? pages.v_page_stride : pages.k_page_stride);
        store_page(to + (kv_head * pages.page_size + offset) * kHeadDim + channel, values,
                   1 / (of_v ? pages.v_scale : pages.k_scale));
      }
    }
  };
  work(thread / 32);
  for (int first = thread / 32 + kHeadsAhead * kHeadWarps; first < all; first += kHeadsAhead * kHeadWarps) work(first);
}

// Few tokens are a matter of latency: as many heads a block as it has warps.
template <class T, class P, int V>
void launch_rope(const RopeStoreKvParams& p, Context& context) {
  const auto all = static_cast<int>(p.heads + p.pages.kv_heads);
  const bool normed = p.q_norm != nullptr || p.k_norm != nullptr;
  if constexpr (V == 8) {
    if (normed && p.tokens > kFewTokens && p.pages.head_dim == 32 * V && p.rotary_dim > 0) {
      return launch(context, {.grid = p.tokens, .block = kHeadWarps * 32}, rope_heads_kernel<T, P, V>, p);
    }
  }
  const int each = normed && p.tokens <= kFewTokens ? std::min(all, kRopeThreads / 32) : all;
  LaunchShape shape = {.grid = {p.tokens, ceil_div(all, each)}, .block = kRopeThreads};
  if (!normed) return launch(context, shape, rope_store_kv_kernel<T, P, V, false>, p, each);
  shape.shared_bytes = static_cast<size_t>(each) * sizeof(float);
  launch(context, shape, rope_store_kv_kernel<T, P, V, true>, p, each);
}

template <class T, class P>
void launch_rope(const RopeStoreKvParams& p, Context& context) {
  constexpr int V = 16 / sizeof(T);
  const auto fits = [](const void* at, int64_t stride, size_t element) {
    return reinterpret_cast<uintptr_t>(at) % (V * element) == 0 && stride % V == 0;
  };
  const KvPages& pages = p.pages;
  if (p.rotary_dim % (2 * V) == 0 && fits(p.q, p.q_stride, sizeof(T)) && fits(p.k, p.k_stride, sizeof(T)) &&
      fits(p.v, p.v_stride, sizeof(T)) && fits(pages.k, pages.k_page_stride, sizeof(P)) &&
      fits(pages.v, pages.v_page_stride, sizeof(P))) {
    return launch_rope<T, P, V>(p, context);
  }
  launch_rope<T, P, 1>(p, context);
}

}  // namespace

void run_rope_store_kv(const RopeStoreKvParams& p, Context& context) {
  with_float_type(p.dtype, [&](auto t) {
    using T = decltype(t);
    p.pages.dtype == DType::u8 ? launch_rope<T, uint8_t>(p, context) : launch_rope<T, T>(p, context);
  });
}

}  // namespace mamba::cuda
