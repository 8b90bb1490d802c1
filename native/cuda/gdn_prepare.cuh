#pragma once
// gdn_chunk, everything that needs no state: T, M and the gates of each chunk (gdn_parts.cuh), and the list of
// segments.
//
// Idea. K K^T and Q K^T of a chunk, once for all value heads of a key head, with the matrix unit; their elements, times
// decays and norms, are A and M. (I + A)^-1 by blocks of 16: those on the diagonal by substitution in float, a thread
// for each column; then of pairs, then of the two halves, T21 = -T22 A21 T11, by products in tf32 whose sums are float.
//
// Mapping. A block of 4 warps is a chunk, a key head and up to 8 of its value heads, which it takes two at a time. Of
// K K^T and Q K^T warp w has tokens 16 w to 16 w + 15. Products are of transposes, so that sums can be operands: column
// 2 t of a sum stands for row t of the next operand, column 2 t + 1 for row t + 4.
//
// Bound. Latency: per value head about 130 dependent multiply-adds and 4 small products; 8 KB of T and 8 of M go out.
#include "cuda/gdn_gates.cuh"
#include "cuda/gdn_parts.cuh"

namespace mamba::cuda::gdn {

inline constexpr int kPrepareThreads = 128, kHeadsAtOnce = 8;

// The ten blocks of 16 x 16 at and below the diagonal: A, in the end (I + A)^-1.
struct Blocks {
  static constexpr int kRow = 20, kBlock = 16 * kRow + 4;  // floats: what threads touch at once lies in different banks
  float values[10 * kBlock];
  __device__ float* block(int row, int column) { return values + (row * (row + 1) / 2 + column) * kBlock; }
};

struct Prepare {
  union {
    struct {
      uint8_t k[2][kTileBytes], q[2][kTileBytes];
    };
    struct {  // once K K^T and Q K^T are there
      Blocks heads[2];
      alignas(128) uint8_t m[4][2048];  // rows of M of each warp
    };
  };
  float log_decay[kHeadsAtOnce][kTokens], beta[kHeadsAtOnce][kTokens];  // log2 of G
  float of_k[kTokens], of_q[kTokens];                                   // 1 / |k|, scale / |q|
  uint64_t loaded;
};

__device__ __forceinline__ uint32_t tf32(float v) {
  uint32_t r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
  return r;
}
__device__ __forceinline__ void multiply_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d[n half] += the transpose of (y x), for blocks y and x; or, `x` given as sums, of y times their transpose.
__device__ __forceinline__ void multiply_blocks(float (&d)[2][4], const float* x, const float* y, int g, int t) {
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const float* at = x + (8 * k + 2 * t) * Blocks::kRow + g;
    const uint32_t a[4] = {tf32(at[0]), tf32(at[8]), tf32(at[Blocks::kRow]), tf32(at[Blocks::kRow + 8])};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float2 v = *reinterpret_cast<const float2*>(y + (8 * n + g) * Blocks::kRow + 8 * k + 2 * t);
      multiply_tf32(d[n], a, {tf32(v.x), tf32(v.y)});
    }
  }
}
__device__ __forceinline__ void multiply_blocks(float (&d)[2][4], const float (&x)[2][4], const float* y, int g,
                                                int t) {
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const uint32_t a[4] = {tf32(x[k][0]), tf32(x[k][2]), tf32(x[k][1]), tf32(x[k][3])};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float2 v = *reinterpret_cast<const float2*>(y + (8 * n + g) * Blocks::kRow + 8 * k + 2 * t);
      multiply_tf32(d[n], a, {tf32(v.x), tf32(v.y)});
    }
  }
}
// Minus the transpose of d.
__device__ __forceinline__ void store_block(float* to, const float (&d)[2][4], int g, int t) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) to[(8 * n + 2 * t + i % 2) * Blocks::kRow + g + i / 2 * 8] = -d[n][i];
  }
}

// The inverses of two diagonal blocks: lane 16 i + c has column c of block first + i. Both blocks are the warp's own.
__device__ __forceinline__ void invert_diagonal(Blocks& blocks, int first, int lane) {
  const int column = lane % 16;
  float* block = blocks.block(first + lane / 16, first + lane / 16);
  float x[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    float a[16];
#pragma unroll
    for (int m = 0; m < i; m += 4) {
      const float4 v = *reinterpret_cast<const float4*>(block + i * Blocks::kRow + m);
      a[m] = v.x, a[m + 1] = v.y, a[m + 2] = v.z, a[m + 3] = v.w;
    }
    float even = i == column ? 1.0f : 0.0f, odd = 0;
#pragma unroll
    for (int m = 0; m < i; ++m) m % 2 ? odd = fmaf(-a[m], x[m], odd) : even = fmaf(-a[m], x[m], even);
    x[i] = even + odd;
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 16; ++i) block[i * Blocks::kRow + column] = x[i];
  __syncwarp();
}

// Warp w has column block w % 2 of head w / 2 where a head's warps part.
__device__ __forceinline__ void invert(Prepare& shared, int warp, int lane) {
  Blocks& blocks = shared.heads[warp / 2];
  const int g = lane / 4, t = lane % 4, part = warp % 2;
  invert_diagonal(blocks, 2 * part, lane);
  {
    float* below = blocks.block(2 * part + 1, 2 * part);
    float y[2][4] = {}, d[2][4] = {};
    multiply_blocks(y, blocks.block(2 * part, 2 * part), below, g, t);
    multiply_blocks(d, y, blocks.block(2 * part + 1, 2 * part + 1), g, t);
    __syncwarp();
    store_block(below, d, g, t);
  }
  __syncthreads();
  float y[2][2][4] = {};  // of rows 2 and 3 of blocks
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    if (part == 0) multiply_blocks(y[n], blocks.block(0, 0), blocks.block(2 + n, 0), g, t);
    multiply_blocks(y[n], blocks.block(1, part), blocks.block(2 + n, 1), g, t);
  }
  __syncthreads();
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    float d[2][4] = {};
#pragma unroll
    for (int n = 0; n <= m; ++n) multiply_blocks(d, y[n], blocks.block(2 + m, 2 + n), g, t);
    store_block(blocks.block(2 + m, part), d, g, t);
  }
}

// Where the chunk begins a segment, its entry, and none in the entries up to that of the next segment.
__device__ __forceinline__ void list_segment(const GdnChunkParams& p, const Scratch& scratch, int chunk, int sequence,
                                             int slot) {
  const int first = sequence == 0 ? 0 : p.last_chunk[sequence - 1] + 1, chunks = p.last_chunk[sequence] + 1 - first;
  const int count = max(1, min(kMostSegments, chunks / scratch.least));
  const auto start = [&](int s) { return first + static_cast<int>(static_cast<int64_t>(chunks) * s / count); };
  const int index = static_cast<int>((static_cast<int64_t>(chunk - first) * count + chunks - 1) / chunks);
  if (index >= count || start(index) != chunk) return;
  const bool used = slot >= 0 && slot < p.slots_in_pool;
  const int next = start(index + 1), entry = chunk / scratch.least + sequence;
  const int end = next < p.chunks ? next / scratch.least + p.chunk_seq[next] : scratch.entries;
  for (int i = (chunk == 0 ? 0 : entry) + static_cast<int>(threadIdx.x); i < end; i += kPrepareThreads) {
    Segment segment = {};
    if (i == entry && used) {
      segment = {chunk, next - chunk, slot, p.has_initial_state[sequence] != 0, index, count, chunks, 0};
    }
    scratch.segments[i] = segment;
  }
}

template <class T>
__global__ void __launch_bounds__(kPrepareThreads, 4)
    prepare_kernel(const __grid_constant__ GdnChunkParams p, const __grid_constant__ GdnMaps maps,
                   const __grid_constant__ Scratch scratch) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using namespace hopper;
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<Prepare*>(raw);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  if (threadIdx.x == 0) {
    barrier_init(&shared.loaded, 1);
    barrier_init_fence();
  }
  __syncthreads();
  wait_for_inputs();
  let_next_start();
  const int chunk = blockIdx.x, key_head = static_cast<int>(blockIdx.y % p.key_heads);
  const int sequence = p.chunk_seq[chunk], begin = p.cu_chunk_seqlens[chunk];
  const int tokens = min(kTokens, p.cu_chunk_seqlens[chunk + 1] - begin);
  if (threadIdx.x == 0) {
    barrier_expect(&shared.loaded, 4 * kTileBytes);
    for (int i = 0; i < 2; ++i) {
      copy_box_3d(shared.k[i], &maps.k, &shared.loaded, 64 * i, key_head, begin);
      copy_box_3d(shared.q[i], &maps.q, &shared.loaded, 64 * i, key_head, begin);
    }
  }
  const int slot = p.slots[sequence];
  if (blockIdx.y == 0) list_segment(p, scratch, chunk, sequence, slot);
  const int heads_per_key = static_cast<int>(p.value_heads / p.key_heads);
  const int first_of_key = static_cast<int>(blockIdx.y / p.key_heads) * kHeadsAtOnce;
  const int first_head = key_head * heads_per_key + first_of_key;
  const int heads = min(kHeadsAtOnce, heads_per_key - first_of_key);
  T* const out = static_cast<T*>(p.out) + begin * p.out_stride + first_head * kDim;
  if (slot < 0 || slot >= p.slots_in_pool) {
    barrier_wait(&shared.loaded, 0);
    for (int i = threadIdx.x; i < tokens * heads * 16; i += kPrepareThreads) {
      reinterpret_cast<uint4*>(out + i / (heads * 16) * p.out_stride)[i % (heads * 16)] = uint4{};
    }
    return;
  }
  // A lane has tokens 2 lane and 2 lane + 1.
  for (int h = warp; h < heads; h += 4) {
    const int head = first_head + h;
    const float bias = p.dt_bias[head], decay = p.decay[head];
    float term[2], beta[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int l = 2 * lane + i;
      const int64_t token = begin + min(l, tokens - 1);
      const float a = load_gate<T>(p.a, p.gate_dtype, token * p.a_stride + head);
      const float b = load_gate<T>(p.b, p.gate_dtype, token * p.b_stride + head);
      const float log2_decay = decay * softplus(a + bias) * kLog2e;
      term[i] = l < tokens ? (log2_decay < kLeastTerm ? kLeastTerm : log2_decay) : 0.0f;  // a NaN stays one
      beta[i] = l < tokens ? beta_of(b) : 0.0f;
    }
    float sum = term[0] + term[1];
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const float before = __shfl_up_sync(~0u, sum, d);
      if (lane >= d) sum += before;
    }
    float before = __shfl_up_sync(~0u, sum, 1);
    if (lane == 0) before = 0;
    reinterpret_cast<float2*>(shared.log_decay[h])[lane] = {before + term[0], sum};
    reinterpret_cast<float2*>(shared.beta[h])[lane] = {beta[0], beta[1]};
  }
  barrier_wait(&shared.loaded, 0);

  float kk[32], qk[32];
  {
    const uint64_t k = describe_along_sum(smem_address(shared.k)), q = describe_along_sum(smem_address(shared.q));
    products_begin();
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) {
      const uint32_t at = (i / 4 * kTileBytes + i % 4 * 32) >> 4;
      multiply_64<T>(kk, k + at, k + at, i != 0);
      multiply_64<T>(qk, q + at, k + at, i != 0);
    }
    products_commit();
  }
  {
    const int row = threadIdx.x % kTokens;
    const bool of_q = threadIdx.x >= kTokens;
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const uint8_t* tile = of_q ? shared.q[i / 8] : shared.k[i / 8];
      const uint4 v = *reinterpret_cast<const uint4*>(tile + row * 128 + ((i ^ row) % 8) * 16);
#pragma unroll
      for (const uint32_t pair : {v.x, v.y, v.z, v.w}) {
        const float2 f = hopper::unpack<T>(pair);
        sum = fmaf(f.x, f.x, sum), sum = fmaf(f.y, f.y, sum);
      }
    }
    const float scale = row < tokens ? rsqrtf(sum + p.eps) : 0.0f;
    of_q ? shared.of_q[row] = scale * p.scale : shared.of_k[row] = scale;
  }
  products_wait<0>();
  pin(kk), pin(qk);
  __syncthreads();

  for (int i = threadIdx.x; i < heads * kTokens; i += kPrepareThreads) {
    const int h = i / kTokens, l = i % kTokens;
    Gates& gates = scratch.gates[chunk * p.value_heads + first_head + h];
    const float decay = shared.log_decay[h][l], end = shared.log_decay[h][kTokens - 1];
    const float since = fast_exp2(decay);
    gates.y[l] = since * shared.of_k[l];
    gates.u[l] = l < tokens ? fast_exp2(end - decay) * shared.of_k[l] : 0.0f;
    gates.q[l] = since * shared.of_q[l];
    if (l == 0) gates.total = fast_exp2(end);
  }

  const int l = 16 * warp + g;
  const uint32_t staged = smem_address(shared.m[warp]);
  for (int pair = 0; pair < heads; pair += 2) {
    for (int i = 0; i < 2 && pair + i < heads; ++i) {
      const int h = pair + i;
      const float at[2] = {shared.log_decay[h][l], shared.log_decay[h][l + 8]};
      const float of_row[2] = {shared.beta[h][l] * shared.of_k[l], shared.beta[h][l + 8] * shared.of_k[l + 8]};
      const float of_query[2] = {shared.of_q[l], shared.of_q[l + 8]};
      uint32_t m[8][2];
#pragma unroll
      for (int j = 0; j < 8; ++j) {  // 8 columns
        m[j][0] = m[j][1] = 0;
        if (j >= 2 * warp + 2) continue;
        const float2 from = *reinterpret_cast<const float2*>(shared.log_decay[h] + 8 * j + 2 * t);
        const float2 of_k = *reinterpret_cast<const float2*>(shared.of_k + 8 * j + 2 * t);
        float* to = shared.heads[i].block(warp, j / 2) + g * Blocks::kRow + j % 2 * 8 + 2 * t;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int after = l + 8 * r - (8 * j + 2 * t);  // of the first of the two columns
          const bool inside = l + 8 * r < tokens;
          const float w0 = fast_exp2(at[r] - from.x) * of_k.x, w1 = fast_exp2(at[r] - from.y) * of_k.y;
          const float a0 = after > 0 && inside ? kk[4 * j + 2 * r] * w0 * of_row[r] : 0.0f;
          const float a1 = after > 1 && inside ? kk[4 * j + 2 * r + 1] * w1 * of_row[r] : 0.0f;
          *reinterpret_cast<float2*>(to + 8 * r * Blocks::kRow) = {a0, a1};
          const float m0 = after >= 0 ? qk[4 * j + 2 * r] * w0 * of_query[r] : 0.0f;
          const float m1 = after >= 1 ? qk[4 * j + 2 * r + 1] * w1 * of_query[r] : 0.0f;
          m[j][r] = pack_operands<T>(m0, m1);
        }
      }
#pragma unroll
      for (int j = 0; j < 8; j += 2) {
        const int row = lane % 16, piece = j + lane / 16;
        store_matrices(staged + row * 128 + ((piece ^ row) % 8) * 16, m[j][0], m[j][1], m[j + 1][0], m[j + 1][1]);
      }
      __syncwarp();
#pragma unroll
      for (int r = lane / 8; r < 16; r += 4) {
        const uint4 v = *reinterpret_cast<const uint4*>(shared.m[warp] + r * 128 + ((lane ^ r) % 8) * 16);
        if (16 * warp + r < tokens) {
          reinterpret_cast<uint4*>(out + (16 * warp + r) * p.out_stride + h * kDim + 64)[lane % 8] = v;
        }
      }
      __syncwarp();
    }
    __syncthreads();
    invert(shared, warp, lane);
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * kTokens * 8; i += kPrepareThreads) {
      const int h = pair + i / (kTokens * 8), row = i / 8 % kTokens, piece = i % 8;
      if (h >= heads || row >= tokens) continue;
      uint4 v = {};
      if (piece / 2 <= row / 16) {
        const float* from = shared.heads[h - pair].block(row / 16, piece / 2) + row % 16 * Blocks::kRow + piece % 2 * 8;
        const float4 x[2] = {reinterpret_cast<const float4*>(from)[0], reinterpret_cast<const float4*>(from)[1]};
        const float4* betas = reinterpret_cast<const float4*>(shared.beta[h] + 8 * piece);
        const float4 b[2] = {betas[0], betas[1]};
        v = {pack_operands<T>(x[0].x * b[0].x, x[0].y * b[0].y), pack_operands<T>(x[0].z * b[0].z, x[0].w * b[0].w),
             pack_operands<T>(x[1].x * b[1].x, x[1].y * b[1].y), pack_operands<T>(x[1].z * b[1].z, x[1].w * b[1].w)};
      }
      reinterpret_cast<uint4*>(out + row * p.out_stride + h * kDim)[piece] = v;
    }
    __syncthreads();
  }
#endif
}

}  // namespace mamba::cuda::gdn
