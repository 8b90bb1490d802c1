// linear for 17 to 64 rows (cuda/linear_rows.cuh): check, and times of how a product can be cut.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/linear_rows.cu
//       native/cuda/{activation,linear,linear_rows,linear_walk,product_trial,quantized_linear,quantized_ring}.cu
//       native/cuda/{gemm_plans,staging,status}.cpp -lcublasLt -o linear_rows
//   ./linear_rows [--json FILE --commit SHA] [--check [--quick] | --time]
//
// A cut is named by its tile's outputs (N), the blocks that share x (C) and those that share k (S). `library` is
// GemmPlans::run, `op` what run_linear takes.
#include "lab/linear_rows_time.cuh"

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  Workspace workspace;
  if (options.check && !check_all(options.quick, workspace)) return 1;
  if (!options.time) return 0;
  lab::Bench bench;
  lab::Report report(options);
  report.line("empty", "", "", bench.empty(), 0, {});
  time_all(bench, report, workspace);
  return 0;
}
