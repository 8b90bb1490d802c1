#include "cuda/backend.h"

#include <cuda_runtime_api.h>

#include <string>

#include "core/error.h"
#include "cuda/group.h"
#include "cuda/kernels.h"
#include "cuda/status.h"
#include "cuda/stream.h"

namespace mamba::cuda {
namespace {

constexpr int kOldestCapability = 80;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

cudaDeviceProp properties() {
  cudaDeviceProp found;
  check(cudaGetDeviceProperties(&found, 0), "cudaGetDeviceProperties");
  return found;
}

}  // namespace

CudaBackend::CudaBackend() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess || devices == 0) {
    cudaGetLastError();
    const std::string why = status == cudaErrorInsufficientDriver
                                ? "the NVIDIA driver is missing or older than CUDA " + version_text(CUDART_VERSION)
                            : status == cudaSuccess ? "there is no NVIDIA GPU"
                                                    : std::string(cudaGetErrorString(status));
    throw Error(ErrorCode::NoDevice, "cuda", why + "; see nvidia-smi, or use the device \"cpu\"");
  }
  check(cudaSetDevice(0), "cudaSetDevice");
  const cudaDeviceProp device = properties();
  facts_.multiprocessors = device.multiProcessorCount;
  facts_.capability = 10 * device.major + device.minor;
  if (facts_.capability < kOldestCapability) {
    throw Error(ErrorCode::NoDevice, "cuda",
                std::string(device.name) + " has compute capability " + std::to_string(device.major) + "." +
                    std::to_string(device.minor) + ", expected 8.0 or newer; use the device \"cpu\"");
  }
  gemm_plans_ = std::make_unique<GemmPlans>();
  facts_.gemm_plans = gemm_plans_.get();
}

std::string CudaBackend::describe() const {
  const cudaDeviceProp device = properties();
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  return "{\"kind\":\"cuda\",\"name\":\"" + std::string(device.name) + "\",\"capability\":\"" +
         std::to_string(device.major) + "." + std::to_string(device.minor) +
         "\",\"multiprocessors\":" + std::to_string(device.multiProcessorCount) +
         ",\"memory\":" + std::to_string(device.totalGlobalMem) + ",\"driver\":\"" + version_text(driver) +
         "\",\"runtime\":\"" + version_text(CUDART_VERSION) + "\"}";
}

void* CudaBackend::allocate(size_t bytes) {
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes ? bytes : 1);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw Error(ErrorCode::Memory, "allocate",
                std::to_string(bytes >> 20) + " MiB of GPU memory are not to be had; " +
                    std::to_string(memory_free() >> 20) + " MiB are free");
  }
  check(status, "cudaMalloc");
  return data;
}

void CudaBackend::free(void* data) { cudaFree(data); }

void* CudaBackend::allocate_pinned(size_t bytes) {
  void* data = nullptr;
  const cudaError_t status = cudaMallocHost(&data, bytes ? bytes : 1);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw Error(ErrorCode::Memory, "allocate",
                std::to_string(bytes >> 20) + " MiB of pinned host memory are not to be had");
  }
  check(status, "cudaMallocHost");
  return data;
}

void CudaBackend::free_pinned(void* data) { cudaFreeHost(data); }

size_t CudaBackend::memory_free() const {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

size_t CudaBackend::memory_total() const {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return total;
}

std::unique_ptr<Stream> CudaBackend::create_stream(bool deterministic) {
  Context facts = facts_;
  facts.deterministic = deterministic;
  return std::make_unique<CudaStream>(*this, facts, kWorkspaceBytes);
}

std::unique_ptr<Stream> CudaBackend::create_transfer_stream() { return std::make_unique<CudaStream>(*this, facts_, 0); }

std::shared_ptr<Group> CudaBackend::create_group(int ranks) {
  if (ranks == 1) return std::make_shared<SingleGroup>();
  throw Error(ErrorCode::NotBuilt, "group",
              "several GPUs cannot compute one model together yet; serve a replica on each, or use the device \"cpu\"");
}

size_t CudaBackend::linear_weight_bytes(int64_t n, int64_t k, DType dtype, int64_t group) const {
  return cuda::linear_weight_bytes(n, k, dtype, group);
}

void CudaBackend::pack_linear_weight(Stream& stream, const PackLinearWeightParams& params) {
  static_cast<CudaStream&>(stream).launch([params](Context& context) { run_pack_linear_weight(params, context); });
}

#define POOL_in(name)
#define POOL_out(name)
#define POOL_value(name)
#define POOL_pool(name) params.name##_pool(),
#define ARG(type, name, role) POOL_##role(name)
#define OP(name, Params, ...)                                            \
  void CudaBackend::name(Stream& stream, const Params& params) {         \
    static_cast<CudaStream&>(stream).launch([params](Context& context) { \
      context.enter({__VA_ARGS__});                                      \
      run_##name(params, context);                                       \
    });                                                                  \
  }
#include "ops/ops.def"

}  // namespace mamba::cuda

// What the addon looks up. It returns a new backend, or throws mamba::Error.
extern "C" __attribute__((visibility("default"))) mamba::Backend* mamba_serve_open_cuda() {
  return new mamba::cuda::CudaBackend();
}
