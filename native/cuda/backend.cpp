#include "cuda/backend.h"

#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "cuda/kernels.h"
#include "cuda/peer_group.h"
#include "cuda/status.h"
#include "cuda/stream.h"

namespace mamba::cuda {
namespace {

constexpr int kOldestCapability = 80;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

cudaDeviceProp properties_of(int index) {
  cudaDeviceProp found;
  check(cudaGetDeviceProperties(&found, index), "cudaGetDeviceProperties");
  return found;
}

}  // namespace

CudaBackend::CudaBackend(int index) {
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
  if (index < 0 || index >= devices) {
    throw Error(
        ErrorCode::NoDevice, "cuda",
        "there is no GPU " + std::to_string(index) + ", only " + std::to_string(devices) + " of them; see nvidia-smi");
  }
  facts_.device = index;
  enter();
  const cudaDeviceProp device = properties_of(index);
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
  const cudaDeviceProp device = properties_of(facts_.device);
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  return "{\"kind\":\"cuda\",\"name\":\"" + std::string(device.name) + "\",\"capability\":\"" +
         std::to_string(device.major) + "." + std::to_string(device.minor) +
         "\",\"multiprocessors\":" + std::to_string(device.multiProcessorCount) +
         ",\"memory\":" + std::to_string(device.totalGlobalMem) + ",\"driver\":\"" + version_text(driver) +
         "\",\"runtime\":\"" + version_text(CUDART_VERSION) + "\"}";
}

void CudaBackend::enter() const { check(cudaSetDevice(facts_.device), "cudaSetDevice"); }

void* CudaBackend::allocate(size_t bytes) {
  enter();
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
  enter();
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
  enter();
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

size_t CudaBackend::memory_total() const {
  enter();
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

std::shared_ptr<Group> CudaBackend::create_group(const std::vector<Device*>& devices) {
  std::vector<int> indices;
  for (const Device* device : devices) indices.push_back(static_cast<const CudaBackend*>(device)->facts_.device);
  auto group = std::make_shared<PeerGroup>(indices);
  check_group(group, indices);
  enter();
  return group;
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
extern "C" __attribute__((visibility("default"))) mamba::Backend* mamba_serve_open_cuda(int index) {
  return new mamba::cuda::CudaBackend(index);
}
