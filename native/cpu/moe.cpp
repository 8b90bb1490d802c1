// route, sort_by_expert, moe_combine. A token's scores and its few best are a thread's work, and nothing beside its
// experts' products; the sort is a counting sort in one task.
#include "cpu/moe.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/cut.h"
#include "cpu/kernels.h"

namespace mamba::cpu {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

float number_or_lowest(float x) { return std::isnan(x) ? kLowest : x; }

void softmax(const float* logits, int64_t n, float* scores) {
  float peak = kLowest, total = 0;
  for (int64_t i = 0; i < n; ++i) peak = std::max(peak, number_or_lowest(logits[i]));
  for (int64_t i = 0; i < n; ++i) total += scores[i] = std::exp(number_or_lowest(logits[i]) - peak);
  for (int64_t i = 0; i < n; ++i) scores[i] /= total;
}

void sigmoid(const float* logits, int64_t n, float* scores) {
  for (int64_t i = 0; i < n; ++i) scores[i] = 1 / (1 + std::exp(-number_or_lowest(logits[i])));
}

// The index of the largest of those that are not taken, the first of equal ones.
int64_t best_of(const float* values, const bool* taken, int64_t n) {
  int64_t best = -1;
  for (int64_t i = 0; i < n; ++i) {
    if (!taken[i] && (best < 0 || values[i] > values[best])) best = i;
  }
  return best;
}

// The sum of a group's two best.
float group_score(const float* ranked, int64_t size) {
  float best = kLowest, second = kLowest;
  for (int64_t i = 0; i < size; ++i) {
    second = std::max(second, std::min(best, ranked[i]));
    best = std::max(best, ranked[i]);
  }
  return best + second;
}

struct Token {
  float scores[kMostExperts], ranked[kMostExperts], group_scores[kMostExperts];
  bool taken[kMostExperts], kept[kMostExperts];
};

void drop_groups(const RouteParams& p, Token& t) {
  const int64_t size = p.experts / p.groups;
  for (int64_t g = 0; g < p.groups; ++g) {
    t.group_scores[g] = number_or_lowest(group_score(t.ranked + g * size, size));
    t.kept[g] = false;
  }
  for (int64_t i = 0; i < p.kept_groups; ++i) t.kept[best_of(t.group_scores, t.kept, p.groups)] = true;
  for (int64_t e = 0; e < p.experts; ++e) t.taken[e] = !t.kept[e / size];
}

void route_token(const RouteParams& p, int64_t row, Token& t) {
  int32_t* ids = p.ids + row * p.k;
  float* weights = p.weights + row * p.k;
  if (p.slots && p.slots[row] < 0) {
    std::fill_n(ids, p.k, -1);
    std::fill_n(weights, p.k, 0.0f);
    return;
  }
  const float* logits = p.logits + row * p.logits_stride;
  (p.score == RouterScore::softmax ? softmax : sigmoid)(logits, p.experts, t.scores);
  for (int64_t e = 0; e < p.experts; ++e) {
    t.ranked[e] = number_or_lowest(p.bias ? t.scores[e] + p.bias[e] : t.scores[e]);
    t.taken[e] = false;
  }
  if (p.groups > 1) drop_groups(p, t);
  float total = 0;
  for (int64_t j = 0; j < p.k; ++j) {
    const int64_t e = best_of(t.ranked, t.taken, p.experts);
    t.taken[e] = true;
    ids[j] = static_cast<int32_t>(e);
    total += weights[j] = t.scores[e];
  }
  const float factor = p.normalise ? p.scale / (total + 1e-20f) : p.scale;
  for (int64_t j = 0; j < p.k; ++j) weights[j] *= factor;
}

}  // namespace

void run_route(const RouteParams& p, ThreadPool& pool) {
  for_rows(pool, p.tokens, p.experts * (4 + p.k), [&](Range tokens, Scratch& scratch) {
    auto& token = *static_cast<Token*>(scratch.get(sizeof(Token)));
    for (int64_t t = tokens.begin; t < tokens.end; ++t) route_token(p, t, token);
  });
}

void run_local_experts(const LocalExpertsParams& p, ThreadPool&) {
  for (int64_t i = 0; i < p.pairs; ++i) p.ids[i] -= p.first;
}

void run_sort_by_expert(const SortByExpertParams& p, ThreadPool&) {
  const auto expert_of = [&](int64_t pair) {
    const int64_t e = p.ids[pair];
    return e >= 0 && e < p.experts ? e : -1;
  };
  std::fill_n(p.offsets, p.experts + 1, 0);
  for (int64_t i = 0; i < p.pairs; ++i) {
    if (expert_of(i) >= 0) ++p.offsets[expert_of(i) + 1];
  }
  for (int64_t e = 0; e < p.experts; ++e) p.offsets[e + 1] += p.offsets[e];
  int32_t next[kMostExperts];
  std::copy_n(p.offsets, p.experts, next);
  std::fill(p.row_token + p.offsets[p.experts], p.row_token + p.pairs, -1);
  for (int64_t i = 0; i < p.pairs; ++i) {
    const int64_t e = expert_of(i);
    p.positions[i] = e < 0 ? -1 : next[e]++;
    if (e >= 0) p.row_token[p.positions[i]] = static_cast<int32_t>(i / p.k);
  }
}

void run_moe_combine(const MoeCombineParams& p, ThreadPool& pool) {
  for_rows(pool, p.tokens, p.width * (p.k + 1), [&](Range tokens, Scratch&) { kernels().moe_combine(p, tokens); });
}

}  // namespace mamba::cpu
