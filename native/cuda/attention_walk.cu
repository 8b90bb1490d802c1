// The tiles of keys that attention_walk.cuh takes for each head_dim, and its launch.
//
// Measured, TFLOP/s on one H200, bf16, causal, 8192 tokens, pages of 64 in random order, L2 flushed before each; cuDNN
// (torch 2.11) in the same run. Heads 32 of 8 KV heads, at 256 16 of 2.
//
//   head_dim    64   80   96   112  128  160  192  224  256
//   the op      511  539  587  623  681  654  686  708  754
//   cuDNN       423  376  445  511  588                 612
//
// 2048 tokens: 319, 511 and 558 at 64, 128 and 256; 32768: 538, 687 and 690. Other cuts are in native/lab/README.md.
#include "cuda/attention_walk.cuh"
#include "cuda/attention_walk.h"
#include "cuda/dispatch.h"

namespace mamba::cuda {
namespace {

using attention::Job;
using attention::WalkShape;

template <class T>
bool launch_walk(const Job& job, int64_t tokens, Context& context) {
  using attention::launch_walk;
  // head_dim, keys of a tile, groups, stages of K, of V and of q
  switch (job.pages.head_dim) {
    case 64:
      return launch_walk<T, WalkShape<64, 128, 3, 2, 2, 2>>(job, tokens, context);
    case 80:
      return launch_walk<T, WalkShape<80, 96, 3, 2, 2, 1>>(job, tokens, context);
    case 96:
      return launch_walk<T, WalkShape<96, 96, 3, 2, 2, 1>>(job, tokens, context);
    case 112:
      return launch_walk<T, WalkShape<112, 128, 2, 2, 2, 2>>(job, tokens, context);
    case 128:
      return launch_walk<T, WalkShape<128, 128, 2, 2, 2, 2>>(job, tokens, context);
    case 160:
      return launch_walk<T, WalkShape<160, 96, 2, 2, 2, 1>>(job, tokens, context);
    case 192:
      return launch_walk<T, WalkShape<192, 64, 2, 2, 2, 1>>(job, tokens, context);
    case 224:
      return launch_walk<T, WalkShape<224, 64, 2, 2, 2, 1>>(job, tokens, context);
    case 256:
      return launch_walk<T, WalkShape<256, 64, 2, 2, 2, 1>>(job, tokens, context);
    default:
      return false;
  }
}

}  // namespace

bool run_attention_walk(const Job& job, int64_t tokens, Context& context) {
  const KvPages& pages = job.pages;
  if (!context.hopper() || job.dtype == DType::f32 || pages.dtype != job.dtype || !(job.context.scale > 0) ||
      !rows_of_eights(job.q, job.q_stride) || !rows_of_eights(job.out, job.out_stride) ||
      !rows_of_eights(pages.k, pages.k_page_stride) || !rows_of_eights(pages.v, pages.v_page_stride)) {
    return false;
  }
  return job.dtype == DType::bf16 ? launch_walk<__nv_bfloat16>(job, tokens, context)
                                  : launch_walk<__half>(job, tokens, context);
}

}  // namespace mamba::cuda
