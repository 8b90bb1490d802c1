#pragma once
// A batch of packed sequences for ssd_chunk_scan with random contents: shapes, strides and gaps as a Row names them,
// and NaNs wherever nothing is to be read.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lab/lab.cuh"
#include "ops/ssd.h"

namespace {

using namespace mamba;
using lab::Buffer;
using lab::Host;

constexpr float kInfinity = INFINITY;

enum class Dt { normal, zero, threshold, huge, mixed };

struct Row {
  std::string name;
  int heads = 4, head_dim = 32, groups = 1, state_size = 32, chunk = 32;
  std::vector<int> lengths = {40, 7, 65};
  DType dtype = DType::bf16, dt_dtype = DType::f32, state_dtype = DType::f32;
  bool d = true, bias = true, softplus = true;
  float dt_min = 0, dt_max = kInfinity;
  Dt dt = Dt::normal;
  double a_scale = 1, state_scale = 1;
  bool wide = false;    // x, b and c are slices of one row
  bool inside = false;  // sequences go on inside a chunk
  int x_pad = 0, out_pad = 0, state_pad = 0, shift = 0;
  int padding = -1;      // the sequence without a slot
  int dirty = -1;        // the sequence whose x, b and c are NaNs and infinities
  int all_initial = -1;  // 1: every sequence has a state, 0: none, -1: every second
};

double softplus(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }

double raw_dt(const Row& row, lab::Random& random) {
  switch (row.dt) {
    case Dt::normal: {
      const double x = random.normal() + (row.bias ? 0 : -4);
      return row.softplus ? x : softplus(x - 3.5);
    }
    case Dt::zero:
      return row.softplus ? -30 : 0;
    case Dt::threshold:
      return std::array{19.5, 19.999, 20.0, 20.001, 20.5}[static_cast<size_t>(random.below(5))];
    case Dt::huge:
      return random.uniform(50, 200);
    case Dt::mixed:
      return random.below(10) == 0 ? 1000 : -4;
  }
  return 0;
}

struct Tolerance {
  double rtol, atol;
};
Tolerance tolerance_of(DType a, DType b) {
  const auto rank = [](DType t) { return t == DType::bf16 ? 2 : t == DType::f16 ? 1 : 0; };
  constexpr Tolerance tolerances[] = {{3e-4, 1e-3}, {3e-3, 5e-3}, {1e-2, 5e-2}};  // of test/helpers/close.ts
  return tolerances[std::max(rank(a), rank(b))];
}

// The inputs of a row on host and device, the outputs with guard cells all around.
struct Problem {
  Row row;
  int64_t tokens, inner, bc, x_stride, b_stride, out_stride, slot_size, slot_stride, x_at, b_at, c_at;
  int slots_in_pool;
  std::vector<int32_t> start = {0}, slots, initial, chunks = {0}, chunk_seq, last_chunk;
  Host x, b, c, dt, a, d, bias, state;
  std::optional<Buffer> x_, b_, c_, dt_, a_, d_, bias_, state_, out_, start_, slots_, initial_, chunks_, chunk_seq_,
      last_chunk_;
  SsdChunkScanParams p{};

  Problem(const Row& r, uint64_t seed, bool large = false)
      : row(r),
        x(r.dtype, 0),
        b(r.dtype, 0),
        c(r.dtype, 0),
        dt(r.dt_dtype, 0),
        a(DType::f32, r.heads),
        d(DType::f32, r.heads),
        bias(DType::f32, r.heads),
        state(r.state_dtype, 0) {
    lab::Random random{seed};
    const int sequences = static_cast<int>(row.lengths.size());
    for (int s = 0; s < sequences; ++s) {
      int left = row.lengths[s], offset = row.inside ? static_cast<int>(random.below(row.chunk)) : 0;
      start.push_back(start.back() + left);
      while (left > 0) {
        const int n = std::min(left, row.chunk - offset);
        chunks.push_back(chunks.back() + n);
        chunk_seq.push_back(s);
        left -= n;
        offset = 0;
      }
      last_chunk.push_back(static_cast<int>(chunk_seq.size()) - 1);
      initial.push_back(row.all_initial >= 0 ? row.all_initial : s % 2 == 0);
    }
    slots_in_pool = sequences + 3;
    for (int i = 0; i < slots_in_pool; ++i) slots.push_back(i);
    for (int i = slots_in_pool - 1; i > 0; --i) std::swap(slots[i], slots[random.below(i + 1)]);
    slots.resize(sequences);
    if (row.padding >= 0 && row.padding < sequences) slots[row.padding] = random.below(2) ? -1 : slots_in_pool;
    tokens = start.back();
    inner = int64_t{row.heads} * row.head_dim, bc = int64_t{row.groups} * row.state_size;
    if (row.wide) {
      x_stride = b_stride = inner + 2 * bc + row.x_pad;
      x_at = row.shift, b_at = row.shift + inner, c_at = row.shift + inner + bc;
    } else {
      x_stride = inner + row.x_pad, b_stride = bc + row.x_pad;
      x_at = b_at = c_at = row.shift;
    }
    out_stride = inner + row.out_pad;
    slot_size = inner * row.state_size, slot_stride = slot_size + row.state_pad;
    for (int h = 0; h < row.heads; ++h) {
      a.set(h, -row.a_scale * std::exp(random.uniform(0, 1)));
      d.set(h, random.normal());
      bias.set(h, random.uniform(-4, -3));
    }
    a_.emplace(a), d_.emplace(d), bias_.emplace(bias);
    const size_t element = size_of(row.dtype);
    if (large) {
      make_large(seed);
    } else {
      make_small(random);
    }
    out_.emplace((row.shift + tokens * out_stride + 8) * element);
    start_.emplace(start), slots_.emplace(slots), initial_.emplace(initial), chunks_.emplace(chunks);
    chunk_seq_.emplace(chunk_seq), last_chunk_.emplace(last_chunk);

    const auto at = [element](const Buffer& buffer, int64_t i) { return buffer.as<uint8_t>() + i * element; };
    p.tokens = tokens, p.sequences = sequences, p.chunks = static_cast<int64_t>(chunk_seq.size());
    p.heads = row.heads, p.head_dim = row.head_dim, p.groups = row.groups, p.state_size = row.state_size;
    p.slots_in_pool = slots_in_pool;
    p.x = at(*x_, x_at), p.b = at(row.wide ? *x_ : *b_, b_at), p.c = at(row.wide ? *x_ : *c_, c_at);
    p.dt = dt_->data;
    p.x_stride = x_stride, p.b_stride = p.c_stride = b_stride, p.dt_stride = row.heads + row.x_pad;
    p.a = a_->as<float>(), p.d = row.d ? d_->as<float>() : nullptr, p.dt_bias = row.bias ? bias_->as<float>() : nullptr;
    p.state = state_->data, p.state_slot_stride = slot_stride;
    p.query_start_loc = start_->as<int32_t>(), p.slots = slots_->as<int32_t>();
    p.has_initial_state = initial_->as<int32_t>(), p.cu_chunk_seqlens = chunks_->as<int32_t>();
    p.chunk_seq = chunk_seq_->as<int32_t>(), p.last_chunk = last_chunk_->as<int32_t>();
    p.out = at(*out_, row.shift), p.out_stride = out_stride;
    p.dt_min = row.dt_min, p.dt_max = row.dt_max, p.dt_softplus = row.softplus;
    p.dtype = row.dtype, p.dt_dtype = row.dt_dtype, p.state_dtype = row.state_dtype;
    LAB_CHECK(cudaDeviceSynchronize());
  }

  void reset() {
    state_->upload(state);
    out_->poison();
    LAB_CHECK(cudaDeviceSynchronize());  // the ops run on another stream
  }

 private:
  // Gaps and whatever is not to be read are NaNs.
  void make_small(lab::Random& random) {
    const auto nans = [](DType t, int64_t n) {
      Host host(t, n);
      std::fill(host.bytes.begin(), host.bytes.end(), uint8_t{0xff});
      return host;
    };
    x = nans(row.dtype, x_at + tokens * x_stride);
    Host& b_values = row.wide ? x : b;
    Host& c_values = row.wide ? x : c;
    if (!row.wide) {
      b = nans(row.dtype, b_at + tokens * b_stride);
      c = nans(row.dtype, c_at + tokens * b_stride);
    }
    const int64_t dt_stride = row.heads + row.x_pad;
    dt = nans(row.dt_dtype, tokens * dt_stride);
    for (int s = 0; s < static_cast<int>(row.lengths.size()); ++s) {
      for (int64_t l = start[s]; l < start[s + 1]; ++l) {
        const auto value = [&] { return s != row.dirty ? random.normal() : random.below(2) ? NAN : kInfinity; };
        for (int64_t i = 0; i < inner; ++i) x.set(x_at + l * x_stride + i, value());
        for (int64_t i = 0; i < bc; ++i) b_values.set(b_at + l * b_stride + i, value());
        for (int64_t i = 0; i < bc; ++i) c_values.set(c_at + l * b_stride + i, value());
        for (int h = 0; h < row.heads; ++h) dt.set(l * dt_stride + h, raw_dt(row, random));
      }
    }
    state = nans(row.state_dtype, slots_in_pool * slot_stride);
    for (size_t s = 0; s < slots.size(); ++s) {
      if (!initial[s] || slots[s] < 0 || slots[s] >= slots_in_pool) continue;
      for (int64_t i = 0; i < slot_size; ++i) state.set(slots[s] * slot_stride + i, row.state_scale * random.normal());
    }
    x_.emplace(x), b_.emplace(b), c_.emplace(c), dt_.emplace(dt), state_.emplace(state);
  }
  // For times: made on the device.
  void make_large(uint64_t seed) {
    const auto fill = [&](std::optional<Buffer>& buffer, DType type, int64_t n, uint64_t with) {
      buffer.emplace(static_cast<size_t>(n) * size_of(type));
      if (type == DType::f32) {
        lab::fill_random_kernel<<<1024, 256>>>(buffer->as<float>(), n, with);
      } else if (type == DType::bf16) {
        lab::fill_random_kernel<<<1024, 256>>>(buffer->as<__nv_bfloat16>(), n, with);
      } else {
        lab::fill_random_kernel<<<1024, 256>>>(buffer->as<__half>(), n, with);
      }
    };
    fill(x_, row.dtype, x_at + tokens * x_stride, seed);
    fill(b_, row.dtype, row.wide ? 1 : b_at + tokens * b_stride, seed + 1);
    fill(c_, row.dtype, row.wide ? 1 : c_at + tokens * b_stride, seed + 2);
    fill(dt_, row.dt_dtype, tokens * (row.heads + row.x_pad), seed + 3);
    fill(state_, row.state_dtype, slots_in_pool * slot_stride, seed + 4);
  }
};

}  // namespace
