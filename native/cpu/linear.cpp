#include "cpu/linear.h"

#include <algorithm>
#include <atomic>

#include "cpu/cut.h"
#include "cpu/norm.h"
#include "cpu/quantized_weight.h"

namespace mamba::cpu {
namespace {

constexpr int64_t kTileRows = 12;            // the tallest register tile; a multiple of every other
constexpr int64_t kBlockBytes = 384 << 10;   // of x in scratch: less than half of an L2 of 1 MB
constexpr int64_t kColumnsBytes = 1 << 20;   // of the weight in one task
constexpr int64_t kMinTaskWork = 128 << 10;  // multiply-adds: 1 to 2 us of one core, far above the cost of a task
constexpr int64_t kStripPanels = 2;          // what the kernel for few rows takes side by side
constexpr int64_t kReadBytes = 512 << 10;    // of a weight's source, which then lie in an L2
// Rows that cost so much arithmetic for each panel that reading it, even twice as often, does not show.
constexpr int64_t kFewRows = 4 * kTileRows;

int64_t panel_bytes(int64_t k, DType dtype, int64_t group) {
  if (is_code(dtype)) return quantized_panels(k, dtype, group).panel_bytes;
  return kPanelColumns * 4 * (dtype == DType::bf16 ? ceil_div(k, 2) : k);
}

}  // namespace

// Every task copies its rows of x, and a panel is read again for every block of rows: so rows are halved while there
// are many, and columns only then.
LinearCut cut_linear(int64_t m, int64_t n, int64_t width, DType weight_dtype, int64_t weight_group, int64_t tasks) {
  const int64_t k = std::max(width, int64_t{1}), all_panels = ceil_div(n, kPanelColumns);
  const int64_t most_rows = std::max(kBlockBytes / (4 * k) / kTileRows, int64_t{1}) * kTileRows;
  const int64_t most_panels = std::max(kColumnsBytes / panel_bytes(k, weight_dtype, weight_group), kStripPanels);
  int64_t rows = std::min(m, most_rows), panels = std::min(all_panels, most_panels);
  // A row alone costs as much as a few, for it waits for the weight.
  const auto work = [&] { return std::max(rows, int64_t{4}) * panels * kPanelColumns * k; };
  while (ceil_div(m, rows) * ceil_div(all_panels, panels) < tasks && work() >= 2 * kMinTaskWork) {
    if (rows > kFewRows) {
      rows = round_up(ceil_div(rows, 2), kTileRows);
    } else if (panels > kStripPanels) {
      panels = ceil_div(panels, 2);
    } else {
      break;
    }
  }
  // Equal shares.
  if (rows < m) rows = round_up(ceil_div(m, ceil_div(m, rows)), kTileRows);
  panels = round_up(ceil_div(all_panels, ceil_div(all_panels, panels)), kStripPanels);
  return {rows, panels * kPanelColumns};
}

size_t linear_weight_bytes(int64_t n, int64_t k, DType dtype, int64_t group) {
  return static_cast<size_t>(ceil_div(n, kPanelColumns) * panel_bytes(k, dtype, group));
}

size_t linear_scratch_bytes(int64_t rows, int64_t k) { return static_cast<size_t>(rows * round_up(k, 32) * 4); }

void run_linear(const LinearParams& params, ThreadPool& pool) {
  if (params.m == 0 || params.n == 0) return;
  const Kernels& table = kernels();
  const LinearCut task = cut_linear(params.m, params.n, params.k, params.weight_dtype, params.weight_group,
                                    pool.threads() * kLinearTasksPerThread);
  const int64_t row_blocks = ceil_div(params.m, task.rows), column_blocks = ceil_div(params.n, task.columns);
  const auto multiply = [&](int64_t row_block, int64_t column_block, Scratch& scratch, bool filled) {
    const int64_t row = row_block * task.rows, column = column_block * task.columns;
    const Range rows = {row, std::min(row + task.rows, params.m)};
    table.linear(params, rows, {column, std::min(column + task.columns, params.n)},
                 scratch.get(linear_scratch_bytes(rows.end - rows.begin, params.k)), filled);
  };
  if (row_blocks == 1) {
    // Each thread brings the rows into order once: of a weight of codes that takes as long as some of its columns.
    std::atomic<int64_t> next{0};
    pool.parallel_for(std::min<int64_t>(pool.threads(), column_blocks), [&](int64_t, Scratch& scratch) {
      bool filled = false;
      for (int64_t block; (block = next.fetch_add(1, std::memory_order_relaxed)) < column_blocks; filled = true) {
        multiply(0, block, scratch, filled);
      }
    });
  } else {
    // Row blocks of the same columns follow each other, so that threads share the weight in their common cache.
    pool.parallel_for(row_blocks * column_blocks, [&](int64_t index, Scratch& scratch) {
      multiply(index % row_blocks, index / row_blocks, scratch, /*filled=*/false);
    });
  }
}

// Through the scratch: beside its products a row's norm is nothing here.
void run_rms_norm_linear(const RmsNormLinearParams& params, ThreadPool& pool) {
  run_rms_norm(params.norm(), pool);
  run_linear(params.linear, pool);
}

void run_pack_linear_weight(const PackLinearWeightParams& params, ThreadPool& pool) {
  if (is_code(params.src_dtype) || is_code(params.dst_dtype)) return run_pack_quantized_weight(params, pool);
  const Kernels& table = kernels();
  const int64_t panels = ceil_div(params.n, kPanelColumns);
  const int64_t row_bytes = params.k * static_cast<int64_t>(size_of(params.src_dtype));
  const int64_t step = std::max(std::min(ceil_div(panels, pool.threads() * kLinearTasksPerThread),
                                         kReadBytes / (kPanelColumns * std::max(row_bytes, int64_t{1}))),
                                int64_t{1});
  pool.parallel_for(ceil_div(panels, step), [&](int64_t task, Scratch& scratch) {
    const int64_t panel = task * step, row = panel * kPanelColumns;
    const int64_t rows = std::min(params.n - row, step * kPanelColumns);
    const auto bytes = static_cast<size_t>(rows * row_bytes);
    void* src = scratch.get(bytes);
    params.src->read(static_cast<size_t>(row * row_bytes), src, bytes);
    table.pack_linear_weight({rows, params.k, src,
                              static_cast<char*>(params.dst) + panel * panel_bytes(params.k, params.dst_dtype, 0),
                              params.src_dtype, params.dst_dtype});
  });
}

}  // namespace mamba::cpu
