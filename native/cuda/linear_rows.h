#pragma once
// linear for 9 to 64 rows of x and large weights on a Hopper GPU (linear_rows.cuh), in steps that the lab can take
// apart.
#include <optional>

#include "cuda/context.h"
#include "ops/linear_activation.h"

namespace mamba::cuda {

// How a product is cut. From n, k and the device alone: with the rows in it, a row's bits would depend on those beside.
struct RowsPlan {
  int tile;            // outputs of a block: a width of kRowTiles
  int columns;         // blocks of a cluster that share x: 1, 2, 4 or 8
  int splits;          // blocks of a cluster that share k: 1, 2, 4 or 8; columns * splits is 2 to 8
  int most_rows = 64;  // with more the library is faster
};

// Rows of a launch.
inline constexpr int kMostRows = 64;

inline constexpr int kRowTiles[] = {32, 48, 56, 64, 72, 80};

// Whether the kernel takes these operands.
bool rows_fit(const LinearParams& p, const Context& context);
// None where the library is faster whatever the rows.
std::optional<RowsPlan> rows_plan(int64_t n, int64_t k, const Context& context);
// False, with nothing launched, if the driver refuses the operands.
bool run_linear_rows(const LinearParams& p, const RowsPlan& plan, Context& context);

// linear_activation with a gate for up to kMostRows rows, in one launch. False, with nothing launched, where the
// weight's shape does not fill the device once.
bool run_linear_rows_activation(const LinearActivationParams& p, Context& context);

// Any number of rows, kMostRows at a time, without a split of k: each sum is one chain of products along k, which is
// the order that a deterministic stream keeps to. False, with nothing launched, if rows_fit() refuses the operands.
bool run_linear_chains(const LinearParams& p, Context& context);

}  // namespace mamba::cuda
