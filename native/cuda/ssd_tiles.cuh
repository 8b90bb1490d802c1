#pragma once
// The chunk scan of 16-bit activations on any GPU with mma.sync: whatever the fused walk (ssd_walk.cuh) does not take.
//
// Idea. The walk's, and its formulas, with one block for one item (sequence, segment, head, kP channels). The tiles of
// the next step are copied while this one is computed, if two stages fit.
//
// Mapping. 8 warps. For C B^T, C S^T and M x a warp has 16 tokens and half of the columns; the fragments of C serve
// C B^T and C S^T. For S it has 16 channels and a part of the n, in registers from the first step to the last. M and
// the rounded S go through shared memory. What depends on dt only is done by a warp that has no C B^T.
//
// Layout. Tiles of rows of 2 kN or 128 bytes, 16-byte piece i of row r at i ^ (r % 8): neither copies nor ldmatrix meet
// in a bank. M takes C's place. Rows past the last token, channels past head_dim and n past state_size are zeros.
// Pointers and strides of 16 bytes: copied asynchronously; any others: by elements.
//
// Bound. At kP = 64, kN = 128: 72 ldmatrix.x4 and 112 mma of each warp and step: 2304 cycles of shared memory, 1500 of
// the matrix units. Branches stand around 4 products at least: each ends what the scheduler can overlap.
#include "cuda/mma.cuh"
#include "cuda/shared_memory.cuh"
#include "cuda/ssd_steps.cuh"

namespace mamba::cuda::scan {

// What may be accessed in words: 16 bytes of x, b and c, pairs of out and of states.
struct TileAccess {
  bool x, b, c, out, state;
};

inline constexpr int kTilesThreads = 256;

// Shared memory.
template <int kN, int kP, int kStages>
struct Tiles {
  struct Stage {
    uint8_t c[kTokens * kN * 2];  // then M: rows of 128 bytes
    uint8_t b[kTokens * kN * 2];
    uint8_t x[kTokens * 128];
  };
  struct alignas(16) Steps {
    float a[kTokens], source[kTokens], from_start[kTokens], to_end[kTokens];  // as in the walk's Step
    float end;
  };
  alignas(128) Stage stage[kStages];
  uint8_t state[kP * kN * 2];
  Steps steps[2];
};

// Rows of `columns` elements to a tile; zeros from there to `filled` and in the rows from `rows` on. By all threads.
template <class T, int kRowBytes>
__device__ __forceinline__ void load_tile(uint8_t* tile, const T* from, int64_t stride, int rows, int columns,
                                          int filled, bool words) {
  constexpr int kPieces = kRowBytes / 16;
  const uint32_t base = shared_address(tile);
#pragma unroll
  for (int i = threadIdx.x; i < kTokens * kPieces; i += kTilesThreads) {
    const int row = i / kPieces, piece = i % kPieces;
    if (8 * piece >= filled) continue;
    const int count = row < rows ? min(8, max(0, columns - 8 * piece)) : 0;
    const T* at = from + (count > 0 ? row * stride + 8 * piece : 0);
    const uint32_t to = tile_at<kRowBytes>(base, row, piece);
    if (words) {
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(at), "r"(2 * count) : "memory");
    } else {
      uint32_t pairs[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const auto* bits = reinterpret_cast<const uint16_t*>(at) + 2 * j;
        const uint32_t low = 2 * j < count ? bits[0] : 0, high = 2 * j + 1 < count ? bits[1] : 0;
        pairs[j] = low | high << 16;
      }
      asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(pairs[0]), "r"(pairs[1]), "r"(pairs[2]),
                   "r"(pairs[3])
                   : "memory");
    }
  }
}

template <class T, int kN, int kP, int kStages>
class TilesBlock {
 public:
  using Shared = Tiles<kN, kP, kStages>;
  using Stage = typename Shared::Stage;
  using Steps = typename Shared::Steps;

  __device__ TilesBlock(const SsdChunkScanParams& params, const TileAccess& access, const Position& item)
      : p(params),
        words(access),
        channels(min(kP, static_cast<int>(p.head_dim) - item.channel)),
        state_size(static_cast<int>(p.state_size)),
        a_log2(__ldg(p.a + item.head) * kLog2e),
        bias(p.dt_bias ? __ldg(p.dt_bias + item.head) : 0.0f),
        d(p.d ? __ldg(p.d + item.head) : 0.0f) {}

  template <bool kWithC>
  __device__ __forceinline__ void load(Stage& stage, const Position& at) {
    const int64_t group = at.head / (p.heads / p.groups);
    const T* x = static_cast<const T*>(p.x) + at.token * p.x_stride + at.head * p.head_dim + at.channel;
    const T* b = static_cast<const T*>(p.b) + at.token * p.b_stride + group * state_size;
    const T* c = static_cast<const T*>(p.c) + at.token * p.c_stride + group * state_size;
    const int filled = (state_size + 63) / 64 * 64;
    load_tile<T, 128>(stage.x, x, p.x_stride, at.tokens, channels, kP, words.x);
    load_tile<T, kRow>(stage.b, b, p.b_stride, at.tokens, state_size, filled, words.b);
    if (kWithC) load_tile<T, kRow>(stage.c, c, p.c_stride, at.tokens, state_size, filled, words.c);
  }

  // dt of a step, and later what depends on it only.
  __device__ __forceinline__ void load_steps(const Position& at) {
    if (warp != kPreparer) return;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int l = 2 * lane + i;
      raw[i] = l < at.tokens ? load_dt<T>(p, at.token + l, at.head) : 0.0f;
    }
  }
  __device__ __forceinline__ void prepare(Steps& steps, int tokens) {
    if (warp != kPreparer) return;
    const LaneSteps s = sum_steps(raw, a_log2, bias, tokens, p);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int l = 2 * lane + i;
      steps.a[l] = s.a[i];
      steps.source[l] = s.a[i] - fast_log2(s.dt[i]);
      steps.from_start[l] = fast_exp2(s.a[i]);
      steps.to_end[l] = s.dt[i] * fast_exp2(s.end - s.a[i]);
    }
    if (lane == 0) steps.end = s.end;
  }

  // C B^T, in 4 x 8 columns, and C S^T.
  __device__ __forceinline__ void multiply_c(const Stage& stage, const uint8_t* rounded) {
#pragma unroll
    for (int j = 0; j < 4; ++j) clear(cb[j]);
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) clear(y[j]);
    const bool has_y = kColumns * half < channels;
    if (has_cb() && has_y) {
      multiply_c<true, true>(stage, rounded);
    } else if (has_cb()) {
      multiply_c<true, false>(stage, rounded);
    } else if (has_y) {
      multiply_c<false, true>(stage, rounded);
    }
  }

  // M to where C was; y is scaled.
  __device__ __forceinline__ void mix(Stage& stage, const Steps& steps) {
    const int l = 16 * rows + g;
    const float a[2] = {steps.a[l], steps.a[l + 8]};
    const float scale[2] = {steps.from_start[l], steps.from_start[l + 8]};
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) y[j][i] *= scale[i / 2];
    }
    if (!has_cb()) return;
    const uint32_t mixing = tile_at<128>(shared_address(stage.c), l, 4 * half) + 4 * t;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int m = 32 * half + 8 * j + 2 * t;
      const float source[2] = {steps.source[m], steps.source[m + 1]};
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float v[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int after = l + 8 * r - (m + i);
          v[i] = fmaf(cb[j][2 * r + i], fast_exp2(a[r] - source[i]), after == 0 ? d : 0.0f);
          if (after < 0) v[i] = 0;
        }
        store_shared(further(mixing, 16 * j) + 8 * 128 * r, pack_operands<T>(v[0], v[1]));
      }
    }
  }

  // y += M x, and to out.
  __device__ __forceinline__ void write_out(const Stage& stage, const Position& at) {
    using namespace hopper;
    const uint32_t mixing = tile_at<128>(shared_address(stage.c), 16 * rows + lane % 16, lane / 16);
    const uint32_t x = tile_at<128>(shared_address(stage.x), lane % 16, kColumns / 8 * half + lane / 16);
    if (kColumns * half >= channels) return;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (k > rows) break;
      uint32_t left[4], right[kColumns / 16][4];
      load_matrices(left, further(mixing, 32 * k));
#pragma unroll
      for (int j = 0; j < kColumns / 16; ++j) load_transposed(right[j], further(x, 32 * j) + 16 * 128 * k);
#pragma unroll
      for (int j = 0; j < kColumns / 16; ++j) multiply_two(y + 2 * j, left, right[j]);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int l = 16 * rows + g + 8 * r;
      if (l >= at.tokens) continue;
      T* out = static_cast<T*>(p.out) + (at.token + l) * p.out_stride + at.head * p.head_dim + at.channel;
#pragma unroll
      for (int j = 0; j < kColumns / 8; ++j) {
        const int channel = kColumns * half + 8 * j + 2 * t;
        if (words.out) {
          if (channel < channels) store_pair(out + channel, y[j][2 * r], y[j][2 * r + 1]);
        } else {
          if (channel < channels) out[channel] = T(y[j][2 * r]);
          if (channel + 1 < channels) out[channel + 1] = T(y[j][2 * r + 1]);
        }
      }
    }
  }

  __device__ __forceinline__ void update_state(const Stage& stage, const Steps& steps) {
    using namespace hopper;
    const float total = fast_exp2(steps.end);
#pragma unroll
    for (int j = 0; j < kStateTiles; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) state[j][i] *= total;
    }
    if (state_channel >= channels) return;
    const uint32_t x = tile_at<128>(shared_address(stage.x), along, state_channel / 8 + lane / 8 % 2);
    const uint32_t b = tile_at<kRow>(shared_address(stage.b), lane % 16, lane / 16) + 2 * state_n;
    uint32_t left[4][4];
#pragma unroll
    for (int k = 0; k < 4; ++k) load_transposed(left[k], x + 16 * 128 * k);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 w = *reinterpret_cast<const float2*>(steps.to_end + 16 * k + 2 * t + i / 2 * 8);
        const float2 v = hopper::unpack<T>(left[k][i]);
        left[k][i] = pack_operands<T>(v.x * w.x, v.y * w.y);
      }
    }
#pragma unroll
    for (int n = 0; n < kN / kStateParts; n += 64) {
      if (state_n + n >= state_size) break;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        uint32_t right[4][4];
#pragma unroll
        for (int j = 0; j < 4; ++j) load_transposed(right[j], further(b, 2 * n + 32 * j) + 16 * kRow * k);
#pragma unroll
        for (int j = 0; j < 4; ++j) multiply_two(state + n / 8 + 2 * j, left[k], right[j]);
      }
    }
  }

  // The operand of C S^T.
  __device__ __forceinline__ void round_state(uint8_t* rounded) {
    const uint32_t to = tile_at<kRow>(shared_address(rounded), state_channel + g, 0) + 2 * state_n + 4 * t;
#pragma unroll
    for (int j = 0; j < kStateTiles; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        store_shared(further(to, 16 * j) + 8 * kRow * r, pack_operands<T>(state[j][2 * r], state[j][2 * r + 1]));
      }
    }
  }

  // What is not there is read elsewhere: a branch for each load would wait for each.
  __device__ __forceinline__ void load_state(const StatePlace& place) {
#pragma unroll
    for (int j = 0; j < kStateTiles; ++j) clear(state[j]);
    if (!place.at) return;
    with_state_type(place.type, place.at, [&](const auto* from) {
      each_pair([&](float& first, float& second, int i, int count) {
        if (words.state) {
          const float2 v = load_pair(from + (count > 0 ? i : 0));
          first = v.x, second = v.y;
        } else {
          first = as_float(from[count > 0 ? i : 0]), second = as_float(from[count > 1 ? i + 1 : 0]);
        }
      });
    });
    each_pair([&](float& first, float& second, int, int count) {
      if (count <= 0) first = 0;
      if (count <= 1) second = 0;
    });
  }
  __device__ __forceinline__ void store_state(const StatePlace& place) {
    if (!place.at) return;
    with_state_type(place.type, place.at, [&](auto* to) {
      using S = std::remove_pointer_t<decltype(to)>;
      each_pair([&](float& first, float& second, int i, int count) {
        if (words.state && count > 0) {
          store_pair(to + i, first, second);
        } else {
          if (count > 0) to[i] = S(first);
          if (count > 1) to[i + 1] = S(second);
        }
      });
    });
  }

 private:
  static constexpr int kPreparer = 4;                       // a warp
  static constexpr int kRow = kN * 2;                       // bytes
  static constexpr int kColumns = kP / 2;                   // of y, of a warp
  static constexpr int kStateParts = 8 / (kP / 16);         // of n
  static constexpr int kStateTiles = kN / kStateParts / 8;  // 16 channels x 8 n each

  const SsdChunkScanParams& p;
  const TileAccess& words;
  const int channels, state_size;
  const float a_log2, bias, d;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int rows = warp % 4, half = warp / 4;  // 16 tokens, half of the columns
  const int state_channel = warp % (kP / 16) * 16, state_n = warp / (kP / 16) * (kN / kStateParts);
  const int along = lane / 16 * 8 + lane % 8;  // row of ldmatrix whose second half are further rows
  float state[kStateTiles][4], cb[4][4], y[kColumns / 8][4], raw[2];

  // Whether its columns of C B^T are not all after its tokens.
  __device__ bool has_cb() const { return 2 * half <= rows; }
  static __device__ __forceinline__ void clear(float (&v)[4]) { v[0] = v[1] = v[2] = v[3] = 0; }
  static __device__ __forceinline__ void store_shared(uint32_t at, uint32_t v) {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(at), "r"(v) : "memory");
  }

  // Two products with the same left operand.
  static __device__ __forceinline__ void multiply_two(float (*sums)[4], const uint32_t (&left)[4],
                                                      const uint32_t (&right)[4]) {
    multiply_add<T>(sums[0], left, right[0], right[1]);
    multiply_add<T>(sums[1], left, right[2], right[3]);
  }

  template <bool kCb, bool kY>
  __device__ __forceinline__ void multiply_c(const Stage& stage, const uint8_t* rounded) {
    using namespace hopper;
    const uint32_t c = tile_at<kRow>(shared_address(stage.c), 16 * rows + lane % 16, lane / 16);
    const uint32_t b = tile_at<kRow>(shared_address(stage.b), 32 * half + along, lane / 8 % 2);
    const uint32_t s = tile_at<kRow>(shared_address(rounded), kColumns * half + along, lane / 8 % 2);
#pragma unroll
    for (int n = 0; n < kN; n += 64) {
      if (n >= state_size) break;
#pragma unroll
      for (int k = 2 * n; k < 2 * n + 128; k += 32) {  // bytes of a row
        uint32_t left[4], of_b[2][4], of_s[kColumns / 16][4];
        load_matrices(left, further(c, k));
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          if (kCb) load_matrices(of_b[j], further(b, k) + 16 * kRow * j);
        }
#pragma unroll
        for (int j = 0; j < kColumns / 16; ++j) {
          if (kY) load_matrices(of_s[j], further(s, k) + 16 * kRow * j);
        }
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          if (kCb) multiply_two(cb + 2 * j, left, of_b[j]);
        }
#pragma unroll
        for (int j = 0; j < kColumns / 16; ++j) {
          if (kY) multiply_two(y + 2 * j, left, of_s[j]);
        }
      }
    }
  }

  // use(first, second, i, count) for each pair of the state that a thread has; i is its place in memory, `count` how
  // many of the two are there.
  template <class Use>
  __device__ __forceinline__ void each_pair(Use use) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int channel = state_channel + g + 8 * r;
#pragma unroll
      for (int j = 0; j < kStateTiles; ++j) {
        const int n = state_n + 8 * j + 2 * t;
        use(state[j][2 * r], state[j][2 * r + 1], channel * state_size + n, channel < channels ? state_size - n : 0);
      }
    }
  }
};

template <class T, int kP>
__device__ __forceinline__ void zero_padding(const SsdChunkScanParams& p, const Position& at) {
  const int begin = p.query_start_loc[at.sequence], tokens = p.query_start_loc[at.sequence + 1] - begin;
  const int channels = min(kP, static_cast<int>(p.head_dim) - at.channel);
  for (int64_t i = threadIdx.x; i < int64_t{tokens} * channels; i += kTilesThreads) {
    T* row = static_cast<T*>(p.out) + (begin + i / channels) * p.out_stride;
    row[at.head * p.head_dim + at.channel + i % channels] = T(0.0f);
  }
}

// A block for each item. 64 channels with 256 n do not fit into 128 registers.
template <class T, int kN, int kP, int kStages, ScanPass kPass>
__global__ __launch_bounds__(kTilesThreads,
                             kN* kP > 128 * 64 ? 1 : 2) void tiles_kernel(const __grid_constant__ SsdChunkScanParams p,
                                                                          const __grid_constant__ ScanSplit split,
                                                                          const __grid_constant__ TileAccess words) {
  constexpr bool kScan = kPass == ScanPass::kScan;
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<Tiles<kN, kP, kStages>*>(raw);
  wait_for_inputs();
  let_next_start();
  Walk<kP> walk(p, split.segments, kScan ? split.segments : split.segments - 1);
  if (!walk.next()) {
    if (!kScan) return;
    Walk<kP> padding(p, split.segments, split.segments);
    if (padding.next_item(true) && padding.segment == 0) zero_padding<T, kP>(p, padding);
    return;
  }
  TilesBlock<T, kN, kP, kStages> block(p, words, walk);
  block.load_steps(walk);
  block.template load<kScan>(shared.stage[0], walk);
  block.load_state(place_before<kPass>(p, split, walk));
  if (kScan) block.round_state(shared.state);
  block.prepare(shared.steps[0], walk.tokens);
  float decay = 0;  // log2
  for (int i = 0;; i ^= 1) {
    auto& stage = shared.stage[i % kStages];
    auto& steps = shared.steps[i];
    wait_for_copies();
    __syncthreads();  // the step is there, all are done with the one before
    const Position now = walk;
    if (!now.last) {
      walk.next();
      block.load_steps(walk);
      if (kStages == 2) block.template load<kScan>(shared.stage[(i + 1) % kStages], walk);
    }
    if constexpr (kScan) {
      block.multiply_c(stage, shared.state);
      __syncthreads();  // all have read C and the rounded state
      block.mix(stage, steps);
    }
    block.update_state(stage, steps);
    decay += steps.end;
    block.store_state(snapshot_place<kPass>(p, now));
    if (!now.last) {
      if (kScan) block.round_state(shared.state);
      block.prepare(shared.steps[i ^ 1], walk.tokens);
    }
    if constexpr (kScan) {
      __syncthreads();  // M is there
      block.write_out(stage, now);
    }
    if (now.last) break;
    if (kStages == 1) {
      __syncthreads();
      block.template load<kScan>(stage, walk);
    }
  }
  block.store_state(place_after<kPass>(p, split, walk));
  if (!kScan && walk.channel == 0 && threadIdx.x == 0) split.decay[part_of(p, split, walk)] = decay;
}

}  // namespace mamba::cuda::scan
