#pragma once
// The inner loops, one table per instruction set. Each entry does one task: a slice of an op's work that runs on one
// thread. How an op is cut into tasks is decided in <family>.cpp, which also runs them on the pool.
#include <cstddef>
#include <cstdint>

#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/conv1d.h"
#include "ops/embedding.h"
#include "ops/gdn.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"
#include "ops/moe.h"
#include "ops/norm.h"
#include "ops/sampling.h"
#include "ops/ssd.h"

namespace mamba::cpu {

struct AttentionRows;

// Half-open range of rows, columns, heads, ...
struct Range {
  int64_t begin, end;
};

// Whole panels of a weight, but for columns that the last one lacks.
struct PackPanels {
  int64_t n, k;
  const void* src;  // row-major [n, k]
  void* dst;
  DType src_dtype, dst_dtype;
};

struct Kernels {
  const char* isa;

  // linear: rows of x against columns of out; both ranges are multiples of the tile except at the end. `scratch` holds
  // linear_scratch_bytes(params, rows.end - rows.begin); `filled`: a call for other columns has left these rows in it.
  void (*linear)(const LinearParams&, Range rows, Range columns, void* scratch, bool filled);
  void (*pack_linear_weight)(const PackPanels&);

  // Rows of one expert, whose weight this is, against columns of out. `scratch` holds grouped_linear_scratch_bytes().
  void (*grouped_linear)(const GroupedLinearParams&, const void* weight, Range rows, Range columns, void* scratch);
  void (*moe_combine)(const MoeCombineParams&, Range tokens);

  void (*activation)(const ActivationParams&, Range rows);
  void (*scale)(const ScaleParams&, Range rows);

  void (*rms_norm)(const RmsNormParams&, Range rows);
  // `scratch` holds group_size floats.
  void (*gated_rms_norm)(const GatedRmsNormParams&, Range rows, void* scratch);
  void (*square_sums)(const SquareSumsParams&, Range rows);
  void (*rms_norm_of_sums)(const RmsNormOfSumsParams&, Range rows);

  void (*causal_conv1d_update)(const CausalConv1dUpdateParams&, int64_t row, Range channels);
  void (*causal_conv1d_replay)(const CausalConv1dReplayParams&, int64_t row, Range channels);
  void (*causal_conv1d_varlen)(const CausalConv1dVarlenParams&, int64_t block, Range channels);

  // One sequence, heads of one group only. `scratch` holds ssd_chunk_scan_scratch_bytes(params, heads).
  void (*ssd_chunk_scan)(const SsdChunkScanParams&, int64_t sequence, Range heads, void* scratch);
  void (*ssd_state_update)(const SsdStateUpdateParams&, int64_t row, Range heads);
  // `scratch` holds ssd_replay_scratch_bytes(params).
  void (*ssd_replay)(const SsdReplayParams&, int64_t row, Range heads, void* scratch);

  // One sequence, value heads of one key head only, some of their channels. `scratch` holds
  // gdn_chunk_scratch_bytes(params, heads, values).
  void (*gdn_chunk)(const GdnChunkParams&, int64_t sequence, Range heads, Range values, void* scratch);
  // One row, some value heads. `scratch` holds gdn_update_scratch_bytes(params).
  void (*gdn_update)(const GdnUpdateParams&, int64_t row, Range heads, void* scratch);
  // The same; `scratch` holds gdn_replay_scratch_bytes(params).
  void (*gdn_replay)(const GdnReplayParams&, int64_t row, Range heads, void* scratch);

  // `cosines` and `sines` of the token's position, rotary_dim / 2 of each.
  void (*rope_store_kv)(const RopeStoreKvParams&, int64_t token, const float* cosines, const float* sines);
  // `scratch` holds attention_layout(head_dim).floats.
  void (*attention)(const AttentionRows&, void* scratch);
};

// The best table this machine can run, or the one named by MAMBA_SERVE_CPU_ISA (scalar, avx2, avx512, avx512bf16, amx,
// neon). Throws ErrorCode::Argument where it cannot run that one.
const Kernels& kernels();

}  // namespace mamba::cpu
