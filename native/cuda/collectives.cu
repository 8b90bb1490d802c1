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

__global__ void __launch_bounds__(kThreads)
    own_rows_kernel(const void* x, DType x_dtype, int64_t x_stride, void* out, DType out_dtype, int64_t out_stride,
                    int64_t width, bool accumulate) {
  let_next_start();
  wait_for_inputs();
  const int64_t row = blockIdx.x;
  for (int64_t c = threadIdx.x; c < width; c += kThreads) {
    const float before = accumulate ? load_any(out, out_dtype, row * out_stride + c) : 0.0f;
    store_any(out, out_dtype, row * out_stride + c, before + load_any(x, x_dtype, row * x_stride + c));
  }
}

}  // namespace

void run_all_reduce(const AllReduceParams& p, Context& context) {
  LaunchShape shape;
  shape.grid = {static_cast<unsigned>(p.rows)};
  shape.block = {kThreads};
  launch(context, shape, own_rows_kernel, p.x, p.x_dtype, p.x_stride, p.out, p.out_dtype, p.out_stride, p.width,
         p.accumulate);
}

// All columns are the rank's own.
void run_all_gather(const AllGatherParams&, Context&) {}

}  // namespace mamba::cuda
