// Ladders of sample and logprobs.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/sampling.cu
//       native/cuda/{sampling,logprobs}.cu native/cuda/status.cpp native/cpu/{sampling,thread_pool}.cpp -o sampling &&
//       ./sampling [--json FILE --commit SHA] [--check [--quick] | --time]
//
// The kernels are native/cuda/sampling.cu and logprobs.cu, over sampling.cuh; here a row is given to C blocks, which
// keep it or reread it from the L2.
//
// Measured, us on one H200, between two events around a graph of the launch alone, after a flush of the L2 by writes.
// An empty kernel takes 3.9 of it. Logits are normal with a deviation of 3, the temperature 0.8. "each of 20": a chain
// of dependent launches with a warm L2, where an empty kernel takes 0.6.
//
// Vocabulary 50288, rows                   1       8       64      256
//   a copy of as many bytes                4.5     5.2     7.9     17.8
//   greedy               C1 reread         9.3     10.1    11.7    23.4
//                        C2                8.0     8.3     11.0    30.5
//                        C2 reread         7.8     8.3     11.0    25.3
//                        C8                6.8     7.3     14.7    38.1
//                        C8, each of 20    2.4     2.6
//   temperature          C1 reread         23.3    24.1    25.8    51.4
//                        C2                13.5    14.3    16.9    52.8
//                        C2 reread         15.4    16.0    18.8    47.4
//                        C8                9.2     9.7     23.3    65.9
//                        C8, each of 20    4.6     5.8
//   k 40, p .95, m .05   C1 reread         32.6    33.2    35.3    63.9
//                        C2                19.6    20.1    23.0    72.3
//                        C2 reread         22.7    23.4    26.8    61.0
//                        C8                15.3    15.9    45.2    134.1
//                        C8, each of 20    10.8    12.5
//   p .95                C1 reread         68.9    67.5    65.8    104.7
//                        C2                30.1    31.1    34.1    117.7
//                        C2 reread         48.3    43.5    48.0    102.0
//                        C8                23.0    24.2    79.6    244.4
//                        C8, each of 20    18.7    24.9
//   logprobs, top 20     C1 reread         38.5    39.1    41.3    75.5
//                        C2                20.6    21.1    23.9    77.3
//                        C2 reread         24.1    24.7    28.1    67.7
//                        C8                15.6    16.4    47.9    144.2
//                        C8, each of 20    11.2    13.2
//
// Vocabulary 131072, rows                  1       8       64      256
//   a copy of as many bytes                5.0     5.8     12.7    36.6
//   greedy               C1 reread         14.5    14.9    19.6    44.3
//                        C2 reread         10.5    10.9    17.5    46.2
//                        C8                7.9     8.8     22.9    59.0
//                        C8, each of 20    3.0     3.5
//   temperature          C1 reread         47.9    48.8    56.5    110.0
//                        C2 reread         27.8    28.6    38.9    107.2
//                        C8                11.8    12.6    38.4    109.2
//                        C8, each of 20    7.0     9.3
//   k 40, p .95, m .05   C1 reread         66.1    66.7    74.0    132.6
//                        C2 reread         39.0    39.9    49.3    138.8
//                        C8                18.7    19.6    59.6    169.9
//                        C8, each of 20    13.7    16.7
//   p .95                C1 reread         141.3   138.6   142.3   233.5
//                        C2 reread         85.0    80.9    88.8    242.1
//                        C8                31.0    33.4    108.0   336.9
//                        C8, each of 20    26.3    32.6
//   logprobs, top 20     C1 reread         82.2    83.0    90.3    167.0
//                        C2 reread         47.0    47.8    57.5    173.2
//                        C8                19.4    20.4    60.2    174.6
//                        C8, each of 20    14.4    17.1
//
// What lost (vocabulary 50288, the times of one and of 256 rows):
//   - Reading the histograms of all blocks, instead of adding what is not empty to the totals of each: p .95 with C8
//     33.7 and 414, where pushing took 21.7 and 209.
//   - Radix digits alone for top-k, without a list: C2 34.9 and 137.7 against 19.2 and 73.4.
//   - 16 blocks a row: 4.9 against 5.5 in a chain of one row's draws, 111 against 65 for 256.
//   - 1024 threads a block: a greedy row 3.4 against 2.9 in a chain; 256 draws with C2 57.3 against 54.8.
//   - Weighing four tokens one after another, with accurate logarithms for the peak's noise: 256 draws with C2 69.7.
//
// What is left: bins even in the logit (32 a logit, 64 a nat) are fewer tokens each but more bins to push than the
// first digit of the key was: for 256 rows p .95 with C2 went from 138.9 to 117.7, but logprobs from 70.5 to 77.3, and
// for one row with C8 from 12.9 to 15.6, k 40 from 13.7 to 15.3 and p .95 from 21.7 to 23.0. Wider bins are to be
// tried.
#include <cuda_runtime.h>

#include <thread>

#include "cpu/sampling.h"
#include "cuda/kernels.h"
#include "cuda/sampling.cuh"
#include "lab/context.cuh"
#include "lab/lab.cuh"

namespace {

using namespace mamba;
using namespace mamba::cuda;
using lab::Buffer;

// `dispatch` is what the op chooses, `before sm_90` the same without clusters.
struct Version {
  const char* name;
  SampleShape shape;
  bool clusters = true;
};
const Version kVersions[] = {{"C1", {1, true}},          {"C2", {2, true}},         {"C4", {4, true}},
                             {"C8", {8, true}},          {"C1 reread", {1, false}}, {"C2 reread", {2, false}},
                             {"C4 reread", {4, false}},  {"C8 reread", {8, false}}, {"dispatch", {}},
                             {"before sm_90", {}, false}};

Context context_of(const Version& v, cudaStream_t stream) {
  Context context = lab::context_of(stream, true);
  if (!v.clusters) context.capability = 80;
  return context;
}

bool fits(const Version& v, int64_t vocab) {
  return !v.shape.resident || sample_shared_bytes(vocab, v.shape.cluster) <= most_shared_bytes(context_of(v, nullptr));
}

void launch_sample(const SampleParams& p, const Version& v, cudaStream_t stream) {
  Context context = context_of(v, stream);
  v.shape.cluster ? sample_as(p, v.shape, context) : run_sample(p, context);
}

void launch_logprobs(const LogprobsParams& p, const Version& v, cudaStream_t stream) {
  Context context = context_of(v, stream);
  v.shape.cluster ? logprobs_as(p, v.shape, context) : run_logprobs(p, context);
}

// The finalizer of SplitMix64, as the op hashes.
uint64_t finalize(uint64_t x) { return lab::mix(x - 0x9e3779b97f4a7c15u); }

// Normal numbers for large inputs, each many times.
const std::vector<float>& normals() {
  static const std::vector<float> pool = [] {
    std::vector<float> p(1 << 20);
    lab::Random random{lab::mix(std::time(nullptr))};
    for (float& x : p) x = static_cast<float>(random.normal());
    return p;
  }();
  return pool;
}

struct Rows {
  int64_t rows, vocab, stride;
  std::vector<float> logits;
  std::vector<SamplingRow> params;

  Rows(int64_t n, int64_t v, int64_t extra, lab::Random& random)
      : rows(n),
        vocab(v),
        stride(v + extra),
        logits(static_cast<size_t>(n * (v + extra))),
        params(static_cast<size_t>(n)) {
    const auto& pool = normals();
    for (int64_t r = 0; r < rows; ++r) {
      float* row = logits.data() + r * stride;
      size_t at = static_cast<size_t>(random.below(1 << 20)), step = static_cast<size_t>(random.below(1 << 19)) * 2 + 1;
      const float scale = static_cast<float>(random.uniform(0.3, 6)), shift = static_cast<float>(random.uniform(-9, 9));
      for (int64_t i = 0; i < stride; ++i, at += step) row[i] = pool[at & ((1 << 20) - 1)] * scale + shift;
      const int64_t kind = random.below(40);
      if (kind < 6) {  // many equal
        for (int64_t i = 0; i < vocab; ++i) row[i] = std::round(row[i] * 2) / 2;
      } else if (kind < 9) {  // most impossible
        for (int64_t i = 0; i < vocab; ++i) row[i] = random.below(20) ? -INFINITY : row[i];
      } else if (kind == 9) {
        std::fill_n(row, vocab, shift);
      } else if (kind == 10) {
        row[random.below(vocab)] = random.below(2) ? NAN : -NAN;
      } else if (kind == 11) {
        row[random.below(vocab)] = INFINITY;
      } else if (kind == 12) {
        std::fill_n(row, vocab, -INFINITY);
      } else if (kind == 13) {
        for (int64_t i = 0; i < vocab; ++i)
          row[i] = random.below(2) ? 0.0f : random.below(2) ? -0.0f : -row[i] * row[i];
      } else if (kind == 14) {
        row[random.below(vocab)] += 60;
      }
      SamplingRow& p = params[static_cast<size_t>(r)];
      p = {};
      p.temperature = random.below(8) == 0 ? 0 : static_cast<float>(random.uniform(0.2, 2));
      if (random.below(16) == 0) p.temperature = random.below(2) ? 1e-3f : 100;
      p.top_k = random.below(2) ? 0 : random.below(3) == 0 ? static_cast<int32_t>(random.below(vocab + 3)) : 40;
      p.top_p = random.below(2) ? 1 : random.below(12) == 0 ? 0 : static_cast<float>(random.uniform(0.2, 0.999));
      p.min_p = random.below(2) ? 0 : static_cast<float>(random.uniform(0, 0.3));
      p.seed_low = static_cast<uint32_t>(lab::mix(random.state++)), p.seed_high = static_cast<uint32_t>(r);
      p.position = static_cast<int32_t>(random.below(5000));
    }
  }
};

int32_t on_cpu(const float* logits, int64_t vocab, const SamplingRow& row, cpu::ThreadPool& pool) {
  int32_t token = -7;
  cpu::run_sample({1, vocab, logits, vocab, &row, &token}, pool);
  return token;
}

// Whether a change of the parameters by a float's rounding, or of the noise, makes the CPU draw it too.
bool near_tie(const float* logits, int64_t vocab, const SamplingRow& row, int32_t got, int32_t cpu_token,
              cpu::ThreadPool& pool) {
  if (got < 0 || got >= vocab || cpu_token < 0) return false;
  for (const float by : {1e-6f, -1e-6f, 1e-5f, -1e-5f}) {
    SamplingRow p = row;
    p.top_p = row.top_p < 1 ? std::min(row.top_p * (1 + by), 0.9999999f) : 1;
    if (on_cpu(logits, vocab, p, pool) == got) return true;
    p = row, p.min_p *= 1 + by;
    if (on_cpu(logits, vocab, p, pool) == got) return true;
  }
  const auto noisy = [&](int32_t token) {
    constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;
    const uint64_t key = finalize((static_cast<uint64_t>(row.seed_high) << 32 | row.seed_low) +
                                  static_cast<uint64_t>(static_cast<uint32_t>(row.position)) * kGolden);
    const uint64_t bits = finalize(key + (static_cast<uint64_t>(token) + 1) * kGolden);
    const float u = (static_cast<float>(bits >> 32) + 0.5f) * 0x1p-32f;
    return static_cast<double>(logits[token]) / row.temperature - std::log(-std::log1p(-static_cast<double>(u)));
  };
  return std::abs(noisy(got) - noisy(cpu_token)) < 1e-5 * (1 + std::abs(logits[got] / row.temperature));
}

bool check_sample(int64_t rows, int64_t vocab, int64_t extra, cpu::ThreadPool& pool) {
  lab::Random random{lab::mix(std::time(nullptr) * 1009 + rows * 31 + vocab)};
  const Rows input(rows, vocab, extra, random);
  std::vector<int32_t> expected(static_cast<size_t>(rows)), got(expected.size()), first;
  cpu::run_sample({rows, vocab, input.logits.data(), input.stride, input.params.data(), expected.data()}, pool);
  const Buffer logits(input.logits.size() * 4), params(input.params.size() * 32);
  LAB_CHECK(cudaMemcpy(logits.data, input.logits.data(), logits.bytes, cudaMemcpyHostToDevice));
  LAB_CHECK(cudaMemcpy(params.data, input.params.data(), params.bytes, cudaMemcpyHostToDevice));
  Buffer tokens(got.size() * 4);
  const SampleParams p = {
      rows, vocab, logits.as<float>(), input.stride, params.as<SamplingRow>(), tokens.as<int32_t>()};
  bool ok = true;
  int64_t other = 0, wrong = 0, versions = 0;
  for (const Version& v : kVersions) {
    if (!fits(v, vocab)) continue;
    ++versions;
    for (int turn = 0; turn < 2; ++turn) {
      LAB_CHECK(cudaMemset(tokens.data, 0x99, tokens.bytes));
      launch_sample(p, v, nullptr);
      LAB_CHECK(cudaGetLastError());
      LAB_CHECK(cudaDeviceSynchronize());
      LAB_CHECK(cudaMemcpy(got.data(), tokens.data, tokens.bytes, cudaMemcpyDeviceToHost));
      if (first.empty()) first = got;
      int64_t differ = 0;
      for (size_t r = 0; r < got.size(); ++r) {
        if (got[r] != first[r] && differ++ < 3) {
          const SamplingRow& s = input.params[r];
          std::printf("  %s row %zu: %d, first version %d, cpu %d (t %g k %d p %g m %g)\n", v.name, r, got[r], first[r],
                      expected[r], s.temperature, s.top_k, s.top_p, s.min_p);
        }
      }
      if (differ) ok = false, std::printf("FAILED sample %s: %ld rows differ\n", v.name, (long)differ);
    }
  }
  for (size_t r = 0; r < got.size(); ++r) {
    if (first[r] == expected[r]) continue;
    ++other;
    const SamplingRow& s = input.params[r];
    const float* row = input.logits.data() + static_cast<int64_t>(r) * input.stride;
    if (near_tie(row, vocab, s, first[r], expected[r], pool)) continue;
    if (wrong++ < 5) {
      std::printf("  row %zu: %d, cpu %d (t %g k %d p %g m %g)\n", r, first[r], expected[r], s.temperature, s.top_k,
                  s.top_p, s.min_p);
    }
  }
  ok = ok && wrong == 0 && static_cast<double>(other) <= std::max(1.0, 1e-3 * static_cast<double>(rows));
  std::printf("%s sample %ldx%ld+%ld, %ld versions twice: %ld rows not as the CPU, %ld of them no tie\n",
              ok ? "ok" : "FAILED", (long)rows, (long)vocab, (long)extra, (long)versions, (long)other, (long)wrong);
  return ok;
}

bool check_logprobs(int64_t rows, int64_t vocab, int64_t extra, int64_t top, cpu::ThreadPool& pool) {
  lab::Random random{lab::mix(std::time(nullptr) * 1013 + rows * 31 + vocab)};
  const Rows input(rows, vocab, extra, random);
  std::vector<int32_t> given(static_cast<size_t>(rows));
  for (int32_t& t : given) t = static_cast<int32_t>(random.below(vocab + 2) - 1);
  const size_t n = static_cast<size_t>(rows * (top + 1));
  std::vector<float> values(n), expected(n);
  std::vector<int32_t> ids(n), expected_ids(n), first;
  cpu::run_logprobs(
      {rows, vocab, top, input.logits.data(), input.stride, given.data(), expected.data(), expected_ids.data()}, pool);
  const Buffer logits(input.logits.size() * 4), tokens(given);
  LAB_CHECK(cudaMemcpy(logits.data, input.logits.data(), logits.bytes, cudaMemcpyHostToDevice));
  Buffer dvalues(n * 4), dids(n * 4);
  const LogprobsParams p = {rows,
                            vocab,
                            top,
                            logits.as<float>(),
                            input.stride,
                            tokens.as<int32_t>(),
                            dvalues.as<float>(),
                            dids.as<int32_t>()};
  bool ok = true;
  double worst = 0;
  for (const Version& v : kVersions) {
    if (!fits(v, vocab)) continue;
    std::vector<float> before;
    for (int turn = 0; turn < 2; ++turn) {
      dvalues.poison(), dids.poison();
      LAB_CHECK(cudaMemset(dids.data, 0x99, dids.bytes));
      launch_logprobs(p, v, nullptr);
      LAB_CHECK(cudaGetLastError());
      LAB_CHECK(cudaDeviceSynchronize());
      LAB_CHECK(cudaMemcpy(values.data(), dvalues.data, dvalues.bytes, cudaMemcpyDeviceToHost));
      LAB_CHECK(cudaMemcpy(ids.data(), dids.data, dids.bytes, cudaMemcpyDeviceToHost));
      int64_t bad = 0;
      for (size_t i = 0; i < n; ++i) {
        const bool same = values[i] == expected[i] || (std::isnan(values[i]) && std::isnan(expected[i]));
        const double distance = same ? 0 : std::abs(values[i] - expected[i]) / (1 + std::abs(expected[i]));
        worst = std::max(worst, distance);
        if ((ids[i] != expected_ids[i] || !(distance < 2e-6)) && bad++ < 3) {
          std::printf("  %s row %zu column %zu: %d %g, cpu %d %g\n", v.name, i / (top + 1), i % (top + 1), ids[i],
                      values[i], expected_ids[i], expected[i]);
        }
      }
      if (turn && std::memcmp(before.data(), values.data(), n * 4) != 0) ++bad, std::printf("  not the same bits\n");
      before = values;
      if (bad) ok = false, std::printf("FAILED logprobs %s: %ld\n", v.name, (long)bad);
    }
  }
  std::printf("%s logprobs %ldx%ld+%ld top %ld: worst relative distance %.1e\n", ok ? "ok" : "FAILED", (long)rows,
              (long)vocab, (long)extra, (long)top, worst);
  return ok;
}

bool check_all(bool quick) {
  cpu::ThreadPool pool(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  bool ok = true;
  for (const int64_t vocab : {1, 5, 37, 1000, 5003}) ok &= check_sample(64, vocab, vocab % 7, pool);
  for (const int64_t vocab : {20, 37, 1000, 5003}) ok &= check_logprobs(40, vocab, vocab % 7, 20, pool);
  ok &= check_logprobs(40, 4096, 0, 0, pool);
  ok &= check_logprobs(9, 3001, 2, 3001, pool);
  for (const int64_t rows : {3, 16, 17}) ok &= check_sample(rows, 40000, 1, pool);
  if (quick) return ok;
  ok &= check_sample(10000, 4096, 0, pool);
  ok &= check_sample(500, 50288, 0, pool);
  ok &= check_sample(300, 50257, 0, pool);
  ok &= check_sample(100, 131072, 4, pool);
  ok &= check_logprobs(200, 50288, 0, 20, pool);
  ok &= check_logprobs(50, 131072, 1, 20, pool);
  return ok;
}

template <class Launch>
void time_versions(const std::string& name, int64_t rows, int64_t vocab, const char* op, double bytes,
                   const lab::Times& copy, lab::Bench& bench, lab::Report& report, Launch go) {
  for (const Version& v : kVersions) {
    if (!fits(v, vocab)) continue;
    report.line(op, name, v.name, bench.time([&](cudaStream_t s) { go(v, s); }), bytes, copy);
  }
  // Launches one after another, as in a model, with a warm L2: the time of each.
  constexpr int kChain = 20;
  if (rows > 8) return;
  for (const Version& v : kVersions) {
    if (!fits(v, vocab) || !v.clusters) continue;
    lab::Times us = bench.time([&](cudaStream_t s) {
      for (int i = 0; i < kChain; ++i) go(v, s);
    });
    us.event /= kChain, us.clean /= kChain;
    report.line(op, name, std::string("each of 20 ") + v.name, us, bytes, copy);
  }
}

void time_all(lab::Bench& bench, lab::Report& report) {
  constexpr int64_t kRows = 256, kVocab = 131072, kTop = 20;
  const auto& pool = normals();
  std::vector<float> host(kRows * kVocab);
  for (size_t i = 0, at = 0; i < host.size(); ++i, at += 7919) host[i] = 3 * pool[(at + i / pool.size()) % pool.size()];
  const Buffer logits(host.size() * 4), tokens(kRows * 4), values(kRows * (kTop + 1) * 4), ids(values.bytes);
  LAB_CHECK(cudaMemcpy(logits.data, host.data(), logits.bytes, cudaMemcpyHostToDevice));
  LAB_CHECK(cudaMemset(tokens.data, 0, tokens.bytes));
  struct Mode {
    const char* name;
    SamplingRow row;
  };
  const Mode modes[] = {{"greedy", {0, 0, 1, 0, 1, 2, 3, 0}},
                        {"temperature", {0.8f, 0, 1, 0, 1, 2, 3, 0}},
                        {"k40 p.95 m.05", {0.8f, 40, 0.95f, 0.05f, 1, 2, 3, 0}},
                        {"p.95", {0.8f, 0, 0.95f, 0, 1, 2, 3, 0}}};
  for (const int64_t vocab : {4096, 32768, 50288, 131072}) {
    for (const int64_t rows : {1, 8, 64, 256}) {
      const double bytes = 4.0 * static_cast<double>(rows * vocab);
      const lab::Times copy = bench.copy(bytes);
      const std::string shape = std::to_string(rows) + "x" + std::to_string(vocab);
      for (const Mode& mode : modes) {
        std::vector<SamplingRow> params(static_cast<size_t>(rows), mode.row);
        for (size_t r = 0; r < params.size(); ++r) params[r].seed_low = static_cast<uint32_t>(r);
        const Buffer dparams(params.size() * 32);
        LAB_CHECK(cudaMemcpy(dparams.data, params.data(), dparams.bytes, cudaMemcpyHostToDevice));
        const SampleParams p = {
            rows, vocab, logits.as<float>(), vocab, dparams.as<SamplingRow>(), tokens.as<int32_t>()};
        time_versions(shape + " " + mode.name, rows, vocab, "sample", bytes, copy, bench, report,
                      [&](const Version& v, cudaStream_t s) { launch_sample(p, v, s); });
      }
      LAB_CHECK(cudaMemset(tokens.data, 0, tokens.bytes));
      const LogprobsParams p = {
          rows, vocab, kTop, logits.as<float>(), vocab, tokens.as<int32_t>(), values.as<float>(), ids.as<int32_t>()};
      time_versions(shape + " top 20", rows, vocab, "logprobs", bytes, copy, bench, report,
                    [&](const Version& v, cudaStream_t s) { launch_logprobs(p, v, s); });
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  if (options.check && !check_all(options.quick)) return 1;
  if (!options.time) return 0;
  lab::Bench bench;
  lab::Report report(options);
  report.line("empty", "", "", bench.empty(), 0, {});
  time_all(bench, report);
  return 0;
}
