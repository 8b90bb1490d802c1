// Weights of codes, packed: a panel's rows are read, quantized if they are floats, and put in the order of
// quantized_linear.inl; or, for a weight of floats, dequantized and packed as such.
#include "cpu/quantized_weight.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/codes.h"
#include "core/float_type.h"
#include "cpu/cut.h"
#include "cpu/linear.h"

namespace mamba::cpu {
namespace {

// Rows of a source, at most a panel of them, as codes.
struct Rows {
  std::vector<uint8_t> codes;
  std::vector<float> scales, offsets;  // [rows][groups]
};

void read(const std::shared_ptr<const Source>& from, int64_t first, int64_t rows, int64_t row_bytes, void* to) {
  from->read(static_cast<size_t>(first * row_bytes), to, static_cast<size_t>(rows * row_bytes));
}

Rows read_rows(const PackLinearWeightParams& p, int64_t first, int64_t rows) {
  const int64_t groups = groups_of(p.k, p.group);
  const DType type = is_code(p.src_dtype) ? p.src_dtype : p.dst_dtype;
  const int64_t row_bytes = code_bytes(type, p.k);
  Rows to = {std::vector<uint8_t>(static_cast<size_t>(rows * row_bytes)),
             std::vector<float>(static_cast<size_t>(rows * groups)),
             std::vector<float>(static_cast<size_t>(type == DType::u4 ? rows * groups : 0))};
  if (is_code(p.src_dtype)) {
    read(p.src, first, rows, row_bytes, to.codes.data());
    read(p.scales, first, rows, groups * 4, to.scales.data());
    if (p.offsets) read(p.offsets, first, rows, groups * 4, to.offsets.data());
    return to;
  }
  const int64_t src_bytes = p.k * static_cast<int64_t>(size_of(p.src_dtype));
  std::vector<char> raw(static_cast<size_t>(rows * src_bytes));
  read(p.src, first, rows, src_bytes, raw.data());
  std::vector<float> row(static_cast<size_t>(p.k));
  for (int64_t r = 0; r < rows; ++r) {
    with_float_type(p.src_dtype, [&](auto t) {
      const auto* from = reinterpret_cast<const decltype(t)*>(raw.data() + r * src_bytes);
      for (int64_t i = 0; i < p.k; ++i) row[static_cast<size_t>(i)] = to_float(from[i]);
    });
    quantize_row(row.data(), p.k, p.group, type, to.codes.data() + r * row_bytes, to.scales.data() + r * groups,
                 to.offsets.data() + (type == DType::u4 ? r * groups : 0));
  }
  return to;
}

// Code i of a row in the place that quantized_linear.inl has for it, within the codes of its chunk.
void put_code(uint8_t* chunk, DType type, int64_t column, int64_t i, const uint8_t* codes, int64_t k) {
  if (type == DType::e4m3) {
    chunk[i % 32 * kPanelColumns + column] = codes[k];
  } else if (type == DType::u4) {
    const uint32_t code = codes[k / 2] >> (k % 2 * 4) & 15u;
    uint8_t* word = chunk + (i % 32 / 8 * kPanelColumns + column) * 4;
    const int64_t shift = i % 8 / 2 * 4, byte = i % 2 * 2 + shift / 8;
    word[byte] = static_cast<uint8_t>(word[byte] | code << shift % 8);
  } else {
    uint8_t* word = chunk + (i % 32 / 4 * kPanelColumns + column) * 4;
    const float meaning = meaning_of(type, codes, k) * (type == DType::e2m1 ? 2.0f : 1.0f);
    word[i % 2 * 2 + i % 4 / 2] = static_cast<uint8_t>(static_cast<int8_t>(meaning));
  }
}

void pack_panel(const PackLinearWeightParams& p, const Rows& rows, int64_t count, char* panel) {
  const QuantizedPanels form = quantized_panels(p.k, p.dst_dtype, p.group);
  const int64_t groups = groups_of(p.k, p.group), row_bytes = code_bytes(p.dst_dtype, p.k);
  const int64_t run = 32 / form.runs, run_bytes = (p.dst_dtype == DType::u4 ? run / 2 : run) * kPanelColumns;
  std::memset(panel, 0, static_cast<size_t>(form.panel_bytes));
  const float factor = p.dst_dtype == DType::e4m3 ? 256.0f : p.dst_dtype == DType::e2m1 ? 0.5f : 1.0f;
  for (int64_t first = 0, group = 0; first < p.k; first += form.group_runs * run, ++group) {
    for (int64_t c = 0; c < count; ++c) {
      const auto at = static_cast<size_t>(c * groups + group);
      if (p.dst_dtype == DType::u4) {
        auto* halves = reinterpret_cast<f16*>(panel);
        halves[c] = to_f16(rows.scales[at]), halves[kPanelColumns + c] = to_f16(rows.offsets[at]);
      } else {
        reinterpret_cast<float*>(panel)[c] = rows.scales[at] * factor;
      }
    }
    panel += kScalesBytes;
    const int64_t end = std::min(p.k, first + form.group_runs * run);
    for (int64_t k = first; k < end; k += run, panel += run_bytes) {
      for (int64_t c = 0; c < count; ++c) {
        for (int64_t i = 0; i < run && k + i < p.k; ++i) {
          put_code(reinterpret_cast<uint8_t*>(panel), p.dst_dtype, c, i, rows.codes.data() + c * row_bytes, k + i);
        }
      }
    }
  }
}

void pack_floats(const PackLinearWeightParams& p, const Rows& rows, int64_t count, char* panel) {
  const int64_t groups = groups_of(p.k, p.group), row_bytes = code_bytes(p.src_dtype, p.k);
  std::vector<float> values(static_cast<size_t>(count * p.k));
  for (int64_t c = 0; c < count; ++c) {
    for (int64_t k = 0; k < p.k; ++k) {
      const auto at = static_cast<size_t>(c * groups + k / p.group);
      const float offset = rows.offsets.empty() ? 0.0f : rows.offsets[at];
      values[static_cast<size_t>(c * p.k + k)] =
          rows.scales[at] * meaning_of(p.src_dtype, rows.codes.data() + c * row_bytes, k) + offset;
    }
  }
  kernels().pack_linear_weight({count, p.k, values.data(), panel, DType::f32, p.dst_dtype});
}

}  // namespace

void run_pack_quantized_weight(const PackLinearWeightParams& p, ThreadPool& pool) {
  const int64_t panels = ceil_div(p.n, kPanelColumns);
  const auto panel_bytes = static_cast<int64_t>(linear_weight_bytes(kPanelColumns, p.k, p.dst_dtype, p.group));
  pool.parallel_for(panels, [&](int64_t panel, Scratch&) {
    const int64_t row = panel * kPanelColumns, count = std::min<int64_t>(kPanelColumns, p.n - row);
    const Rows rows = read_rows(p, row, count);
    char* to = static_cast<char*>(p.dst) + panel * panel_bytes;
    is_code(p.dst_dtype) ? pack_panel(p, rows, count, to) : pack_floats(p, rows, count, to);
  });
}

}  // namespace mamba::cpu
