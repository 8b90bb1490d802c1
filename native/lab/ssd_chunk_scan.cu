// The SSD chunk scan (ops/ssd.h) on one GPU: its three forms and the op's own choice, checked against the recurrence in
// float64 and timed. Built and run as native/lab/README.md says.
//
// Floor at H=128 P=64 N=128 G=8, bf16: a token is 16 KiB of x, 16 KiB of out, 4 KiB of B and C, 0.5 KiB of dt (float);
// a sequence 2 x 2 MiB (bf16) or 2 x 4 MiB (f32) of state. At 4.25 TB/s: 1x2048 19 us, 1x8192 73, 8x1024 80,
// 64x128 135, 1x131072 1154. Multiply-adds of the fused walk with C B^T once per head: 64 steps x 128 heads x 1.8 M,
// 76 us per 8192 tokens at 790 TFLOP/s.
//
// The ladder (H200, bf16 activations and state, us; best peer: 154, 517, 521, 625, 9507):
//                                                                          1x2048 1x8192 8x1024 64x128 1x131072
//   v0 recurrence: token by token on CUDA cores, any shape                   1874   7411   4077   4189        -
//   v1 fused walk, as it grew (the earlier ones are in the history):
//      state, S C^T and y in one warpgroup, C B^T in another, one dt warp      79    277    284    374     4209
//      three warps prepare dt, in turns                                        57    187    202    312     2756
//      state apart from two output warpgroups; rows out by bulk copies         57    190    200    282     2829
//      y out by tensor copies, x's weights a step ahead, decay per warp        49    159    178    277     2297
//      D in M, weights as bf16 pairs, next C B^T under the last of y           48    148    170    259     2141
//      x, B, C into the L2 three steps ahead, mask without late loads          43    136    156    264     2013
//      the state into the L2 with its first step's copies, not earlier         42    137    158    254     2028
//   v2: v1 with sequences cut into segments where (sequence, head) pairs are few: H=24 G=1 1x8192 123 -> 62,
//      1x2048 41 -> 32 (f32 state)
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "cuda/kernels.h"
#include "cuda/ssd_chunk_scan.h"
#include "lab/context.cuh"
#include "lab/lab.cuh"

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

struct Reference {
  std::vector<double> out, state;  // of the sequences with slots
  // What the rounding of 16-bit operands is relative to: the norm of the terms that are rounded on their way to an
  // element. Roundings are independent, so a unit of it is about one standard deviation.
  std::vector<double> out_terms, state_terms;
};

// Whether a matrix form may run: its operands are rounded.
bool rounds_operands(const Row& row) { return row.dtype != DType::f32 && row.state_size <= 256; }

// The recurrence of one head of one sequence, as the matrix forms sum it: y = M x + C S^T with the S of the start of
// the step.
class Terms {
 public:
  Terms(int64_t channels_, int64_t states_) : channels(channels_), states(states_) {}
  void begin_step(const double* state) { start.assign(state, state + channels * states), since = 1, step = b.size(); }
  // The token's values; its terms in the new state and in y.
  void add(const std::vector<double>& b_row, const std::vector<double>& c_row, const std::vector<double>& x_row,
           double dt, double decay, double d, double* state_squares, double* out_squares) {
    b.push_back(b_row), x.push_back(x_row), weight.push_back(dt);
    since *= decay;
    for (int64_t i = 0; i < channels; ++i) {
      out_squares[i] = 0;
      for (int64_t n = 0; n < states; ++n) {
        const double new_term = dt * x_row[i] * b_row[n], old_term = since * start[i * states + n] * c_row[n];
        double& squares = state_squares[i * states + n];
        squares = decay * decay * squares + new_term * new_term;
        out_squares[i] += old_term * old_term;
      }
    }
    // A token of an earlier step is in S, where both its weight and the weighted x were rounded.
    for (size_t m = 0; m < b.size(); ++m) {
      if (m + 1 < b.size()) weight[m] *= decay;
      if (std::abs(weight[m]) < 1e-9 && m + 1 < b.size()) continue;
      double cb = 0;
      for (int64_t n = 0; n < states; ++n) cb += c_row[n] * b[m][n];
      const double mixed = cb * weight[m] + (m + 1 == b.size() ? d : 0), roundings = m < step ? 2 : 1;
      for (int64_t i = 0; i < channels; ++i) out_squares[i] += roundings * mixed * x[m][i] * mixed * x[m][i];
    }
  }

 private:
  int64_t channels, states;
  std::vector<std::vector<double>> b, x;
  std::vector<double> weight, start;
  double since = 1;
  size_t step = 0;
};

Reference reference(const Problem& problem) {
  const Row& row = problem.row;
  const bool rounds = rounds_operands(row);
  Reference r;
  r.out.assign(static_cast<size_t>(problem.tokens * problem.inner), 0.0);
  r.state.assign(static_cast<size_t>(problem.slots_in_pool * problem.slot_size), 0.0);
  r.out_terms = r.out, r.state_terms = r.state;
  std::vector<bool> begins_step(problem.tokens);
  for (size_t i = 0; i + 1 < problem.chunks.size(); ++i) {
    for (int l = problem.chunks[i]; l < problem.chunks[i + 1]; l += 64) begins_step[l] = true;
  }
  const Host& b_values = row.wide ? problem.x : problem.b;
  const Host& c_values = row.wide ? problem.x : problem.c;
  const int64_t states = row.state_size, channels = row.head_dim;
  const auto head = [&](int64_t h) {
    const int64_t group = h / (row.heads / row.groups);
    std::vector<double> b(states), c(states), x(channels);
    const double d = row.d ? problem.d.get(h) : 0;
    for (size_t q = 0; q < problem.slots.size(); ++q) {
      const int slot = problem.slots[q];
      if (slot < 0 || slot >= problem.slots_in_pool || static_cast<int>(q) == row.dirty) continue;
      double* s = r.state.data() + slot * problem.slot_size + h * channels * states;
      double* s_terms = r.state_terms.data() + slot * problem.slot_size + h * channels * states;
      for (int64_t i = 0; i < channels * states; ++i) {
        s[i] = problem.initial[q] ? problem.state.get(slot * problem.slot_stride + h * channels * states + i) : 0;
      }
      Terms terms(channels, states);
      for (int64_t l = problem.start[q]; l < problem.start[q + 1]; ++l) {
        for (int64_t n = 0; n < states; ++n) {
          b[n] = b_values.get(problem.b_at + l * problem.b_stride + group * states + n);
          c[n] = c_values.get(problem.c_at + l * problem.b_stride + group * states + n);
        }
        for (int64_t i = 0; i < channels; ++i)
          x[i] = problem.x.get(problem.x_at + l * problem.x_stride + h * channels + i);
        double dt = problem.dt.get(l * (row.heads + row.x_pad) + h) + (row.bias ? problem.bias.get(h) : 0);
        if (row.softplus) dt = softplus(dt);
        dt = std::min(double{row.dt_max}, std::max(double{row.dt_min}, dt));
        const double decay = std::exp(dt * problem.a.get(h));
        const int64_t at = l * problem.inner + h * channels;
        if (rounds) {
          if (begins_step[l]) terms.begin_step(s);
          terms.add(b, c, x, dt, decay, d, s_terms, r.out_terms.data() + at);
        }
        for (int64_t i = 0; i < channels; ++i) {
          double y = d * x[i];
          for (int64_t n = 0; n < states; ++n) {
            double& v = s[i * states + n];
            v = decay * v + dt * x[i] * b[n];
            y += v * c[n];
          }
          r.out[at + i] = y;
        }
      }
    }
  };
  std::vector<std::thread> threads;
  const int count = std::min<int>(row.heads, static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  for (int t = 0; t < count; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t h = t; h < row.heads; h += count) head(h);
    });
  }
  for (auto& t : threads) t.join();
  for (auto* terms : {&r.out_terms, &r.state_terms}) {
    for (double& v : *terms) v = std::sqrt(v);
  }
  return r;
}

struct Result {
  lab::Errors out, state;
  lab::Errors plain;  // of out, by the tests' tolerance alone
  bool kept = true;   // guard cells and slots of others
  std::string first;  // wrong element
  bool good() const { return out.bad == 0 && state.bad == 0 && kept; }
};

// `rounds`: by a form that rounds operands to 16 bits.
Result compare(const Problem& problem, const Reference& r, bool rounds) {
  const Row& row = problem.row;
  // Five deviations, a few more of the state, whose terms are rounded twice.
  const double unit = !rounds ? 0 : row.dtype == DType::bf16 ? 0x1p-9 : 0x1p-12;
  Result result;
  const Host out = problem.out_->download(row.dtype);
  const Tolerance at_out = tolerance_of(row.dtype, row.dtype), at_state = tolerance_of(row.dtype, row.state_dtype);
  const size_t element = size_of(row.dtype);
  std::vector<bool> written(out.bytes.size() / element);
  for (size_t q = 0; q < problem.slots.size(); ++q) {
    const bool padding = problem.slots[q] < 0 || problem.slots[q] >= problem.slots_in_pool;
    for (int64_t l = problem.start[q]; l < problem.start[q + 1]; ++l) {
      for (int h = 0; h < row.heads; ++h) {
        const int64_t at = row.shift + l * problem.out_stride + h * row.head_dim;
        const double* want = r.out.data() + l * problem.inner + h * row.head_dim;
        const double* terms = r.out_terms.data() + l * problem.inner + h * row.head_dim;
        for (int i = 0; i < row.head_dim; ++i) {
          written[at + i] = true;
          if (static_cast<int>(q) == row.dirty && !padding) continue;
          if (padding && out.get(at + i) != 0) result.kept = false;
          result.plain.add(out.get(at + i), want[i], at_out.atol, at_out.rtol);
          result.out.add(out.get(at + i), want[i], at_out.atol + 5 * unit * terms[i], at_out.rtol);
          if (result.out.bad == 1 && result.first.empty()) {
            result.first = "sequence " + std::to_string(q) + " token " + std::to_string(l - problem.start[q]) +
                           " head " + std::to_string(h) + " channel " + std::to_string(i) + ": " +
                           std::to_string(out.get(at + i)) + ", expected " + std::to_string(want[i]);
          }
        }
      }
    }
  }
  for (size_t i = 0; i < written.size(); ++i) {
    for (size_t k = 0; k < element; ++k) {
      if (!written[i] && out.bytes[i * element + k] != 0xff) result.kept = false;
    }
  }
  const Host state = problem.state_->download(row.state_dtype);
  const size_t size = size_of(row.state_dtype);
  std::vector<int> owner(problem.slots_in_pool, -1);
  for (size_t q = 0; q < problem.slots.size(); ++q) {
    const int slot = problem.slots[q];
    if (slot >= 0 && slot < problem.slots_in_pool && row.lengths[q] > 0) owner[slot] = static_cast<int>(q);
  }
  for (int slot = 0; slot < problem.slots_in_pool; ++slot) {
    const int64_t begin = slot * problem.slot_stride, used = owner[slot] < 0 ? 0 : problem.slot_size;
    for (int64_t i = 0; i < used; ++i) {
      if (owner[slot] == row.dirty) break;
      const int64_t at = slot * problem.slot_size + i;
      const double value = state.get(begin + i), atol = at_state.atol + 7 * unit * r.state_terms[at];
      result.state.add(value, r.state[at], atol, at_state.rtol);
      if (result.state.bad == 1 && result.first.empty()) {
        result.first = "state " + std::to_string(i) + " of sequence " + std::to_string(owner[slot]) + ": " +
                       std::to_string(value) + ", expected " + std::to_string(r.state[at]);
      }
    }
    if (std::memcmp(state.bytes.data() + (begin + used) * size, problem.state.bytes.data() + (begin + used) * size,
                    (problem.slot_stride - used) * size) != 0) {
      result.kept = false;
    }
  }
  return result;
}

// --- versions --------------------------------------------------------------------------------------------------------

struct Version {
  const char* name;
  std::function<bool(const SsdChunkScanParams&, const cuda::Context&)> fits;
  std::function<void(const SsdChunkScanParams&, cuda::Context&)> run;
  bool dispatches() const { return std::string(name) == "dispatch"; }
  bool rounds(const SsdChunkScanParams& p) const {
    return dispatches() ? cuda::tiles_fit(p) : std::string(name) != "recurrence";  // what the walk takes, tiles take
  }
  int segments(const SsdChunkScanParams& p, const cuda::Context& context) const {
    if (!dispatches()) return std::string(name).find("3 segments") != std::string::npos ? 3 : 1;
    if (cuda::walk_fits(p, context)) return cuda::walk_segments(p, context);
    return cuda::tiles_fit(p) ? cuda::tiles_segments(p, context) : 1;
  }
};

// As on a GPU of another capability.
template <class Run>
void with_capability(int capability, cuda::Context& context, Run run) {
  const int before = std::exchange(context.capability, capability);
  run();
  context.capability = before;
}

std::vector<Version> versions() {
  const auto always = [](const SsdChunkScanParams&, const cuda::Context&) { return true; };
  const auto tiles = [](const SsdChunkScanParams& p, const cuda::Context&) { return cuda::tiles_fit(p); };
  const auto wide = [](const SsdChunkScanParams& p, const cuda::Context&) {
    return cuda::tiles_fit(p) && p.state_size > 128;
  };
  return {
      {"dispatch", always, cuda::run_ssd_chunk_scan},
      {"walk", cuda::walk_fits, [](const auto& p, auto& context) { cuda::run_scan_walk(p, 1, context); }},
      {"walk, 3 segments", cuda::walk_fits, [](const auto& p, auto& context) { cuda::run_scan_walk(p, 3, context); }},
      {"tiles", tiles, [](const auto& p, auto& context) { cuda::run_scan_tiles(p, 1, context); }},
      {"tiles, 3 segments", tiles, [](const auto& p, auto& context) { cuda::run_scan_tiles(p, 3, context); }},
      {"narrow tiles", wide,
       [](const auto& p, auto& context) {
         with_capability(86, context, [&] { cuda::run_scan_tiles(p, 1, context); });
       }},
      {"recurrence", always, cuda::run_scan_recurrence},
  };
}

class Gpu {
 public:
  Gpu() { LAB_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  cuda::Context context(cudaStream_t stream) const { return workspace_.on(stream); }
  cuda::Context context() const { return context(stream_); }
  void poison_workspace() { workspace_.scratch.poison(); }

 private:
  lab::Workspace workspace_;
  cudaStream_t stream_ = nullptr;
};

// --- check -----------------------------------------------------------------------------------------------------------

std::string describe(const Row& r) {
  std::string lengths;
  for (int l : r.lengths) lengths += (lengths.empty() ? "" : ",") + std::to_string(l);
  char text[400];
  std::snprintf(text, sizeof(text),
                "%s H%d P%d G%d N%d chunk %d [%s] %s dt %s %d state %s d%d bias%d sp%d [%g, %g] a %g wide%d inside%d "
                "pads %d %d %d shift %d padding %d dirty %d",
                r.name.c_str(), r.heads, r.head_dim, r.groups, r.state_size, r.chunk, lengths.c_str(), name_of(r.dtype),
                name_of(r.dt_dtype), static_cast<int>(r.dt), name_of(r.state_dtype), r.d, r.bias, r.softplus, r.dt_min,
                r.dt_max, r.a_scale, r.wide, r.inside, r.x_pad, r.out_pad, r.state_pad, r.shift, r.padding, r.dirty);
  return text;
}

Row random_row(lab::Random& random) {
  const auto one_of = [&](auto... values) {
    const std::common_type_t<decltype(values)...> all[] = {values...};
    return all[random.below(sizeof...(values))];
  };
  Row r;
  r.name = "random";
  r.heads = one_of(1, 2, 4, 5, 6, 8);
  r.groups = r.heads % 2 == 0 ? one_of(1, 2, r.heads) : one_of(1, r.heads);
  r.head_dim = one_of(32, 64, 64, 80, 96, 128, 1, 5, 17, 8, 24, 40);
  r.state_size = one_of(16, 32, 64, 96, 128, 128, 256, 1, 5, 48, 80, 112, 176, 240);
  r.chunk = one_of(1, 8, 24, 32, 64, 128, 256);
  r.lengths.clear();
  const int sequences = static_cast<int>(random.below(6)) + 1;
  for (int i = 0; i < sequences; ++i) {
    r.lengths.push_back(one_of(0, 1, 2, 31, 63, 64, 65, 128, 129, 200, static_cast<int>(random.below(300))));
  }
  r.dtype = one_of(DType::bf16, DType::bf16, DType::f16, DType::f32);
  r.dt_dtype = one_of(DType::f32, r.dtype);
  r.state_dtype = one_of(DType::f32, DType::bf16, DType::f16);
  r.d = random.below(4) != 0, r.bias = random.below(4) != 0, r.softplus = random.below(4) != 0;
  if (random.below(6) == 0) r.dt_min = 0.03f;
  if (random.below(6) == 0) r.dt_max = 0.05f;
  if (random.below(5) == 0) {
    r.dt = one_of(Dt::zero, Dt::threshold, Dt::huge, Dt::mixed);
    if (r.dt == Dt::threshold || r.dt == Dt::mixed) r.bias = false;
    if (r.dt != Dt::zero) r.softplus = true;
    if (r.dtype == DType::f16 && r.dt != Dt::zero) r.dt = Dt::normal;  // out would overflow
  }
  if (random.below(8) == 0) r.a_scale = one_of(1e4, 1e-6);
  r.wide = random.below(2), r.inside = random.below(2);
  if (random.below(3) == 0) {
    r.x_pad = one_of(0, 8, 24, 7), r.out_pad = one_of(0, 8, 9, 5), r.state_pad = one_of(0, 40, 3, 8);
    r.shift = one_of(0, 1, 8);
  }
  if (random.below(4) == 0) r.padding = static_cast<int>(random.below(sequences));
  if (random.below(4) == 0) r.dirty = static_cast<int>(random.below(sequences));
  return r;
}

std::vector<Row> named_rows() {
  std::vector<Row> rows;
  for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
    const auto add = [&](Row r) {
      r.dtype = dtype;
      rows.push_back(r);
    };
    add({.name = "base"});
    add({.name = "edges",
         .heads = 16,
         .head_dim = 64,
         .groups = 2,
         .state_size = 128,
         .chunk = 256,
         .lengths = {0, 1, 63, 0, 64, 65, 257, 2, 130},
         .inside = true});
    add({.name = "130m", .heads = 24, .head_dim = 64, .state_size = 128, .chunk = 256, .lengths = {900, 0, 31}});
    add({.name = "Nemotron Nano",
         .heads = 16,
         .head_dim = 80,
         .groups = 8,
         .state_size = 128,
         .chunk = 128,
         .lengths = {100, 0, 257, 1, 64},
         .wide = true});
    add({.name = "Granite 350m", .heads = 8, .head_dim = 32, .state_size = 128, .chunk = 256, .lengths = {65, 300}});
    add({.name = "Zamba2",
         .heads = 8,
         .head_dim = 64,
         .groups = 2,
         .state_size = 64,
         .chunk = 256,
         .lengths = {65, 300, 1, 0, 128},
         .wide = true});
    add({.name = "Falcon-H1",
         .heads = 4,
         .head_dim = 128,
         .state_size = 256,
         .chunk = 256,
         .lengths = {65, 330, 1},
         .wide = true});
    add({.name = "unaligned",
         .head_dim = 64,
         .state_size = 128,
         .wide = true,
         .x_pad = 7,
         .out_pad = 5,
         .state_pad = 3,
         .shift = 1});
    add({.name = "empty", .lengths = {0, 0}, .all_initial = 1});
    add({.name = "only padding", .head_dim = 64, .lengths = {70}, .padding = 0});
    add({.name = "large slots", .head_dim = 64, .state_size = 128, .lengths = {65, 3}, .dirty = 0});
  }
  rows.push_back({.name = "many", .heads = 2, .head_dim = 16, .state_size = 16, .lengths = std::vector<int>(700, 3)});
  rows.push_back({.name = "state_size 300", .head_dim = 16, .state_size = 300, .lengths = {40, 3}});
  rows.push_back(
      {.name = "state_size 1024", .head_dim = 5, .state_size = 1024, .lengths = {40, 3}, .dtype = DType::f32});
  return rows;
}

// Small enough for racecheck: ragged steps, several items a block, all three types of states.
std::vector<Row> quick_rows() {
  return {{.name = "quick bf16",
           .heads = 2,
           .head_dim = 64,
           .state_size = 128,
           .chunk = 64,
           .lengths = {130, 65, 64, 0, 70},
           .state_dtype = DType::bf16,
           .all_initial = 1},
          {.name = "quick f16",
           .heads = 2,
           .head_dim = 80,
           .groups = 2,
           .state_size = 128,
           .chunk = 96,
           .lengths = {5, 130, 65},
           .dtype = DType::f16,
           .state_dtype = DType::f16,
           .padding = 0},
          {.name = "quick n 64",
           .heads = 2,
           .head_dim = 64,
           .groups = 2,
           .state_size = 64,
           .chunk = 64,
           .lengths = {200, 65}}};
}

// One sequence whole and cut at a chunk: the same bits, as long as no run is cut into segments (a shorter one is cut
// elsewhere, and its sums with it); then within the tolerance. Counts what was compared bit for bit.
bool check_cut(Gpu& device, const Row& row, uint64_t seed, const Version& version, int& by_bits) {
  Problem problem(row, seed);
  cuda::Context context = device.context();
  if (!version.fits(problem.p, context)) return true;
  bool whole = version.segments(problem.p, context) == 1;
  problem.reset();
  version.run(problem.p, context);
  LAB_CHECK(cudaDeviceSynchronize());
  const Host out = problem.out_->download(row.dtype), state = problem.state_->download(row.state_dtype);
  problem.reset();
  const int cut = row.chunk * static_cast<int>(1 + seed % static_cast<uint64_t>(row.lengths[0] / row.chunk));
  for (const auto [begin, end] : {std::pair{0, cut}, {cut, row.lengths[0]}}) {
    if (begin == end) continue;
    std::vector<int32_t> chunks = {0};
    while (chunks.back() < end - begin) chunks.push_back(std::min(chunks.back() + row.chunk, end - begin));
    const Buffer starts(std::vector<int32_t>{0, end - begin}), initial(std::vector<int32_t>{1}), cu(chunks),
        sequence(std::vector<int32_t>(chunks.size() - 1, 0)),
        last(std::vector<int32_t>{static_cast<int32_t>(chunks.size()) - 2});
    SsdChunkScanParams p = problem.p;
    const auto skip = [&](const void* from, int64_t stride, DType t) {
      return static_cast<const uint8_t*>(from) + begin * stride * static_cast<int64_t>(size_of(t));
    };
    p.tokens = end - begin, p.chunks = static_cast<int64_t>(chunks.size()) - 1;
    p.x = skip(p.x, p.x_stride, p.dtype), p.b = skip(p.b, p.b_stride, p.dtype), p.c = skip(p.c, p.c_stride, p.dtype);
    p.dt = skip(p.dt, p.dt_stride, p.dt_dtype);
    p.out = const_cast<uint8_t*>(skip(p.out, p.out_stride, p.dtype));
    p.query_start_loc = starts.as<int32_t>(), p.has_initial_state = initial.as<int32_t>();
    p.cu_chunk_seqlens = cu.as<int32_t>(), p.chunk_seq = sequence.as<int32_t>(), p.last_chunk = last.as<int32_t>();
    whole = whole && version.segments(p, context) == 1;
    version.run(p, context);
    LAB_CHECK(cudaDeviceSynchronize());
  }
  by_bits += whole;
  const bool same = !whole ? compare(problem, reference(problem), version.rounds(problem.p)).good()
                           : out.bytes == problem.out_->download(row.dtype).bytes &&
                                 state.bytes == problem.state_->download(row.state_dtype).bytes;
  if (!same) std::printf("cut at %d DIFFERS with %s: %s\n", cut, version.name, describe(row).c_str());
  return same;
}

// Addresses without memory: recorded, never run.
bool check_capture(Gpu& device) {
  cuda::Context context = device.context();
  Row row{.head_dim = 64, .state_size = 128, .chunk = 256, .lengths = {8192}};
  Problem problem(row, 1);
  SsdChunkScanParams p = problem.p;
  const auto fake = [](uintptr_t i) { return reinterpret_cast<void*>(4096 + (i << 28)); };
  p.x = fake(0), p.b = fake(1), p.c = fake(2), p.dt = fake(3), p.out = fake(4), p.state = fake(5);
  cudaGraph_t graph;
  LAB_CHECK(cudaStreamBeginCapture(context.stream, cudaStreamCaptureModeThreadLocal));
  for (const Version& version : versions()) {
    if (version.fits(p, context)) version.run(p, context);
  }
  LAB_CHECK(cudaStreamEndCapture(context.stream, &graph));
  LAB_CHECK(cudaGraphDestroy(graph));
  std::printf("capture over addresses without memory: ok\n");
  return true;
}

bool check(Gpu& device, const lab::Options& options) {
  lab::Random random{lab::mix(static_cast<uint64_t>(std::time(nullptr)))};
  std::vector<Row> rows = options.quick ? quick_rows() : named_rows();
  for (int i = 0; i < (options.quick ? 0 : 100); ++i) rows.push_back(random_row(random));
  bool good = check_capture(device);
  struct Worst {
    double out = 0, plain = 0, state = 0, relative = 0;
    int count = 0, beyond = 0;
  };
  const std::vector<Version> all = versions();
  std::vector<std::array<Worst, 3>> worst(all.size());
  for (Row& row : rows) {
    // The rounding of S is relative to |S| |C|: states of n > 32 are scaled, so that y is as large as with n = 32.
    if (row.dtype != DType::f32) {
      row.state_scale = std::sqrt(32.0 / std::max(32, row.state_size)) * (row.dtype == DType::f16 ? 0.5 : 1);
    }
    Problem problem(row, static_cast<uint64_t>(random.below(1 << 30)));
    const Reference r = reference(problem);
    const bool few = options.quick || random.below(2) != 0;  // blocks, so that each walks many items
    for (size_t v = 0; v < all.size(); ++v) {
      cuda::Context context = device.context();
      if (few) context.multiprocessors = 3;
      if (!all[v].fits(problem.p, context) || (v > 0 && problem.tokens == 0)) continue;
      problem.reset();
      device.poison_workspace();
      LAB_CHECK(cudaDeviceSynchronize());
      all[v].run(problem.p, context);
      LAB_CHECK(cudaDeviceSynchronize());
      const Result result = compare(problem, r, all[v].rounds(problem.p));
      Worst& w = worst[v][static_cast<int>(row.dtype)];
      w.plain = std::max(w.plain, result.plain.worst), w.beyond += result.plain.bad != 0;
      w.out = std::max(w.out, result.out.worst), w.state = std::max(w.state, result.state.worst), ++w.count;
      w.relative = std::max(w.relative, result.out.relative());
      if (result.good()) continue;
      good = false;
      std::printf("WRONG %-18s out %.2f (%lld) state %.2f (%lld) %s: %s\n", all[v].name, result.out.worst,
                  static_cast<long long>(result.out.bad), result.state.worst, static_cast<long long>(result.state.bad),
                  result.kept ? "others kept" : "OTHERS CHANGED", (describe(row) + "; " + result.first).c_str());
      std::fflush(stdout);
    }
  }
  for (size_t v = 0; v < all.size(); ++v) {
    for (int t = 0; t < 3; ++t) {
      const Worst& w = worst[v][t];
      if (w.count == 0) continue;
      std::printf(
          "%-18s %-4s %4d rows: worst of the tolerance, out %.2f, state %.2f; relative error of out %.1e; without the "
          "allowance for 16-bit operands %.2f, %d rows beyond\n",
          all[v].name, name_of(static_cast<DType>(t)), w.count, w.out, w.state, w.relative, w.plain, w.beyond);
    }
  }
  int cuts = 0, by_bits = 0;
  if (options.quick) return good;
  for (const Version& version : all) {
    if (std::string(version.name).find("segments") != std::string::npos) continue;
    for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
      for (const int states : {32, 128, 256}) {
        Row row{.name = "cut", .head_dim = 64, .state_size = states, .lengths = {101}, .dtype = dtype};
        for (const int chunk : {1, 24, 32, 64}) {
          row.chunk = chunk;
          good = check_cut(device, row, static_cast<uint64_t>(random.below(1000)), version, by_bits) && good;
          ++cuts;
        }
      }
    }
  }
  std::printf("%d cuts at chunks, %d of them compared bit for bit\n", cuts, by_bits);
  return good;
}

// --- times -----------------------------------------------------------------------------------------------------------

// For the long: a hundred runs on end would let the clock drop.
lab::Times few_runs(cudaStream_t stream, const std::function<void(cudaStream_t)>& run) {
  cudaEvent_t begin, end;
  LAB_CHECK(cudaEventCreate(&begin));
  LAB_CHECK(cudaEventCreate(&end));
  std::vector<float> us;
  for (int i = 0; i < 10; ++i) {
    float ms;
    LAB_CHECK(cudaEventRecord(begin, stream));
    run(stream);
    LAB_CHECK(cudaEventRecord(end, stream));
    LAB_CHECK(cudaStreamSynchronize(stream));
    LAB_CHECK(cudaEventElapsedTime(&ms, begin, end));
    us.push_back(ms * 1e3f);
  }
  std::sort(us.begin(), us.end());
  return {us[5], us[0]};
}

void time_all(Gpu& device, const lab::Options& options) {
  struct Timed {
    const char* name;
    int heads, head_dim, groups, state_size;
    std::vector<int> lengths;
    DType state = DType::f32, dtype = DType::bf16;
  };
  const auto repeat = [](int count, int length) { return std::vector<int>(count, length); };
  const std::vector<Timed> cases = {
      {"7b 1x2048", 128, 64, 8, 128, repeat(1, 2048), DType::bf16},
      {"7b 1x8192", 128, 64, 8, 128, repeat(1, 8192), DType::bf16},
      {"7b 8x1024", 128, 64, 8, 128, repeat(8, 1024), DType::bf16},
      {"7b 64x128", 128, 64, 8, 128, repeat(64, 128), DType::bf16},
      {"7b 1x131072", 128, 64, 8, 128, repeat(1, 131072), DType::bf16},
      {"7b 1x8192 f32 state", 128, 64, 8, 128, repeat(1, 8192), DType::f32},
      {"7b 1x8192 f16", 128, 64, 8, 128, repeat(1, 8192), DType::f32, DType::f16},
      {"7b 1x8192 f32", 128, 64, 8, 128, repeat(1, 8192), DType::f32, DType::f32},
      {"2.7b 1x8192", 80, 64, 1, 128, repeat(1, 8192)},
      {"130m 1x2048", 24, 64, 1, 128, repeat(1, 2048)},
      {"130m 1x8192", 24, 64, 1, 128, repeat(1, 8192)},
      {"Nemotron 1x8192", 128, 80, 8, 128, repeat(1, 8192)},
      {"Zamba2 1x8192", 112, 64, 2, 64, repeat(1, 8192)},
      {"Falcon-H1 1x8192", 24, 128, 1, 256, repeat(1, 8192)},
  };
  lab::Bench bench;
  lab::Report report(options);
  for (const Timed& c : cases) {
    Row row{.name = c.name,
            .heads = c.heads,
            .head_dim = c.head_dim,
            .groups = c.groups,
            .state_size = c.state_size,
            .chunk = 256,
            .lengths = c.lengths,
            .dtype = c.dtype,
            .state_dtype = c.state,
            .wide = true};
    row.all_initial = 1;
    Problem problem(row, 12345, true);
    const SsdChunkScanParams& p = problem.p;
    const double element = static_cast<double>(size_of(c.dtype));
    const double bytes =
        static_cast<double>(p.tokens) * ((2.0 * problem.inner + 2.0 * problem.bc) * element + 4.0 * row.heads) +
        2.0 * p.sequences * problem.slot_size * static_cast<double>(size_of(c.state));
    const lab::Times copy = bytes < 4e9 ? bench.copy(bytes) : lab::Times{};
    cuda::Context context = device.context(bench.stream());
    for (const Version& version : versions()) {
      const std::string name = version.name;
      if (name.find("3 segments") != std::string::npos || !version.fits(p, context)) continue;
      if (name == "recurrence" && (p.tokens > 10000 || p.sequences > 1 || p.heads < 128)) continue;
      if (name.find("tiles") != std::string::npos && p.tokens > 10000) continue;
      int segments = 1;
      if (name == "tiles" && cuda::tiles_segments(p, context) > 1) {
        segments = cuda::tiles_segments(p, context);
        const lab::Times us = bench.time([&](cudaStream_t) {
          context.early = false;
          cuda::run_scan_tiles(p, segments, context);
        });
        report.line("ssd_chunk_scan", c.name, name + " segments " + std::to_string(segments), us, bytes, copy);
        segments = 1;
      }
      if (name == "dispatch" && cuda::walk_fits(p, context)) {
        segments = cuda::walk_segments(p, context);
      } else if (name == "dispatch" && cuda::tiles_fit(p)) {
        segments = cuda::tiles_segments(p, context);
      }
      const auto run = [&](cudaStream_t) {
        context.early = false;
        version.run(p, context);
      };
      const lab::Times us = p.tokens > 10000 ? few_runs(bench.stream(), run) : bench.time(run);
      report.line("ssd_chunk_scan", c.name, name + (segments > 1 ? " segments " + std::to_string(segments) : ""), us,
                  bytes, copy);
    }
  }
  // What a call costs the host.
  Row row{.heads = 128, .head_dim = 64, .groups = 8, .state_size = 128, .chunk = 256, .lengths = {64}};
  Problem problem(row, 1, true);
  cuda::Context context = device.context(bench.stream());
  constexpr int kCalls = 500;
  cuda::run_ssd_chunk_scan(problem.p, context);
  LAB_CHECK(cudaStreamSynchronize(bench.stream()));
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kCalls; ++i) cuda::run_ssd_chunk_scan(problem.p, context);
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
  LAB_CHECK(cudaStreamSynchronize(bench.stream()));
  std::printf("a call on the host: %.2f us\n", took.count() / kCalls);
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  Gpu device;
  if (options.check && !check(device, options)) {
    std::printf("WRONG RESULTS\n");
    return 1;
  }
  if (options.time) time_all(device, options);
  return 0;
}
