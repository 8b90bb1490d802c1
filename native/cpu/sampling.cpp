// Sampling of one token per row. Bound: one read of the logits, and for each kept token a hash and two logarithms.
//
// A filter is a threshold on the logits: top-k by selection, top-p by a histogram of the probability mass over the
// distance from the maximum (only the bucket where the mass crosses p is sorted), min-p in closed form.
#include "cpu/sampling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

namespace mamba::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Finalizer of SplitMix64 (Steele, Lea & Flood 2014).
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Noise of the Gumbel-max draw. A row's stream is keyed by seed and position, a token's noise by its id.
class Gumbel {
 public:
  explicit Gumbel(const SamplingRow& row)
      : key_(mix((static_cast<uint64_t>(row.seed_high) << 32 | row.seed_low) +
                 static_cast<uint64_t>(static_cast<uint32_t>(row.position)) * 0x9e3779b97f4a7c15u)) {}

  float operator()(int64_t token) const {
    const uint64_t bits = mix(key_ + static_cast<uint64_t>(token + 1) * 0x9e3779b97f4a7c15u) >> 32;
    const float uniform = (static_cast<float>(bits) + 0.5f) * 0x1p-32f;
    return -std::log(-std::log1p(-uniform));
  }

  // No noise is larger: -log(-log1p(-2^-33)), rounded up.
  static constexpr float kLargest = 23.0f;

 private:
  uint64_t key_;
};

// The maximum and its lowest index; index -1 when the row cannot be sampled.
struct Peak {
  float value = -kInfinity;
  int32_t index = -1;
};

Peak find_peak(const float* logits, int64_t vocab) {
  Peak peak;
  bool finite = true;
  for (int64_t i = 0; i < vocab; ++i) {
    finite &= logits[i] < kInfinity;  // false for NaN too
    if (logits[i] > peak.value) peak = {logits[i], static_cast<int32_t>(i)};
  }
  return finite ? peak : Peak{};
}

float top_k_threshold(const float* logits, int64_t vocab, int64_t k, Scratch& scratch) {
  float* values = static_cast<float*>(scratch.get(static_cast<size_t>(vocab) * sizeof(float)));
  std::copy_n(logits, vocab, values);
  std::nth_element(values, values + (k - 1), values + vocab, std::greater<>());
  return values[k - 1];
}

float top_p_threshold(const float* logits, int64_t vocab, float peak, float floor, float inverse_temperature, float p,
                      Scratch& scratch) {
  // Bucket b holds the tokens whose log-probability is b/8 to (b+1)/8 below the peak's; the last one takes the rest.
  constexpr int kBuckets = 256;
  constexpr float kBucketsPerNat = 8.0f;
  const auto distance = [&](float logit) { return (peak - logit) * inverse_temperature; };
  const auto bucket_of = [&](float logit) {
    return static_cast<int>(std::min(distance(logit) * kBucketsPerNat, static_cast<float>(kBuckets - 1)));
  };
  std::array<double, kBuckets> mass{};
  double total = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    if (logits[i] < floor || logits[i] == -kInfinity) continue;
    const double weight = std::exp(-distance(logits[i]));
    mass[static_cast<size_t>(bucket_of(logits[i]))] += weight;
    total += weight;
  }
  const double wanted = static_cast<double>(p) * total;
  double before = 0;
  int crossing = 0;
  while (crossing < kBuckets - 1 && before + mass[static_cast<size_t>(crossing)] < wanted) {
    before += mass[static_cast<size_t>(crossing++)];
  }
  float* values = static_cast<float*>(scratch.get(static_cast<size_t>(vocab) * sizeof(float)));
  int64_t count = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    if (logits[i] < floor || logits[i] == -kInfinity) continue;
    if (bucket_of(logits[i]) == crossing) values[count++] = logits[i];
  }
  if (count == 0) return floor;
  std::sort(values, values + count, std::greater<>());
  int64_t kept = 0;
  while (kept < count - 1 && (before += std::exp(-distance(values[kept]))) < wanted) ++kept;
  return values[kept];
}

int32_t sample_row(const float* logits, int64_t vocab, const SamplingRow& row, Scratch& scratch) {
  const Peak peak = find_peak(logits, vocab);
  if (peak.index < 0 || !(row.temperature > 0)) return peak.index;
  const float inverse_temperature = 1.0f / row.temperature;
  if (!(inverse_temperature < kInfinity)) return peak.index;

  float threshold = -std::numeric_limits<float>::max();
  if (row.top_k > 0 && row.top_k < vocab) threshold = top_k_threshold(logits, vocab, row.top_k, scratch);
  if (row.top_p < 1) {
    threshold = std::max(
        threshold, top_p_threshold(logits, vocab, peak.value, threshold, inverse_temperature, row.top_p, scratch));
  }
  if (row.min_p > 0) threshold = std::max(threshold, peak.value + row.temperature * std::log(row.min_p));
  threshold = std::min(threshold, peak.value);

  const Gumbel gumbel(row);
  float best = -kInfinity;
  int32_t token = peak.index;
  for (int64_t i = 0; i < vocab; ++i) {
    if (logits[i] < threshold) continue;
    const float score = (logits[i] - peak.value) * inverse_temperature;
    if (score + Gumbel::kLargest < best) continue;
    const float noisy = score + gumbel(i);
    if (noisy > best) {
      best = noisy;
      token = static_cast<int32_t>(i);
    }
  }
  return token;
}

// Counted from 1; of equal logits the lower id ranks first.
int32_t rank_of(int32_t token, const float* logits, int64_t vocab) {
  int32_t rank = 1;
  for (int32_t i = 0; i < vocab; ++i) {
    rank += logits[i] > logits[token] || (logits[i] == logits[token] && i < token);
  }
  return rank;
}

void logprobs_row(const LogprobsParams& p, int64_t row, Scratch& scratch) {
  const float* logits = p.logits + row * p.logits_stride;
  float* values = p.values + row * (p.top + 1);
  int32_t* ids = p.ids + row * (p.top + 1);
  const float peak = *std::max_element(logits, logits + p.vocab);
  double total = 0;
  for (int64_t i = 0; i < p.vocab; ++i) total += std::exp(logits[i] - peak);
  const double log_total = std::log(total) + static_cast<double>(peak);

  const int32_t given = p.tokens[row];
  const bool known = given >= 0 && given < p.vocab;
  const bool ordered = std::isfinite(log_total);  // NaN has no order to sort by
  ids[0] = known && ordered ? rank_of(given, logits, p.vocab) : 0;
  values[0] = known ? static_cast<float>(logits[given] - log_total) : -kInfinity;
  if (p.top == 0) return;
  if (!ordered) {
    std::fill_n(values + 1, p.top, std::numeric_limits<float>::quiet_NaN());
    std::fill_n(ids + 1, p.top, -1);
    return;
  }
  int32_t* order = static_cast<int32_t*>(scratch.get(static_cast<size_t>(p.vocab) * sizeof(int32_t)));
  for (int32_t i = 0; i < p.vocab; ++i) order[i] = i;
  std::partial_sort(order, order + p.top, order + p.vocab,
                    [&](int32_t a, int32_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
  for (int64_t i = 0; i < p.top; ++i) {
    ids[i + 1] = order[i];
    values[i + 1] = static_cast<float>(logits[order[i]] - log_total);
  }
}

}  // namespace

void run_sample(const SampleParams& p, ThreadPool& pool) {
  pool.parallel_for(p.rows, [&](int64_t row, Scratch& scratch) {
    p.tokens[row] = sample_row(p.logits + row * p.logits_stride, p.vocab, p.params[row], scratch);
  });
}

void run_logprobs(const LogprobsParams& p, ThreadPool& pool) {
  pool.parallel_for(p.rows, [&](int64_t row, Scratch& scratch) { logprobs_row(p, row, scratch); });
}

}  // namespace mamba::cpu
