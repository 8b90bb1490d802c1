#pragma once
// Attention over pages as its kernels see it: which queries and keys a unit of work has, and where they lie.
#include <cuda_fp8.h>

#include <cmath>

#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/attention.h"

namespace mamba::cuda::attention {

// Either op. A kernel's queries are the heads that share a KV head, token by token: row r of a sequence is head
// r % group of token r / group.
struct Job {
  const void* q;
  void* out;
  int64_t q_stride, out_stride;
  int heads, group;  // query heads, and those of a KV head
  int rows;          // sequences
  AttentionContext context;
  KvPages pages;
  DType dtype;
  // attention_varlen
  const int32_t *query_start_loc = nullptr, *tile_seq = nullptr, *tile_offset = nullptr;
  int tiles = 0, tile_tokens = 0;
  // paged_attention
  const int32_t *split_items = nullptr, *split_start = nullptr;
  float *partial_out = nullptr, *partial_lse = nullptr;
  int query_len = 0;
};

inline Job job_of(const AttentionVarlenParams& p) {
  return {.q = p.q,
          .out = p.out,
          .q_stride = p.q_stride,
          .out_stride = p.out_stride,
          .heads = static_cast<int>(p.heads),
          .group = static_cast<int>(p.heads / p.pages.kv_heads),
          .rows = static_cast<int>(p.rows),
          .context = p.context,
          .pages = p.pages,
          .dtype = p.dtype,
          .query_start_loc = p.query_start_loc,
          .tile_seq = p.tile_seq,
          .tile_offset = p.tile_offset,
          .tiles = static_cast<int>(p.tiles),
          .tile_tokens = static_cast<int>(attention_tile(p.pages.head_dim))};
}
inline Job job_of(const PagedAttentionParams& p) {
  return {.q = p.q,
          .out = p.out,
          .q_stride = p.q_stride,
          .out_stride = p.out_stride,
          .heads = static_cast<int>(p.heads),
          .group = static_cast<int>(p.heads / p.pages.kv_heads),
          .rows = static_cast<int>(p.rows),
          .context = p.context,
          .pages = p.pages,
          .dtype = p.dtype,
          .split_items = p.split_items,
          .split_start = p.split_start,
          .partial_out = p.partial_out,
          .partial_lse = p.partial_lse,
          .query_len = static_cast<int>(p.query_len)};
}

// Some rows of a sequence and KV head, and the keys [begin, end) for them.
struct Unit {
  int kv_head, row, rows;  // rows: 0 = nothing to do
  int64_t token;           // the sequence's first in q and out
  int first_position;      // of that token
  int begin, end;
  const int32_t* block_table;
  int item;  // where the partial results go, or -1: to out
};

// Units are counted from 0: all those of a KV head and tile (item) are neighbours.
__device__ __forceinline__ int units_of(const Job& job, int rows_of_unit, bool paged) {
  const int kv_heads = static_cast<int>(job.pages.kv_heads);
  if (!paged) return job.tiles * kv_heads * ((job.tile_tokens * job.group + rows_of_unit - 1) / rows_of_unit);
  return job.split_start[job.rows] * kv_heads * ((job.query_len * job.group + rows_of_unit - 1) / rows_of_unit);
}

__device__ __forceinline__ Unit unit_of(const Job& job, int index, int rows_of_unit, bool paged) {
  const int kv_heads = static_cast<int>(job.pages.kv_heads), window = static_cast<int>(job.context.window);
  const int tokens = paged ? job.query_len : job.tile_tokens;
  const int blocks = (tokens * job.group + rows_of_unit - 1) / rows_of_unit;
  const int of = index / blocks / kv_heads;
  Unit unit = {};
  unit.kv_head = index / blocks % kv_heads;
  unit.item = -1;
  int sequence, last_row;
  if (paged) {
    sequence = job.split_items[3 * of];
    if (sequence < 0 || sequence >= job.rows) return unit;
    if (job.split_start[sequence + 1] - job.split_start[sequence] > 1) unit.item = of;
    unit.row = index % blocks * rows_of_unit;
    last_row = tokens * job.group;
    unit.token = int64_t{sequence} * tokens;
    unit.first_position = job.context.kv_lens[sequence] - tokens;
    unit.begin = max(0, job.split_items[3 * of + 1]);
    unit.end = min(job.context.kv_lens[sequence], job.split_items[3 * of + 2]);
  } else {
    sequence = job.tile_seq[of];
    if (sequence < 0 || sequence >= job.rows) return unit;
    const int first = job.query_start_loc[sequence], length = job.query_start_loc[sequence + 1] - first;
    unit.row = job.tile_offset[of] * tokens * job.group + index % blocks * rows_of_unit;
    last_row = min(length, (job.tile_offset[of] + 1) * tokens) * job.group;
    unit.token = first;
    unit.first_position = job.context.kv_lens[sequence] - length;
    unit.begin = 0;
    unit.end = job.context.kv_lens[sequence];
  }
  unit.rows = max(0, min(rows_of_unit, last_row - unit.row));
  if (unit.rows == 0) return unit;
  // What no row attends to.
  unit.end = min(unit.end, unit.first_position + (unit.row + unit.rows - 1) / job.group + 1);
  if (window > 0) unit.begin = max(unit.begin, unit.first_position + unit.row / job.group - window + 1);
  unit.block_table = job.context.block_table + sequence * job.context.max_pages;
  return unit;
}

// The position of a unit's row, and the first key it attends to.
__device__ __forceinline__ int position_of(const Job& job, const Unit& unit, int row) {
  return unit.first_position + (unit.row + row) / job.group;
}
__device__ __forceinline__ int first_key_of(const Job& job, int position) {
  const int window = static_cast<int>(job.context.window);
  return window > 0 ? max(0, position - window + 1) : 0;
}

// Where a row begins in q or out, in elements.
__device__ __forceinline__ int64_t place_of_row(const Job& job, const Unit& unit, int row, int64_t stride) {
  const int r = unit.row + row;
  return (unit.token + r / job.group) * stride + int64_t{unit.kv_head * job.group + r % job.group} * job.pages.head_dim;
}

// Where a row begins in the partial results, in rows.
__device__ __forceinline__ int64_t place_of_partial(const Job& job, const Unit& unit, int row) {
  const int r = unit.row + row;
  return (int64_t{unit.item} * job.query_len + r / job.group) * job.heads + unit.kv_head * job.group + r % job.group;
}

// A token of a sequence in a pool, in elements; -1 where the block table has no page of the pool.
__device__ __forceinline__ int64_t place_of_token(const Job& job, const Unit& unit, int position, int64_t page_stride) {
  const int size = static_cast<int>(job.pages.page_size), shift = __ffs(size) - 1;
  const int index = position >> shift;
  const int page = index < job.context.max_pages ? unit.block_table[index] : -1;
  if (page < 0 || page >= job.pages.pages) return -1;
  return page * page_stride +
         int64_t{unit.kv_head * size + (position & (size - 1))} * static_cast<int>(job.pages.head_dim);
}

// The softmax of the items of a row: block = a query head of a token. Threads: four channels across, items along.
inline constexpr int kCombineThreads = 256;
static __global__ __launch_bounds__(kCombineThreads) void combine_kernel(const __grid_constant__ Job job) {
  __shared__ float sums[kCombineThreads][4], totals[kCombineThreads];
  __shared__ float maxima[kCombineThreads / 32];
  const int head = static_cast<int>(blockIdx.x) % job.heads, token = static_cast<int>(blockIdx.x) / job.heads;
  const int row = token / job.query_len, per_item = job.query_len * job.heads;
  const int within = token % job.query_len * job.heads + head;
  const int first = job.split_start[row], items = job.split_start[row + 1] - first;
  wait_for_inputs();
  let_next_start();
  if (items == 1) return;
  const auto head_dim = static_cast<int>(job.pages.head_dim);
  const int across = head_dim / 4, along = kCombineThreads / across;
  const int thread = static_cast<int>(threadIdx.x), channel = thread % across * 4, start = thread / across;
  const float* lse = job.partial_lse + int64_t{first} * per_item + within;
  const auto part_of = [&](int i) {
    const int64_t at = int64_t{first + i} * per_item + within;
    return *reinterpret_cast<const float4*>(job.partial_out + at * head_dim + channel);
  };
  // Those of the first items come while the largest is found.
  constexpr int kAhead = 4;
  float4 parts[kAhead];
  float scores[kAhead];
#pragma unroll
  for (int u = 0; u < kAhead; ++u) {
    const int i = start + u * along;
    if (start < along && i < items) scores[u] = lse[int64_t{i} * per_item], parts[u] = part_of(i);
  }
  float largest = -INFINITY;
  for (int i = thread; i < items; i += kCombineThreads) largest = fmaxf(largest, lse[int64_t{i} * per_item]);
  largest = warp_max(largest);
  if (thread % 32 == 0) maxima[thread / 32] = largest;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kCombineThreads / 32; ++i) largest = fmaxf(largest, maxima[i]);
  float sum[4] = {}, total = 0;
  const auto add = [&](float score, const float4& part) {
    const float weight = fast_exp2(score - largest);
    total += weight;
    sum[0] = fmaf(weight, part.x, sum[0]), sum[1] = fmaf(weight, part.y, sum[1]);
    sum[2] = fmaf(weight, part.z, sum[2]), sum[3] = fmaf(weight, part.w, sum[3]);
  };
  if (start < along && largest > -INFINITY) {
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      if (start + u * along < items) add(scores[u], parts[u]);
    }
#pragma unroll 4
    for (int i = start + kAhead * along; i < items; i += along) add(lse[int64_t{i} * per_item], part_of(i));
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) sums[thread][i] = sum[i];
  totals[thread] = total;
  __syncthreads();
  if (start > 0) return;
  for (int j = 1; j < along; ++j) {
    total += totals[thread + j * across];
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] += sums[thread + j * across][i];
  }
  const float factor = total > 0 ? 1 / total : 0;
  const int64_t to = token * job.out_stride + int64_t{head} * head_dim + channel;
#pragma unroll
  for (int i = 0; i < 4; ++i) store_any(job.out, job.dtype, to + i, sum[i] * factor);
}

}  // namespace mamba::cuda::attention
