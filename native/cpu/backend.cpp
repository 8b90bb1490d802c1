#include "cpu/backend.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "core/error.h"
#include "cpu/activation.h"
#include "cpu/attention.h"
#include "cpu/collectives.h"
#include "cpu/conv1d.h"
#include "cpu/embedding.h"
#include "cpu/experts.h"
#include "cpu/gdn.h"
#include "cpu/group.h"
#include "cpu/grouped_linear.h"
#include "cpu/kernels.h"
#include "cpu/linear.h"
#include "cpu/linear_activation.h"
#include "cpu/mask.h"
#include "cpu/moe.h"
#include "cpu/norm.h"
#include "cpu/packed_state.h"
#include "cpu/penalties.h"
#include "cpu/sampling.h"
#include "cpu/slots.h"
#include "cpu/ssd.h"
#include "cpu/stream.h"

namespace mamba::cpu {
namespace {

constexpr size_t kAlignment = 64;       // a cache line, and the widest vector
constexpr size_t kHugePage = 2u << 20;  // weights and states: fewer TLB misses

int usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
}

// A line such as "MemAvailable:   12345 kB" of /proc/meminfo, in bytes; 0 when it is missing.
size_t meminfo(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  size_t kilobytes;
  while (file >> name >> kilobytes) {
    std::getline(file, unit);
    if (name == key) return kilobytes << 10;
  }
  return 0;
}

}  // namespace

CpuBackend::CpuBackend(int threads) : threads_(threads > 0 ? threads : usable_cores()) {
  kernels();  // a set that is named and not there is told here, and not by the first step
}

std::string CpuBackend::describe() const {
  return "{\"kind\":\"cpu\",\"isa\":\"" + std::string(kernels().isa) + "\",\"threads\":" + std::to_string(threads_) +
         "}";
}

void* CpuBackend::allocate(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* data = bytes > (size_t{1} << 46) ? nullptr : std::aligned_alloc(alignment, rounded ? rounded : alignment);
  if (!data) {
    throw Error(ErrorCode::Memory, "allocate",
                std::to_string(bytes >> 20) + " MiB of host memory are not to be had; " +
                    std::to_string(memory_free() >> 20) + " MiB are free");
  }
  // Reading gigabytes of weights through 4 KiB pages costs a tenth of the bandwidth and more.
  if (alignment == kHugePage) madvise(data, rounded, MADV_HUGEPAGE);
  return data;
}

void CpuBackend::free(void* data) { std::free(data); }

size_t CpuBackend::memory_free() const { return meminfo("MemAvailable:"); }
size_t CpuBackend::memory_total() const { return meminfo("MemTotal:"); }

// Every op here is deterministic in that sense.
std::unique_ptr<Stream> CpuBackend::create_stream(bool) { return std::make_unique<CpuStream>(*this, threads_); }

std::unique_ptr<Stream> CpuBackend::create_transfer_stream() { return std::make_unique<CpuStream>(*this, 1); }

std::shared_ptr<Group> CpuBackend::create_group(const std::vector<Device*>& devices) {
  return std::make_shared<CpuGroup>(static_cast<int>(devices.size()));
}

size_t CpuBackend::linear_weight_bytes(int64_t n, int64_t k, DType dtype, int64_t group) const {
  return cpu::linear_weight_bytes(n, k, dtype, group);
}

void CpuBackend::pack_linear_weight(Stream& stream, const PackLinearWeightParams& params) {
  static_cast<CpuStream&>(stream).launch([params](ThreadPool& pool) { run_pack_linear_weight(params, pool); });
}

#define OP(name, Params, ...)                                                                         \
  void CpuBackend::name(Stream& stream, const Params& params) {                                       \
    static_cast<CpuStream&>(stream).launch([params](ThreadPool& pool) { run_##name(params, pool); }); \
  }
#include "ops/ops.def"

}  // namespace mamba::cpu
