#pragma once
// How an op's work is cut into tasks for the pool.
#include <algorithm>
#include <cstdint>

#include "cpu/kernels.h"
#include "cpu/thread_pool.h"

namespace mamba::cpu {

// Elements of a task of light work, about 10 us: less is not worth a fork.
inline constexpr int64_t kTaskElements = 16384;

// Enough for the threads to end together although one of them was disturbed.
inline constexpr int64_t kTasksPerThread = 2;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Part i of `count` parts of n; the longer parts come first.
inline Range part(int64_t n, int64_t count, int64_t i) {
  const int64_t size = n / count, longer = n % count;
  return {i * size + std::min(i, longer), (i + 1) * size + std::min(i + 1, longer)};
}

// body(rows, scratch) for runs of rows that are independent and cheap.
template <class Body>
void for_rows(ThreadPool& pool, int64_t rows, int64_t width, Body&& body) {
  const int64_t step = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, width));
  pool.parallel_for(ceil_div(rows, step), [&](int64_t task, Scratch& scratch) {
    body(Range{task * step, std::min(rows, (task + 1) * step)}, scratch);
  });
}

// body(row, tokens) for pieces of kPiece tokens of rows of logits.
inline constexpr int64_t kPiece = 8192;
template <class Body>
void for_pieces(ThreadPool& pool, int64_t rows, int64_t vocab, Body&& body) {
  const int64_t pieces = ceil_div(vocab, kPiece);
  pool.parallel_for(rows * pieces, [&](int64_t task, Scratch&) {
    const int64_t first = task % pieces * kPiece;
    body(task / pieces, Range{first, std::min(vocab, first + kPiece)});
  });
}

}  // namespace mamba::cpu
