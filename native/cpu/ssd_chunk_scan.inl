// ssd_chunk_scan: one sequence, some heads of one group.
//
// Idea. The recurrence of ops/ssd.h over up to 64 tokens at once, as matrix products in float ("sub-chunks", counted
// from the start of each chunk). With a[l] the running sum of dt' A inside the sub-chunk, T its tokens and S the state
// before:
//   cb[l][m]  = C_l . B_m                                             once for all heads
//   y_l       = exp(a[l]) C_l S^T + sum_{m<=l} cb[l][m] exp(a[l] - a[m]) dt'_m x_m + D x_l
//   S        <- exp(a[T-1]) S + sum_l (dt'_l exp(a[T-1] - a[l]) x_l) B_l^T
// All exponents are of sums of dt' A <= 0, taken from the later to the earlier token: nothing overflows. a is kept as
// an unevaluated sum of two floats: after one large step (-1000) the sums of small ones (-0.01) behind it would be
// lost.
//
// Layout. Operands become float tiles in scratch whose columns are the head's channels, so that all three products are
// "rows x panel += left[row][k] right[k][panel]" with a row-major left:
//   c [token][n], b [n][token] (transposed), mixing [token][token], x [token][channel], state [n][channel]
//   (transposed).
// x and the state are cut into panels of 2 registers of channels; a panel of the state is 16 KiB at n = 128, so that it
// stays in L1 beside the left rows. The state is a float from the slot's read to its write.
//
// Mapping. A register tile of kRows rows x 2 vectors. y stays in registers through both products, the D term and the
// conversion. No sum is cut or reordered by the number of heads in the task, so a head's bits do not depend on it.
//
// Bound. Multiply-adds: per token and head 2 P N + 64/2 P, and 64/2 N shared by the heads of the task. A tile of 8 x 2
// reads 2 vectors and 8 broadcasts for its 16 multiply-adds.
#include "cpu/panels.inl"
#include "cpu/simd/vectors.inl"
#include "cpu/ssd.h"

namespace mamba::cpu::MAMBA_ISA {
namespace scan {

using namespace panels;

inline constexpr int64_t kTokens = kScanTokens;
static_assert(kTokens % kColumns == 0 && kTokens % kRows == 0);

template <class T>
class Task {
 public:
  Task(const SsdChunkScanParams& params, Range task_heads, void* memory)
      : p(params),
        heads(task_heads),
        group(task_heads.begin / (params.heads / params.groups)),
        at(scan_layout(params, task_heads.end - task_heads.begin)),
        scratch(static_cast<float*>(memory)) {}

  void run(int64_t sequence) {
    const int64_t begin = p.query_start_loc[sequence], end = p.query_start_loc[sequence + 1];
    if (begin == end) return;
    const int64_t slot = valid_slot(p.slots[sequence], p.slots_in_pool);
    if (slot < 0) {
      for (int64_t t = begin; t < end; ++t) store_zeros(out(t, heads.begin), (heads.end - heads.begin) * p.head_dim);
      return;
    }
    with_float_type(p.state_dtype, [&](auto s) {
      load_states(static_cast<const decltype(s)*>(p.state) + slot * p.state_slot_stride,
                  p.has_initial_state[sequence] != 0);
    });
    const int64_t first = sequence == 0 ? 0 : p.last_chunk[sequence - 1] + 1;
    for (int64_t chunk = first; chunk <= p.last_chunk[sequence]; ++chunk) {
      const int64_t chunk_end = p.cu_chunk_seqlens[chunk + 1];
      for (int64_t t = p.cu_chunk_seqlens[chunk]; t < chunk_end; t += kTokens) {
        sub_chunk(t, smaller(kTokens, chunk_end - t));
      }
      if (p.chunk_slots) store_states(valid_slot(p.chunk_slots[chunk], p.slots_in_pool));
    }
    store_states(slot);
  }

 private:
  const SsdChunkScanParams& p;
  const Range heads;
  const int64_t group;
  const ScanLayout at;
  float* const scratch;

  T* out(int64_t token, int64_t head) const {
    return static_cast<T*>(p.out) + token * p.out_stride + head * p.head_dim;
  }
  const T* x_row(int64_t token, int64_t head) const {
    return static_cast<const T*>(p.x) + token * p.x_stride + head * p.head_dim;
  }
  static void prefetch_columns(const T* row) {
    for (int i = 0; i < kColumns; i += 64 / static_cast<int>(sizeof(T))) __builtin_prefetch(row + i);
  }
  // The panel of a head's state that begins with `column`.
  float* state_panel(int64_t head, int64_t column) const {
    return scratch + at.state + (head - heads.begin) * at.state_stride + column * at.state_rows;
  }

  template <class S>
  void load_states(const S* state, bool has_initial_state) {
    if (!has_initial_state) {
      return store_zeros(scratch + at.state, (heads.end - heads.begin) * at.state_stride);
    }
    for (int64_t h = heads.begin; h < heads.end; ++h) {
      for (int64_t column = 0; column < p.head_dim; column += kColumns) {
        load_transposed<true>(state + (h * p.head_dim + column) * p.state_size, p.state_size,
                              smaller(kColumns, p.head_dim - column), p.state_size, state_panel(h, column), kColumns);
      }
    }
  }

  // -1 = nowhere.
  void store_states(int64_t slot) {
    if (slot < 0) return;
    with_float_type(p.state_dtype,
                    [&](auto s) { store_states(static_cast<decltype(s)*>(p.state) + slot * p.state_slot_stride); });
  }
  template <class S>
  void store_states(S* state) {
    for (int64_t h = heads.begin; h < heads.end; ++h) {
      for (int64_t column = 0; column < p.head_dim; column += kColumns) {
        store_transposed(state_panel(h, column), kColumns, smaller(kColumns, p.head_dim - column), p.state_size,
                         state + (h * p.head_dim + column) * p.state_size, p.state_size);
      }
    }
  }

  // Values of one head, by token of the sub-chunk.
  struct Steps {
    const float *dt, *a, *a_rest;

    // a[l] - a[m] for a register of m.
    F32 difference(int64_t l, int64_t m) const {
      return (set(a[l]) - load(a + m)) + (set(a_rest[l]) - load(a_rest + m));
    }
  };

  // Tokens [begin, begin + tokens) of the packed batch.
  void sub_chunk(int64_t begin, int64_t tokens) {
    load_time_steps(begin, tokens);
    const T* b = static_cast<const T*>(p.b) + begin * p.b_stride + group * p.state_size;
    const T* c = static_cast<const T*>(p.c) + begin * p.c_stride + group * p.state_size;
    load_transposed<false>(b, p.b_stride, tokens, p.state_size, scratch + at.b, kTokens);
    for (int64_t l = 0; l < tokens; ++l) {
      for_lanes(0, p.state_size, [&](int64_t n, auto count) {
        store_n(scratch + at.c + l * at.c_stride + n, load_n(c + l * p.c_stride + n, count), count);
      });
    }
    multiply_cb(tokens);
    for (int64_t h = heads.begin; h < heads.end; ++h) {
      const int64_t row = (h - heads.begin) * kTokens;
      const Steps steps = {scratch + at.dt + row, scratch + at.decay + row, scratch + at.decay_rest + row};
      mix(steps, tokens);
      load_x(h, begin, steps, tokens);
      write_out(h, begin, steps, tokens);
      update_state(h, steps, tokens);
    }
  }

  // dt' and its running sum times A, a register of heads at a time, stored by head.
  void load_time_steps(int64_t begin, int64_t tokens) {
    for_lanes(heads.begin, heads.end, [&](int64_t h, auto n) {
      const F32 a = load_n(p.a + h, n), bias = p.dt_bias ? load_n(p.dt_bias + h, n) : zero();
      float* rows = scratch + (h - heads.begin) * kTokens;
      F32 total = zero(), rest = zero();
      for (int64_t l = 0; l < tokens; ++l) {
        const int64_t i = (begin + l) * p.dt_stride + h;
        F32 dt = p.dt_dtype == DType::f32 ? load_n(static_cast<const float*>(p.dt) + i, n)
                                          : load_n(static_cast<const T*>(p.dt) + i, n);
        dt = time_step(dt, bias, p.dt_softplus, p.dt_min, p.dt_max);
        const F32 term = dt * a, next = total + term, added = next - total;
        rest = rest + ((total - (next - added)) + (term - added));  // what `next` has lost (Knuth's two-sum)
        total = next;
        float dt_lanes[F32::lanes], total_lanes[F32::lanes], rest_lanes[F32::lanes];
        store(dt_lanes, dt);
        store(total_lanes, total);
        store(rest_lanes, rest);
        for (int j = 0; j < n; ++j) {
          rows[at.dt + j * kTokens + l] = dt_lanes[j];
          rows[at.decay + j * kTokens + l] = total_lanes[j];
          rows[at.decay_rest + j * kTokens + l] = rest_lanes[j];
        }
      }
    });
  }

  // cb on and left of the diagonal.
  void multiply_cb(int64_t tokens) {
    for (int64_t l = 0; l < tokens; l += kRows) {
      for (int64_t m = 0; m < l + kRows; m += kColumns) {
        F32 tile[kRows][kVectors] = {};
        multiply_add(tile, scratch + at.c + l * at.c_stride, at.c_stride, scratch + at.b + m, kTokens, p.state_size);
        for (int r = 0; r < kRows; ++r) {
          for (int v = 0; v < kVectors; ++v) {
            store(scratch + at.cb + (l + r) * kTokens + m + v * F32::lanes, tile[r][v]);
          }
        }
      }
    }
  }

  // mixing[l][m] = cb[l][m] exp(a[l] - a[m]) dt[m] for m <= l, and zeros up to the end of the row's register tile.
  void mix(const Steps& steps, int64_t tokens) {
    for (int64_t l = 0; l < tokens; ++l) {
      const float* cb = scratch + at.cb + l * kTokens;
      float* row = scratch + at.mixing + l * kTokens;
      const F32 diagonal = set(static_cast<float>(l) + 0.5f);
      const int64_t tile_end = (l / kRows + 1) * kRows;
      for (int64_t m = 0; m < tile_end; m += F32::lanes) {
        const F32 weight = load(cb + m) * exp(steps.difference(l, m)) * load(steps.dt + m);
        const F32 column = set(static_cast<float>(m)) + load(kLane);
        store(row + m, select_less(column, diagonal, weight, zero()));
      }
    }
  }

  // x as it is, for y, and times dt exp(a[T-1] - a), for the state.
  void load_x(int64_t h, int64_t begin, const Steps& steps, int64_t tokens) {
    alignas(64) float weight[kTokens];
    for (int64_t l = 0; l < tokens; l += F32::lanes) {
      store(weight + l, load(steps.dt + l) * exp(steps.difference(tokens - 1, l)));
    }
    const T* x = x_row(begin, h);
    for (int64_t column = 0; column < p.head_dim; column += kColumns) {
      for (int64_t l = 0; l < tokens; ++l) {
        float* panel = scratch + at.x + column * kTokens + l * kColumns;
        for_lanes(column, smaller(column + kColumns, p.head_dim), [&](int64_t i, auto n) {
          const F32 v = load_n(x + l * p.x_stride + i, n);
          store(panel + i - column, v);
          store(panel + i - column + (at.weighted_x - at.x), v * set(weight[l]));
        });
      }
    }
  }

  void write_out(int64_t h, int64_t begin, const Steps& steps, int64_t tokens) {
    alignas(64) float decay[kTokens];
    for (int64_t l = 0; l < tokens; l += F32::lanes) store(decay + l, exp(load(steps.a + l) + load(steps.a_rest + l)));
    const F32 d = p.d ? set(p.d[h]) : zero();
    for (int64_t column = 0; column < p.head_dim; column += kColumns) {
      const float *state = state_panel(h, column), *x = scratch + at.x + column * kTokens;
      for (int64_t l = 0; l < tokens; l += kRows) {
        // The next head's x, which lies in pieces too short and too far apart to be foreseen.
        const T* next = h + 1 < heads.end ? x_row(begin + l, h + 1) + column : nullptr;
        for (int r = 0; next && r < kRows && l + r < tokens; ++r) prefetch_columns(next + r * p.x_stride);
        F32 tile[kRows][kVectors] = {};
        multiply_add(tile, scratch + at.c + l * at.c_stride, at.c_stride, state, kColumns, p.state_size);
        for (int r = 0; r < kRows; ++r) {
          for (int v = 0; v < kVectors; ++v) tile[r][v] = tile[r][v] * set(decay[l + r]);
        }
        multiply_add(tile, scratch + at.mixing + l * kTokens, kTokens, x, kColumns, smaller(l + kRows, tokens));
        for (int r = 0; r < kRows && l + r < tokens; ++r) {
          T* y = out(begin + l + r, h);
          for (int v = 0; v < kVectors; ++v) {
            const int64_t i = column + v * F32::lanes;
            if (p.d) tile[r][v] = fma(d, load(x + (l + r) * kColumns + v * F32::lanes), tile[r][v]);
            if (i + F32::lanes <= p.head_dim) {
              store(y + i, tile[r][v]);
            } else if (i < p.head_dim) {
              store_partial(y + i, tile[r][v], static_cast<int>(p.head_dim - i));
            }
          }
        }
      }
    }
  }

  void update_state(int64_t h, const Steps& steps, int64_t tokens) {
    float decay[F32::lanes];
    store(decay, exp(set(steps.a[tokens - 1] + steps.a_rest[tokens - 1])));
    const F32 total = set(decay[0]);
    for (int64_t column = 0; column < p.head_dim; column += kColumns) {
      const float* x = scratch + at.weighted_x + column * kTokens;
      for (int64_t n = 0; n < p.state_size; n += kRows) {
        float* state = state_panel(h, column) + n * kColumns;
        F32 tile[kRows][kVectors];
        for (int r = 0; r < kRows; ++r) {
          for (int v = 0; v < kVectors; ++v) tile[r][v] = load(state + r * kColumns + v * F32::lanes) * total;
        }
        multiply_add(tile, scratch + at.b + n * kTokens, kTokens, x, kColumns, tokens);
        for (int r = 0; r < kRows; ++r) {
          for (int v = 0; v < kVectors; ++v) store(state + r * kColumns + v * F32::lanes, tile[r][v]);
        }
      }
    }
  }
};

}  // namespace scan

// `scratch` holds ssd_chunk_scan_scratch_bytes(p, heads.end - heads.begin).
inline void ssd_chunk_scan(const SsdChunkScanParams& p, int64_t sequence, Range heads, void* scratch) {
  with_float_type(p.dtype, [&](auto t) { scan::Task<decltype(t)>(p, heads, scratch).run(sequence); });
}

}  // namespace mamba::cpu::MAMBA_ISA
