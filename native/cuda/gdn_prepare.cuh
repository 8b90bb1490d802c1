#pragma once
// gdn_chunk, everything that needs no state: T, M and the gates of each chunk (gdn_parts.cuh), and the list of
// segments.
//
// Idea. K K^T and Q K^T of a chunk, once for all value heads of a key head, with the matrix unit; their elements, times
// decays and norms, are A and M. (I + A)^-1 by blocks of 16: those on the diagonal by substitution in float, a thread
// for each column; then of pairs, then of the two halves, T21 = -T22 A21 T11, by products in tf32 whose sums are float.
//
// Mapping. A block of 4 warps is a chunk, a key head and up to 8 of its value heads, which it takes two at a time. Of
// K K^T and Q K^T warp w has tokens 16 w to 16 w + 15, and code of its own for as many columns as it has. Products are
// of transposes, so that sums can be operands: column 2 t of a sum stands for row t of the next operand, column
// 2 t + 1 for row t + 4.
//
// Bound. Instructions: of all warps about 4,000 for a chunk and 2,000 for each value head; 8 KB of T and 8 of M go out.
#include "cuda/gdn_gates.cuh"
#include "cuda/gdn_parts.cuh"
#include "cuda/mma.cuh"

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
  float columns[kHeadsAtOnce][96];  // G[16 w] / G[i] / |k[i]| of tokens i before block row w, from 8 w (w - 1) on
  uint64_t loaded;
};

// To a few units of rounding; log1p(e) of a small e by its series. A NaN stays one: it is not below the threshold.
__device__ __forceinline__ float fast_softplus(float x) {
  const float e = fast_exp2(fminf(x, 20.0f) * kLog2e), series = e * fmaf(e, fmaf(e, 1.0f / 3, -0.5f), 1.0f);
  const float log2 = fast_log2(1.0f + e);
  return x <= 20.0f ? e < 0x1p-7f ? series : log2 * (1 / kLog2e) : x;
}

// The matrix unit reads the upper 19 bits of a float, which rounds towards zero, by 0.69 x 2^-11 on average. A below
// the diagonal blocks passes it twice: itself, and as -T22 A21. (The numbers 1 on the diagonals of T11 and T22 lose
// nothing.)
inline constexpr float kCutOff = 1 + 2 * 0.69f / 2048;
__device__ __forceinline__ void multiply_tf32(float (&d)[4], const float (&a)[4], float2 b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
        "r"(__float_as_uint(b.x)), "r"(__float_as_uint(b.y)));
}

// d[n half] += the transpose of (y x), for blocks y and x; or, `x` given as sums, of y times their transpose.
__device__ __forceinline__ void multiply_blocks(float (&d)[2][4], const float* x, const float* y, int g, int t) {
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const float* at = x + (8 * k + 2 * t) * Blocks::kRow + g;
    const float a[4] = {at[0], at[8], at[Blocks::kRow], at[Blocks::kRow + 8]};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float2 v = *reinterpret_cast<const float2*>(y + (8 * n + g) * Blocks::kRow + 8 * k + 2 * t);
      multiply_tf32(d[n], a, v);
    }
  }
}
__device__ __forceinline__ void multiply_blocks(float (&d)[2][4], const float (&x)[2][4], const float* y, int g,
                                                int t) {
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const float a[4] = {x[k][0], x[k][2], x[k][1], x[k][3]};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float2 v = *reinterpret_cast<const float2*>(y + (8 * n + g) * Blocks::kRow + 8 * k + 2 * t);
      multiply_tf32(d[n], a, v);
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

// The two warps of a head.
__device__ __forceinline__ void meet_of_head(int warp) {
  if (warp < 2) {
    asm volatile("bar.sync 1, 64;" ::: "memory");
  } else {
    asm volatile("bar.sync 2, 64;" ::: "memory");
  }
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
  meet_of_head(warp);
  float y[2][2][4] = {};  // of rows 2 and 3 of blocks
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    if (part == 0) multiply_blocks(y[n], blocks.block(0, 0), blocks.block(2 + n, 0), g, t);
    multiply_blocks(y[n], blocks.block(1, part), blocks.block(2 + n, 1), g, t);
  }
  meet_of_head(warp);
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
  const GdnCut cut = scratch.cut;
  const int count = max(1, min(chunks < kManyChunks ? cut.most : cut.most_of_many, chunks / cut.least));
  const auto start = [&](int s) { return first + chunks * s / count; };
  const int index = ((chunk - first) * count + chunks - 1) / chunks;
  if (index >= count || start(index) != chunk) return;
  const bool used = slot >= 0 && slot < p.slots_in_pool;
  const int next = start(index + 1), entry = chunk / cut.least + sequence;
  const int end = next < p.chunks ? next / cut.least + p.chunk_seq[next] : scratch.entries;
  for (int i = (chunk == 0 ? 0 : entry) + static_cast<int>(threadIdx.x); i < end; i += kPrepareThreads) {
    Segment segment = {};
    if (i == entry && used) {
      segment = {chunk, next - chunk, slot, p.has_initial_state[sequence] != 0, index, count, chunks, 0};
    }
    scratch.segments[i] = segment;
  }
}

// A warp's 16 rows of A and M of one value head: `kWarp` says which. A goes to its blocks, M to `staged`.
template <class T, int kWarp>
__device__ __forceinline__ void weigh(const Prepare& shared, const float (&kk)[32], const float (&qk)[32], int h,
                                      Blocks& blocks, uint32_t staged, int lane) {
  const int g = lane / 4, t = lane % 4, l = 16 * kWarp + g;
  const float* log_decay = shared.log_decay[h];
  const float at[2] = {log_decay[l], log_decay[l + 8]};
  const float of_a[2] = {shared.beta[h][l] * shared.of_k[l], shared.beta[h][l + 8] * shared.of_k[l + 8]};
  const float of_m[2] = {shared.of_q[l], shared.of_q[l + 8]};
  float* to = blocks.block(kWarp, 0) + g * Blocks::kRow + 2 * t;
  uint32_t m[8][2];
  if constexpr (kWarp > 0) {  // columns before the diagonal block, 8 at a time
    const float start = log_decay[16 * kWarp];
    const float since[2] = {fast_exp2(at[0] - start), fast_exp2(at[1] - start)};
    const float row_a[2] = {since[0] * of_a[0] * kCutOff, since[1] * of_a[1] * kCutOff};
    const float row_m[2] = {since[0] * of_m[0], since[1] * of_m[1]};
#pragma unroll
    for (int j = 0; j < 2 * kWarp; ++j) {
      const float2 column =
          *reinterpret_cast<const float2*>(shared.columns[h] + 8 * kWarp * (kWarp - 1) + 8 * j + 2 * t);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float *k = kk + 4 * j + 2 * r, *q = qk + 4 * j + 2 * r;
        *reinterpret_cast<float2*>(to + j / 2 * Blocks::kBlock + j % 2 * 8 + 8 * r * Blocks::kRow) = {
            k[0] * (row_a[r] * column.x), k[1] * (row_a[r] * column.y)};
        m[j][r] = pack_operands<T>(q[0] * (row_m[r] * column.x), q[1] * (row_m[r] * column.y));
      }
    }
  }
  to += kWarp * Blocks::kBlock;
  // The diagonal block: rows g and g + 8, columns 2 t and + 1 of its halves. A has nothing on the diagonal.
  const bool below[2] = {g > 2 * t, g > 2 * t + 1}, upto[2] = {g >= 2 * t, g >= 2 * t + 1};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int j = 2 * kWarp + i;
    const float2 from = *reinterpret_cast<const float2*>(log_decay + 8 * j + 2 * t);
    const float2 of_k = *reinterpret_cast<const float2*>(shared.of_k + 8 * j + 2 * t);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float2 a = {}, of_row = {};
      if (r >= i) {
        const float *k = kk + 4 * j + 2 * r, *q = qk + 4 * j + 2 * r;
        const float2 weight = {fast_exp2(at[r] - from.x) * of_k.x, fast_exp2(at[r] - from.y) * of_k.y};
        a = {k[0] * (weight.x * of_a[r]), k[1] * (weight.y * of_a[r])};
        of_row = {q[0] * (weight.x * of_m[r]), q[1] * (weight.y * of_m[r])};
        if (r == i) {
          a = {below[0] ? a.x : 0.0f, below[1] ? a.y : 0.0f};
          of_row = {upto[0] ? of_row.x : 0.0f, upto[1] ? of_row.y : 0.0f};
        }
      }
      *reinterpret_cast<float2*>(to + 8 * i + 8 * r * Blocks::kRow) = a;
      m[j][r] = pack_operands<T>(of_row.x, of_row.y);
    }
  }
#pragma unroll
  for (int j = 2 * kWarp + 2; j < 8; ++j) m[j][0] = m[j][1] = 0;
#pragma unroll
  for (int j = 0; j < 8; j += 2) {
    const int row = lane % 16, piece = j + lane / 16;
    hopper::store_matrices(staged + row * 128 + ((piece ^ row) % 8) * 16, m[j][0], m[j][1], m[j + 1][0], m[j + 1][1]);
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
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x / 32), 0), lane = threadIdx.x % 32;
  const int g = lane / 4, t = lane % 4;
  if (threadIdx.x == 0) {
    barrier_init(&shared.loaded, 1);
    barrier_init_fence();
  }
  __syncthreads();
  wait_for_inputs();
  let_next_start();
  const int chunk = blockIdx.x, key_head = blockIdx.y, first_of_key = static_cast<int>(blockIdx.z) * kHeadsAtOnce;
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
  const int first_head = key_head * scratch.heads_per_key + first_of_key;
  const int heads = min(kHeadsAtOnce, scratch.heads_per_key - first_of_key);
  T* const out = static_cast<T*>(p.out) + begin * p.out_stride + first_head * kDim;
  // A lane has tokens 2 lane and 2 lane + 1.
  for (int h = warp; h < heads; h += 4) {
    const int head = first_head + h;
    const float bias = __ldg(p.dt_bias + head), decay = __ldg(p.decay + head);
    float a[2], b[2];
    const auto load = [&](const auto* from_a, const auto* from_b) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int64_t token = begin + min(2 * lane + i, tokens - 1);
        a[i] = as_float(from_a[token * p.a_stride + head]), b[i] = as_float(from_b[token * p.b_stride + head]);
      }
    };
    p.gate_dtype == DType::f32 ? load(static_cast<const float*>(p.a), static_cast<const float*>(p.b))
                               : load(static_cast<const T*>(p.a), static_cast<const T*>(p.b));
    float term[2], beta[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const bool inside = 2 * lane + i < tokens;
      const float log2_decay = decay * fast_softplus(a[i] + bias) * kLog2e;
      term[i] = inside ? (log2_decay < kLeastTerm ? kLeastTerm : log2_decay) : 0.0f;  // a NaN stays one
      beta[i] = inside ? fast_reciprocal(1.0f + fast_exp2(b[i] * -kLog2e)) : 0.0f;
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
  if (blockIdx.y == 0 && blockIdx.z == 0) list_segment(p, scratch, chunk, sequence, slot);
  if (slot < 0 || slot >= p.slots_in_pool) {
    barrier_wait(&shared.loaded, 0);
    for (int i = threadIdx.x; i < tokens * heads * 16; i += kPrepareThreads) {
      reinterpret_cast<uint4*>(out + i / (heads * 16) * p.out_stride)[i % (heads * 16)] = uint4{};
    }
    return;
  }
  barrier_wait(&shared.loaded, 0);

  float kk[32], qk[32];
  {
    const uint64_t k = describe_along_sum(shared_address(shared.k)), q = describe_along_sum(shared_address(shared.q));
    products_begin();
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) {
      const uint32_t at = (i / 4 * kTileBytes + i % 4 * 32) >> 4;
      multiply_64<T>(kk, k + at, k + at, i != 0);
      multiply_64<T>(qk, q + at, k + at, i != 0);
    }
    products_commit();
  }
  // The squares of queries and of keys are the diagonals of Q Q^T and K K^T. Of the former, 16 x 16 of each warp.
  const int l = 16 * warp + g;
  const auto norm = [&](float* to, float first, float second, float scale) {
    if (t != g / 2) return;
    to[l] = l < tokens ? rsqrtf(first + p.eps) * scale : 0.0f;
    to[l + 8] = l + 8 < tokens ? rsqrtf(second + p.eps) * scale : 0.0f;
  };
  {
    float upper[4] = {}, lower[4] = {};
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) {
      uint32_t q[4];
      load_matrices(q, tile_at<128>(shared_address(shared.q[i / 4]), 16 * warp + lane % 16, i % 4 * 2 + lane / 16));
      multiply_add<T>(upper, q, q[0], q[2]);
      multiply_add<T>(lower, q, q[1], q[3]);
    }
    norm(shared.of_q, g % 2 ? upper[1] : upper[0], g % 2 ? lower[3] : lower[2], p.scale);
  }
  products_wait<0>();
  pin(kk), pin(qk);
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    if (w == warp) norm(shared.of_k, g % 2 ? kk[8 * w + 1] : kk[8 * w], g % 2 ? kk[8 * w + 7] : kk[8 * w + 6], 1.0f);
  }
  if (tokens < kTokens) {
#pragma unroll
    for (int i = 0; i < 32; ++i) kk[i] = l + i / 2 % 2 * 8 < tokens ? kk[i] : 0.0f;
  }
  __syncthreads();
  for (int h = warp; h < heads; h += 4) {  // a lane has tokens 2 lane and 2 lane + 1 again
    const float2 decay = reinterpret_cast<const float2*>(shared.log_decay[h])[lane];
    const float2 of_k = reinterpret_cast<const float2*>(shared.of_k)[lane];
    const float2 of_q = reinterpret_cast<const float2*>(shared.of_q)[lane];
    const float end = shared.log_decay[h][kTokens - 1];
    Gates& gates = scratch.gates[chunk * p.value_heads + first_head + h];
    const float2 since = {fast_exp2(decay.x), fast_exp2(decay.y)};
    reinterpret_cast<float2*>(gates.y)[lane] = {since.x * of_k.x, since.y * of_k.y};
    reinterpret_cast<float2*>(gates.u)[lane] = {fast_exp2(end - decay.x) * of_k.x, fast_exp2(end - decay.y) * of_k.y};
    reinterpret_cast<float2*>(gates.q)[lane] = {since.x * of_q.x, since.y * of_q.y};
    if (lane == 31) gates.total = since.y;
#pragma unroll
    for (int w = 1; w < 4; ++w) {
      const float start = shared.log_decay[h][16 * w];
      if (lane >= 8 * w) continue;
      reinterpret_cast<float2*>(shared.columns[h] + 8 * w * (w - 1))[lane] = {fast_exp2(start - decay.x) * of_k.x,
                                                                              fast_exp2(start - decay.y) * of_k.y};
    }
  }
  __syncthreads();

  const uint32_t staged = shared_address(shared.m[warp]);
  // A lane stores the same 16 bytes of rows 16 warp + lane / 8, + 4, + 8 and + 12 of T and of M.
  const int first_row = lane / 8, piece = lane % 8, rows = tokens - 16 * warp;
  T* const to = out + (16 * warp + first_row) * p.out_stride + 8 * piece;
  for (int pair = 0; pair < heads; pair += 2) {
    for (int i = 0; i < 2 && pair + i < heads; ++i) {
      const int h = pair + i;
      switch (warp) {
        case 0:
          weigh<T, 0>(shared, kk, qk, h, shared.heads[i], staged, lane);
          break;
        case 1:
          weigh<T, 1>(shared, kk, qk, h, shared.heads[i], staged, lane);
          break;
        case 2:
          weigh<T, 2>(shared, kk, qk, h, shared.heads[i], staged, lane);
          break;
        default:
          weigh<T, 3>(shared, kk, qk, h, shared.heads[i], staged, lane);
      }
      __syncwarp();
#pragma unroll
      for (int r = 0; r < 16; r += 4) {
        const int row = first_row + r;
        const uint4 v = *reinterpret_cast<const uint4*>(shared.m[warp] + row * 128 + ((piece ^ row) % 8) * 16);
        if (row < rows) *reinterpret_cast<uint4*>(to + r * p.out_stride + h * kDim + 64) = v;
      }
      __syncwarp();
    }
    __syncthreads();
    invert(shared, warp, lane);
    __syncthreads();
    for (int i = 0; i < 2 && pair + i < heads; ++i) {
      const float4* betas = reinterpret_cast<const float4*>(shared.beta[pair + i] + 8 * piece);
      const float4 b[2] = {betas[0], betas[1]};
      const float* from = shared.heads[i].block(warp, piece / 2) + first_row * Blocks::kRow + piece % 2 * 8;
#pragma unroll
      for (int r = 0; r < 16; r += 4) {
        uint4 v = {};
        if (piece / 2 <= warp) {
          const float4* at = reinterpret_cast<const float4*>(from + r * Blocks::kRow);
          const float4 x[2] = {at[0], at[1]};
          v = {pack_operands<T>(x[0].x * b[0].x, x[0].y * b[0].y), pack_operands<T>(x[0].z * b[0].z, x[0].w * b[0].w),
               pack_operands<T>(x[1].x * b[1].x, x[1].y * b[1].y), pack_operands<T>(x[1].z * b[1].z, x[1].w * b[1].w)};
        }
        if (first_row + r < rows) *reinterpret_cast<uint4*>(to + r * p.out_stride + (pair + i) * kDim) = v;
      }
    }
    __syncthreads();
  }
#endif
}

}  // namespace mamba::cuda::gdn
