#pragma once
// Scaffolding of the GPU ladders: buffers, random data, checks against float64, times of graph replays with a flushed
// L2, and the floor (a plain copy of as many bytes).
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace lab {

// Ends the program: nothing catches it.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  throw Failure(std::string(file) + ":" + std::to_string(line) + ": " + call + ": " + cudaGetErrorString(status));
}
#define LAB_CHECK(call) ::lab::check((call), #call, __FILE__, __LINE__)

inline uint64_t mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

struct Random {
  uint64_t state;
  double uniform(double low, double high) {
    return low + (high - low) * static_cast<double>(mix(state++) >> 11) * 0x1p-53;
  }
  double normal() { return std::sqrt(-2 * std::log(uniform(1e-12, 1))) * std::cos(6.283185307179586 * uniform(0, 1)); }
  int64_t below(int64_t n) { return static_cast<int64_t>(mix(state++) % static_cast<uint64_t>(n)); }
};

// Host values of any dtype.
struct Host {
  mamba::DType dtype = mamba::DType::f32;
  std::vector<uint8_t> bytes;

  Host(mamba::DType t, int64_t n) : dtype(t), bytes(static_cast<size_t>(n) * mamba::size_of(t)) {}
  int64_t size() const { return static_cast<int64_t>(bytes.size() / mamba::size_of(dtype)); }
  double get(int64_t i) const {
    if (dtype == mamba::DType::f32) return reinterpret_cast<const float*>(bytes.data())[i];
    const uint16_t bits = reinterpret_cast<const uint16_t*>(bytes.data())[i];
    return dtype == mamba::DType::bf16 ? mamba::to_float(mamba::bf16{bits}) : mamba::to_float(mamba::f16{bits});
  }
  void set(int64_t i, double value) {
    const float f = static_cast<float>(value);
    if (dtype == mamba::DType::f32) {
      reinterpret_cast<float*>(bytes.data())[i] = f;
    } else {
      reinterpret_cast<uint16_t*>(bytes.data())[i] =
          dtype == mamba::DType::bf16 ? mamba::to_bf16(f).bits : mamba::to_f16(f).bits;
    }
  }
  void fill_normal(Random& random, double scale = 1) {
    for (int64_t i = 0; i < size(); ++i) set(i, scale * random.normal());
  }
  void fill_uniform(Random& random, double low, double high) {
    for (int64_t i = 0; i < size(); ++i) set(i, random.uniform(low, high));
  }
};

struct Buffer {
  void* data = nullptr;
  size_t bytes = 0;
  explicit Buffer(size_t n) : bytes(n) { LAB_CHECK(cudaMalloc(&data, std::max<size_t>(n, 16))); }
  explicit Buffer(const Host& host) : Buffer(host.bytes.size()) { upload(host); }
  explicit Buffer(const std::vector<int32_t>& host) : Buffer(host.size() * 4) {
    LAB_CHECK(cudaMemcpy(data, host.data(), bytes, cudaMemcpyHostToDevice));
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { cudaFree(data); }
  void upload(const Host& host) { LAB_CHECK(cudaMemcpy(data, host.bytes.data(), bytes, cudaMemcpyHostToDevice)); }
  Host download(mamba::DType t) const {
    Host host(t, static_cast<int64_t>(bytes / mamba::size_of(t)));
    LAB_CHECK(cudaMemcpy(host.bytes.data(), data, bytes, cudaMemcpyDeviceToHost));
    return host;
  }
  // All bits set is a NaN in each float type.
  void poison() { LAB_CHECK(cudaMemset(data, 0xff, bytes)); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// Uniform in [-1, 1) on the device, for what is too large to make on the host.
template <class T>
__global__ void fill_random_kernel(T* to, int64_t n, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{gridDim.x} * blockDim.x) {
    uint64_t z = (i + seed) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9ull;
    const float f = static_cast<float>(static_cast<int32_t>((z >> 32) ^ z)) * 0x1p-31f;
    if constexpr (sizeof(T) == 4) {
      to[i] = f;
    } else {
      to[i] = static_cast<T>(f);
    }
  }
}

// The largest distance of a result from its reference, in units of what rounding allows there, and the relative error
// of the whole. A NaN or a distance over one unit is a failure.
struct Errors {
  double worst = 0, difference = 0, total = 0;
  int64_t bad = 0;
  void add(double value, double reference, double absolute, double relative) {
    const double distance = std::abs(value - reference), allowed = absolute + relative * std::abs(reference);
    if (!(distance <= allowed)) ++bad;
    worst = std::max(worst, std::isnan(distance) ? INFINITY : distance / allowed);
    difference += distance * distance;
    total += reference * reference;
  }
  double relative() const { return total > 0 ? std::sqrt(difference / total) : std::sqrt(difference); }
};

// Half a unit in the last place, and a little for the order of float sums.
inline double rounding(mamba::DType t) {
  return t == mamba::DType::f32 ? 3e-6 : t == mamba::DType::bf16 ? 0x1.02p-8 : 0x1.02p-11;
}

template <int Unroll>
__global__ void copy_kernel(uint4* __restrict__ to, const uint4* __restrict__ from, int64_t n) {
  const int64_t base = blockIdx.x * int64_t{256 * Unroll} + threadIdx.x;
  uint4 v[Unroll];
#pragma unroll
  for (int i = 0; i < Unroll; ++i) {
    if (base + i * 256 < n) v[i] = from[base + i * 256];
  }
#pragma unroll
  for (int i = 0; i < Unroll; ++i) {
    if (base + i * 256 < n) to[base + i * 256] = v[i];
  }
}

// The same bytes, each written where it was read.
template <int Unroll>
__global__ void in_place_kernel(uint4* data, int64_t n) {
  const int64_t base = blockIdx.x * int64_t{256 * Unroll} + threadIdx.x;
  uint4 v[Unroll];
#pragma unroll
  for (int i = 0; i < Unroll; ++i) {
    if (base + i * 256 < n) v[i] = data[base + i * 256];
  }
#pragma unroll
  for (int i = 0; i < Unroll; ++i) {
    v[i].x ^= 1;
    if (base + i * 256 < n) data[base + i * 256] = v[i];
  }
}

static __global__ void touch_kernel(const uint4* from, int64_t n, uint32_t* sink) {
  uint32_t sum = 0;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{gridDim.x} * blockDim.x) {
    sum += from[i].x;
  }
  if (sum == 0x12345678u) *sink = sum;
}

static __global__ void empty_kernel() {}

// Medians, in microseconds. The L2 is flushed before each launch, by writing 256 MiB.
struct Times {
  double event = 0;  // a graph of one launch between two events: holds the launch itself, see the empty kernel
  double clean = 0;  // the same after reads have replaced the written lines: no write-back of the flush is paid
};

class Bench {
 public:
  Bench() : scratch_(kFlush), copies_(size_t{1} << 32) {
    LAB_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    LAB_CHECK(cudaMemset(scratch_.data, 1, scratch_.bytes));
    LAB_CHECK(cudaMemset(copies_.data, 1, copies_.bytes));
    for (auto& pair : events_) {
      for (auto& event : pair) LAB_CHECK(cudaEventCreate(&event));
    }
  }

  cudaStream_t stream() const { return stream_; }

  Times time(const std::function<void(cudaStream_t)>& launch) {
    Times times;
    for (int i = 0; i < 3; ++i) launch(stream_);
    times.event = replays([&] { launch(stream_); }, [&] { flush(false); });
    times.clean = replays([&] { launch(stream_); }, [&] { flush(true); });
    return times;
  }

  // The best of some plain copies that move this many bytes, half of them read and half written.
  Times copy(double bytes) {
    const int64_t n = std::max<int64_t>(1, static_cast<int64_t>(bytes / 32));
    auto* from = copies_.as<uint4>();
    auto* to = from + copies_.bytes / 32;
    const auto blocks = [n](int64_t each) { return static_cast<unsigned>((n + each - 1) / each); };
    const Times one = time([=](cudaStream_t s) { copy_kernel<1><<<blocks(256), 256, 0, s>>>(to, from, n); });
    const Times two = time([=](cudaStream_t s) { copy_kernel<2><<<blocks(512), 256, 0, s>>>(to, from, n); });
    const Times four = time([=](cudaStream_t s) { copy_kernel<4><<<blocks(1024), 256, 0, s>>>(to, from, n); });
    return {std::min({one.event, two.event, four.event}), std::min({one.clean, two.clean, four.clean})};
  }
  Times in_place(double bytes) {
    const int64_t n = std::max<int64_t>(1, static_cast<int64_t>(bytes / 32));
    auto* data = copies_.as<uint4>();
    const auto blocks = [n](int64_t each) { return static_cast<unsigned>((n + each - 1) / each); };
    const Times one = time([=](cudaStream_t s) { in_place_kernel<1><<<blocks(256), 256, 0, s>>>(data, n); });
    const Times four = time([=](cudaStream_t s) { in_place_kernel<4><<<blocks(1024), 256, 0, s>>>(data, n); });
    return {std::min(one.event, four.event), std::min(one.clean, four.clean)};
  }
  Times empty() {
    return time([](cudaStream_t s) { empty_kernel<<<132, 128, 0, s>>>(); });
  }

 private:
  static constexpr size_t kFlush = size_t{256} << 20;
  static constexpr int kRuns = 41;

  void flush(bool clean) {
    LAB_CHECK(cudaMemsetAsync(scratch_.data, 1, scratch_.bytes, stream_));
    if (clean) touch_kernel<<<1056, 256, 0, stream_>>>(copies_.as<uint4>(), kFlush / 16, scratch_.as<uint32_t>());
  }

  double replays(
      const std::function<void()>& body, const std::function<void()>& before = [] {}) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    LAB_CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    body();
    LAB_CHECK(cudaStreamEndCapture(stream_, &graph));
    LAB_CHECK(cudaGraphInstantiate(&executable, graph, 0));
    LAB_CHECK(cudaGraphLaunch(executable, stream_));
    for (auto& [begin, end] : events_) {
      before();
      LAB_CHECK(cudaEventRecord(begin, stream_));
      LAB_CHECK(cudaGraphLaunch(executable, stream_));
      LAB_CHECK(cudaEventRecord(end, stream_));
    }
    LAB_CHECK(cudaStreamSynchronize(stream_));
    std::vector<float> us;
    for (auto& [begin, end] : events_) {
      float ms;
      LAB_CHECK(cudaEventElapsedTime(&ms, begin, end));
      us.push_back(ms * 1e3f);
    }
    LAB_CHECK(cudaGraphExecDestroy(executable));
    LAB_CHECK(cudaGraphDestroy(graph));
    std::nth_element(us.begin(), us.begin() + us.size() / 2, us.end());
    return us[us.size() / 2];
  }

  Buffer scratch_, copies_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t events_[kRuns][2];
};

// --json FILE --commit SHA; --check or --time for one of the two; --quick: no large checks (for a memory checker);
// --once VERSION [--case NAME]: a single launch of each timed case (for a profiler).
struct Options {
  std::string json, commit = "?", once, once_case;
  bool check = true, time = true, quick = false;
  Options(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string a = argv[i];
      const char* value = i + 1 < argc ? argv[i + 1] : "";
      if (a == "--json") json = value, ++i;
      if (a == "--commit") commit = value, ++i;
      if (a == "--once") once = value, ++i, check = time = false;
      if (a == "--case") once_case = value, ++i;
      if (a == "--quick") quick = true;
      if (a == "--check") time = false;
      if (a == "--time") check = false;
    }
  }
};

class Report {
 public:
  explicit Report(const Options& o) : commit_(o.commit) {
    if (!o.json.empty()) file_ = std::fopen(o.json.c_str(), "w");
    cudaDeviceProp device;
    LAB_CHECK(cudaGetDeviceProperties(&device, 0));
    hardware_ = device.name;
    char date[16];
    const time_t now = std::time(nullptr);
    std::strftime(date, sizeof(date), "%Y-%m-%d", std::gmtime(&now));
    date_ = date;
  }
  ~Report() {
    if (file_) std::fclose(file_);
  }
  void line(const char* op, const std::string& name, const std::string& version, const Times& us, double bytes,
            const Times& copy) {
    std::printf("%-20s %-22s %-28s %8.2f us (copy %8.2f)  clean L2 %8.2f (%8.2f)\n", op, name.c_str(), version.c_str(),
                us.event, copy.event, us.clean, copy.clean);
    if (!file_) return;
    std::fprintf(file_,
                 "{\"op\": \"%s\", \"case\": \"%s\", \"version\": \"%s\", \"us\": %.2f, \"clean_us\": %.2f, "
                 "\"bytes\": %.0f, \"copy_us\": %.2f, \"copy_clean_us\": %.2f, \"hardware\": \"%s\", \"date\": \"%s\", "
                 "\"commit\": \"%s\"}\n",
                 op, name.c_str(), version.c_str(), us.event, us.clean, bytes, copy.event, copy.clean,
                 hardware_.c_str(), date_.c_str(), commit_.c_str());
    std::fflush(file_);
  }

 private:
  std::FILE* file_ = nullptr;
  std::string commit_, hardware_, date_;
};

}  // namespace lab
