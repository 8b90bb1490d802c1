// Ops in which the ranks of a group meet: each reads what it lacks in the others' memory.
#include "cpu/collectives.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/float_type.h"
#include "cpu/cut.h"
#include "cpu/group.h"

namespace mamba::cpu {
namespace {

CpuGroup& group_of(const Membership& membership) { return static_cast<CpuGroup&>(*membership.group); }

// What each rank's row counts in the sum (see ops.def), the same on all ranks.
void row_factors(const AllReduceParams& p, const std::vector<GroupRows>& parts, int64_t row, float* factors) {
  if (!p.squares) {
    std::fill_n(factors, parts.size(), 1.0f);
    return;
  }
  float squares = 0;
  int64_t channels = 0;
  for (const GroupRows& part : parts) {
    if (part.channels > 0) squares += part.squares[row];
    channels += part.channels;
  }
  const float scale = 1.0f / std::sqrt(squares / static_cast<float>(std::max<int64_t>(channels, 1)) + p.eps);
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    const GroupRows& part = parts[rank];
    if (part.channels == 0) {
      factors[rank] = 0;
    } else {
      factors[rank] = scale * std::sqrt(part.squares[row] / static_cast<float>(part.channels) + p.eps);
    }
  }
}

// Every rank takes the sum by itself, in the order of ranks, so that all have the same bits. `sums` holds a row, and
// behind it a factor for each rank.
template <class X, class Out>
void reduce(const AllReduceParams& p, const std::vector<GroupRows>& parts, Range rows, float* sums) {
  float* factors = sums + p.width;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    row_factors(p, parts, r, factors);
    std::fill_n(sums, p.width, 0.0f);
    for (size_t rank = 0; rank < parts.size(); ++rank) {
      if (factors[rank] == 0) continue;  // what it has there may be no number
      const X* x = static_cast<const X*>(parts[rank].data) + r * parts[rank].stride;
      for (int64_t c = 0; c < p.width; ++c) sums[c] += factors[rank] * to_float(x[c]);
    }
    Out* out = static_cast<Out*>(p.out) + r * p.out_stride;
    for (int64_t c = 0; c < p.width; ++c) {
      out[c] = from_float<Out>(p.accumulate ? to_float(out[c]) + sums[c] : sums[c]);
    }
  }
}

}  // namespace

void run_all_reduce(const AllReduceParams& p, ThreadPool& pool) {
  const GroupRows own = {p.x, p.x_dtype, p.x_stride, p.rows, p.width, p.squares, p.channels};
  group_of(p.membership).meet(p.membership.rank, own, [&](const std::vector<GroupRows>& parts) {
    for_rows(pool, p.rows, p.width, [&](Range rows, Scratch& scratch) {
      const size_t floats = static_cast<size_t>(p.width) + parts.size();
      auto* sums = static_cast<float*>(scratch.get(floats * sizeof(float)));
      with_float_type(p.x_dtype, [&](auto x) {
        with_float_type(p.out_dtype, [&](auto out) { reduce<decltype(x), decltype(out)>(p, parts, rows, sums); });
      });
    });
  });
  if (!p.clear) return;
  const auto element = static_cast<int64_t>(size_of(p.x_dtype));
  for (int64_t r = 0; r < p.rows; ++r) {
    std::memset(static_cast<char*>(p.x) + r * p.x_stride * element, 0, static_cast<size_t>(p.width * element));
  }
}

void run_all_gather(const AllGatherParams& p, ThreadPool& pool) {
  const GroupRows own = {p.out, p.dtype, p.out_stride, p.rows, p.width};
  const size_t element = size_of(p.dtype);
  group_of(p.membership).meet(p.membership.rank, own, [&](const std::vector<GroupRows>& parts) {
    for_rows(pool, p.rows, p.width, [&](Range rows, Scratch&) {
      for (int rank = 0; rank < static_cast<int>(parts.size()); ++rank) {
        if (rank == p.membership.rank) continue;
        const int64_t begin = p.first_column(rank), end = p.first_column(rank + 1);
        const GroupRows& part = parts[static_cast<size_t>(rank)];
        for (int64_t r = rows.begin; r < rows.end; ++r) {
          std::memcpy(static_cast<char*>(p.out) + static_cast<size_t>(r * p.out_stride + begin) * element,
                      static_cast<const char*>(part.data) + static_cast<size_t>(r * part.stride + begin) * element,
                      static_cast<size_t>(end - begin) * element);
        }
      }
    });
  });
}

}  // namespace mamba::cpu
