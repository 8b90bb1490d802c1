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
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace step {

inline constexpr int64_t kTile = 64;
inline constexpr int kRows = 4;

template <class T>
struct Operands {
  const T *x, *b, *c, *z;
  T* out;
};

// B and C of one group as floats, or where they lie if the state is larger than kMaxState.
template <class T>
class GroupInputs {
 public:
  GroupInputs(const SsdStateUpdateParams& params, const Operands<T>& operands)
      : p(params), o(operands), fits(params.state_size <= kMaxState) {}

  // f(b, c) for head h.
  template <class F>
  void use(int64_t h, F f) {
    const int64_t group = h / (p.heads / p.groups);
    const T *from_b = o.b + group * p.state_size, *from_c = o.c + group * p.state_size;
    if (!fits) return f(from_b, from_c);
    if (group != loaded) {
      for_lanes(0, p.state_size, [&](int64_t n, auto count) {
        store_n(b + n, load_n(from_b + n, count), count);
        store_n(c + n, load_n(from_c + n, count), count);
      });
      loaded = group;
    }
    f(static_cast<const float*>(b), static_cast<const float*>(c));
  }

 private:
  static constexpr int64_t kMaxState = 512;
  const SsdStateUpdateParams& p;
  const Operands<T>& o;
  const bool fits;
  int64_t loaded = -1;
  alignas(64) float b[kMaxState], c[kMaxState];
};

// R channels from `state` on. decay(r, n, count): the factor of elements [n, n + count) of channel r.
template <int R, class S, class B, class Decay>
inline void update_rows(S* state, int64_t state_size, const float* weighted_x, const B* b, const B* c, Decay decay,
                        float* y) {
  F32 sums[R];
  for (int r = 0; r < R; ++r) {
    const F32 x = set(weighted_x[r]);
    F32 row_sum = zero();
    S* row = state + r * state_size;
    for_lanes(0, state_size, [&](int64_t n, auto count) {
      const F32 s = fma(x, load_n(b + n, count), decay(r, n, count) * load_n(row + n, count));
      store_n(row + n, s, count);
      row_sum = fma(s, load_n(c + n, count), row_sum);
    });
    sums[r] = row_sum;
  }
  for (int r = 0; r < R; ++r) y[r] = sum(sums[r]);
}

template <class S, class B, class Decay>
inline void update_channels(int64_t channels, S* state, int64_t state_size, const float* weighted_x, const B* b,
                            const B* c, Decay decay, float* y) {
  int64_t i = 0;
  for (; i + kRows <= channels; i += kRows) {
    update_rows<kRows>(state + i * state_size, state_size, weighted_x + i, b, c, decay, y + i);
  }
  for (; i < channels; ++i) update_rows<1>(state + i * state_size, state_size, weighted_x + i, b, c, decay, y + i);
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

// One decay and one time step per head.
template <class T, class S>
void tied(const SsdStateUpdateParams& p, const Operands<T>& o, S* state, int64_t row, Range heads) {
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
      const auto factor = [head_decay](int, int64_t, int) { return head_decay; };
      for (int64_t first = 0; first < p.head_dim; first += kTile) {
        const int64_t count = smaller(kTile, p.head_dim - first);
        float x[kTile], y[kTile];
        for_lanes(0, count,
                  [&](int64_t i, auto n) { store_n(x + i, load_n(o.x + h * p.head_dim + first + i, n) * head_dt, n); });
        S* channel = state + (h * p.head_dim + first) * p.state_size;
        inputs.use(h, [&](auto* b, auto* c) { update_channels(count, channel, p.state_size, x, b, c, factor, y); });
        write_out(p, o, h, first, count, y);
      }
    }
  }
}

// A time step per channel and a decay per element, as in Mamba-1.
template <class T, class S>
void untied(const SsdStateUpdateParams& p, const Operands<T>& o, S* state, int64_t row, Range heads) {
  GroupInputs<T> inputs(p, o);
  for (int64_t h = heads.begin; h < heads.end; ++h) {
    for (int64_t first = 0; first < p.head_dim; first += kTile) {
      const int64_t count = smaller(kTile, p.head_dim - first);
      float dt[kTile], x[kTile], y[kTile];
      for_lanes(0, count, [&](int64_t i, auto n) {
        const int64_t channel = first + i, stride = p.dt_bias_channel_stride;
        const F32 bias =
            p.dt_bias ? load_strided(p.dt_bias + h * p.dt_bias_head_stride + channel * stride, stride, n) : zero();
        const int64_t at = row * p.dt_row_stride + h * p.dt_head_stride + channel * p.dt_channel_stride;
        const F32 v = time_step(load_dt<T>(p, at, p.dt_channel_stride, n), bias, p.dt_softplus, p.dt_min, p.dt_max);
        store_n(dt + i, v, n);
        store_n(x + i, load_n(o.x + h * p.head_dim + channel, n) * v, n);
      });
      for (int64_t i = 0; i < count; ++i) {
        const float* a = p.a + h * p.a_head_stride + (first + i) * p.a_channel_stride;
        const F32 channel_dt = set(dt[i]);
        const auto factor = [&](int, int64_t n, auto lanes) {
          return exp(channel_dt * load_strided(a + n * p.a_state_stride, p.a_state_stride, lanes));
        };
        S* channel = state + (h * p.head_dim + first + i) * p.state_size;
        inputs.use(h, [&](auto* b, auto* c) { update_rows<1>(channel, p.state_size, x + i, b, c, factor, y + i); });
      }
      write_out(p, o, h, first, count, y);
    }
  }
}

}  // namespace step

inline void ssd_state_update(const SsdStateUpdateParams& p, int64_t row, Range heads) {
  with_activation_type(p.dtype, [&](auto t) {
    using T = decltype(t);
    const step::Operands<T> o = {
        static_cast<const T*>(p.x) + row * p.x_stride, static_cast<const T*>(p.b) + row * p.b_stride,
        static_cast<const T*>(p.c) + row * p.c_stride, p.z ? static_cast<const T*>(p.z) + row * p.z_stride : nullptr,
        static_cast<T*>(p.out) + row * p.out_stride};
    const int64_t slot = valid_slot(p.slots[row], p.slots_in_pool);
    if (slot < 0) return store_zeros(o.out + heads.begin * p.head_dim, (heads.end - heads.begin) * p.head_dim);
    with_state_type(p.state_dtype, [&](auto s) {
      using S = decltype(s);
      S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride;
      p.tied() ? step::tied(p, o, state, row, heads) : step::untied(p, o, state, row, heads);
    });
  });
}

}  // namespace mamba::cpu::MAMBA_ISA
