// The SSD chunk scan (ops/ssd.h) on one GPU: its three forms and the op's own choice, checked against the recurrence in
// float64 and timed. Built and run as native/lab/README.md says.
//
// Floor at H=128 P=64 N=128 G=8, bf16: a token is 16 KiB of x, 16 KiB of out, 4 KiB of B and C, 0.5 KiB of dt (float);
// a sequence 2 x 2 MiB (bf16) or 2 x 4 MiB (f32) of state. At 4.25 TB/s: 1x2048 19 us, 1x8192 73, 8x1024 80,
// 64x128 135, 1x131072 1154. Multiply-adds of the fused walk with C B^T once per head: 64 steps x 128 heads x 1.8 M,
// 76 us per 8192 tokens at 790 TFLOP/s.
//
// The ladder (H200, bf16 activations and state, us; best peer: 154, 517, 521, 625, 9507):
//                                                                          1x2048 1x8192 8x1024 64x128 1x131072
//   v0 recurrence: token by token on CUDA cores, any shape                   1874   7411   4077   4189        -
//   v1 fused walk, as it grew (the earlier ones are in the history):
//      state, S C^T and y in one warpgroup, C B^T in another, one dt warp      79    277    284    374     4209
//      three warps prepare dt, in turns                                        57    187    202    312     2756
//      state apart from two output warpgroups; rows out by bulk copies         57    190    200    282     2829
//      y out by tensor copies, x's weights a step ahead, decay per warp        49    159    178    277     2297
//      D in M, weights as bf16 pairs, next C B^T under the last of y           48    148    170    259     2141
//      x, B, C into the L2 three steps ahead, mask without late loads          43    136    156    264     2013
//      the state into the L2 with its first step's copies, not earlier         42    137    158    254     2028
//   v2: v1 with sequences cut into segments where (sequence, head) pairs are few: H=24 G=1 1x8192 123 -> 62,
//      1x2048 41 -> 32 (f32 state)
#include <chrono>

#include "lab/ssd_chunk_check.cuh"

namespace {

// For the long: a hundred runs on end would let the clock drop.
lab::Times few_runs(cudaStream_t stream, const std::function<void(cudaStream_t)>& run) {
  cudaEvent_t begin, end;
  LAB_CHECK(cudaEventCreate(&begin));
  LAB_CHECK(cudaEventCreate(&end));
  std::vector<float> us;
  for (int i = 0; i < 10; ++i) {
    float ms;
    LAB_CHECK(cudaEventRecord(begin, stream));
    run(stream);
    LAB_CHECK(cudaEventRecord(end, stream));
    LAB_CHECK(cudaStreamSynchronize(stream));
    LAB_CHECK(cudaEventElapsedTime(&ms, begin, end));
    us.push_back(ms * 1e3f);
  }
  std::sort(us.begin(), us.end());
  return {us[5], us[0]};
}

void time_all(Gpu& device, const lab::Options& options) {
  struct Timed {
    const char* name;
    int heads, head_dim, groups, state_size;
    std::vector<int> lengths;
    DType state = DType::f32, dtype = DType::bf16;
  };
  const auto repeat = [](int count, int length) { return std::vector<int>(count, length); };
  const std::vector<Timed> cases = {
      {"7b 1x2048", 128, 64, 8, 128, repeat(1, 2048), DType::bf16},
      {"7b 1x8192", 128, 64, 8, 128, repeat(1, 8192), DType::bf16},
      {"7b 8x1024", 128, 64, 8, 128, repeat(8, 1024), DType::bf16},
      {"7b 64x128", 128, 64, 8, 128, repeat(64, 128), DType::bf16},
      {"7b 1x131072", 128, 64, 8, 128, repeat(1, 131072), DType::bf16},
      {"7b 1x8192 f32 state", 128, 64, 8, 128, repeat(1, 8192), DType::f32},
      {"7b 1x8192 f16", 128, 64, 8, 128, repeat(1, 8192), DType::f32, DType::f16},
      {"7b 1x8192 f32", 128, 64, 8, 128, repeat(1, 8192), DType::f32, DType::f32},
      {"2.7b 1x8192", 80, 64, 1, 128, repeat(1, 8192)},
      {"130m 1x2048", 24, 64, 1, 128, repeat(1, 2048)},
      {"130m 1x8192", 24, 64, 1, 128, repeat(1, 8192)},
      {"Nemotron 1x8192", 128, 80, 8, 128, repeat(1, 8192)},
      {"Zamba2 1x8192", 112, 64, 2, 64, repeat(1, 8192)},
      {"Falcon-H1 1x8192", 24, 128, 1, 256, repeat(1, 8192)},
  };
  lab::Bench bench;
  lab::Report report(options);
  for (const Timed& c : cases) {
    Row row{.name = c.name,
            .heads = c.heads,
            .head_dim = c.head_dim,
            .groups = c.groups,
            .state_size = c.state_size,
            .chunk = 256,
            .lengths = c.lengths,
            .dtype = c.dtype,
            .state_dtype = c.state,
            .wide = true};
    row.all_initial = 1;
    Problem problem(row, 12345, true);
    const SsdChunkScanParams& p = problem.p;
    const double element = static_cast<double>(size_of(c.dtype));
    const double bytes =
        static_cast<double>(p.tokens) * ((2.0 * problem.inner + 2.0 * problem.bc) * element + 4.0 * row.heads) +
        2.0 * p.sequences * problem.slot_size * static_cast<double>(size_of(c.state));
    const lab::Times copy = bytes < 4e9 ? bench.copy(bytes) : lab::Times{};
    cuda::Context context = device.context(bench.stream());
    for (const Version& version : versions()) {
      const std::string name = version.name;
      if (name.find("3 segments") != std::string::npos || !version.fits(p, context)) continue;
      if (name == "recurrence" && (p.tokens > 10000 || p.sequences > 1 || p.heads < 128)) continue;
      if (name.find("tiles") != std::string::npos && p.tokens > 10000) continue;
      int segments = 1;
      if (name == "tiles" && cuda::tiles_segments(p, context) > 1) {
        segments = cuda::tiles_segments(p, context);
        const lab::Times us = bench.time([&](cudaStream_t) {
          context.early = false;
          cuda::run_scan_tiles(p, segments, context);
        });
        report.line("ssd_chunk_scan", c.name, name + " segments " + std::to_string(segments), us, bytes, copy);
        segments = 1;
      }
      if (name == "dispatch" && cuda::walk_fits(p, context)) {
        segments = cuda::walk_segments(p, context);
      } else if (name == "dispatch" && cuda::tiles_fit(p)) {
        segments = cuda::tiles_segments(p, context);
      }
      const auto run = [&](cudaStream_t) {
        context.early = false;
        version.run(p, context);
      };
      const lab::Times us = p.tokens > 10000 ? few_runs(bench.stream(), run) : bench.time(run);
      report.line("ssd_chunk_scan", c.name, name + (segments > 1 ? " segments " + std::to_string(segments) : ""), us,
                  bytes, copy);
    }
  }
  // What a call costs the host.
  Row row{.heads = 128, .head_dim = 64, .groups = 8, .state_size = 128, .chunk = 256, .lengths = {64}};
  Problem problem(row, 1, true);
  cuda::Context context = device.context(bench.stream());
  constexpr int kCalls = 500;
  cuda::run_ssd_chunk_scan(problem.p, context);
  LAB_CHECK(cudaStreamSynchronize(bench.stream()));
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kCalls; ++i) cuda::run_ssd_chunk_scan(problem.p, context);
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
  LAB_CHECK(cudaStreamSynchronize(bench.stream()));
  std::printf("a call on the host: %.2f us\n", took.count() / kCalls);
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  Gpu device;
  if (options.check && !check(device, options)) {
    std::printf("WRONG RESULTS\n");
    return 1;
  }
  if (options.time) time_all(device, options);
  return 0;
}
