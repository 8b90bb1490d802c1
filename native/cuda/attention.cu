// attention_varlen (prompts) and paged_attention (a few tokens a row) over the paged KV cache.
#include <algorithm>

#include "core/error.h"
#include "cuda/attention_any.cuh"
#include "cuda/attention_decode.h"
#include "cuda/attention_tiles.cuh"
#include "cuda/attention_walk.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"

namespace mamba::cuda {
namespace {

using attention::Job;

// Blocks that walk the units of a step whose number the host does not know.
constexpr int64_t kMostUnits = int64_t{1} << 30;

// Whether pages are whole pieces of 16 bytes, and queries and outputs whole pairs.
bool tiled(const Job& job) {
  const KvPages& pages = job.pages;
  const size_t element = size_of(pages.dtype);
  return job.dtype != DType::f32 && static_cast<size_t>(pages.head_dim) * element % 16 == 0 &&
         aligned_rows(pages.k, pages.k_page_stride, element) && aligned_rows(pages.v, pages.v_page_stride, element) &&
         aligned_rows(job.q, job.q_stride, 2, 4) && aligned_rows(job.out, job.out_stride, 2, 4);
}

// Shared memory of a block; GPUs of 8.6, 8.9 and 12.x have less than 8.0.
size_t shared_limit(const Context& context) {
  const int c = context.capability;
  if (c == 90 || c == 100 || c == 103) return kHopperShared;
  return c == 80 || c == 87 ? size_t{163} << 10 : kLeastShared;
}

template <bool kPaged>
void launch_any(const Job& job, int64_t tiles, int64_t rows, Context& context) {
  const int64_t units = tiles * job.pages.kv_heads * ceil_div(rows, attention::kAnyRows);
  const int64_t blocks = std::min(units, int64_t{context.multiprocessors} * 16);
  launch(context, {.grid = blocks, .block = attention::kAnyWarps * 32}, attention::attention_any_kernel<kPaged>, job);
}

template <class T, bool kCodes, int kD, int kWarpRows, bool kPaged>
bool launch_tiles(const Job& job, int64_t tiles, int64_t rows, Context& context) {
  using Shape = attention::TilesShape<kCodes, kD, kWarpRows>;
  if (Shape::kShared > shared_limit(context)) return false;
  const int64_t units = tiles * job.pages.kv_heads * ceil_div(rows, Shape::kRows);
  const int64_t resident = std::max<int64_t>(1, static_cast<int64_t>(shared_limit(context)) / Shape::kShared);
  const int64_t blocks = kPaged ? std::min(units, context.multiprocessors * resident) : units;
  launch(context, {.grid = blocks, .block = attention::kTilesThreads, .shared_bytes = Shape::kShared},
         attention::attention_tiles_kernel<T, kCodes, kD, kWarpRows, kPaged>, job);
  return true;
}

template <class T, bool kCodes, int kD, bool kPaged>
bool launch_rows(const Job& job, int64_t tiles, int64_t rows, Context& context) {
  if constexpr (kPaged) {
    if (rows <= 16) return launch_tiles<T, kCodes, kD, 1, kPaged>(job, tiles, rows, context);
    if (rows <= 32) return launch_tiles<T, kCodes, kD, 2, kPaged>(job, tiles, rows, context);
  }
  return launch_tiles<T, kCodes, kD, 4, kPaged>(job, tiles, rows, context);
}

template <class T, bool kCodes, bool kPaged>
bool launch_channels(const Job& job, int64_t tiles, int64_t rows, Context& context) {
  if (job.pages.head_dim <= 64) return launch_rows<T, kCodes, 64, kPaged>(job, tiles, rows, context);
  if (job.pages.head_dim <= 128) return launch_rows<T, kCodes, 128, kPaged>(job, tiles, rows, context);
  return launch_rows<T, kCodes, 256, kPaged>(job, tiles, rows, context);
}

// `tiles` of `rows` rows of a KV head each.
template <bool kPaged>
void run(const Job& job, int64_t tiles, int64_t rows, Context& context) {
  if (tiles * job.pages.kv_heads * rows > kMostUnits)
    throw Error(ErrorCode::Argument, kPaged ? "paged_attention" : "attention_varlen", "too many tiles of queries");
  const auto launch_of = [&]<class T>(T) {
    return job.pages.dtype == DType::u8 ? launch_channels<T, true, kPaged>(job, tiles, rows, context)
                                        : launch_channels<T, false, kPaged>(job, tiles, rows, context);
  };
  const bool done = tiled(job) && (job.dtype == DType::bf16 ? launch_of(__nv_bfloat16{}) : launch_of(__half{}));
  if (!done) launch_any<kPaged>(job, tiles, rows, context);
}

}  // namespace

void run_attention_varlen(const AttentionVarlenParams& p, Context& context) {
  const Job job = attention::job_of(p);
  if (run_attention_walk(job, p.tokens, context)) return;
  run<false>(job, p.tiles, int64_t{job.tile_tokens} * job.group, context);
}

void run_paged_attention(const PagedAttentionParams& p, Context& context) {
  const Job job = attention::job_of(p);
  if (p.items > 0 && !run_attention_decode(job, p.items, context)) {
    run<true>(job, p.items, p.query_len * job.group, context);
  }
  launch(context, {.grid = p.rows * p.query_len * p.heads, .block = attention::kCombineThreads},
         attention::combine_kernel, job);
}

}  // namespace mamba::cuda
