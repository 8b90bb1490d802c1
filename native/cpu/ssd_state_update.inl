// ssd_state_update: one row (one token), some heads.
//
// Idea. S <- decay S + (dt' x) B^T and y = S C in one pass over the state: each element is read, used and written once.
//
// Mapping. Vectors run along the state's last dimension, channel after channel: strictly in the order of memory,
// because four channels side by side (which would share the loads of B and C) get a third of the bandwidth from the
// prefetchers. The sums across the lanes are made for kRows channels at once. What belongs to a head (tied) or a
// channel (untied) is made in registers of kTile heads or channels beforehand; B and C are turned into floats once per
// group.
//
// Bound. Memory: heads P N state elements read and written, 64 KiB per head at P = 64, N = 128 and float.
#pragma once
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace step {

inline constexpr int64_t kTile = 64;
inline constexpr int64_t kPiece = 512;
inline constexpr int kRows = 4;

template <class T>
struct Operands {
  const T *x, *b, *c, *z;
  T* out;
};

// B and C of one group as floats, a piece of kPiece elements at a time; a state of more is walked piece by piece.
template <class T>
class GroupInputs {
 public:
  alignas(64) float b[kPiece], c[kPiece];

  GroupInputs(const SsdStateUpdateParams& params, const Operands<T>& operands) : p(params), o(operands) {}

  // Elements [begin, begin + count) for head h, unless they are there from the head before.
  void load(int64_t h, int64_t begin, int64_t count) {
    const int64_t at = h / (p.heads / p.groups) * p.state_size + begin;
    if (at == loaded) return;
    for_lanes(0, count, [&](int64_t n, auto lanes) {
      store_n(b + n, load_n(o.b + at + n, lanes), lanes);
      store_n(c + n, load_n(o.c + at + n, lanes), lanes);
    });
    loaded = at;
  }

 private:
  const SsdStateUpdateParams& p;
  const Operands<T>& o;
  int64_t loaded = -1;
};

// The factors of elements [n, n + lanes) of a channel: one per head, or one per element as in Mamba-1.
struct HeadDecay {
  F32 value;
  F32 at(int64_t, int) const { return value; }
};
struct ElementDecay {
  F32 dt;
  const float* a;
  int64_t stride;
  template <class Count>
  F32 at(int64_t n, Count lanes) const {
    return exp(dt * load_strided(a + n * stride, stride, lanes));
  }
};

// Elements [0, count) of R channels, which are state_size elements apart; their products with C are added to y.
template <int R, class S, class Decay>
inline __attribute__((always_inline)) void update_rows(S* state, int64_t state_size, int64_t count,
                                                       const float* weighted_x, const float* b, const float* c,
                                                       Decay decay, float* y) {
  F32 sums[R];
  for (int r = 0; r < R; ++r) {
    const F32 x = set(weighted_x[r]);
    F32 row_sum = zero();
    S* row = state + r * state_size;
    for_lanes(0, count, [&](int64_t n, auto lanes) {
      const F32 s = fma(x, load_n(b + n, lanes), decay.at(n, lanes) * load_n(row + n, lanes));
      store_n(row + n, s, lanes);
      row_sum = fma(s, load_n(c + n, lanes), row_sum);
    });
    sums[r] = row_sum;
  }
  for (int r = 0; r < R; ++r) y[r] += sum(sums[r]);
}

// R channels at a time. Not inlined: one copy for all types of x.
template <int R, class S, class Decay>
__attribute__((noinline)) void update_channels(int64_t channels, S* state, int64_t state_size, int64_t count,
                                               const float* weighted_x, const float* b, const float* c, Decay decay,
                                               float* y) {
  for (; channels >= R; channels -= R, state += R * state_size, weighted_x += R, y += R) {
    update_rows<R>(state, state_size, count, weighted_x, b, c, decay, y);
  }
  for (; channels > 0; --channels, state += state_size, ++weighted_x, ++y) {
    update_rows<1>(state, state_size, count, weighted_x, b, c, decay, y);
  }
}

// Loads a run of time steps from index i on.
template <class T, class Count>
inline F32 load_dt(const SsdStateUpdateParams& p, int64_t i, int64_t stride, Count n) {
  return p.dt_dtype == DType::f32 ? load_strided(static_cast<const float*>(p.dt) + i, stride, n)
                                  : load_strided(static_cast<const T*>(p.dt) + i, stride, n);
}

// y + D x, gated by silu(z), for channels [first, first + count) of a head.
template <class T>
inline void write_out(const SsdStateUpdateParams& p, const Operands<T>& o, int64_t h, int64_t first, int64_t count,
                      const float* y) {
  const int64_t at = h * p.head_dim + first;
  for_lanes(0, count, [&](int64_t i, auto n) {
    F32 v = load_n(y + i, n);
    if (p.d) {
      const float* d = p.d + h * p.d_head_stride + (first + i) * p.d_channel_stride;
      v = fma(load_strided(d, p.d_channel_stride, n), load_n(o.x + at + i, n), v);
    }
    if (p.z) v = v * silu(load_n(o.z + at + i, n));
    store_n(o.out + at + i, v, n);
  });
}

// One decay and one time step per head. `slot` is where the row's state begins, in elements.
template <class T>
void tied(const SsdStateUpdateParams& p, const Operands<T>& o, int64_t slot, int64_t row, Range heads) {
  GroupInputs<T> inputs(p, o);
  for (int64_t begin = heads.begin; begin < heads.end; begin += kTile) {
    const int64_t end = smaller(begin + kTile, heads.end);
    float dt[kTile], decay[kTile];
    for_lanes(begin, end, [&](int64_t h, auto n) {
      const F32 bias =
          p.dt_bias ? load_strided(p.dt_bias + h * p.dt_bias_head_stride, p.dt_bias_head_stride, n) : zero();
      const F32 v = time_step(load_dt<T>(p, row * p.dt_row_stride + h * p.dt_head_stride, p.dt_head_stride, n), bias,
                              p.dt_softplus, p.dt_min, p.dt_max);
      store_n(dt + h - begin, v, n);
      store_n(decay + h - begin, exp(v * load_strided(p.a + h * p.a_head_stride, p.a_head_stride, n)), n);
    });
    for (int64_t h = begin; h < end; ++h) {
      const F32 head_decay = set(decay[h - begin]), head_dt = set(dt[h - begin]);
      for (int64_t first = 0; first < p.head_dim; first += kTile) {
        const int64_t count = smaller(kTile, p.head_dim - first);
        float x[kTile], y[kTile] = {};
        for_lanes(0, count,
                  [&](int64_t i, auto n) { store_n(x + i, load_n(o.x + h * p.head_dim + first + i, n) * head_dt, n); });
        const int64_t channel = slot + (h * p.head_dim + first) * p.state_size;
        for (int64_t n = 0; n < p.state_size; n += kPiece) {
          const int64_t size = smaller(kPiece, p.state_size - n);
          inputs.load(h, n, size);
          with_float_type(p.state_dtype, [&](auto s) {
            update_channels<kRows>(count, static_cast<decltype(s)*>(p.state) + channel + n, p.state_size, size, x,
                                   inputs.b, inputs.c, HeadDecay{head_decay}, y);
          });
        }
        write_out(p, o, h, first, count, y);
      }
    }
  }
}

// A time step per channel and a decay per element, as in Mamba-1.
template <class T>
void untied(const SsdStateUpdateParams& p, const Operands<T>& o, int64_t slot, int64_t row, Range heads) {
  GroupInputs<T> inputs(p, o);
  for (int64_t h = heads.begin; h < heads.end; ++h) {
    for (int64_t first = 0; first < p.head_dim; first += kTile) {
      const int64_t count = smaller(kTile, p.head_dim - first);
      float dt[kTile], x[kTile], y[kTile] = {};
      for_lanes(0, count, [&](int64_t i, auto n) {
        const int64_t channel = first + i, stride = p.dt_bias_channel_stride;
        const F32 bias =
            p.dt_bias ? load_strided(p.dt_bias + h * p.dt_bias_head_stride + channel * stride, stride, n) : zero();
        const int64_t at = row * p.dt_row_stride + h * p.dt_head_stride + channel * p.dt_channel_stride;
        const F32 v = time_step(load_dt<T>(p, at, p.dt_channel_stride, n), bias, p.dt_softplus, p.dt_min, p.dt_max);
        store_n(dt + i, v, n);
        store_n(x + i, load_n(o.x + h * p.head_dim + channel, n) * v, n);
      });
      const int64_t channel = slot + (h * p.head_dim + first) * p.state_size;
      for (int64_t n = 0; n < p.state_size; n += kPiece) {
        const int64_t size = smaller(kPiece, p.state_size - n), stride = p.a_state_stride;
        inputs.load(h, n, size);
        for (int64_t i = 0; i < count; ++i) {
          const float* a = p.a + h * p.a_head_stride + (first + i) * p.a_channel_stride + n * stride;
          with_float_type(p.state_dtype, [&](auto s) {
            update_channels<1>(1, static_cast<decltype(s)*>(p.state) + channel + i * p.state_size + n, p.state_size,
                               size, x + i, inputs.b, inputs.c, ElementDecay{set(dt[i]), a, stride}, y + i);
          });
        }
      }
      write_out(p, o, h, first, count, y);
    }
  }
}

}  // namespace step

inline void ssd_state_update(const SsdStateUpdateParams& p, int64_t row, Range heads) {
  with_float_type(p.dtype, [&](auto t) {
    using T = decltype(t);
    const step::Operands<T> o = {
        static_cast<const T*>(p.x) + row * p.x_stride, static_cast<const T*>(p.b) + row * p.b_stride,
        static_cast<const T*>(p.c) + row * p.c_stride, p.z ? static_cast<const T*>(p.z) + row * p.z_stride : nullptr,
        static_cast<T*>(p.out) + row * p.out_stride};
    const int64_t slot = valid_slot(p.slots[row], p.slots_in_pool);
    if (slot < 0) return store_zeros(o.out + heads.begin * p.head_dim, (heads.end - heads.begin) * p.head_dim);
    (p.tied() ? step::tied<T> : step::untied<T>)(p, o, slot * p.state_slot_stride, row, heads);
  });
}

}  // namespace mamba::cpu::MAMBA_ISA
