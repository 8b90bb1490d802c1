// The tiles of keys and the rings of attention_decode.cuh, and its launch.
//
// Measured with the launch that combines, TB/s of pages read on one H200, pages of 64 in random order, 32 heads of 8 KV
// heads (at 256: 16 of 2, and 16 rows), L2 flushed before each; a copy reads and writes 4.26.
//
//                       items of 128   256    512    1024 tokens
//   bf16 d=128  64 x 8192       3.58   3.81   4.03   4.06
//               256 x 1024      3.22   3.49   3.51   3.54
//               1 x 65536       2.27   2.46   2.45   3.07    of seven warps; four: 2.20, 2.65, 2.89, 3.04
//   bf16 d=64   64 x 8192       3.40   3.61   3.75   3.85
//   bf16 d=256  16 x 8192       2.18   2.52   2.34   2.89
//   e4m3 d=128  64 x 8192       2.26   2.66   2.97   3.10
//
// With six warps and teams of them, bf16 d=128, us, both launches, in items of so many tokens (2 KV heads where it says
// so):
//   1 x 65536   4096: 85.1, 2016: 85.9, 1152: 88.6, 672: 88.6     1 x 8192    512: 25.1, 256: 26.3, 128: 27.8
//   64 x 1024   1024: 84.9                                        64 x 1024, 2   1024: 37.0, 512: 39.0, 256: 38.3
//   64 x 8192   8192: 509, 2752: 517, 1024: 534                   256 x 1024  1024: 274
//
// Tiles of 16 keys for twelve warps beside tiles of 32 for six, in as much memory, bf16 d=128, us, both launches, the
// L2 flushed without written lines (1,025 tokens where it says 1 K):
//                       six    twelve                       six    twelve
//   64 x 1 K, 2 of 1056 29.0   28.4    64 x 1 K   of 1056   76.5   75.9
//               of 352  35.0   32.8               of 352    84.1   80.1
//   256 x 1 K, 2 of 1056 77.9  78.1    64 x 8192  of 1056   519.9  499.8
//               of 352  88.3   84.2    1 x 65536  of 352    82.8   81.2
//   16 x 1 K, 2 of 1056 18.8   18.2               of 128    108.4  101.4
// Falcon-H1-7B's decode step of 64 rows took 8.261 ms, and takes 8.241.
#include "cuda/attention_decode.cuh"
#include "cuda/attention_decode.h"
#include "cuda/dispatch.h"

namespace mamba::cuda {
namespace {

using attention::DecodeShape;
using attention::Job;

template <class T>
bool launch_decode(const Job& job, int64_t items, Context& context) {
  using attention::launch_decode;
  const int64_t head_dim = job.pages.head_dim;
  // codes, channels, keys of a tile, warps, stages of each
  if (job.pages.dtype == DType::u8) {
    if (head_dim <= 64) return launch_decode<T, DecodeShape<true, 64, 64, 4, 3>>(job, items, context);
    if (head_dim <= 128) return launch_decode<T, DecodeShape<true, 128, 32, 8, 3>>(job, items, context);
    return launch_decode<T, DecodeShape<true, 256, 32, 4, 3>>(job, items, context);
  }
  if (head_dim <= 64) return launch_decode<T, DecodeShape<false, 64, 32, 8, 3>>(job, items, context);
  if (head_dim <= 128) return launch_decode<T, DecodeShape<false, 128, 16, 12, 2>>(job, items, context);
  return launch_decode<T, DecodeShape<false, 256, 32, 3, 2>>(job, items, context);
}

}  // namespace

bool run_attention_decode(const Job& job, int64_t items, Context& context) {
  const KvPages& pages = job.pages;
  const size_t element = size_of(pages.dtype);
  if (!context.hopper() || job.dtype == DType::f32 || static_cast<size_t>(pages.head_dim) * element % 16 != 0 ||
      !aligned_rows(job.q, job.q_stride, 2, 4) || !aligned_rows(pages.k, pages.k_page_stride, element) ||
      !aligned_rows(pages.v, pages.v_page_stride, element)) {
    return false;
  }
  return job.dtype == DType::bf16 ? launch_decode<__nv_bfloat16>(job, items, context)
                                  : launch_decode<__half>(job, items, context);
}

}  // namespace mamba::cuda
