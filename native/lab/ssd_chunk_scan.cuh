#pragma once
// The fused SSD chunk scan for Hopper: one pass over x, B, C and dt, the running state in registers.
//
// Idea. One block walks the tokens of one (sequence, head, 64 channels) 64 at a time ("steps", counted from the start
// of each chunk) and goes on to its next item. With a[l] the running sum of dt' A inside a step of T tokens:
//   M[l][m] = C_l . B_m exp(a[l] - a[m]) dt'_m   for m <= l, plus D for m = l
//   y       = diag(exp(a)) C S^T + M x
//   S      <- exp(a[T-1]) S + (diag(dt'_m exp(a[T-1] - a[m])) x)^T B
// The running state never leaves the registers of its warpgroup; a copy of it, rounded to 16 bits, goes to shared
// memory once a step. Accumulators of C B^T become, packed to 16 bits, the left operand of M x.
//
// Mapping. 4 warpgroups, joined by a ring of kStages steps in shared memory and two rounded states:
//   producer  warp 0: copies x, B, C (bulk tensor copies). warps 1-3: everything that depends on dt only, in turns.
//   state     rounds S, updates S. The only serial part: one product of 64 x 128 x 64 a step.
//   output    2 of them, on alternate steps: C B^T, C S^T, M x, y to rows of out. Below the diagonal blocks of 16 the
//             decay in M is a factor of l times a factor of m, both <= 1: a step takes 1024 exponentials and a few.
//
// Layout. Tiles of 64 tokens x 64 elements, 128-byte rows, 128-byte swizzle. Rows of a step past its last token belong
// to the next sequence: x and B of those are zeroed (0 x NaN), their dt' is 0, their y is not stored.
//
// Numbers. Products of 16-bit operands, sums in float; S is float, rounded to 16 bits only as an operand of S C^T. A
// term dt' A is not below 2^-160: such a step leaves nothing of the past in float anyway, and the sums stay short
// enough to be exact to 1e-3 in the exponent.
//
// Bound. Per head and step: 2 x 64 x 64 x 128 (C B^T, C S^T) + 64 x 64 x 64 (M x, half of it zeros) + 64 x 128 x 64 (S)
// multiply-adds: 896 cycles of a multiprocessor's matrix unit; about 150 KiB through shared memory: 1200 cycles; 40 KiB
// of reads (32 KiB of them B and C, which all heads of a group read: L2) and 8 KiB of writes. Measured: 1.07 us, 1760
// cycles in ncu. No unit is full: a step holds its stage from the copy's start until M x, 4 stages fit, and the chains
// of dependent instructions in the producer's dt warps and in the output warpgroups are as long as the ring.
//
// Few (sequence, head) pairs cannot fill the chip, so a sequence can be cut into segments of whole chunks: kStates sums
// each segment's own contribution from a zero state (x and B only), ssd_chunk_scan_combine turns them into the states
// before each segment, and kScan runs all segments at once.
#include <type_traits>

#include "cuda/hopper.cuh"
#include "ops/ssd.h"

namespace mamba::cuda {

struct ScanMaps {
  CUtensorMap x, b, c;  // (channel, head, token), (n, group, token) in boxes of 64 x 1 x 64
  CUtensorMap out;      // (channel, head, token) in boxes of 64 x 1 x 16
};

// Segments of a sequence; 1 = none, without workspace.
struct ScanSplit {
  int segments;
  float* states;  // [sequences][segments][heads][head_dim][state_size]: first a segment's own, then the one before it
  float* decay;   // [sequences][segments][heads]: log2 of a segment's decay
};

enum class ScanPass { kStates, kScan };

namespace scan {

inline constexpr int kTokens = 64;    // of a step
inline constexpr int kChannels = 64;  // of an item
inline constexpr int kThreads = 512;
inline constexpr int kPreparers = 3;
inline constexpr uint32_t kTileBytes = kTokens * 128;
inline constexpr float kLog2e = 1.4426950408889634f;
inline constexpr float kLeastTerm = -160.0f;

enum class Where : int { kNowhere, kSlot, kWorkspace };

// What a step needs besides its tiles.
struct Step {
  float a[kTokens];                  // log2 of the decay since the start of the step
  float source[kTokens];             // a[m] - log2(dt'[m])
  float from_start[kTokens];         // exp2(a[l])
  float row[kTokens];                // exp2(a[l] - a[16 (l / 16)])
  float column[3][kTokens];          // [w-1][m < 16 w]: exp2(a[16 w] - a[m]) dt'[m]
  uint4 to_end[4][2];                // [t]: pairs m = 2 t + 8 i and + 1 of dt'[m] exp2(a[T-1] - a[m])
  float end, total, d;               // a[T-1], exp2(a[T-1]), D
  int token, tokens, head, channel;  // tokens = 0: there are no more steps
  bool first;                        // of its item
  Where load, store;                 // of the state before this step and after it
  void *load_from, *store_to;
  float* decay_to;
};

template <int kN>
struct Shared {
  static constexpr int kBlocks = kN / 64;
  static constexpr int kStages = 4;
  struct Stage {
    uint8_t x[kTileBytes], b[kBlocks][kTileBytes], c[kBlocks][kTileBytes];
  };
  Stage stage[kStages];
  uint8_t state[2][kBlocks][kTileBytes];  // before an even step, before an odd one
  uint8_t out[8][16 * 128];               // of each output warp
  Step step[kStages];
  uint64_t loaded[kStages], ready[kStages], empty[kStages], rounded[2], used[2];
};

// A warp arrives once, for all its lanes. racecheck does not see through that: for it, let every lane arrive.
#ifdef MAMBA_EVERY_LANE_ARRIVES
inline constexpr bool kEveryLane = true;
#else
inline constexpr bool kEveryLane = false;
#endif
inline constexpr int kArrivals = kEveryLane ? 32 : 1;  // of a warp
__device__ __forceinline__ void warp_arrive(uint64_t* barrier) {
  __syncwarp();
  if (kEveryLane || threadIdx.x % 32 == 0) hopper::barrier_arrive(barrier);
}

// The position in a ring of kCount.
template <int kCount>
struct Ring {
  int index = 0;
  uint32_t phase = 0;
  Ring() = default;
  __device__ explicit Ring(int steps) : index(steps % kCount), phase(steps / kCount % 2) {}
  __device__ void advance() {
    if (++index == kCount) {
      index = 0;
      phase ^= 1;
    }
  }
};

// Tokens of one item; first and last of it, or neither.
struct Position {
  int token, tokens, sequence, segment, head, channel, slot;
  bool first, last;
};

// All steps of this block, in order.
class Walk : public Position {
 public:
  __device__ Walk(const SsdChunkScanParams& params, int segments_, int walked_segments)
      : p(params), segments(segments_), walked(walked_segments) {
    tiles = static_cast<int>(p.head_dim + kChannels - 1) / kChannels;
    items = static_cast<int>(p.sequences * p.heads) * tiles * walked;
    item = blockIdx.x;
    item -= gridDim.x;
  }

  // False when there are no more.
  __device__ bool next() {
    if (token_end < chunk_end) {
      begin_step(token_end);
      first = false;
      return true;
    }
    if (++chunk < chunks_end) {
      chunk_end = next_chunk_end;
      begin_chunk(token_end);
      first = false;
      return true;
    }
    return next_item();
  }

  // The next item with tokens, at its first step; one of a padding sequence only if `padding`.
  __device__ bool next_item(bool padding = false) {
    for (item += gridDim.x; item < items; item += gridDim.x) {
      int i = item;
      channel = i % tiles * kChannels;
      i /= tiles;
      head = i % static_cast<int>(p.heads);
      i /= static_cast<int>(p.heads);
      segment = i % walked;
      sequence = i / walked;
      if (__ldg(p.query_start_loc + sequence) == __ldg(p.query_start_loc + sequence + 1)) continue;
      slot = __ldg(p.slots + sequence);
      if ((slot < 0 || slot >= p.slots_in_pool) != padding) continue;
      if (padding) return true;
      const int begin = sequence == 0 ? 0 : __ldg(p.last_chunk + sequence - 1) + 1;
      const int count = __ldg(p.last_chunk + sequence) + 1 - begin;
      chunk = begin + static_cast<int>(static_cast<int64_t>(count) * segment / segments);
      chunks_end = begin + static_cast<int>(static_cast<int64_t>(count) * (segment + 1) / segments);
      if (chunk == chunks_end) continue;
      chunk_end = __ldg(p.cu_chunk_seqlens + chunk + 1);
      begin_chunk(__ldg(p.cu_chunk_seqlens + chunk));
      first = true;
      return true;
    }
    return false;
  }

 private:
  const SsdChunkScanParams& p;
  int segments, walked, tiles, items, item;
  int chunk = 0, chunks_end = 0, chunk_end = 0, next_chunk_end = 0, token_end = 0;

  __device__ void begin_chunk(int begin) {
    if (chunk + 1 < chunks_end) next_chunk_end = __ldg(p.cu_chunk_seqlens + chunk + 2);  // used a chunk later
    begin_step(begin);
  }
  __device__ void begin_step(int begin) {
    token = begin;
    tokens = min(kTokens, chunk_end - begin);
    token_end = token + tokens;
    last = token_end == chunk_end && chunk + 1 == chunks_end;
  }
};

__device__ __forceinline__ float exp2(float v) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}
__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ __forceinline__ float to_float(__half v) { return __half2float(v); }

template <class T>
__device__ __forceinline__ float load_dt(const SsdChunkScanParams& p, int token, int head) {
  const int64_t i = token * p.dt_stride + head;
  return p.dt_dtype == DType::f32 ? __ldg(static_cast<const float*>(p.dt) + i)
                                  : to_float(static_cast<const T*>(p.dt)[i]);
}
__device__ __forceinline__ float log2_fast(float v) {
  float r;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}
__device__ __forceinline__ float time_step(float dt, float bias, const SsdChunkScanParams& p) {
  dt += bias;
  if (p.dt_softplus) {
    const float e = exp2(fminf(dt, kSoftplusThreshold) * kLog2e);
    const float series = e * fmaf(e, fmaf(e, 1.0f / 3, -0.5f), 1.0f);
    const float v = e < 0x1p-7f ? series : log2_fast(1.0f + e) * (1 / kLog2e);
    dt = dt > kSoftplusThreshold ? dt : v;
  }
  return fminf(p.dt_max, fmaxf(p.dt_min, dt));
}

template <class S, int kN, ScanPass kPass>
__device__ __forceinline__ void copy_tiles(const SsdChunkScanParams& p, const ScanMaps& maps, const ScanSplit& split,
                                           Walk walk, Shared<kN>& shared) {
  using namespace hopper;
  constexpr uint32_t kBytes = kTileBytes * (1 + (kPass == ScanPass::kScan ? 2 : 1) * Shared<kN>::kBlocks);
  const int heads_per_group = static_cast<int>(p.heads / p.groups);
  Ring<Shared<kN>::kStages> ring;
  for (; walk.next(); ring.advance()) {
    auto& stage = shared.stage[ring.index];
    uint64_t* barrier = shared.loaded + ring.index;
    barrier_wait(shared.empty + ring.index, ring.phase ^ 1);
    if (kPass == ScanPass::kScan && split.segments == 1 && walk.first && __ldg(p.has_initial_state + walk.sequence)) {
      const int64_t at = (walk.head * p.head_dim + walk.channel) * kN;
      prefetch_l2(static_cast<const S*>(p.state) + walk.slot * p.state_slot_stride + at,
                  min(kChannels, static_cast<int>(p.head_dim) - walk.channel) * kN * static_cast<int>(sizeof(S)));
    }
    barrier_expect(barrier, kBytes);
    const int group = walk.head / heads_per_group;
    for (int i = 0; i < Shared<kN>::kBlocks; ++i) {
      if constexpr (kPass == ScanPass::kScan) copy_box_3d(stage.c[i], &maps.c, barrier, 64 * i, group, walk.token);
      copy_box_3d(stage.b[i], &maps.b, barrier, 64 * i, group, walk.token);
    }
    copy_box_3d(stage.x, &maps.x, barrier, walk.channel, walk.head, walk.token);
  }
}

// Where the state of an item comes from and goes to.
template <class S, ScanPass kPass>
__device__ __forceinline__ void place_state(const SsdChunkScanParams& p, const ScanSplit& split, const Position& at,
                                            Step& step) {
  const int64_t in_slot = (at.head * p.head_dim + at.channel) * p.state_size;
  S* slot = static_cast<S*>(p.state) + at.slot * p.state_slot_stride + in_slot;
  const int64_t part = (static_cast<int64_t>(at.sequence) * split.segments + at.segment) * p.heads + at.head;
  float* workspace = split.states + (part * p.head_dim + at.channel) * p.state_size;
  if (at.first && kPass == ScanPass::kScan) {
    if (split.segments > 1) {
      step.load = Where::kWorkspace;
      step.load_from = workspace;
    } else if (__ldg(p.has_initial_state + at.sequence) != 0) {
      step.load = Where::kSlot;
      step.load_from = slot;
    }
  }
  if (!at.last) return;
  if (kPass == ScanPass::kStates) {
    step.store = Where::kWorkspace;
    step.store_to = workspace;
    step.decay_to = at.channel == 0 ? split.decay + part : nullptr;
  } else if (at.segment == split.segments - 1) {
    step.store = Where::kSlot;
    step.store_to = slot;
  }
}

// Every third step, so that the loads of three steps are under way. A lane holds tokens 2 lane and 2 lane + 1.
template <class T, class S, int kN, ScanPass kPass>
__device__ __forceinline__ void prepare_steps(const SsdChunkScanParams& p, const ScanMaps& maps, const ScanSplit& split,
                                              Walk walk, int turn, Shared<kN>& shared) {
  using namespace hopper;
  const int lane = threadIdx.x % 32;
  const int heads_per_group = static_cast<int>(p.heads / p.groups);
  float next[2], next_a, next_bias, next_d;
  const auto load = [&] {
    next_a = __ldg(p.a + walk.head);
    next_bias = p.dt_bias ? __ldg(p.dt_bias + walk.head) : 0.0f;
    next_d = p.d ? __ldg(p.d + walk.head) : 0.0f;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int l = 2 * lane + i;
      next[i] = l < walk.tokens ? load_dt<T>(p, walk.token + l, walk.head) : 0.0f;
    }
    // The copies of this step come 3 steps later: the L2 may have it by then. A group's first head asks for B and C.
    if (lane == 0) {
      prefetch_box_3d(&maps.x, walk.channel, walk.head, walk.token);
      if (walk.head % heads_per_group == 0 && walk.channel == 0) {
        for (int i = 0; i < Shared<kN>::kBlocks; ++i) {
          prefetch_box_3d(&maps.b, 64 * i, walk.head / heads_per_group, walk.token);
          if (kPass == ScanPass::kScan) prefetch_box_3d(&maps.c, 64 * i, walk.head / heads_per_group, walk.token);
        }
      }
    }
    __syncwarp();
  };
  int index = -1;        // of the walk's step
  int of_others = turn;  // steps before the next one of this warp
  const auto advance = [&] {
    for (; of_others >= 0; --of_others) {
      ++index;
      if (!walk.next()) return false;
    }
    of_others = kPreparers - 1;
    return true;
  };
  bool more = advance();
  if (more) load();
  while (more) {
    const Position now = walk;
    const Ring<Shared<kN>::kStages> ring(index);
    const float raw[2] = {next[0], next[1]}, a_log2 = next_a * kLog2e, bias = next_bias, d = next_d;
    more = advance();
    if (more) load();
    const int tokens = now.tokens, head = now.head;
    float dt[2], term[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      dt[i] = 2 * lane + i < tokens ? time_step(raw[i], bias, p) : 0.0f;
      term[i] = fmaxf(dt[i] * a_log2, kLeastTerm);
    }
    float scan = term[0] + term[1];
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const float before = __shfl_up_sync(~0u, scan, d);
      if (lane >= d) scan += before;
    }
    float before = __shfl_up_sync(~0u, scan, 1);
    if (lane == 0) before = 0;
    const float a[2] = {before + term[0], scan};
    const float end = __shfl_sync(~0u, scan, 31);

    barrier_wait(shared.empty + ring.index, ring.phase ^ 1);
    Step& step = shared.step[ring.index];
    const auto store = [&](float* dst, float v0, float v1) { reinterpret_cast<float2*>(dst)[lane] = {v0, v1}; };
    reinterpret_cast<uint32_t*>(step.to_end)[lane % 4 * 8 + lane / 4] =
        pack<T>(dt[0] * exp2(end - a[0]), dt[1] * exp2(end - a[1]));
    if constexpr (kPass == ScanPass::kScan) {
      store(step.a, a[0], a[1]);
      store(step.source, a[0] - log2_fast(dt[0]), a[1] - log2_fast(dt[1]));
      store(step.from_start, exp2(a[0]), exp2(a[1]));
      const float start = __shfl_sync(~0u, a[0], lane / 8 * 8);
      store(step.row, exp2(a[0] - start), exp2(a[1] - start));
#pragma unroll
      for (int w = 1; w < 4; ++w) {
        const float at = __shfl_sync(~0u, a[0], 8 * w);
        if (lane < 8 * w) {
          store(step.column[w - 1], exp2(at - a[0]) * dt[0], exp2(at - a[1]) * dt[1]);
        }
      }
    }
    if (lane == 0) {
      step.total = exp2(end);
      step.end = end;
      step.d = d;
      step.token = now.token;
      step.tokens = tokens;
      step.first = now.first;
      step.head = head;
      step.channel = now.channel;
      step.load = step.store = Where::kNowhere;
      if (now.first || now.last) place_state<S, kPass>(p, split, now, step);
    }
    if (tokens < kTokens) {
      barrier_wait(shared.loaded + ring.index, ring.phase);
      auto& stage = shared.stage[ring.index];
      for (int i = 8 * tokens + lane; i < 8 * kTokens; i += 32) {
        reinterpret_cast<uint4*>(stage.x)[i] = uint4{};
        for (int j = 0; j < Shared<kN>::kBlocks; ++j) reinterpret_cast<uint4*>(stage.b[j])[i] = uint4{};
      }
      fence_async();
    }
    warp_arrive(shared.ready + ring.index);
  }
  if (index % kPreparers != turn) return;    // another warp tells of the end
  for (int i = index; i < index + 2; ++i) {  // one for each output warpgroup
    const Ring<Shared<kN>::kStages> ring(i);
    barrier_wait(shared.empty + ring.index, ring.phase ^ 1);
    if (lane == 0) shared.step[ring.index].tokens = 0;
    warp_arrive(shared.ready + ring.index);
  }
}

template <class T>
__device__ __forceinline__ void zero_padding(const SsdChunkScanParams& p, Walk walk) {
  while (walk.next_item(true)) {
    if (walk.segment != 0) continue;
    const int begin = p.query_start_loc[walk.sequence], end = p.query_start_loc[walk.sequence + 1];
    const int pieces = min(kChannels, static_cast<int>(p.head_dim) - walk.channel) / 8;
    for (int i = threadIdx.x % 32; i < (end - begin) * pieces; i += 32) {
      T* row = static_cast<T*>(p.out) + (begin + i / pieces) * p.out_stride + walk.head * p.head_dim + walk.channel;
      reinterpret_cast<uint4*>(row)[i % pieces] = uint4{};
    }
  }
}

// The part of M (with D on its diagonal) that warp kWarp has, as left operands: 16 tokens l, g and g + 8 in a thread.
template <class T, int kWarp>
__device__ __forceinline__ void mix(uint32_t (&m)[4][4], const float (&cb)[32], const Step& step, const float (&row)[2],
                                    const float (&a)[2], const float2 (&source)[2], float d, int g, int t) {
  using hopper::pack;
  float2 factor[2 * kWarp + 1];
#pragma unroll
  for (int i = 0; i < 2 * kWarp; ++i) {
    factor[i] = *reinterpret_cast<const float2*>(step.column[kWarp > 0 ? kWarp - 1 : 0] + 8 * i + 2 * t);
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {  // 8 columns
    const float* v = cb + 4 * i;
    uint32_t* r = m[i / 2] + i % 2 * 2;
    if (i < 2 * kWarp) {
      r[0] = pack<T>(v[0] * (row[0] * factor[i].x), v[1] * (row[0] * factor[i].y));
      r[1] = pack<T>(v[2] * (row[1] * factor[i].x), v[3] * (row[1] * factor[i].y));
    } else if (i < 2 * kWarp + 2) {
      const float2 from = source[i % 2];
      const float weight[4] = {exp2(a[0] - from.x), exp2(a[0] - from.y), exp2(a[1] - from.x), exp2(a[1] - from.y)};
      float w[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int after = g + j / 2 * 8 - (i % 2 * 8 + 2 * t + j % 2);
        w[j] = after < 0 ? 0.0f : fmaf(v[j], weight[j], after == 0 ? d : 0.0f);
      }
      r[0] = pack<T>(w[0], w[1]);
      r[1] = pack<T>(w[2], w[3]);
    } else {
      r[0] = r[1] = 0;
    }
  }
}

// Every second step. Warp w has tokens 16 w .. 16 w + 15, a thread of it tokens g and g + 8 of those, columns (tokens
// of M, channels of y) 8 j + 2 t and + 1.
template <class T, int kN>
__device__ __forceinline__ void write_out(const SsdChunkScanParams& p, const ScanMaps& maps, int turn,
                                          Shared<kN>& shared) {
  using namespace hopper;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int l = 16 * warp + g;
  const int matrix_row = lane % 16, matrix_piece = lane / 16;  // of ldmatrix and stmatrix
  uint8_t* const out_tile = shared.out[4 * turn + warp];
  const uint32_t out_row = smem_address(out_tile) + 128 * matrix_row;
  float cb[32], y[32];
  // Starts C B^T of a step, also (of whatever lies there) if there is none: ptxas wants products on every path. Returns
  // whether there is one.
  const auto begin_cb = [&](const Ring<Shared<kN>::kStages>& ring) {
    const auto& stage = shared.stage[ring.index];
    barrier_wait(shared.ready + ring.index, ring.phase);
    const bool valid = shared.step[ring.index].tokens != 0;
    if (valid) barrier_wait(shared.loaded + ring.index, ring.phase);
    const uint64_t c = describe_along_sum(smem_address(stage.c)), b = describe_along_sum(smem_address(stage.b));
    products_begin();
#pragma unroll
    for (int k = 0; k < kN / 16; ++k) {
      const uint32_t at = (k / 4 * kTileBytes + k % 4 * 32) >> 4;
      multiply_64<T>(cb, c + at, b + at, k != 0);
    }
    products_commit();
    return valid;
  };
  int i = turn;
  bool more = begin_cb(Ring<Shared<kN>::kStages>(i));
  products_wait<0>();
  pin(cb);
  while (more) {
    const Ring<Shared<kN>::kStages> ring(i);
    const auto& stage = shared.stage[ring.index];
    const Step& step = shared.step[ring.index];
    const uint64_t c = describe_along_sum(smem_address(stage.c));
    const uint64_t s = describe_along_sum(smem_address(shared.state[turn]));
    barrier_wait(shared.rounded + turn, i / 2 % 2);
    products_begin();
#pragma unroll
    for (int k = 0; k < kN / 16; ++k) {
      const uint32_t at = (k / 4 * kTileBytes + k % 4 * 32) >> 4;
      multiply_64<T>(y, c + at, s + at, k != 0);
    }
    products_commit();
    const float from_start[2] = {step.from_start[l], step.from_start[l + 8]}, d = step.d;
    const float row[2] = {step.row[l], step.row[l + 8]}, a[2] = {step.a[l], step.a[l + 8]};
    const float2* sources = reinterpret_cast<const float2*>(step.source + 16 * warp + 2 * t);
    const float2 source[2] = {sources[0], sources[4]};
    const int tokens = step.tokens, token = step.token, head = step.head, channel = step.channel;

    products_wait<1>();
    pin(cb);
    uint32_t m[4][4];
    switch (warp) {
      case 0:
        mix<T, 0>(m, cb, step, row, a, source, d, g, t);
        break;
      case 1:
        mix<T, 1>(m, cb, step, row, a, source, d, g, t);
        break;
      case 2:
        mix<T, 2>(m, cb, step, row, a, source, d, g, t);
        break;
      default:
        mix<T, 3>(m, cb, step, row, a, source, d, g, t);
        break;
    }

    products_wait<0>();
    pin(y);
    warp_arrive(shared.used + turn);
#pragma unroll
    for (int j = 0; j < 32; ++j) y[j] *= from_start[j / 2 % 2];
    const uint64_t x = describe_across_sum(smem_address(stage.x), kTileBytes);
    products_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k) multiply_add_across<T>(y, m[k], x + ((k * 2048) >> 4));
    products_commit();

    // The next step's first product runs under what is left of this step.
    i += 2;
    more = begin_cb(Ring<Shared<kN>::kStages>(i));
    copy_out_wait_read();
    __syncwarp();
    products_wait<1>();
    pin(y);
    warp_arrive(shared.empty + ring.index);
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      const float* v = y + 4 * j;
      store_matrices(out_row + 16 * ((j + matrix_piece) ^ (matrix_row % 8)), pack<T>(v[0], v[1]), pack<T>(v[2], v[3]),
                     pack<T>(v[4], v[5]), pack<T>(v[6], v[7]));
    }
    if (16 * warp + 16 <= tokens) {
      fence_async();
      __syncwarp();
      if (lane == 0) copy_box_out_3d(&maps.out, smem_address(out_tile), channel, head, token + 16 * warp);
      copy_out_commit();
    } else {
      __syncwarp();
      for (int r = lane / 8; r < tokens - 16 * warp; r += 4) {
        const int at = channel + 8 * (lane % 8);
        T* out = static_cast<T*>(p.out) + (token + 16 * warp + r) * p.out_stride + head * p.head_dim + at;
        if (at < p.head_dim) {
          *reinterpret_cast<uint4*>(out) = reinterpret_cast<const uint4*>(out_tile)[8 * r + (lane % 8 ^ r % 8)];
        }
      }
    }
    products_wait<0>();
    pin(cb);
  }
  copy_out_wait();
}

template <class S>
__device__ __forceinline__ float2 load_pair(const S* p) {
  if constexpr (std::is_same_v<S, float>) {
    return *reinterpret_cast<const float2*>(p);
  } else {
    return hopper::unpack<S>(*reinterpret_cast<const uint32_t*>(p));
  }
}
template <class S>
__device__ __forceinline__ void store_pair(S* p, float a, float b) {
  if constexpr (std::is_same_v<S, float>) {
    *reinterpret_cast<float2*>(p) = {a, b};
  } else {
    *reinterpret_cast<uint32_t*>(p) = hopper::pack<S>(a, b);
  }
}

// Channels g and g + 8 of a warp's 16, n = 8 j + 2 t and + 1.
template <class S, int kN>
__device__ __forceinline__ void load_state(float (&state)[kN / 2], const S* from, int channel, int channels, int t) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const S* row = from + (channel + 8 * r) * kN + 2 * t;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
      const float2 v = channel + 8 * r < channels ? load_pair(row + 8 * j) : float2{};
      state[4 * j + 2 * r] = v.x;
      state[4 * j + 2 * r + 1] = v.y;
    }
  }
}
template <class S, int kN>
__device__ __forceinline__ void store_state(const float (&state)[kN / 2], S* to, int channel, int channels, int t) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    S* row = to + (channel + 8 * r) * kN + 2 * t;
    if (channel + 8 * r >= channels) continue;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) store_pair(row + 8 * j, state[4 * j + 2 * r], state[4 * j + 2 * r + 1]);
  }
}

// Warp w has channels 16 w .. 16 w + 15 of the item; a thread channels g and g + 8 of those, n = 8 j + 2 t and + 1.
template <class T, class S, int kN, ScanPass kPass>
__device__ __forceinline__ void advance_state(const SsdChunkScanParams& p, Shared<kN>& shared) {
  using namespace hopper;
  constexpr bool kScan = kPass == ScanPass::kScan;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int channel = 16 * warp + g;
  const int x_row = lane / 16 * 8 + lane % 8, x_piece = (2 * warp + lane / 8 % 2) ^ (lane % 8);
  const int state_row = 16 * warp + lane % 16;

  // x^T as a left operand, weighted.
  const auto load_weighted = [&](uint32_t(&weighted)[4][4], int index) {
    const uint32_t x_tile = smem_address(shared.stage[index].x) + 128 * x_row + 16 * x_piece;
    const uint4 low = shared.step[index].to_end[t][0], high = shared.step[index].to_end[t][1];
    const uint32_t w[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint32_t x[4];
      load_transposed(x, x_tile + 2048 * k);
#pragma unroll
      for (int i = 0; i < 4; ++i) weighted[k][i] = multiply_pairs<T>(x[i], w[2 * k + i / 2]);
    }
  };

  Ring<Shared<kN>::kStages> ring;
  Ring<2> tile;
  uint32_t weighted[4][4], next_weighted[4][4];
  barrier_wait(shared.ready + ring.index, ring.phase);
  bool more = shared.step[ring.index].tokens != 0;
  bool first = true;
  float total = 0;
  if (more) {
    barrier_wait(shared.loaded + ring.index, ring.phase);
    load_weighted(next_weighted, ring.index);
    total = shared.step[ring.index].total;
  }
  float state[kN / 2];
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) state[i] = 0;
  float decay = 0;  // log2, of a segment
  while (more) {
    const int index = ring.index;
    const Step& step = shared.step[index];
    if (first) {
      const int channels = static_cast<int>(p.head_dim) - step.channel;
      if (step.load == Where::kSlot) {
        load_state<S, kN>(state, static_cast<const S*>(step.load_from), channel, channels, t);
      } else if (step.load == Where::kWorkspace) {
        load_state<float, kN>(state, static_cast<const float*>(step.load_from), channel, channels, t);
      } else {
#pragma unroll
        for (int i = 0; i < kN / 2; ++i) state[i] = 0;
      }
    }
    uint32_t rounded[kN / 4];
    if constexpr (kScan) {
#pragma unroll
      for (int i = 0; i < kN / 4; ++i) rounded[i] = pack<T>(state[2 * i], state[2 * i + 1]);
    } else {
      decay = step.first ? step.end : decay + step.end;
    }
    // Not under way with the product: ptxas waits for all of it before it lets an accumulator be touched.
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) state[i] *= total;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) weighted[k][i] = next_weighted[k][i];
    }
    const uint64_t b = describe_across_sum(smem_address(shared.stage[index].b), kTileBytes);
    products_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k) multiply_add_across<T>(state, weighted[k], b + ((k * 2048) >> 4));
    products_commit();

    // Under the product: the rounded state to the outputs, the next step's left operand.
    if constexpr (kScan) {
      barrier_wait(shared.used + tile.index, tile.phase ^ 1);
      const uint32_t rows = smem_address(shared.state[tile.index]) + 128 * state_row;
#pragma unroll
      for (int j = 0; j < kN / 8; j += 2) {
        const uint32_t* v = rounded + 2 * j;
        const int piece = (j % 8 + lane / 16) ^ (state_row % 8);
        store_matrices(rows + j / 8 * kTileBytes + 16 * piece, v[0], v[1], v[2], v[3]);
      }
    }
    const Where store = step.store;
    void* store_to = step.store_to;
    const int channels = static_cast<int>(p.head_dim) - step.channel;
    if constexpr (!kScan) {
      if (store != Where::kNowhere && step.decay_to && threadIdx.x % 128 == 0) *step.decay_to = decay;
    }
    ring.advance();
    barrier_wait(shared.ready + ring.index, ring.phase);
    more = shared.step[ring.index].tokens != 0;
    if (more) {
      barrier_wait(shared.loaded + ring.index, ring.phase);
      load_weighted(next_weighted, ring.index);
      first = shared.step[ring.index].first;
      total = shared.step[ring.index].total;
    }
    if constexpr (kScan) {
      fence_async();
      warp_arrive(shared.rounded + tile.index);
      tile.advance();
    }
    products_wait<0>();
    pin(state);
    warp_arrive(shared.empty + index);
    if (store == Where::kSlot) {
      store_state<S, kN>(state, static_cast<S*>(store_to), channel, channels, t);
    } else if (store == Where::kWorkspace) {
      store_state<float, kN>(state, static_cast<float*>(store_to), channel, channels, t);
    }
  }
}

template <class T, class S, int kN, ScanPass kPass>
__global__ __launch_bounds__(kThreads, 1) void scan_kernel(const __grid_constant__ SsdChunkScanParams p,
                                                           const __grid_constant__ ScanMaps maps,
                                                           const __grid_constant__ ScanSplit split) {
  using namespace hopper;
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<Shared<kN>*>(raw);
  if (threadIdx.x == 0) {
    if (smem_address(raw) % 1024 != 0) __trap();
    for (int i = 0; i < Shared<kN>::kStages; ++i) {
      barrier_init(shared.loaded + i, 1);
      barrier_init(shared.ready + i, kArrivals);
      barrier_init(shared.empty + i, kArrivals * (kPass == ScanPass::kScan ? 8 : 4));
    }
    for (int i = 0; i < 2; ++i) {
      barrier_init(shared.rounded + i, kArrivals * 4);
      barrier_init(shared.used + i, kArrivals * 4);
    }
    barrier_init_fence();
  }
  __syncthreads();
  const Walk walk(p, split.segments, kPass == ScanPass::kStates ? split.segments - 1 : split.segments);
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x / 128), 0);  // ptxas sees that it is uniform
  if (group == 0) {
    registers_less<72>();
    const int warp = threadIdx.x / 32;
    if (threadIdx.x == 0) {
      copy_tiles<S, kN, kPass>(p, maps, split, walk, shared);
    } else if (warp != 0) {
      prepare_steps<T, S, kN, kPass>(p, maps, split, walk, warp - 1, shared);
      if (warp == 3 && kPass == ScanPass::kScan) zero_padding<T>(p, walk);
    }
  } else if (group == 1) {
    registers_more<168>();
    advance_state<T, S, kN, kPass>(p, shared);
  } else {
    registers_more<136>();
    if constexpr (kPass == ScanPass::kScan) write_out<T, kN>(p, maps, group - 2, shared);
  }
}

// states[.][segment] from a segment's own to the state before it. One thread, two elements.
template <class S>
__global__ void combine_kernel(const __grid_constant__ SsdChunkScanParams p, const __grid_constant__ ScanSplit split) {
  const int64_t elements = p.head_dim * p.state_size;
  const int sequence = blockIdx.z, head = blockIdx.y;
  const int64_t i = 2 * (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x);
  const int slot = p.slots[sequence];
  if (i >= elements || slot < 0 || slot >= p.slots_in_pool) return;
  const int begin = sequence == 0 ? 0 : p.last_chunk[sequence - 1] + 1, count = p.last_chunk[sequence] + 1 - begin;
  const S* from = static_cast<const S*>(p.state) + slot * p.state_slot_stride + head * elements + i;
  float2 state = p.has_initial_state[sequence] != 0 ? load_pair(from) : float2{};
  for (int s = 0; s < split.segments; ++s) {
    const int64_t part = (static_cast<int64_t>(sequence) * split.segments + s) * p.heads + head;
    float2* at = reinterpret_cast<float2*>(split.states + part * elements + i);
    const bool empty =
        static_cast<int64_t>(count) * s / split.segments == static_cast<int64_t>(count) * (s + 1) / split.segments;
    if (empty) continue;
    float2 own{};
    float decay = 0;
    if (s + 1 < split.segments) {
      own = *at;
      decay = exp2(split.decay[part]);
    }
    *at = state;
    state = {fmaf(decay, state.x, own.x), fmaf(decay, state.y, own.y)};
  }
}

// Any shape with head_dim <= 256 and state_size <= 4 kPer, any types: the recurrence of ops/ssd.h itself, token by
// token in float. One block per (sequence, head), 4 threads per channel, a thread with the state's n = lane % 4 + 4 i.
template <class T, class S, int kPer>
__global__ void recurrence_kernel(const __grid_constant__ SsdChunkScanParams p) {
  constexpr int kBlock = 16;
  __shared__ float b[kBlock][4 * kPer], c[kBlock][4 * kPer], dt[kBlock];
  const int head = blockIdx.x, sequence = blockIdx.y, n_count = static_cast<int>(p.state_size);
  const int channel = threadIdx.x / 4, part = threadIdx.x % 4;
  const bool active = channel < p.head_dim;
  const int begin = p.query_start_loc[sequence], end = p.query_start_loc[sequence + 1];
  const int slot = p.slots[sequence];
  const bool padding = slot < 0 || slot >= p.slots_in_pool;
  if (begin == end) return;
  const int64_t x_at = head * p.head_dim + channel, group = head / (p.heads / p.groups);
  if (padding) {
    if (active && part == 0) {
      for (int l = begin; l < end; ++l) static_cast<T*>(p.out)[l * p.out_stride + x_at] = T(0.0f);
    }
    return;
  }
  S* row = static_cast<S*>(p.state) + slot * p.state_slot_stride + x_at * p.state_size;
  float state[kPer];
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int n = part + 4 * i;
    state[i] = active && n < n_count && p.has_initial_state[sequence] != 0 ? to_float(row[n]) : 0.0f;
  }
  const float a = p.a[head], bias = p.dt_bias ? p.dt_bias[head] : 0.0f, d = p.d ? p.d[head] : 0.0f;
  for (int l0 = begin; l0 < end; l0 += kBlock) {
    const int tokens = min(kBlock, end - l0);
    __syncthreads();
    for (int i = threadIdx.x; i < tokens * 4 * kPer; i += blockDim.x) {
      const int l = i / (4 * kPer), n = i % (4 * kPer);
      const int64_t at = group * p.state_size + n;
      b[l][n] = n < n_count ? to_float(static_cast<const T*>(p.b)[(l0 + l) * p.b_stride + at]) : 0.0f;
      c[l][n] = n < n_count ? to_float(static_cast<const T*>(p.c)[(l0 + l) * p.c_stride + at]) : 0.0f;
    }
    if (threadIdx.x < tokens) dt[threadIdx.x] = time_step(load_dt<T>(p, l0 + threadIdx.x, head), bias, p);
    __syncthreads();
    for (int l = 0; l < tokens; ++l) {
      const float x = active ? to_float(static_cast<const T*>(p.x)[(l0 + l) * p.x_stride + x_at]) : 0.0f;
      const float decay = expf(dt[l] * a), weight = dt[l] * x;
      float y = 0;
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
        state[i] = fmaf(decay, state[i], weight * b[l][part + 4 * i]);
        y = fmaf(state[i], c[l][part + 4 * i], y);
      }
      y += __shfl_xor_sync(~0u, y, 1);
      y += __shfl_xor_sync(~0u, y, 2);
      if (active && part == 0) static_cast<T*>(p.out)[(l0 + l) * p.out_stride + x_at] = T(fmaf(d, x, y));
    }
  }
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int n = part + 4 * i;
    if (active && n < n_count) row[n] = S(state[i]);
  }
}

}  // namespace scan
}  // namespace mamba::cuda
