// What the CPU's linear reaches, beside what the machine can do (read bandwidth) and what oneDNN does.
//
//   g++ -std=c++20 -O3 -Inative native/lab/cpu_linear.cpp native/cpu/{linear,thread_pool,kernels*}.cpp -pthread
//       -o cpu_linear [-DWITH_DNNL -ldnnl]
//   cpu_linear [--json] [--dtype bf16|f32|f32xbf16|i8|u4] [--shape PART_OF_NAME] [--threads N] [--max-m M]
//
// Times are the best of many runs. For few rows, copies of a 130m weight take turns over as much memory as that model
// has, since its layers do not stay in the cache; a run is then one turn over all of them. The bundled model fits.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "core/dtype.h"
#include "cpu/kernels.h"
#include "cpu/linear.h"
#include "cpu/thread_pool.h"
#ifdef WITH_DNNL
#include <dnnl.hpp>
#endif

namespace {

using namespace mamba;

constexpr size_t kColdBytes = size_t{256} << 20;  // the weights of mamba2-130m
constexpr int64_t kColdRows = 16;                 // more rows than these do not wait for memory
constexpr double kSeconds = 0.25;                 // of repeating one case
constexpr int kMinRuns = 3;

struct Shape {
  const char* name;
  int64_t n, k;
  bool cold, logits;
};
constexpr Shape kShapes[] = {
    {"bundled in_proj", 1546, 320, false, false}, {"bundled out_proj", 320, 640, false, false},
    {"bundled lm_head", 4096, 320, false, true},  {"130m in_proj", 3352, 768, true, false},
    {"130m out_proj", 768, 1536, true, false},    {"130m lm_head", 50288, 768, true, true},
};
constexpr int64_t kRows[] = {1, 4, 16, 64, 512, 2048};

// A weight is made of values of `source`; codes of it have groups of 32, as in Q8_0 and Q4_K.
struct Types {
  const char* name;
  DType x, source, weight;
  int64_t group;
  double error;  // most, as a share of the sum of the products' magnitudes
};
constexpr Types kTypes[] = {{"bf16", DType::bf16, DType::bf16, DType::bf16, 0, 1e-5},
                            {"f32", DType::f32, DType::f32, DType::f32, 0, 1e-5},
                            {"f32xbf16", DType::f32, DType::bf16, DType::bf16, 0, 1e-5},
                            {"i8", DType::bf16, DType::bf16, DType::i8, 32, 2e-3},
                            {"u4", DType::bf16, DType::bf16, DType::u4, 32, 1e-1}};

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<char, Free>;
Buffer allocate(size_t bytes) {
  constexpr size_t kPage = size_t{2} << 20;
  char* p = static_cast<char*>(std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage));
#ifdef __linux__
  madvise(p, bytes, MADV_HUGEPAGE);  // as the device's allocations are
#endif
  std::memset(p, 0, bytes);
  return Buffer(p);
}

float element(const char* data, DType type, int64_t i) {
  if (type == DType::f32) return reinterpret_cast<const float*>(data)[i];
  return to_float(reinterpret_cast<const bf16*>(data)[i]);
}

Buffer random_matrix(int64_t elements, DType type, uint32_t seed) {
  Buffer data = allocate(static_cast<size_t>(elements) * size_of(type));
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  for (int64_t i = 0; i < elements; ++i) {
    const float v = uniform(generator);
    if (type == DType::f32) {
      reinterpret_cast<float*>(data.get())[i] = v;
    } else {
      reinterpret_cast<bf16*>(data.get())[i] = to_bf16(v);
    }
  }
  return data;
}

// Best time of one call, in seconds, where a run is a call for each of `copies`.
double best_time(int copies, const std::function<void(int)>& call) {
  using Clock = std::chrono::steady_clock;
  call(0);
  double best = 1e9;
  const auto end = Clock::now() + std::chrono::duration<double>(kSeconds);
  for (int i = 0; i < kMinRuns || Clock::now() < end; ++i) {
    const auto start = Clock::now();
    for (int copy = 0; copy < copies; ++copy) call(copy);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best / copies;
}

double read_bandwidth(cpu::ThreadPool& pool) {
  typedef uint64_t Line __attribute__((vector_size(64)));
  constexpr int64_t kBytes = kColdBytes, kTask = int64_t{1} << 20;
  const Buffer data = allocate(kBytes);
  const double seconds = best_time(1, [&](int) {
    pool.parallel_for(kBytes / kTask, [&](int64_t task, cpu::Scratch&) {
      // Four streams, so that the prefetcher always has pages to run ahead in.
      constexpr int64_t kStream = kTask / 64 / 4;
      const Line* p = reinterpret_cast<const Line*>(data.get() + task * kTask);
      Line sum[4] = {};
      for (int64_t i = 0; i < kStream; ++i) {
        for (int j = 0; j < 4; ++j) sum[j] ^= p[j * kStream + i];
      }
      Line all = sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
      asm volatile("" ::"m"(all));
    });
  });
  return kBytes / seconds * 1e-9;
}

struct Case {
  int64_t m, n, k;
  DType out_dtype;
  const Types& types;
  const char *x, *weight;  // weight is row-major [n, k]
  char* out;
  int copies;  // of the packed weight
};

// Largest error of sampled elements, as a share of the sum of the products' magnitudes.
double worst_error(const Case& c) {
  std::mt19937_64 generator(7);
  double worst = 0;
  for (int i = 0; i < 256; ++i) {
    const int64_t row = static_cast<int64_t>(generator() % static_cast<uint64_t>(c.m));
    const int64_t column = static_cast<int64_t>(generator() % static_cast<uint64_t>(c.n));
    double sum = 0, magnitude = 0;
    for (int64_t k = 0; k < c.k; ++k) {
      const double product = static_cast<double>(element(c.x, c.types.x, row * c.k + k)) *
                             element(c.weight, c.types.source, column * c.k + k);
      sum += product;
      magnitude += std::fabs(product);
    }
    const double error = std::fabs(element(c.out, c.out_dtype, row * c.n + column) - sum);
    worst = std::max(worst, std::isnan(error) ? 1.0 : error / magnitude);
  }
  return worst;
}

double time_ours(const Case& c, cpu::ThreadPool& pool) {
  const size_t bytes = (cpu::linear_weight_bytes(c.n, c.k, c.types.weight, c.types.group) + 63) / 64 * 64;
  const Buffer packed = allocate(bytes * static_cast<size_t>(c.copies));
  for (int i = 0; i < c.copies; ++i) {
    char* dst = packed.get() + static_cast<size_t>(i) * bytes;
    cpu::run_pack_linear_weight({.n = c.n,
                                 .k = c.k,
                                 .src = std::make_shared<MemorySource>(c.weight),
                                 .dst = dst,
                                 .src_dtype = c.types.source,
                                 .dst_dtype = c.types.weight,
                                 .group = c.types.group},
                                pool);
  }
  const auto run = [&](int i) {
    const char* weight = packed.get() + static_cast<size_t>(i) * bytes;
    cpu::run_linear({.m = c.m,
                     .n = c.n,
                     .k = c.k,
                     .x = c.x,
                     .x_stride = c.k,
                     .weight = weight,
                     .bias = nullptr,
                     .out = c.out,
                     .out_stride = c.n,
                     .alpha = 1,
                     .accumulate = false,
                     .x_dtype = c.types.x,
                     .weight_dtype = c.types.weight,
                     .out_dtype = c.out_dtype,
                     .weight_group = c.types.group},
                    pool);
  };
  run(0);
  const double error = worst_error(c), limit = c.types.error + (c.out_dtype == DType::bf16 ? 0x1p-8 : 0);
  if (error > limit) {
    char text[160];
    std::snprintf(text, sizeof(text), "m=%ld n=%ld k=%ld: error %g above %g", static_cast<long>(c.m),
                  static_cast<long>(c.n), static_cast<long>(c.k), error, limit);
    throw std::runtime_error(text);
  }
  return best_time(c.copies, run);
}

#ifdef WITH_DNNL
double time_peer(const Case& c) {
  using dnnl::memory;
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  static dnnl::stream stream(engine);
  const auto type = [](DType t) { return t == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16; };
  const memory::desc x({c.m, c.k}, type(c.types.x), memory::format_tag::ab);
  const memory::desc plain({c.k, c.n}, type(c.types.weight), memory::format_tag::ba);
  const memory::desc any({c.k, c.n}, type(c.types.weight), memory::format_tag::any);
  const memory::desc out({c.m, c.n}, type(c.out_dtype), memory::format_tag::ab);
  const dnnl::matmul::primitive_desc desc({x, any, out}, engine);
  const dnnl::matmul matmul(desc);
  memory source(plain, engine, const_cast<char*>(c.weight));
  memory x_memory(x, engine, const_cast<char*>(c.x)), out_memory(out, engine, c.out);
  std::vector<memory> weights;
  for (int i = 0; i < c.copies; ++i) {
    weights.emplace_back(desc.weights_desc(), engine);
    dnnl::reorder(source, weights.back()).execute(stream, source, weights.back());
  }
  stream.wait();
  const double seconds = best_time(c.copies, [&](int i) {
    const memory& weight = weights[static_cast<size_t>(i)];
    matmul.execute(stream, {{DNNL_ARG_SRC, x_memory}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_DST, out_memory}});
    stream.wait();
  });
  // OpenMP's threads spin for a while; ours are measured next.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return seconds;
}
#endif

}  // namespace

int main(int argc, char** argv) {
  bool json = false;
  std::string only, shape_part;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  int64_t max_m = 2048;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--json") json = true;
    if (i + 1 == argc) break;
    if (arg == "--dtype") only = argv[++i];
    if (arg == "--shape") shape_part = argv[++i];
    if (arg == "--threads") threads = std::atoi(argv[++i]);
    if (arg == "--max-m") max_m = std::atoll(argv[++i]);
  }
  cpu::ThreadPool pool(threads);
  const char* isa = cpu::kernels().isa;
  const double bandwidth = read_bandwidth(pool);
  if (json) {
    std::printf("{\"bench\":\"read_bandwidth\",\"threads\":%d,\"gbps\":%.2f}\n", threads, bandwidth);
  } else {
    std::printf("isa %s, %d threads, reads memory at %.1f GB/s\n\n", isa, threads, bandwidth);
    std::printf("%-17s %-9s %5s %6s %5s %10s %9s %7s %9s %6s\n", "shape", "dtype", "m", "n", "k", "us", "GFLOP/s",
                "GB/s", "oneDNN", "ratio");
  }
  for (const Types& types : kTypes) {
    if (!only.empty() && only != types.name) continue;
    for (const Shape& shape : kShapes) {
      if (std::string(shape.name).find(shape_part) == std::string::npos) continue;
      const Buffer weight = random_matrix(shape.n * shape.k, types.source, 1);
      const size_t bytes = cpu::linear_weight_bytes(shape.n, shape.k, types.weight, types.group);
      for (const int64_t m : kRows) {
        if (m > max_m) break;
        const DType out_dtype = shape.logits ? DType::f32 : types.x;
        const Buffer x = random_matrix(m * shape.k, types.x, 2);
        const Buffer out = allocate(static_cast<size_t>(m * shape.n) * size_of(out_dtype));
        const int copies = shape.cold && m <= kColdRows ? static_cast<int>((kColdBytes + bytes - 1) / bytes) : 1;
        const Case c = {m, shape.n, shape.k, out_dtype, types, x.get(), weight.get(), out.get(), copies};
        const double seconds = time_ours(c, pool);
        double peer = 0;
#ifdef WITH_DNNL
        if (types.x == types.weight) peer = time_peer(c);
#endif
        const double flops = 2.0 * static_cast<double>(m * shape.n * shape.k);
        const double gflops = flops / seconds * 1e-9, gbps = static_cast<double>(bytes) / seconds * 1e-9;
        const double peer_gflops = peer > 0 ? flops / peer * 1e-9 : 0;
        if (json) {
          std::printf(
              "{\"bench\":\"linear\",\"shape\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"m\":%ld,\"n\":%ld,\"k\":%ld,"
              "\"dtype\":\"%s\",\"us\":%.2f,\"gflops\":%.2f,\"gbps\":%.2f,\"peer_gflops\":%.2f}\n",
              shape.name, isa, threads, static_cast<long>(m), static_cast<long>(shape.n), static_cast<long>(shape.k),
              types.name, seconds * 1e6, gflops, gbps, peer_gflops);
        } else {
          std::printf("%-17s %-9s %5ld %6ld %5ld %10.1f %9.1f %7.1f %9.1f %6.2f\n", shape.name, types.name,
                      static_cast<long>(m), static_cast<long>(shape.n), static_cast<long>(shape.k), seconds * 1e6,
                      gflops, gbps, peer_gflops, peer_gflops > 0 ? gflops / peer_gflops : 0.0);
        }
        std::fflush(stdout);
      }
    }
  }
}
