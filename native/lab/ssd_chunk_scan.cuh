#pragma once
// The fused SSD chunk scan for Hopper: one pass over x, B, C and dt, the running state in registers.
//
// Idea. One block walks the tokens of one (sequence, head, 64 channels) 64 at a time ("steps", counted from the start of
// each chunk) and goes on to its next item. With a[l] the running sum of dt' A inside a step of T tokens:
//   M[l][m]   = C_l . B_m exp(a[l] - a[m]) dt'_m   for m <= l
//   y^T[p][l] = exp(a[l]) (S C^T)[p][l] + (x^T M^T)[p][l] + D x[l][p]
//   S[p][n]  <- exp(a[T-1]) S + (x^T diag(dt'_m exp(a[T-1] - a[m]))) B
// y is computed transposed so that the state is the left operand of its product: accumulators of one product are, packed
// to 16 bits, the left operand of the next. The state never leaves the registers of its warpgroup.
//
// Mapping. 3 warpgroups, joined by a ring of kStages steps in shared memory and two M tiles:
//   producer  warp 0: copies x, B, C (bulk tensor copies). warps 1-3: everything that depends on dt only, in turns.
//   mixer     C B^T (from shared memory), times decay, to an M tile. Below the diagonal blocks of 16 the decay is the
//             product of a factor of l and a factor of m, both <= 1: the exponentials of a step are 1024 plus a few.
//   state     S C^T, x^T M^T and the update of S; y through a private 2 KiB of each warp to 32-byte pieces of out.
// The mixer depends on no state, so it runs ahead: the matrix unit has its products while the state warpgroup packs.
//
// Layout. Tiles of 64 tokens x 64 elements, 128-byte rows, 128-byte swizzle. Rows of a step past its last token belong
// to the next sequence: x and B of those are zeroed (0 x NaN), their dt' is 0, their y is not stored.
//
// Numbers. Products of 16-bit operands, sums in float; S is float, rounded to 16 bits only as an operand of S C^T. A
// term dt' A is not below 2^-160: such a step leaves nothing of the past in float anyway, and the sums stay short
// enough to be exact to 1e-3 in the exponent.
//
// Bound. Per head and step: 64 x 64 x 128 (C B^T) + 64 x 64 x 64 (half of it zeros) + 2 x 64 x 64 x 128 multiply-adds:
// 896 cycles of a multiprocessor's matrix unit; 40 KiB of reads (32 KiB of them B and C, which all heads of a group
// read: L2) and 8 KiB of writes.
//
// Few (sequence, head) pairs cannot fill the chip, so a sequence can be cut into segments of whole chunks: kStates sums
// each segment's own contribution from a zero state (x and B only), ssd_chunk_scan_combine turns them into the states
// before each segment, and kScan runs all segments at once.
#include <type_traits>

#include "hopper.cuh"
#include "ops/ssd.h"

namespace mamba::cuda {

struct ScanMaps {
  CUtensorMap x, b, c;  // (channel, head, token), (n, group, token) in boxes of 64 x 1 x 64
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
inline constexpr int kThreads = 384;
inline constexpr int kPreparers = 3;
inline constexpr uint32_t kTileBytes = kTokens * 128;
inline constexpr float kLog2e = 1.4426950408889634f;
inline constexpr float kLeastTerm = -160.0f;

enum class Where : int { kNowhere, kSlot, kWorkspace };

// What a step needs besides its tiles.
struct Step {
  float a[kTokens];           // log2 of the decay since the start of the step
  float dt[kTokens];          // dt', 0 past the last token
  float from_start[kTokens];  // exp2(a[l])
  float to_end[kTokens];      // dt'[m] exp2(a[T-1] - a[m])
  float row[kTokens];         // exp2(a[l] - a[16 (l / 16)])
  float column[3][kTokens];   // [w-1][m < 16 w]: exp2(a[16 w] - a[m]) dt'[m]
  float end, total;           // a[T-1], exp2(a[T-1])
  int token, tokens, head, channel;  // tokens = 0: there are no more steps
  bool first;                        // of its item
  Where load, store;          // of the state before this step and after it
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
  uint8_t mixing[2][kTileBytes];
  uint8_t out[4][kTokens * 32];
  Step step[kStages];
  uint64_t loaded[kStages], ready[kStages], empty[kStages], mixed[2], unmixed[2];
};

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
      begin_chunk();
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
      begin_chunk();
      first = true;
      return true;
    }
    return false;
  }

 private:
  const SsdChunkScanParams& p;
  int segments, walked, tiles, items, item;
  int chunk = 0, chunks_end = 0, chunk_end = 0, token_end = 0;

  __device__ void begin_chunk() {
    chunk_end = __ldg(p.cu_chunk_seqlens + chunk + 1);
    begin_step(__ldg(p.cu_chunk_seqlens + chunk));
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
__device__ __forceinline__ float time_step(float dt, float bias, const SsdChunkScanParams& p) {
  dt += bias;
  if (p.dt_softplus && dt <= kSoftplusThreshold) dt = log1pf(__expf(dt));
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

// Every third step, so that the loads of three steps are under way. A lane holds tokens 2 lane and 2 lane + 1.
template <class T, class S, int kN, ScanPass kPass>
__device__ __forceinline__ void prepare_steps(const SsdChunkScanParams& p, const ScanSplit& split, Walk walk, int turn,
                                              Shared<kN>& shared) {
  using namespace hopper;
  const int lane = threadIdx.x % 32;
  float next[2];
  const auto load = [&] {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int l = 2 * lane + i;
      next[i] = l < walk.tokens ? load_dt<T>(p, walk.token + l, walk.head) : 0.0f;
    }
  };
  int index = -1;  // of the walk's step
  const auto advance = [&] {
    do {
      ++index;
      if (!walk.next()) return false;
    } while (index % kPreparers != turn);
    return true;
  };
  bool more = advance();
  if (more) load();
  while (more) {
    const Position now = walk;
    const Ring<Shared<kN>::kStages> ring(index);
    const float raw[2] = {next[0], next[1]};
    more = advance();
    if (more) load();
    const int tokens = now.tokens, head = now.head;
    const float a_log2 = __ldg(p.a + head) * kLog2e, bias = p.dt_bias ? __ldg(p.dt_bias + head) : 0.0f;
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
    store(step.to_end, dt[0] * exp2(end - a[0]), dt[1] * exp2(fminf(end - a[1], 0.0f)));
    if constexpr (kPass == ScanPass::kScan) {
      store(step.a, a[0], a[1]);
      store(step.dt, dt[0], dt[1]);
      store(step.from_start, exp2(a[0]), exp2(a[1]));
      const float start = __shfl_sync(~0u, a[0], lane / 8 * 8);
      store(step.row, exp2(a[0] - start), exp2(a[1] - start));
#pragma unroll
      for (int w = 1; w < 4; ++w) {
        const float at = __shfl_sync(~0u, a[0], 8 * w);
        if (lane < 8 * w) {
          store(step.column[w - 1], exp2(fminf(at - a[0], 0.0f)) * dt[0], exp2(fminf(at - a[1], 0.0f)) * dt[1]);
        }
      }
    }
    if (lane == 0) {
      step.total = exp2(end);
      step.end = end;
      step.token = now.token;
      step.tokens = tokens;
      step.first = now.first;
      step.head = head;
      step.channel = now.channel;
      step.load = step.store = Where::kNowhere;
      const int64_t in_slot = (head * p.head_dim + now.channel) * p.state_size;
      S* slot = static_cast<S*>(p.state) + now.slot * p.state_slot_stride + in_slot;
      const int64_t part = (static_cast<int64_t>(now.sequence) * split.segments + now.segment) * p.heads + head;
      float* workspace = split.states + (part * p.head_dim + now.channel) * p.state_size;
      if (now.first && kPass == ScanPass::kScan) {
        if (split.segments > 1) {
          step.load = Where::kWorkspace;
          step.load_from = workspace;
        } else if (__ldg(p.has_initial_state + now.sequence) != 0) {
          step.load = Where::kSlot;
          step.load_from = slot;
        }
      }
      if (now.last) {
        if (kPass == ScanPass::kStates) {
          step.store = Where::kWorkspace;
          step.store_to = workspace;
          step.decay_to = now.channel == 0 ? split.decay + part : nullptr;
        } else if (now.segment == split.segments - 1) {
          step.store = Where::kSlot;
          step.store_to = slot;
        }
      }
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
    __syncwarp();
    if (lane == 0) barrier_arrive(shared.ready + ring.index);
  }
  if (index % kPreparers != turn) return;
  const Ring<Shared<kN>::kStages> ring(index);
  barrier_wait(shared.empty + ring.index, ring.phase ^ 1);
  if (lane == 0) {
    shared.step[ring.index].tokens = 0;
    barrier_arrive(shared.ready + ring.index);
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

// Warp w has rows 16 w .. 16 w + 15 of M, a thread of it rows g and g + 8 of those, columns 8 j + 2 t and + 1.
template <class T, int kN>
__device__ __forceinline__ void mix(Shared<kN>& shared) {
  using namespace hopper;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  Ring<Shared<kN>::kStages> ring;
  Ring<2> tile;
  const int l = 16 * warp + g;
  const int matrix_row = 16 * warp + lane % 16, matrix_piece = lane / 16;  // of stmatrix
  for (;; ring.advance(), tile.advance()) {
    const auto& stage = shared.stage[ring.index];
    const Step& step = shared.step[ring.index];
    barrier_wait(shared.ready + ring.index, ring.phase);
    if (step.tokens == 0) break;
    barrier_wait(shared.loaded + ring.index, ring.phase);
    float cb[32];
    products_begin();
    const uint64_t c = describe_along_sum(smem_address(stage.c)), b = describe_along_sum(smem_address(stage.b));
#pragma unroll
    for (int k = 0; k < kN / 16; ++k) {
      const uint32_t at = (k / 4 * kTileBytes + k % 4 * 32) >> 4;
      multiply_64<T>(cb, c + at, b + at, k != 0);
    }
    products_commit();
    products_wait<0>();
    pin(cb);

    const float row[2] = {step.row[l], step.row[l + 8]};
    barrier_wait(shared.unmixed + tile.index, tile.phase ^ 1);
    const uint32_t rows = smem_address(shared.mixing[tile.index]) + 128 * matrix_row;
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      if (j > 2 * warp) break;
      uint32_t r[4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int m = 8 * (j + i) + 2 * t;
        const float* v = cb + 4 * (j + i);
        if (j < 2 * warp) {
          const float2 column = *reinterpret_cast<const float2*>(step.column[warp - 1] + m);
          r[2 * i] = pack<T>(v[0] * row[0] * column.x, v[1] * row[0] * column.y);
          r[2 * i + 1] = pack<T>(v[2] * row[1] * column.x, v[3] * row[1] * column.y);
        } else {
          const float2 a = *reinterpret_cast<const float2*>(step.a + m);
          const float2 dt = *reinterpret_cast<const float2*>(step.dt + m);
          const auto weight = [&](int l_, int m_, float value, float a_m, float dt_m) {
            return m_ <= l_ ? value * exp2(fminf(step.a[l_] - a_m, 0.0f)) * dt_m : 0.0f;
          };
          r[2 * i] = pack<T>(weight(l, m, v[0], a.x, dt.x), weight(l, m + 1, v[1], a.y, dt.y));
          r[2 * i + 1] = pack<T>(weight(l + 8, m, v[2], a.x, dt.x), weight(l + 8, m + 1, v[3], a.y, dt.y));
        }
      }
      store_matrices(rows + 16 * ((j + matrix_piece) ^ (matrix_row % 8)), r[0], r[1], r[2], r[3]);
    }
    fence_async();
    __syncwarp();
    if (lane == 0) {
      barrier_arrive(shared.mixed + tile.index);
      barrier_arrive(shared.empty + ring.index);
    }
  }
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

// Warp w has channels 16 w .. 16 w + 15 of the item; a thread channels g and g + 8 of those, and tokens (n, for the
// state) 8 j + 2 t and + 1.
template <class T, class S, int kN, ScanPass kPass>
__device__ __forceinline__ void advance_state(const SsdChunkScanParams& p, Shared<kN>& shared) {
  using namespace hopper;
  constexpr bool kScan = kPass == ScanPass::kScan;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  Ring<Shared<kN>::kStages> ring;
  Ring<2> tile;
  float state[kN / 2];
#pragma unroll
  for (int i = 0; i < kN / 2; ++i) state[i] = 0;
  float decay = 0;  // log2, of a segment
  for (;; ring.advance(), tile.advance()) {
    const auto& stage = shared.stage[ring.index];
    const Step& step = shared.step[ring.index];
    barrier_wait(shared.ready + ring.index, ring.phase);
    if (step.tokens == 0) break;
    const int channel = 16 * warp + g, channels = static_cast<int>(p.head_dim) - step.channel;
    if (step.first) {
      if (step.load == Where::kSlot) {
        load_state<S, kN>(state, static_cast<const S*>(step.load_from), channel, channels, t);
      } else if (step.load == Where::kWorkspace) {
        load_state<float, kN>(state, static_cast<const float*>(step.load_from), channel, channels, t);
      } else {
#pragma unroll
        for (int i = 0; i < kN / 2; ++i) state[i] = 0;
      }
    }
    if constexpr (!kScan) decay = step.first ? step.end : decay + step.end;
    uint32_t packed[kN / 16][4];
    float y[32], mixed[32];
    if constexpr (kScan) {
#pragma unroll
      for (int k = 0; k < kN / 16; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) packed[k][i] = pack<T>(state[8 * k + 2 * i], state[8 * k + 2 * i + 1]);
      }
    }
    // Before the first product: ptxas waits for it before it lets any accumulator be touched.
    const float total = step.total;
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) state[i] *= total;
    barrier_wait(shared.loaded + ring.index, ring.phase);
    if constexpr (kScan) {
      const uint64_t c = describe_along_sum(smem_address(stage.c));
      products_begin();
#pragma unroll
      for (int k = 0; k < kN / 16; ++k) {
        multiply_64<T>(y, packed[k], c + ((k / 4 * kTileBytes + k % 4 * 32) >> 4), k != 0);
      }
      products_commit();
    }

    // x^T as a left operand, as it is and weighted.
    uint32_t x[4][4], weighted[4][4];
    const uint32_t x_tile = smem_address(stage.x);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int row = 16 * k + lane / 16 * 8 + lane % 8, piece = 2 * warp + lane / 8 % 2;
      load_transposed(x[k], x_tile + 128 * row + 16 * (piece ^ (row % 8)));
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 w = *reinterpret_cast<const float2*>(step.to_end + 16 * k + 8 * half + 2 * t);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float2 v = unpack<T>(x[k][2 * half + i]);
          weighted[k][2 * half + i] = pack<T>(v.x * w.x, v.y * w.y);
        }
      }
    }

    if constexpr (kScan) {
      barrier_wait(shared.mixed + tile.index, tile.phase);
      const uint64_t m = describe_along_sum(smem_address(shared.mixing[tile.index]));
      products_begin();
#pragma unroll
      for (int k = 0; k < 4; ++k) multiply_64<T>(mixed, x[k], m + ((k * 32) >> 4), k != 0);
      products_commit();
    }
    const uint64_t b = describe_across_sum(smem_address(stage.b), kTileBytes);
    products_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k) multiply_add_across<T>(state, weighted[k], b + ((k * 2048) >> 4));
    products_commit();

    if constexpr (kScan) {
      products_wait<1>();
      pin(y);
      pin(mixed);
      if (lane == 0) barrier_arrive(shared.unmixed + tile.index);
      const float d = p.d ? __ldg(p.d + step.head) : 0.0f;
      const uint32_t rows = smem_address(shared.out[warp]);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        uint32_t r[4];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float2 decay = *reinterpret_cast<const float2*>(step.from_start + 16 * k + 8 * half + 2 * t);
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const int at = 8 * k + 4 * half + 2 * i;
            const float2 v = unpack<T>(x[k][2 * half + i]);
            r[2 * half + i] = pack<T>(fmaf(decay.x, y[at], fmaf(d, v.x, mixed[at])),
                                      fmaf(decay.y, y[at + 1], fmaf(d, v.y, mixed[at + 1])));
          }
        }
        const int row = 16 * k + lane / 16 * 8 + lane % 8, piece = lane / 8 % 2;
        store_transposed(rows + 32 * row + 16 * (piece ^ (row / 4 % 2)), r[0], r[1], r[2], r[3]);
      }
      __syncwarp();
      const int piece = lane % 2;
      T* out = static_cast<T*>(p.out) + step.token * p.out_stride + step.head * p.head_dim + step.channel + 16 * warp +
               8 * piece;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 2 + 16 * i;
        const uint4 v = reinterpret_cast<const uint4*>(shared.out[warp])[2 * row + (piece ^ (row / 4 % 2))];
        if (row < step.tokens && 16 * warp + 8 * piece < channels) {
          *reinterpret_cast<uint4*>(out + row * p.out_stride) = v;
        }
      }
      __syncwarp();
    }
    products_wait<0>();
    pin(state);
    const Where store = step.store;
    void* store_to = step.store_to;
    if constexpr (!kScan) {
      if (step.store != Where::kNowhere && step.decay_to && threadIdx.x % 128 == 0) *step.decay_to = decay;
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(shared.empty + ring.index);
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
      barrier_init(shared.ready + i, 1);
      barrier_init(shared.empty + i, kPass == ScanPass::kScan ? 8 : 4);
    }
    for (int i = 0; i < 2; ++i) {
      barrier_init(shared.mixed + i, 4);
      barrier_init(shared.unmixed + i, 4);
    }
    barrier_init_fence();
  }
  // Above the diagonal M stays zero.
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(shared.mixing) / 16); i += kThreads) {
    reinterpret_cast<uint4*>(shared.mixing)[i] = uint4{};
  }
  fence_async();
  __syncthreads();
  const Walk walk(p, split.segments, kPass == ScanPass::kStates ? split.segments - 1 : split.segments);
  const int group = threadIdx.x / 128;
  if (group == 0) {
    registers_less<88>();
    const int warp = threadIdx.x / 32;
    if (threadIdx.x == 0) {
      copy_tiles<S, kN, kPass>(p, maps, split, walk, shared);
    } else if (warp != 0) {
      prepare_steps<T, S, kN, kPass>(p, split, walk, warp - 1, shared);
      if (warp == 3 && kPass == ScanPass::kScan) zero_padding<T>(p, walk);
    }
  } else if (group == 1) {
    registers_less<160>();
    if constexpr (kPass == ScanPass::kScan) mix<T, kN>(shared);
  } else {
    registers_more<240>();
    advance_state<T, S, kN, kPass>(p, shared);
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

// Any shape with head_dim <= 256 and state_size <= 4 kPer, any types: the recurrence of ops/ssd.h itself, token by token
// in float. One block per (sequence, head), 4 threads per channel; a thread's state elements are n = lane % 4 + 4 i.
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
