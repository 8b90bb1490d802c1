#pragma once
// The recurrence of ops/ssd.h in float64, what the rounding of 16-bit operands may change of its results, and the
// comparison of an op's with them.
#include <thread>

#include "lab/ssd_chunk_problem.cuh"

namespace {

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

}  // namespace
