#pragma once
// Inputs of the two ops of the gated delta rule, on host and device, and the recurrence in float64 (ops/gdn.h).
#include <optional>
#include <thread>

#include "lab/lab.cuh"
#include "ops/gdn.h"

namespace lab {

using mamba::DType;
using mamba::size_of;

enum class GateKind { normal, near_zero, near_one, mixed };
enum class KeyKind { normal, repeated, similar };

struct GdnShape {
  int key_heads = 2, value_heads = 8, key_dim = 128, value_dim = 128;
  std::vector<int> lengths;  // tokens of each sequence
  DType dtype = DType::bf16, gate = DType::f32, state = DType::f32;
  GateKind gates = GateKind::normal;
  KeyKind keys = KeyKind::normal;
  bool wide = false;     // q, k and v are slices of one row
  int pad = 0;           // elements between rows; rows of out and slots too
  int padding = -1;      // the sequence without a slot
  int dirty = -1;        // the sequence whose inputs are NaNs
  int all_initial = -1;  // 1: every sequence has a state, 0: none, -1: every second
  bool large = false;    // made on the device: for times
};

struct GdnProblem {
  GdnShape shape;
  int64_t tokens = 0, keys, values, q_stride, v_stride, gate_stride, out_stride, slot_size, slot_stride;
  int slots_in_pool;
  std::vector<int32_t> start = {0}, slots, initial;
  Host q, k, v, a, b, decay, bias, state;
  std::optional<Buffer> dq, dk, dv, da, db, ddecay, dbias, dstate, dout;
  const uint8_t *at_q, *at_k, *at_v;

  GdnProblem(const GdnShape& s, uint64_t seed)
      : shape(s),
        q(s.dtype, 0),
        k(s.dtype, 0),
        v(s.dtype, 0),
        a(s.gate, 0),
        b(s.gate, 0),
        decay(DType::f32, s.value_heads),
        bias(DType::f32, s.value_heads),
        state(s.state, 0) {
    Random random{mix(seed)};
    const int sequences = static_cast<int>(s.lengths.size());
    for (int i = 0; i < sequences; ++i) {
      start.push_back(start.back() + s.lengths[i]);
      initial.push_back(s.all_initial >= 0 ? s.all_initial : i % 2 == 0);
    }
    tokens = start.back();
    slots_in_pool = sequences + 3;
    for (int i = 0; i < slots_in_pool; ++i) slots.push_back(i);
    for (int i = slots_in_pool - 1; i > 0; --i) std::swap(slots[i], slots[random.below(i + 1)]);
    slots.resize(sequences);
    if (s.padding >= 0 && s.padding < sequences) slots[s.padding] = random.below(2) ? -1 : slots_in_pool;
    keys = int64_t{s.key_heads} * s.key_dim, values = int64_t{s.value_heads} * s.value_dim;
    q_stride = (s.wide ? 2 * keys + values : keys) + s.pad, v_stride = (s.wide ? 2 * keys + values : values) + s.pad;
    gate_stride = s.value_heads + s.pad, out_stride = values + s.pad;
    slot_size = values * s.key_dim, slot_stride = slot_size + s.pad;
    for (int h = 0; h < s.value_heads; ++h) {
      decay.set(h, -std::exp(random.uniform(-1, 1)));
      bias.set(h, random.uniform(-4, -2));
    }
    ddecay.emplace(decay), dbias.emplace(bias);
    s.large ? make_large() : make_small(random);
    const size_t element = size_of(s.dtype);
    dout.emplace(static_cast<size_t>((tokens + 2) * out_stride) * element);
    at_q = dq->as<uint8_t>();
    at_k = s.wide ? at_q + keys * element : dk->as<uint8_t>();
    at_v = s.wide ? at_q + 2 * keys * element : dv->as<uint8_t>();
    LAB_CHECK(cudaDeviceSynchronize());
  }

  void reset() {
    if (!shape.large) dstate->upload(state);
    dout->poison();
    LAB_CHECK(cudaDeviceSynchronize());
  }

  template <class Params>
  void fill(Params& p) const {
    p.key_heads = shape.key_heads, p.value_heads = shape.value_heads, p.key_dim = shape.key_dim;
    p.value_dim = shape.value_dim, p.slots_in_pool = slots_in_pool;
    p.q = at_q, p.k = at_k, p.v = at_v, p.a = da->data, p.b = db->data;
    p.q_stride = p.k_stride = q_stride, p.v_stride = v_stride, p.a_stride = p.b_stride = gate_stride;
    p.decay = ddecay->as<float>(), p.dt_bias = dbias->as<float>();
    p.state = dstate->data, p.state_slot_stride = slot_stride, p.out = dout->data, p.out_stride = out_stride;
    p.eps = 1e-6f, p.scale = 1 / std::sqrt(static_cast<float>(shape.key_dim));
    p.dtype = shape.dtype, p.gate_dtype = shape.gate, p.state_dtype = shape.state;
  }

  // One head of one sequence: out [tokens, value_dim] and the state [value_dim, key_dim] after it. `every`: between
  // tokens the state is rounded, as by calls of their own.
  void reference(int sequence, int head, bool every, std::vector<double>& out, std::vector<double>& s) const {
    const int64_t dk_ = shape.key_dim, dv_ = shape.value_dim;
    const int64_t q_at = (head / (shape.value_heads / shape.key_heads)) * dk_, v_at = head * dv_;
    const Host& of_k = shape.wide ? q : k;
    const Host& of_v = shape.wide ? q : v;
    s.assign(static_cast<size_t>(dv_ * dk_), 0.0);
    const int slot = slots[sequence];
    if (initial[sequence]) {
      for (int64_t i = 0; i < dv_ * dk_; ++i) s[i] = state.get(slot * slot_stride + head * dv_ * dk_ + i);
    }
    out.assign(static_cast<size_t>((start[sequence + 1] - start[sequence]) * dv_), 0.0);
    std::vector<double> key(dk_), query(dk_);
    Host rounding(shape.state, 1);
    for (int64_t l = start[sequence]; l < start[sequence + 1]; ++l) {
      double kk = 1e-6, qq = 1e-6;
      for (int64_t i = 0; i < dk_; ++i) {
        key[i] = of_k.get((shape.wide ? keys : 0) + l * q_stride + q_at + i), query[i] = q.get(l * q_stride + q_at + i);
        kk += key[i] * key[i], qq += query[i] * query[i];
      }
      for (int64_t i = 0; i < dk_; ++i) key[i] /= std::sqrt(kk), query[i] /= std::sqrt(qq * static_cast<double>(dk_));
      const double x = a.get(l * gate_stride + head) + bias.get(head);
      const double alpha = std::exp(decay.get(head) * (x > 30 ? x : std::log1p(std::exp(x))));
      const double beta = 1 / (1 + std::exp(-b.get(l * gate_stride + head)));
      for (int64_t i = 0; i < dv_; ++i) {
        double* row = s.data() + i * dk_;
        double found = 0, read = 0;
        for (int64_t n = 0; n < dk_; ++n) found += row[n] * key[n];
        const double value = of_v.get((shape.wide ? 2 * keys : 0) + l * v_stride + v_at + i);
        const double u = beta * (value - alpha * found);
        for (int64_t n = 0; n < dk_; ++n) {
          row[n] = alpha * row[n] + u * key[n];
          read += row[n] * query[n];
        }
        if (every && shape.state != DType::f32) {
          for (int64_t n = 0; n < dk_; ++n) rounding.set(0, row[n]), row[n] = rounding.get(0);
        }
        out[static_cast<size_t>((l - start[sequence]) * dv_ + i)] = read;
      }
    }
  }

 private:
  static Host nans(DType t, int64_t n) {
    Host host(t, n);
    std::fill(host.bytes.begin(), host.bytes.end(), uint8_t{0xff});
    return host;
  }
  double gate(Random& random, double normal) const {
    switch (shape.gates) {
      case GateKind::normal:
        return normal;
      case GateKind::near_zero:
        return 40 + 40 * random.uniform(0, 1);  // alpha of 1e-20 and less
      case GateKind::near_one:
        return -20;
      case GateKind::mixed:
        return random.below(8) == 0 ? 1000 : random.below(2) ? -20 : normal;
    }
    return 0;
  }
  void make_small(Random& random) {
    const GdnShape& s = shape;
    q = nans(s.dtype, tokens * q_stride), a = nans(s.gate, tokens * gate_stride),
    b = nans(s.gate, tokens * gate_stride);
    Host& of_k = s.wide ? q : k;
    Host& of_v = s.wide ? q : v;
    if (!s.wide) k = nans(s.dtype, tokens * q_stride), v = nans(s.dtype, tokens * v_stride);
    std::vector<double> first(static_cast<size_t>(keys));
    for (double& f : first) f = random.normal();
    for (int sequence = 0; sequence + 1 < static_cast<int>(start.size()); ++sequence) {
      for (int64_t l = start[sequence]; l < start[sequence + 1]; ++l) {
        const auto value = [&] { return sequence == s.dirty ? NAN : random.normal(); };
        for (int64_t i = 0; i < keys; ++i) {
          double key = value();
          if (s.keys == KeyKind::repeated && l % 16 != 0) key = key * 0 + first[static_cast<size_t>(i)];
          if (s.keys == KeyKind::similar) key = first[static_cast<size_t>(i)] + 0.1 * key;
          of_k.set((s.wide ? keys : 0) + l * q_stride + i, key);
          q.set(l * q_stride + i, value());
        }
        for (int64_t i = 0; i < values; ++i) of_v.set((s.wide ? 2 * keys : 0) + l * v_stride + i, value());
        for (int h = 0; h < s.value_heads; ++h) {
          a.set(l * gate_stride + h, sequence == s.dirty ? NAN : gate(random, random.normal()));
          const bool ends = s.gates != GateKind::normal && random.below(2);
          b.set(l * gate_stride + h, ends ? (random.below(2) ? 20 : -20) : 2 * random.normal());
        }
      }
    }
    state = nans(s.state, slots_in_pool * slot_stride);
    for (size_t i = 0; i < slots.size(); ++i) {
      if (!initial[i] || slots[i] < 0 || slots[i] >= slots_in_pool) continue;
      for (int64_t n = 0; n < slot_size; ++n) state.set(slots[i] * slot_stride + n, random.normal());
    }
    dq.emplace(q), dk.emplace(k), dv.emplace(v), da.emplace(a), db.emplace(b), dstate.emplace(state);
  }
  void make_large() {
    const auto fill = [&](std::optional<Buffer>& buffer, DType type, int64_t n, uint64_t with) {
      buffer.emplace(static_cast<size_t>(n) * size_of(type));
      if (type == DType::f32) {
        fill_random_kernel<<<1024, 256>>>(buffer->as<float>(), n, with);
      } else if (type == DType::bf16) {
        fill_random_kernel<<<1024, 256>>>(buffer->as<__nv_bfloat16>(), n, with);
      } else {
        fill_random_kernel<<<1024, 256>>>(buffer->as<__half>(), n, with);
      }
    };
    fill(dq, shape.dtype, tokens * q_stride, 1), fill(dk, shape.dtype, shape.wide ? 8 : tokens * q_stride, 2);
    fill(dv, shape.dtype, shape.wide ? 8 : tokens * v_stride, 3), fill(da, shape.gate, tokens * gate_stride, 4);
    fill(db, shape.gate, tokens * gate_stride, 5), fill(dstate, shape.state, slots_in_pool * slot_stride, 6);
  }
};

// What comes of a result: relative error by norms, the largest distance in units of the reference's root mean square.
struct GdnError {
  double difference = 0, total = 0, largest = 0;
  int64_t count = 0;
  bool finite = true;
  void add(double value, double reference) {
    const double d = value - reference;
    finite = finite && std::isfinite(d);
    difference += d * d, total += reference * reference, largest = std::max(largest, std::abs(d)), ++count;
  }
  double relative() const { return total > 0 ? std::sqrt(difference / total) : std::sqrt(difference); }
  double worst() const { return total > 0 ? largest / std::sqrt(total / static_cast<double>(count)) : largest; }
};

// use(sequence, head) for all of them, over the machine's cores.
template <class Use>
void for_heads(int sequences, int heads, const Use& use) {
  std::vector<std::thread> threads;
  const int count = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  for (int t = 0; t < count; ++t) {
    threads.emplace_back([=] {
      for (int i = t; i < sequences * heads; i += count) use(i / heads, i % heads);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace lab
