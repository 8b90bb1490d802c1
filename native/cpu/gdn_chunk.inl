// gdn_chunk: one sequence, some value heads of one key head, some of their channels.
//
// Idea. The recurrence of ops/gdn.h over up to 64 tokens at once ("sub-chunks", counted from the start of each chunk),
// in its WY form (Yang et al. 2024, arXiv 2406.06484). With a[l] the running sum of decay softplus(..) inside the
// sub-chunk, S the state before it and q, k normalised, what token l writes is u_l k_l^T, where
//   u_l      = beta_l (v_l - exp(a[l]) S k_l) - sum_{m<l} beta_l exp(a[l] - a[m]) (k_l . k_m) u_m
//   out_l    = exp(a[l]) S q_l + sum_{m<=l} exp(a[l] - a[m]) (q_l . k_m) u_m
//   S       <- exp(a[T-1]) S + sum_l exp(a[T-1] - a[l]) u_l k_l^T
// The first line is a triangular system, solved forwards, kRows rows at a time: the rows before them are a product, the
// kRows x kRows corner is scalars times registers. No matrix is inverted, so keys that repeat do no harm. Exponents are
// of sums <= 0, a is an unevaluated sum of two floats: after a step that forgets all, the sums of small steps behind it
// would be lost.
//
// Layout. As in ssd_chunk_scan: columns of tiles are channels of the value, k and q are [token][i], k also [i][token],
// the state is [i][channel]; u and the state are cut into panels.
//
// Mapping. A register tile of kRows rows x 2 vectors (panels.inl). No sum is cut or reordered by the number of heads or
// channels in the task, so a channel's bits do not depend on it.
//
// Bound. Multiply-adds: per token and value head 3 V K + 64 V, and 64 K shared by the value heads of the task.
#include "cpu/gdn.h"
#include "cpu/panels.inl"
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace gdn {

using panels::kColumns;
using panels::kRows;
using panels::kVectors;

inline constexpr int64_t kTokens = kDeltaTokens;
static_assert(kTokens % kColumns == 0 && kTokens % kRows == 0);

template <class T>
class Task {
 public:
  Task(const GdnChunkParams& params, Range task_heads, Range task_values, void* memory)
      : p(params),
        heads(task_heads),
        values(task_values),
        key_head(task_heads.begin / (params.value_heads / params.key_heads)),
        at(delta_layout(params, task_heads.end - task_heads.begin, task_values.end - task_values.begin)),
        scratch(static_cast<float*>(memory)) {}

  void run(int64_t sequence) {
    const int64_t begin = p.query_start_loc[sequence], end = p.query_start_loc[sequence + 1];
    if (begin == end) return;
    const int64_t slot = valid_slot(p.slots[sequence], p.slots_in_pool);
    if (slot < 0) {
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t h = heads.begin; h < heads.end; ++h) store_zeros(out(t, h), values.end - values.begin);
      }
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
  const GdnChunkParams& p;
  const Range heads, values;
  const int64_t key_head;
  const DeltaLayout at;
  float* const scratch;

  T* out(int64_t token, int64_t head) const {
    return static_cast<T*>(p.out) + token * p.out_stride + head * p.value_dim + values.begin;
  }
  const T* v_row(int64_t token, int64_t head) const {
    return static_cast<const T*>(p.v) + token * p.v_stride + head * p.value_dim + values.begin;
  }
  // The panel of a head's state that begins with `column` of the task's.
  float* state_panel(int64_t head, int64_t column) const {
    return scratch + at.state + (head - heads.begin) * at.state_stride + column * at.key_rows;
  }
  // f(head, first column of a panel, its columns, where its first channel lies in a slot).
  template <class F>
  void for_panels(F f) const {
    const int64_t count = values.end - values.begin;
    for (int64_t h = heads.begin; h < heads.end; ++h) {
      for (int64_t column = 0; column < count; column += kColumns) {
        f(h, column, smaller(kColumns, count - column), (h * p.value_dim + values.begin + column) * p.key_dim);
      }
    }
  }

  template <class S>
  void load_states(const S* state, bool has_initial_state) {
    if (!has_initial_state) {
      return store_zeros(scratch + at.state, (heads.end - heads.begin) * at.state_stride);
    }
    for_panels([&](int64_t h, int64_t column, int64_t columns, int64_t from) {
      panels::load_transposed<true>(state + from, p.key_dim, columns, p.key_dim, state_panel(h, column), kColumns);
    });
  }

  // -1 = nowhere.
  void store_states(int64_t slot) {
    if (slot < 0) return;
    with_float_type(p.state_dtype,
                    [&](auto s) { store_states(static_cast<decltype(s)*>(p.state) + slot * p.state_slot_stride); });
  }
  template <class S>
  void store_states(S* state) {
    for_panels([&](int64_t h, int64_t column, int64_t columns, int64_t to) {
      panels::store_transposed(state_panel(h, column), kColumns, columns, p.key_dim, state + to, p.key_dim);
    });
  }

  // Values of one head, by token of the sub-chunk.
  struct Gates {
    const float *beta, *a, *a_rest;

    // a[l] - a[m] for a register of m.
    F32 difference(int64_t l, int64_t m) const {
      return (set(a[l]) - load(a + m)) + (set(a_rest[l]) - load(a_rest + m));
    }
  };

  // Tokens [begin, begin + tokens) of the packed batch.
  void sub_chunk(int64_t begin, int64_t tokens) {
    const T* q = static_cast<const T*>(p.q) + begin * p.q_stride + key_head * p.key_dim;
    const T* k = static_cast<const T*>(p.k) + begin * p.k_stride + key_head * p.key_dim;
    for (int64_t l = 0; l < tokens; ++l) {
      normalise(q + l * p.q_stride, p.key_dim, p.eps, p.scale, scratch + at.q + l * at.key_stride);
      normalise(k + l * p.k_stride, p.key_dim, p.eps, 1.0f, scratch + at.k + l * at.key_stride);
    }
    panels::load_transposed<false>(scratch + at.k, at.key_stride, tokens, p.key_dim, scratch + at.k_transposed,
                                   kTokens);
    multiply_by_keys(at.k, at.kk, tokens);
    multiply_by_keys(at.q, at.qk, tokens);
    for (int64_t h = heads.begin; h < heads.end; ++h) {
      const Gates gates = load_gates(h, begin, tokens);
      weigh(gates, tokens);
      for (int64_t column = 0; column < values.end - values.begin; column += kColumns) {
        solve(h, begin, column, gates, tokens);
        write_out(h, begin, column, gates, tokens);
        update_state(h, column, gates, tokens);
      }
    }
  }

  // beta and the running sum a of a head.
  Gates load_gates(int64_t h, int64_t begin, int64_t tokens) const {
    float *beta = scratch + at.beta, *a = scratch + at.decay, *a_rest = scratch + at.decay_rest;
    const auto gate = [&](const void* from, int64_t stride, int64_t l, auto n) {
      const int64_t i = (begin + l) * stride + h;
      return p.gate_dtype == DType::f32 ? load_strided(static_cast<const float*>(from) + i, stride, n)
                                        : load_strided(static_cast<const T*>(from) + i, stride, n);
    };
    for_lanes(0, tokens, [&](int64_t l, auto n) {
      store_n(a + l, set(p.decay[h]) * softplus(gate(p.a, p.a_stride, l, n) + set(p.dt_bias[h])), n);
      store_n(beta + l, sigmoid(gate(p.b, p.b_stride, l, n)), n);
    });
    float total = 0, rest = 0;
    for (int64_t l = 0; l < tokens; ++l) {
      const float term = a[l], next = total + term, added = next - total;
      rest += (total - (next - added)) + (term - added);  // what `next` has lost (Knuth's two-sum)
      a[l] = total = next;
      a_rest[l] = rest;
    }
    return {beta, a, a_rest};
  }

  // rows . k on and left of the diagonal.
  void multiply_by_keys(int64_t rows, int64_t products, int64_t tokens) {
    for (int64_t l = 0; l < tokens; l += kRows) {
      for (int64_t m = 0; m < l + kRows; m += kColumns) {
        F32 tile[kRows][kVectors] = {};
        panels::multiply_add(tile, scratch + rows + l * at.key_stride, at.key_stride, scratch + at.k_transposed + m,
                             kTokens, p.key_dim);
        for (int r = 0; r < kRows; ++r) {
          for (int v = 0; v < kVectors; ++v) {
            store(scratch + products + (l + r) * kTokens + m + v * F32::lanes, tile[r][v]);
          }
        }
      }
    }
  }

  // The factors of u: -beta_l exp(a[l] - a[m]) (k_l . k_m) for m < l, and exp(a[l] - a[m]) (q_l . k_m) for m <= l;
  // zeros up to the end of the row's register tile.
  void weigh(const Gates& gates, int64_t tokens) {
    for (int64_t l = 0; l < tokens; ++l) {
      const int64_t row = l * kTokens, tile_end = (l / kRows + 1) * kRows;
      const F32 diagonal = set(static_cast<float>(l)), beta = zero() - set(gates.beta[l]);
      for (int64_t m = 0; m < tile_end; m += F32::lanes) {
        const F32 weight = exp(gates.difference(l, m)), column = set(static_cast<float>(m)) + load(panels::kLane);
        const F32 system = beta * weight * load(scratch + at.kk + row + m);
        store(scratch + at.system + row + m, select_less(column, diagonal, system, zero()));
        const F32 mixing = weight * load(scratch + at.qk + row + m);
        store(scratch + at.mixing + row + m, select_less(diagonal, column, zero(), mixing));
      }
    }
  }

  // u of one panel.
  void solve(int64_t h, int64_t begin, int64_t column, const Gates& gates, int64_t tokens) {
    alignas(64) float found[kTokens];  // factors of S k
    for (int64_t l = 0; l < tokens; l += F32::lanes) {
      store(found + l, zero() - load(gates.beta + l) * exp(load(gates.a + l) + load(gates.a_rest + l)));
    }
    const float* state = state_panel(h, column);
    float* u = scratch + at.u;
    for (int64_t l = 0; l < tokens; l += kRows) {
      F32 tile[kRows][kVectors] = {};
      panels::multiply_add(tile, scratch + at.k + l * at.key_stride, at.key_stride, state, kColumns, p.key_dim);
      for (int r = 0; r < kRows && l + r < tokens; ++r) {
        const T* v = v_row(begin + l + r, h) + column;
        for (int i = 0; i < kVectors; ++i) {
          const int64_t left = values.end - values.begin - column - i * F32::lanes;
          const F32 value = left >= F32::lanes ? load(v + i * F32::lanes)
                            : left > 0         ? load_partial(v + i * F32::lanes, static_cast<int>(left))
                                               : zero();
          tile[r][i] = fma(set(found[l + r]), tile[r][i], set(gates.beta[l + r]) * value);
        }
      }
      const float* system = scratch + at.system + l * kTokens;
      panels::multiply_add(tile, system, kTokens, u, kColumns, l);
      for (int r = 0; r < kRows && l + r < tokens; ++r) {
        for (int s = 0; s < r; ++s) {
          const F32 factor = set(system[r * kTokens + l + s]);
          for (int i = 0; i < kVectors; ++i) tile[r][i] = fma(factor, tile[s][i], tile[r][i]);
        }
        for (int i = 0; i < kVectors; ++i) store(u + (l + r) * kColumns + i * F32::lanes, tile[r][i]);
      }
    }
  }

  void write_out(int64_t h, int64_t begin, int64_t column, const Gates& gates, int64_t tokens) {
    alignas(64) float decay[kTokens];
    for (int64_t l = 0; l < tokens; l += F32::lanes) {
      store(decay + l, exp(load(gates.a + l) + load(gates.a_rest + l)));
    }
    for (int64_t l = 0; l < tokens; l += kRows) {
      F32 tile[kRows][kVectors] = {};
      panels::multiply_add(tile, scratch + at.q + l * at.key_stride, at.key_stride, state_panel(h, column), kColumns,
                           p.key_dim);
      for (int r = 0; r < kRows; ++r) {
        for (int i = 0; i < kVectors; ++i) tile[r][i] = tile[r][i] * set(decay[l + r]);
      }
      panels::multiply_add(tile, scratch + at.mixing + l * kTokens, kTokens, scratch + at.u, kColumns,
                           smaller(l + kRows, tokens));
      for (int r = 0; r < kRows && l + r < tokens; ++r) {
        T* y = out(begin + l + r, h) + column;
        for (int i = 0; i < kVectors; ++i) {
          const int64_t left = values.end - values.begin - column - i * F32::lanes;
          if (left >= F32::lanes) {
            store(y + i * F32::lanes, tile[r][i]);
          } else if (left > 0) {
            store_partial(y + i * F32::lanes, tile[r][i], static_cast<int>(left));
          }
        }
      }
    }
  }

  // u becomes u times what is left of it at the end.
  void update_state(int64_t h, int64_t column, const Gates& gates, int64_t tokens) {
    alignas(64) float weight[kTokens];
    for (int64_t l = 0; l < tokens; l += F32::lanes) store(weight + l, exp(gates.difference(tokens - 1, l)));
    float* u = scratch + at.u;
    for (int64_t l = 0; l < tokens; ++l) {
      for (int i = 0; i < kVectors; ++i) {
        float* row = u + l * kColumns + i * F32::lanes;
        store(row, load(row) * set(weight[l]));
      }
    }
    const F32 total = set(first_lane(exp(set(gates.a[tokens - 1] + gates.a_rest[tokens - 1]))));
    float* state = state_panel(h, column);
    for (int64_t n = 0; n < p.key_dim; n += kRows) {
      F32 tile[kRows][kVectors];
      for (int r = 0; r < kRows; ++r) {
        for (int i = 0; i < kVectors; ++i) tile[r][i] = load(state + (n + r) * kColumns + i * F32::lanes) * total;
      }
      panels::multiply_add(tile, scratch + at.k_transposed + n * kTokens, kTokens, u, kColumns, tokens);
      for (int r = 0; r < kRows; ++r) {
        for (int i = 0; i < kVectors; ++i) store(state + (n + r) * kColumns + i * F32::lanes, tile[r][i]);
      }
    }
  }
};

}  // namespace gdn

// `scratch` holds gdn_chunk_scratch_bytes(p, heads.end - heads.begin, values.end - values.begin).
inline void gdn_chunk(const GdnChunkParams& p, int64_t sequence, Range heads, Range values, void* scratch) {
  with_float_type(p.dtype, [&](auto t) { gdn::Task<decltype(t)>(p, heads, values, scratch).run(sequence); });
}

}  // namespace mamba::cpu::MAMBA_ISA
