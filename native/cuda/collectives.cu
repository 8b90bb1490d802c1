// Collective ops of a group of one, the only kind that CudaBackend::create_group makes: the rank's own rows are the
// sum.
//
// Idea. An element a thread, a row for each line of blocks; types are known at run time, as nothing here is tuned.
//
// Bound. Bytes: x and out once, out twice where it is added to.
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"

namespace mamba::cuda {
namespace {

constexpr unsigned kThreads = 256;

struct OwnRows {
  const void* x;
  int64_t x_stride;
  void* out;
  int64_t out_stride, width;
  bool counts, accumulate;
  DType x_dtype, out_dtype;
};

__global__ void __launch_bounds__(kThreads) own_rows_kernel(const __grid_constant__ OwnRows p) {
  let_next_start();
  wait_for_inputs();
  const int64_t row = blockIdx.x;
  for (int64_t c = threadIdx.x; c < p.width; c += kThreads) {
    const float before = p.accumulate ? load_any(p.out, p.out_dtype, row * p.out_stride + c) : 0.0f;
    const float x = p.counts ? load_any(p.x, p.x_dtype, row * p.x_stride + c) : 0.0f;
    store_any(p.out, p.out_dtype, row * p.out_stride + c, before + x);
  }
}

}  // namespace

void run_all_reduce(const AllReduceParams& p, Context& context) {
  LaunchShape shape;
  shape.grid = {static_cast<unsigned>(p.rows)};
  shape.block = {kThreads};
  // With squares the rank's own norm is that of all ranks.
  const bool counts = p.squares == nullptr || p.channels > 0;
  launch(context, shape, own_rows_kernel,
         {p.x, p.x_stride, p.out, p.out_stride, p.width, counts, p.accumulate, p.x_dtype, p.out_dtype});
}

// All columns are the rank's own.
void run_all_gather(const AllGatherParams&, Context&) {}

}  // namespace mamba::cuda
