#include "cuda/gemm_plans.h"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <compare>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.h"
#include "cuda/kernels.h"
#include "cuda/linear_rows.h"
#include "cuda/linear_walk.h"
#include "cuda/product_trial.h"
#include "cuda/status.h"

namespace mamba::cuda {
namespace {

constexpr int kCandidates = 8;
constexpr size_t kWalkCandidates = 3;
constexpr int kRuns = 3;  // of each, after one that loads its code

void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const bool refused = status == CUBLAS_STATUS_INVALID_VALUE || status == CUBLAS_STATUS_NOT_SUPPORTED;
  const ErrorCode code = status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorCode::Memory
                         : refused                            ? ErrorCode::Internal
                                                              : ErrorCode::DeviceLost;
  throw Error(code, "cuda", std::string(what) + ": " + cublasLtGetStatusString(status));
}

cudaDataType type_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CUDA_R_32F;
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f16:
      return CUDA_R_16F;
    default:
      return CUDA_R_8F_E4M3;
  }
}

// Handles that are destroyed at the end of their scope.
template <class Handle, auto Destroy>
struct Owned {
  Handle handle = nullptr;
  Owned() = default;
  Owned(Owned&& other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle, other.handle);
    return *this;
  }
  ~Owned() {
    if (handle) Destroy(handle);
  }
};
using Product = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using Memory = Owned<void*, cudaFree>;

Layout layout(DType dtype, int64_t rows, int64_t columns, int64_t stride) {
  Layout made;
  check(cublasLtMatrixLayoutCreate(&made.handle, type_of(dtype), static_cast<uint64_t>(rows),
                                   static_cast<uint64_t>(columns), stride),
        "layout of a matrix");
  return made;
}

// The stride of a single row may be anything.
int64_t stride_of_x(const LinearParams& p) { return p.m == 1 ? p.k : p.x_stride; }
int64_t stride_of_out(const LinearParams& p) { return p.m == 1 ? p.n : p.out_stride; }

// The library's matrices are column-major, so a row-major one is its own transpose: out^T [n, m] = (weight^T)^T x^T.
struct Operands {
  Product product;
  Layout weight, x, out;

  Operands(const LinearParams& p, const CodeScales* scales, int64_t m)
      : weight(layout(p.weight_dtype, p.k, p.n, p.k)),
        x(layout(p.x_dtype, p.k, m, stride_of_x(p))),
        out(layout(p.out_dtype, p.n, m, stride_of_out(p))) {
    check(cublasLtMatmulDescCreate(&product.handle, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description of a product");
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (scales) set_scales(*scales);
    if (!p.bias) return;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
  }

 private:
  void set_scales(const CodeScales& scales) {
    using enum CodeScales::Share;
    const cublasLtMatmulMatrixScale_t x =
        scales.share == rows ? CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F : CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F;
    set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, scales.share == blocks ? CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F : x);
    set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, scales.weight);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, x);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, scales.x);
  }
  template <class Value>
  void set(cublasLtMatmulDescAttributes_t attribute, Value value) {
    check(cublasLtMatmulDescSetAttribute(product.handle, attribute, &value, sizeof(value)), "attribute of a product");
  }
};

// In bytes; the library asks for no more than 16.
uint32_t alignment(const void* data) {
  uint32_t bytes = 16;
  while (reinterpret_cast<uintptr_t>(data) % bytes) bytes /= 2;
  return bytes;
}

// The smallest of 1, 1.5, 2, 3, 4, 6, ... that is not below m (1.5 is none).
int64_t bucket_of(int64_t m) {
  int64_t power = 1;
  while (power < m) power *= 2;
  return power >= 4 && power / 4 * 3 >= m ? power / 4 * 3 : power;
}

struct Shape {
  int64_t m, n, k, x_stride, out_stride;
  DType dtype, out_dtype;
  bool bias, accumulate;
  std::array<uint32_t, 3> alignments;  // of weight, x, out
  float alpha;
  bool deterministic;
  std::optional<CodeScales::Share> scales;
  auto operator<=>(const Shape&) const = default;
};

// One of the library's algorithms, or a cut for the kernel of linear_walk.cuh.
using Way = std::variant<cublasLtMatmulAlgo_t, WalkPlan>;

bool is_capturing(const Context& context) {
  cudaStreamCaptureStatus status;
  mamba::cuda::check(cudaStreamIsCapturing(context.stream, &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace

struct GemmPlans::Library {
  cublasLtHandle_t handle = nullptr;
  std::map<Shape, std::optional<Way>> plans;             // none: there is no algorithm
  std::map<Shape, std::optional<WalkPlan>> activations;  // none: two launches are faster

  ~Library() {
    if (handle) cublasLtDestroy(handle);
  }

  cublasStatus_t launch(const LinearParams& p, const Operands& operands, const Way& way, Context& context) const {
    if (const auto* plan = std::get_if<WalkPlan>(&way)) {
      return run_linear_walk(p, *plan, context) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
    }
    const float beta = p.accumulate ? 1.0f : 0.0f;
    context.early = true;
    return cublasLtMatmul(handle, operands.product.handle, &p.alpha, p.weight, operands.weight.handle, p.x,
                          operands.x.handle, &beta, p.out, operands.out.handle, p.out, operands.out.handle,
                          &std::get<cublasLtMatmulAlgo_t>(way), context.workspace, kGemmWorkspaceBytes, context.stream);
  }

  // The library's first.
  std::vector<Way> candidates(const LinearParams& p, const CodeScales* scales, const Shape& shape,
                              const Context& context) const {
    std::vector<Way> ways = algorithms(p, scales, shape);
    // The memory adds (red.global.add) and flushes subnormal sums, which chains keep.
    const bool exact = !p.accumulate || !shape.deterministic;
    if (!scales && p.m > kMostRows && exact && walk_fits(p, context)) {
      for (const WalkPlan& plan : walk_plans(p, false, kWalkCandidates, context)) ways.push_back(plan);
    }
    return ways;
  }

  std::vector<Way> algorithms(const LinearParams& p, const CodeScales* scales, const Shape& shape) const {
    const Operands operands(p, scales, shape.m);
    Preference preference;
    check(cublasLtMatmulPreferenceCreate(&preference.handle), "preference for a product");
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      check(cublasLtMatmulPreferenceSetAttribute(preference.handle, attribute, &value, sizeof(value)),
            "preference for a product");
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kGemmWorkspaceBytes);
    // Split sums are added in float and in order, if there may be any.
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        uint32_t{shape.deterministic ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, shape.alignments[0]);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, shape.alignments[1]);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, shape.alignments[2]);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, shape.alignments[2]);
    std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found;
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle, operands.product.handle, operands.weight.handle, operands.x.handle, operands.out.handle,
        operands.out.handle, preference.handle, kCandidates, found.data(), &count);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return {};
    check(status, "cublasLtMatmulAlgoGetHeuristic");
    std::vector<Way> ways;
    for (int i = 0; i < count; ++i) {
      if (found[static_cast<size_t>(i)].state == CUBLAS_STATUS_SUCCESS) {
        ways.push_back(found[static_cast<size_t>(i)].algo);
      }
    }
    return ways;
  }

  // The median of a few runs, each after the workspace has pushed everything else out of the L2; infinite where run()
  // is refused.
  template <class Run>
  float milliseconds(const Run& run, Context& context) const {
    std::array<float, kRuns> times;
    if (!run()) return INFINITY;
    Event begin, end;
    mamba::cuda::check(cudaEventCreate(&begin.handle), "event");
    mamba::cuda::check(cudaEventCreate(&end.handle), "event");
    for (float& time : times) {
      mamba::cuda::check(cudaMemsetAsync(context.workspace, 0, context.workspace_bytes, context.stream), "memset");
      mamba::cuda::check(cudaEventRecord(begin.handle, context.stream), "event");
      run();
      mamba::cuda::check(cudaEventRecord(end.handle, context.stream), "event");
      mamba::cuda::check(cudaEventSynchronize(end.handle), "measurement of a product");
      mamba::cuda::check(cudaEventElapsedTime(&time, begin.handle, end.handle), "measurement of a product");
    }
    std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
    return times[kRuns / 2];
  }

  // None where a deterministic stream's own kernel is faster than all; the first where there is no memory to measure
  // in.
  std::optional<Way> fastest(LinearParams p, const CodeScales* scales, const std::vector<Way>& ways,
                             Context& context) const {
    const Operands operands(p, scales, p.m);
    Memory scratch;  // what is added to would grow with each run
    if (p.accumulate) {
      const size_t bytes = static_cast<size_t>(p.m * stride_of_out(p)) * size_of(p.out_dtype);
      if (cudaMalloc(&scratch.handle, bytes) != cudaSuccess) {
        cudaGetLastError();
        scratch.handle = nullptr;
        return ways.front();
      }
      mamba::cuda::check(cudaMemsetAsync(scratch.handle, 0, bytes, context.stream), "memset");
      p.out = scratch.handle;
    }
    std::optional<Way> best;
    float least = INFINITY;
    if (context.deterministic) {
      least = milliseconds([&] { return run_linear_chains(p, context); }, context);
    } else {
      best = ways.front();
    }
    for (const Way& way : ways) {
      const auto run = [&] { return launch(p, operands, way, context) == CUBLAS_STATUS_SUCCESS; };
      const float time = milliseconds(run, context);
      if (time < least) best = way, least = time;
    }
    return best;
  }

  // Removes the ways that give other bits than run_linear_chains(); all, where there is no memory to try them.
  void keep_chains(LinearParams p, const Shape& shape, std::vector<Way>& ways, Context& context) const {
    p.m = shape.m, p.x_stride = shape.x_stride, p.out_stride = shape.out_stride;
    const ProductTrial trial(p, context);
    if (!trial.ready()) return ways.clear();
    p = trial.operands();
    const Operands operands(p, nullptr, p.m);
    std::erase_if(ways, [&](const Way& way) {
      trial.reset();
      return launch(p, operands, way, context) != CUBLAS_STATUS_SUCCESS || !trial.same_bits();
    });
  }

  static Shape shape_of(const LinearParams& p, const CodeScales* scales, const Context& context) {
    // One plan for all few rows: the weight is read once for 64 of them as for one.
    return {context.deterministic ? std::max<int64_t>(64, bucket_of(p.m)) : bucket_of(p.m),
            p.n,
            p.k,
            stride_of_x(p),
            stride_of_out(p),
            p.x_dtype,
            p.out_dtype,
            p.bias != nullptr,
            p.accumulate,
            {alignment(p.weight), alignment(p.x), alignment(p.out)},
            p.alpha,
            context.deterministic,
            scales ? std::optional(scales->share) : std::nullopt};
  }

  const std::optional<Way>& plan(const LinearParams& p, const CodeScales* scales, Context& context) {
    const Shape shape = shape_of(p, scales, context);
    const auto known = plans.find(shape);
    if (known != plans.end()) return known->second;
    const bool capturing = is_capturing(context);
    static const std::optional<Way> none;
    if (shape.deterministic && capturing) return none;
    std::vector<Way> ways = candidates(p, scales, shape, context);
    if (shape.deterministic) keep_chains(p, shape, ways, context);
    std::optional<Way> chosen;
    if (shape.deterministic ? !ways.empty() : ways.size() > 1 && !capturing) {
      chosen = fastest(p, scales, ways, context);
    } else if (!ways.empty()) {
      chosen = ways.front();
    }
    return plans[shape] = chosen;
  }

  bool run_activation(const LinearActivationParams& p, Context& context) {
    if (p.linear.m <= kMostRows || !walk_fits(p, context)) return false;
    const Shape shape = shape_of(p.linear, nullptr, context);
    auto known = activations.find(shape);
    if (known == activations.end()) {
      if (is_capturing(context)) return false;
      const auto two = [&] {
        if (!run(p.linear, nullptr, context)) return false;
        mamba::cuda::run_activation(p.activation, context);
        return true;
      };
      float least = milliseconds(two, context);
      std::optional<WalkPlan> best;
      for (const WalkPlan& plan : walk_plans(p.linear, true, kWalkCandidates, context)) {
        const float time = milliseconds([&] { return run_linear_walk(p, plan, context); }, context);
        if (time < least) best = plan, least = time;
      }
      known = activations.emplace(shape, best).first;
    }
    return known->second && run_linear_walk(p, *known->second, context);
  }

  bool run(const LinearParams& p, const CodeScales* scales, Context& context) {
    if (p.m == 0 || p.n == 0 || p.k == 0) return false;
    if (stride_of_x(p) < p.k || stride_of_out(p) < p.n) return false;
    const std::optional<Way>& chosen = plan(p, scales, context);
    if (!chosen) return false;
    check(launch(p, Operands(p, scales, p.m), *chosen, context), "cublasLtMatmul");
    return true;
  }
};

GemmPlans::GemmPlans() : library_(std::make_unique<Library>()) {
  check(cublasLtCreate(&library_->handle), "cublasLtCreate");
}

GemmPlans::~GemmPlans() = default;

bool GemmPlans::run(const LinearParams& params, Context& context) {
  if (params.x_dtype != params.weight_dtype || (params.bias && params.out_dtype != DType::f32)) return false;
  return library_->run(params, nullptr, context);
}

bool GemmPlans::run(const LinearActivationParams& params, Context& context) {
  return library_->run_activation(params, context);
}

bool GemmPlans::run(const LinearParams& params, const CodeScales& scales, Context& context) {
  return library_->run(params, &scales, context);
}

}  // namespace mamba::cuda
