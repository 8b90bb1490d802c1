// count_tokens and apply_penalties. A task counts one sequence's tokens, or penalises a piece of one row of logits.
// Bound: one read of the penalised rows' counts; a logit is touched only where there is one.
#include "cpu/penalties.h"

#include <algorithm>

#include "cpu/cut.h"

namespace mamba::cpu {
namespace {

void count_row(const CountTokensParams& p, const CountedRow& row) {
  if (row.slot < 0 || row.slot >= p.slots) return;
  uint32_t* counts = p.counts + row.slot * p.counts_stride;
  if (row.fresh) std::fill_n(counts, p.vocab, 0u);
  for (int64_t i = 0; i < row.length; ++i) {
    const int64_t at = row.first + i;
    if (at < 0 || at >= p.tokens) continue;
    const int64_t id = p.ids[at];
    if (id < 0 || id >= p.vocab) continue;
    if (i < row.prompt) {
      counts[id] |= kInPrompt;
    } else {
      ++counts[id];
    }
  }
}

void penalise(float* logits, const uint32_t* counts, int64_t size, const PenaltyRow& row) {
  for (int64_t i = 0; i < size; ++i) {
    if (counts[i] == 0) continue;
    float logit = logits[i] > 0 ? logits[i] / row.repetition : logits[i] * row.repetition;
    if (const uint32_t generated = counts[i] & ~kInPrompt) {
      logit -= row.frequency * static_cast<float>(generated);
      logit -= row.presence;
    }
    logits[i] = logit;
  }
}

}  // namespace

void run_count_tokens(const CountTokensParams& p, ThreadPool& pool) {
  pool.parallel_for(p.rows, [&](int64_t row, Scratch&) { count_row(p, p.table[row]); });
}

void run_apply_penalties(const ApplyPenaltiesParams& p, ThreadPool& pool) {
  for_pieces(pool, p.rows, p.vocab, [&](int64_t r, Range tokens) {
    const PenaltyRow& row = p.table[r];
    if (row.slot < 0 || row.slot >= p.slots) return;
    if (row.repetition == 1 && row.presence == 0 && row.frequency == 0) return;
    penalise(p.logits + r * p.logits_stride + tokens.begin, p.counts + row.slot * p.counts_stride + tokens.begin,
             tokens.end - tokens.begin, row);
  });
}

}  // namespace mamba::cpu
