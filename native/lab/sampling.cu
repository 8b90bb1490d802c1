// Ladders of sample and logprobs.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/sampling.cu
//       native/cuda/{sampling,logprobs}.cu native/cuda/status.cpp native/cpu/{sampling,thread_pool}.cpp -o sampling &&
//       ./sampling [--json FILE --commit SHA] [--check [--quick] | --time]
//
// Idea. A cluster of C blocks owns a row and reads its logits once, into shared memory; everything after works on that
// copy. A logit becomes its distance from the maximum, an integer that orders as floats do. Thresholds come from a
// radix select (11, 11 and 10 bits) over the distances: of counts for top-k, of probability mass for top-p. Mass is
// added in fixed point (2^-40 of the likeliest token), so the order of atomics does not matter: the same bits each
// time. When few tokens are left after the first digit of top-k, they go to one block, which sorts them by counting and
// finishes alone. A token's Gumbel noise is computed only if its hash could make it win: -log(-log1p(-u)) > t needs u <
// exp(-t).
//
// Layout. Distances are keys(max) - keys(logit); -0 counts as 0. A histogram is 2048 words of low halves, and as many
// of high halves for mass.
//
// Mapping. 512 threads a block; block c of a cluster has the c-th part of the row.
//
// Bound. One read of the logits; for few rows the latency of the cluster's barriers (2 for greedy, 3 for a draw, one
// more for each digit of a filter). For many rows and a draw, the 64-bit hash of each token.
//
// Measured, us on one H200, between two events around a graph of the launch alone, after a flush of the L2 by writes.
// An empty kernel takes 3.9 of it. Logits are normal with a deviation of 3, the temperature 0.8. "reread" reads the
// logits again from the L2; "digits" takes all digits of top-k instead of a list; the others are lists.
//
// Vocabulary 50288, rows                    1       8       64      256
//   a copy of as many bytes                 4.6     5.2     7.9     17.9
//   greedy           C1 reread              9.6     9.9     12.2    24.6
//                    C2                     8.1     8.6     11.2    30.5
//                    C8                     7.0     7.5     15.2    41.2
//   temperature      C1 reread              40.7    42.2    44.4    80.1
//                    C2                     17.4    18.3    20.8    68.5
//                    C8                     10.5    11.2    26.7    76.7
//                    C16                    9.6     11.6    37.6    126.2
//   k 40, p .95,     C1 reread              55.0    57.6    60.2    118.1
//   min-p .05        C2                     19.2    22.4    24.8    73.4
//                    C8                     16.2    18.5    44.8    134.1
//                    C2 digits              34.9    36.1    38.7    137.7
//   p .95            C1 reread              112.2   117.1   121.3   223.6
//                    C2                     36.6    38.6    41.0    142.9
//                    C4                     29.8    31.1    61.1    158.8
//                    C8                     34.2    34.9    122.7   417.5
//   logprobs, top 20 C1 reread              59.0    60.2    63.1    130.2
//                    C2                     19.1    20.8    23.4    70.6
//                    C8                     14.9    16.2    42.8    127.8
//
// Vocabulary 131072, rows                   1       8       64      256
//   a copy of as many bytes                 4.9     6.0     12.7    36.7
//   greedy           C8                     8.1     8.9     23.0    62.4
//   temperature      C8                     14.5    15.4    43.9    129.4
//   k 40, p .95 ..   C8                     22.1    23.0    57.1    170.9
//   p .95            C4                     46.9    47.4    133.0   388.9
//   logprobs, top 20 C8                     17.6    18.7    55.5    168.3
//
// What is left: a digit costs about 5 us in a cluster of 8 and 2 us in one of 2, because each block reads the whole
// histograms of all blocks. "push" adds only the bins that are not empty, to the totals of each block, and hashes four
// tokens at a time; it compiles and is in the check, but has not run on a GPU yet.
#include <cuda_runtime.h>

#include <thread>

#include "cpu/sampling.h"
#include "cuda/kernels.h"
#include "cuda/sampling.cuh"
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
  int major = 0, minor = 0, multiprocessors = 0;
  LAB_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  LAB_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
  LAB_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0));
  Context context = {stream, multiprocessors, v.clusters ? 10 * major + minor : 80, nullptr, 0, nullptr};
  context.early = true;
  return context;
}

bool fits(const Version& v, int64_t vocab) {
  return !v.shape.resident || sample_shared_bytes(vocab, v.shape.cluster, context_of(v, nullptr)) > 0;
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
