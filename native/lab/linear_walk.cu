// linear for more than 64 rows (cuda/linear_walk.cuh): check, and times of how a product can be cut.
// native/lab/README.md says how to build and run it.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "lab/linear_walk_check.cuh"

namespace {

struct Shape {
  const char* name;
  int64_t n, k;
  bool residual;  // f32 out, added to; else bf16
};
const Shape kShapes[] = {
    {"4b in", 12352, 2560, false},      {"4b qkv", 10240, 2560, false},      {"4b out", 2560, 4096, true},
    {"4b gate_up", 18432, 2560, false}, {"4b down", 2560, 9216, true},       {"9b in", 12352, 4096, false},
    {"9b qkv", 10240, 4096, false},     {"9b out", 4096, 4096, true},        {"9b gate_up", 24576, 4096, false},
    {"9b down", 4096, 12288, true},     {"27b in", 16480, 5120, false},      {"27b qkv", 14336, 5120, false},
    {"27b out", 5120, 6144, true},      {"27b gate_up", 34816, 5120, false}, {"27b down", 5120, 17408, true},
    {"7b in", 18560, 4096, false},      {"7b out", 4096, 8192, true},
};

// Launches in a chain, each with a weight of its own: us of one.
struct Chains {
  Workspace& workspace;
  cudaEvent_t begin, end;
  explicit Chains(Workspace& w) : workspace(w) {
    LAB_CHECK(cudaEventCreate(&begin));
    LAB_CHECK(cudaEventCreate(&end));
  }
  double time(int count, int runs, const std::function<void(Context&, int)>& launch) {
    Context context = workspace.context;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    LAB_CHECK(cudaStreamBeginCapture(context.stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < count; ++i) launch(context, i);
    LAB_CHECK(cudaStreamEndCapture(context.stream, &graph));
    LAB_CHECK(cudaGraphInstantiate(&executable, graph, 0));
    std::vector<float> times;
    for (int run = 0; run <= runs; ++run) {
      float ms;
      LAB_CHECK(cudaEventRecord(begin, context.stream));
      LAB_CHECK(cudaGraphLaunch(executable, context.stream));
      LAB_CHECK(cudaEventRecord(end, context.stream));
      LAB_CHECK(cudaEventSynchronize(end));
      LAB_CHECK(cudaEventElapsedTime(&ms, begin, end));
      if (run > 0) times.push_back(ms * 1e3f / static_cast<float>(count));
    }
    LAB_CHECK(cudaGraphExecDestroy(executable));
    LAB_CHECK(cudaGraphDestroy(graph));
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return times[times.size() / 2];
  }
};

struct Timed {
  std::string name;
  double us;
};

// How much of the multiprocessors' time a product's outputs take.
double filled(const LinearParams& p, const WalkPlan& plan, int64_t multiprocessors) {
  const mamba::cuda::WalkTile& tile = mamba::cuda::walk_tiles()[static_cast<size_t>(plan.tile)];
  const int64_t rows_of_x = tile.weight_left ? tile.width : tile.left,
                rows_of_weight = tile.weight_left ? tile.left : tile.width;
  const int64_t x_tiles = (p.m + rows_of_x - 1) / rows_of_x, weight_tiles = (p.n + rows_of_weight - 1) / rows_of_weight;
  const int64_t units = plan.shares_x ? x_tiles * ((weight_tiles + 1) / 2) : (x_tiles + 1) / 2 * weight_tiles;
  const int64_t pairs = multiprocessors / 2, rounds = (units + pairs - 1) / pairs;
  return static_cast<double>(p.m * p.n) / static_cast<double>(rounds * 2 * pairs * rows_of_x * rows_of_weight);
}

class Timing {
 public:
  explicit Timing(Workspace& workspace) : workspace_(workspace), chains_(workspace) {
    using bf16 = __nv_bfloat16;
    lab::fill_random_kernel<<<2112, 256>>>(weights_.as<bf16>(), static_cast<int64_t>(weights_.bytes / 2), 1);
    lab::fill_random_kernel<<<2112, 256>>>(x_.as<bf16>(), static_cast<int64_t>(x_.bytes / 2), 2);
    LAB_CHECK(cudaMemset(out_.data, 0, out_.bytes));
  }

  void product(const Shape& shape, int64_t m) {
    LinearParams p = {};
    p.m = m, p.n = shape.n, p.k = shape.k, p.x = x_.data, p.x_stride = p.k, p.out = out_.data, p.out_stride = p.n;
    p.x_dtype = p.weight_dtype = DType::bf16, p.out_dtype = shape.residual ? DType::f32 : DType::bf16;
    p.accumulate = shape.residual;
    const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(p.n * p.k);
    const double bytes =
        2.0 * static_cast<double>(p.n * p.k + m * p.k) + static_cast<double>(m * p.n) * (shape.residual ? 8 : 2);
    const double floor = std::max(bytes / 4.07e6, flops / 800e6);
    const double library = time(p, [](const LinearParams& one, Context& context) {
      Context other = context;
      other.capability = 91;  // walk_fits() refuses
      return context.gemm_plans->run(one, other);
    });
    std::vector<Timed> timed, gated;
    for (int tile = 0; tile < static_cast<int>(mamba::cuda::walk_tiles().size()); ++tile) {
      for (const bool shares_x : {true, false}) {
        const WalkPlan plan = {tile, shares_x};
        if (!mamba::cuda::walk_fits(plan) || filled(p, plan, workspace_.context.multiprocessors) < 0.8) continue;
        timed.push_back({name_of(plan), time(p, [&](const LinearParams& one, Context& context) {
                           return mamba::cuda::run_linear_walk(one, plan, context);
                         })});
        const bool gate = std::string(shape.name).find("gate") != std::string::npos;
        if (!gate || !mamba::cuda::walk_tiles()[static_cast<size_t>(tile)].gates) continue;
        gated.push_back({name_of(plan), time(p, [&](const LinearParams& one, Context& context) {
                           mamba::LinearActivationParams both = {};
                           both.linear = one, both.activation.width = p.n / 2, both.activation.scale = 1;
                           return mamba::cuda::run_linear_walk(both, plan, context);
                         })});
      }
    }
    const auto line = [&](const char* version, std::vector<Timed> list) {
      std::sort(list.begin(), list.end(), [](const Timed& a, const Timed& b) { return a.us < b.us; });
      std::printf("%4ld %-12s %-6s floor %6.1f library %6.1f", static_cast<long>(m), shape.name, version, floor,
                  library);
      for (const Timed& t : list) {
        std::printf(" | %-10s %6.1f %4.0f TFLOP/s %3.0f %%", t.name.c_str(), t.us, flops / t.us * 1e-6,
                    100 * floor / t.us);
      }
      std::printf("\n");
    };
    line("", timed);
    if (!gated.empty()) line("gated", gated);
    std::fflush(stdout);
  }

 private:
  double time(LinearParams p, const std::function<bool(const LinearParams&, Context&)>& run) {
    const int64_t of_weight = (p.n + 256) * p.k * 2;
    const int count = std::min<int>(8, static_cast<int>(static_cast<int64_t>(weights_.bytes) / of_weight));
    const auto launch = [&](Context& context, int i) {
      p.weight = weights_.as<char>() + i * of_weight;
      if (!run(p, context)) std::printf("FAILED: not launched\n");
    };
    launch(workspace_.context, 0);
    return chains_.time(count, 4, launch);
  }

  Workspace& workspace_;
  Chains chains_;
  const Buffer weights_{size_t{3} << 30}, x_{2048 * 18560 * 2}, out_{size_t{2048} * 40000 * 4};
};

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  Workspace workspace;
  if (options.check && !check_all(workspace)) return 1;
  if (!options.time) return 0;
  Timing timing(workspace);
  for (const int64_t m : {192, 256, 1193}) {
    for (const Shape& shape : kShapes) timing.product(shape, m);
  }
  return 0;
}
