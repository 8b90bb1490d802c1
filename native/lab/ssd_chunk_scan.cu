// The SSD chunk scan (ops/ssd.h) on one Hopper GPU: versions, check against a float64 recurrence, timing.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/ssd_chunk_scan.cu
//       -o ssd_chunk_scan
//   ssd_chunk_scan [--json FILE] [--check-only|--time-only] [--case PART_OF_NAME] [--version PART_OF_NAME] [--reps N]
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
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "ssd_chunk_scan.cuh"

#define CUDA(call)                                                                         \
  do {                                                                                     \
    const cudaError_t error_ = (call);                                                     \
    if (error_ != cudaSuccess) {                                                           \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(error_)); \
      std::exit(1);                                                                        \
    }                                                                                      \
  } while (0)

namespace {

using namespace mamba;
using cuda::ScanMaps;
using cuda::ScanPass;
using cuda::ScanSplit;
using Bf16 = __nv_bfloat16;

// --- launching -------------------------------------------------------------------------------------------------------

CUtensorMap encode_map(const void* base, int64_t channels, int64_t groups, int64_t tokens, int64_t token_stride,
                       int box_tokens = 64) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void* f = nullptr;
    cudaDriverEntryPointQueryResult result;
    CUDA(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault, &result));
    return reinterpret_cast<Encode>(f);
  }();
  CUtensorMap map;
  const cuuint64_t sizes[3] = {cuuint64_t(channels), cuuint64_t(groups), cuuint64_t(tokens)};
  const cuuint64_t strides[2] = {cuuint64_t(channels) * 2, cuuint64_t(token_stride) * 2};
  const cuuint32_t box[3] = {64, 1, cuuint32_t(box_tokens)}, steps[3] = {1, 1, 1};
  const CUresult result = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(base), sizes, strides,
                                 box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    std::fprintf(stderr, "cuTensorMapEncodeTiled: %d\n", int(result));
    std::exit(1);
  }
  return map;
}

int multiprocessors() {
  static const int count = [] {
    int n;
    CUDA(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, 0));
    return n;
  }();
  return count;
}

struct Workspace {
  float *states = nullptr, *decay = nullptr;
};
constexpr int kMaxSegments = 32;

template <class S>
void recurrence(const SsdChunkScanParams& p, cudaStream_t stream) {
  const dim3 grid(unsigned(p.heads), unsigned(p.sequences));
  const unsigned threads = unsigned((p.head_dim * 4 + 31) / 32 * 32);
  if (p.state_size <= 128) {
    cuda::scan::recurrence_kernel<Bf16, S, 32><<<grid, threads, 0, stream>>>(p);
  } else {
    cuda::scan::recurrence_kernel<Bf16, S, 64><<<grid, threads, 0, stream>>>(p);
  }
  CUDA(cudaGetLastError());
}

// Segments that shorten the longest block's walk, counted in steps of the scan; a step of kStates is about half of one.
int choose_segments(const SsdChunkScanParams& p) {
  const double items = double(p.sequences * p.heads * ((p.head_dim + 63) / 64));
  const double steps = double(p.tokens) / double(p.sequences) / 64, chunks = double(p.chunks) / double(p.sequences);
  int best = 1;
  double best_cost = std::ceil(items / multiprocessors()) * steps;
  for (int s = 2; s <= kMaxSegments && s <= chunks; ++s) {
    const double cost = std::ceil(items * s / multiprocessors()) * std::ceil(chunks / s) * (steps / chunks) * 1.5 + 12;
    if (cost < best_cost) best = s, best_cost = cost;
  }
  return best;
}

template <class S, int kN>
void fused(const SsdChunkScanParams& p, const Workspace& workspace, int segments, cudaStream_t stream) {
  using namespace cuda::scan;
  const ScanMaps maps = {encode_map(p.x, p.head_dim, p.heads, p.tokens, p.x_stride),
                         encode_map(p.b, p.state_size, p.groups, p.tokens, p.b_stride),
                         encode_map(p.c, p.state_size, p.groups, p.tokens, p.c_stride),
                         encode_map(p.out, p.head_dim, p.heads, p.tokens, p.out_stride, 16)};
  const ScanSplit split = {segments, workspace.states, workspace.decay};
  const auto launch = [&](auto* kernel, int parts) {
    static_assert(sizeof(Shared<kN>) <= 227 * 1024);
    CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(sizeof(Shared<kN>))));
    const int64_t items = p.sequences * p.heads * ((p.head_dim + 63) / 64) * parts;
    const unsigned blocks = unsigned(std::min<int64_t>(items, multiprocessors()));
    kernel<<<blocks, kThreads, sizeof(Shared<kN>), stream>>>(p, maps, split);
    CUDA(cudaGetLastError());
  };
  if (segments > 1) {
    launch(scan_kernel<Bf16, S, kN, ScanPass::kStates>, segments - 1);
    const dim3 grid(unsigned((p.head_dim * p.state_size / 2 + 127) / 128), unsigned(p.heads), unsigned(p.sequences));
    combine_kernel<S><<<grid, 128, 0, stream>>>(p, split);
    CUDA(cudaGetLastError());
  }
  launch(scan_kernel<Bf16, S, kN, ScanPass::kScan>, segments);
}

bool fits_fused(const SsdChunkScanParams& p) {
  const auto aligned = [](const void* q, int64_t stride) { return (uintptr_t(q) % 16 == 0) && stride % 8 == 0; };
  return (p.state_size == 64 || p.state_size == 128) && p.head_dim % 8 == 0 && aligned(p.x, p.x_stride) &&
         aligned(p.b, p.b_stride) && aligned(p.c, p.c_stride) && aligned(p.out, p.out_stride) &&
         aligned(p.state, p.state_slot_stride);
}

void run_version(int version, const SsdChunkScanParams& p, const Workspace& workspace, cudaStream_t stream) {
  const bool f32 = p.state_dtype == DType::f32;
  if (version == 0 || !fits_fused(p)) return f32 ? recurrence<float>(p, stream) : recurrence<Bf16>(p, stream);
  const int segments = version == 1 ? 1 : version == 2 ? choose_segments(p) : 3;
  if (p.state_size == 64) {
    f32 ? fused<float, 64>(p, workspace, segments, stream) : fused<Bf16, 64>(p, workspace, segments, stream);
  } else {
    f32 ? fused<float, 128>(p, workspace, segments, stream) : fused<Bf16, 128>(p, workspace, segments, stream);
  }
}
constexpr const char* kVersions[] = {"v0 recurrence", "v1 fused walk", "v2 + segments"};

// --- inputs ----------------------------------------------------------------------------------------------------------

__device__ float normal(uint64_t i, uint64_t seed) {
  uint64_t z = (i + seed * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  const float u = (float(z & 0xffffff) + 1) / 16777217.0f, v = float((z >> 24) & 0xffffff) / 16777216.0f;
  return sqrtf(-2 * logf(u)) * cospif(2 * v);
}
template <class T>
__global__ void fill_normal(T* p, int64_t count, float scale, float shift, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x) {
    p[i] = T(normal(i, seed) * scale + shift);
  }
}
__global__ void difference(const Bf16* a, const Bf16* b, int64_t count, double* sums) {
  double d = 0, r = 0;
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x) {
    const double x = float(a[i]), y = float(b[i]);
    d += (x - y) * (x - y);
    r += y * y;
  }
  atomicAdd(sums, d);
  atomicAdd(sums + 1, r);
}

struct Case {
  std::string name;
  int heads, head_dim, state_size, groups;
  std::vector<int> lengths;
  DType state = DType::bf16, dt = DType::f32;
  bool random_flags = false;  // offsets inside a chunk, initial states or not, padding
};

template <class T>
T* device_copy(const std::vector<T>& v) {
  T* p;
  CUDA(cudaMalloc(&p, std::max<size_t>(1, v.size()) * sizeof(T)));
  CUDA(cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
  return p;
}
template <class T>
std::vector<T> host_copy(const void* p, int64_t count) {
  std::vector<T> v(count);
  CUDA(cudaMemcpy(v.data(), p, count * sizeof(T), cudaMemcpyDeviceToHost));
  return v;
}

struct Problem {
  SsdChunkScanParams p{};
  Workspace workspace;
  std::vector<int> start, slots, initial;
  std::vector<void*> owned;
  void* saved_state;
  int64_t state_bytes, out_count, row;
  int slots_count;

  Problem(const Case& c, uint64_t seed) {
    std::mt19937_64 random(seed);
    const int sequences = int(c.lengths.size());
    start = {0};
    std::vector<int> cu = {0}, chunk_seq, last;
    for (int s = 0; s < sequences; ++s) {
      int left = c.lengths[s], offset = c.random_flags ? int(random() % 256) : 0;
      while (left > 0) {
        const int n = std::min(left, 256 - offset);
        cu.push_back(cu.back() + n);
        chunk_seq.push_back(s);
        left -= n;
        offset = 0;
      }
      last.push_back(int(chunk_seq.size()) - 1);
      start.push_back(start.back() + c.lengths[s]);
      initial.push_back(c.random_flags ? int(random() % 2) : 1);
    }
    slots_count = sequences + 2;
    for (int i = 0; i < slots_count; ++i) slots.push_back(i);
    std::shuffle(slots.begin(), slots.end(), random);
    slots.resize(sequences);
    if (c.random_flags && sequences > 2) slots[sequences / 2] = -1;
    const int64_t tokens = start.back(), inner = int64_t(c.heads) * c.head_dim, bc = int64_t(c.groups) * c.state_size;
    row = inner + 2 * bc;
    Bf16* rows = allocate<Bf16>(tokens * row);
    fill_normal<<<1024, 256>>>(rows, tokens * row, 1.0f, 0.0f, seed * 7 + 1);
    const size_t dt_size = c.dt == DType::f32 ? 4 : 2;
    char* dt = allocate<char>(tokens * c.heads * dt_size);
    if (c.dt == DType::f32) {
      fill_normal<<<1024, 256>>>(reinterpret_cast<float*>(dt), tokens * c.heads, 1.0f, 0.0f, seed * 7 + 2);
    } else {
      fill_normal<<<1024, 256>>>(reinterpret_cast<Bf16*>(dt), tokens * c.heads, 1.0f, 0.0f, seed * 7 + 2);
    }
    std::vector<float> a, d, bias;
    std::uniform_real_distribution<float> uniform(0, 1);
    for (int h = 0; h < c.heads; ++h) {
      a.push_back(-(0.5f + 15.5f * uniform(random)));
      d.push_back(uniform(random) * 2 - 1);
      bias.push_back(-6.0f + 4.0f * uniform(random));
    }
    p.tokens = tokens, p.sequences = sequences, p.chunks = int64_t(chunk_seq.size());
    p.heads = c.heads, p.head_dim = c.head_dim, p.groups = c.groups, p.state_size = c.state_size;
    p.slots_in_pool = slots_count;
    p.x = rows, p.b = rows + inner, p.c = rows + inner + bc, p.dt = dt;
    p.x_stride = p.b_stride = p.c_stride = row;
    p.dt_stride = c.heads;
    p.a = keep(device_copy(a)), p.d = keep(device_copy(d)), p.dt_bias = keep(device_copy(bias));
    p.state_slot_stride = inner * c.state_size + 64;
    const int64_t state_count = p.state_slot_stride * slots_count;
    state_bytes = state_count * int64_t(size_of(c.state));
    p.state = allocate<char>(state_bytes);
    saved_state = allocate<char>(state_bytes);
    if (c.state == DType::f32) {
      fill_normal<<<1024, 256>>>(static_cast<float*>(p.state), state_count, 1.0f, 0.0f, seed * 7 + 3);
    } else {
      fill_normal<<<1024, 256>>>(static_cast<Bf16*>(p.state), state_count, 1.0f, 0.0f, seed * 7 + 3);
    }
    CUDA(cudaMemcpy(saved_state, p.state, state_bytes, cudaMemcpyDeviceToDevice));
    p.query_start_loc = keep(device_copy(start)), p.slots = keep(device_copy(slots));
    p.has_initial_state = keep(device_copy(initial)), p.cu_chunk_seqlens = keep(device_copy(cu));
    p.chunk_seq = keep(device_copy(chunk_seq)), p.last_chunk = keep(device_copy(last));
    out_count = tokens * inner;
    p.out = allocate<Bf16>(out_count);
    p.out_stride = inner;
    p.dt_min = 0.0f, p.dt_max = 1e30f, p.dt_softplus = true;
    p.dtype = DType::bf16, p.dt_dtype = c.dt, p.state_dtype = c.state;
    const int64_t parts = int64_t(sequences) * kMaxSegments * c.heads;
    const int64_t limit = c.random_flags || sequences <= 8 ? parts : 1;
    workspace.states = allocate<float>(limit * c.head_dim * c.state_size);
    workspace.decay = allocate<float>(limit);
    CUDA(cudaMemset(workspace.states, 0xff, limit * c.head_dim * c.state_size * 4));
    CUDA(cudaMemset(workspace.decay, 0xff, limit * 4));
    CUDA(cudaDeviceSynchronize());
  }
  ~Problem() {
    for (void* q : owned) cudaFree(q);
  }
  template <class T>
  T* allocate(int64_t count) {
    T* q;
    CUDA(cudaMalloc(&q, std::max<int64_t>(1, count) * sizeof(T)));
    owned.push_back(q);
    return q;
  }
  template <class T>
  T* keep(T* q) {
    owned.push_back(q);
    return q;
  }
  void reset() {
    CUDA(cudaMemcpy(p.state, saved_state, state_bytes, cudaMemcpyDeviceToDevice));
    CUDA(cudaMemset(p.out, 0xff, out_count * 2));
  }
};

// --- check -----------------------------------------------------------------------------------------------------------

double bf16_value(uint16_t bits) { return to_float(bf16{bits}); }

struct Reference {
  std::vector<double> out, state;  // state: only of the slots in use
};

Reference reference(const Problem& problem) {
  const SsdChunkScanParams& p = problem.p;
  const auto rows = host_copy<uint16_t>(p.x, p.tokens * problem.row);
  const int64_t inner = p.heads * p.head_dim;
  const auto dt32 = host_copy<float>(p.dt, p.dt_dtype == DType::f32 ? p.tokens * p.heads : 0);
  const auto dt16 = host_copy<uint16_t>(p.dt, p.dt_dtype == DType::f32 ? 0 : p.tokens * p.heads);
  const auto a = host_copy<float>(p.a, p.heads), d = host_copy<float>(p.d, p.heads);
  const auto bias = host_copy<float>(p.dt_bias, p.heads);
  const int64_t state_count = p.state_slot_stride * problem.slots_count;
  const bool f32 = p.state_dtype == DType::f32;
  const auto state32 = host_copy<float>(problem.saved_state, f32 ? state_count : 0);
  const auto state16 = host_copy<uint16_t>(problem.saved_state, f32 ? 0 : state_count);
  Reference r;
  r.out.assign(problem.out_count, 0.0);
  r.state.resize(state_count);
  for (int64_t i = 0; i < state_count; ++i) r.state[i] = f32 ? state32[i] : bf16_value(state16[i]);
  const auto head = [&](int64_t h) {
    std::vector<double> s(p.head_dim * p.state_size);
    for (int64_t q = 0; q < p.sequences; ++q) {
      if (problem.slots[q] < 0 || problem.start[q] == problem.start[q + 1]) continue;
      double* slot = r.state.data() + problem.slots[q] * p.state_slot_stride + h * p.head_dim * p.state_size;
      for (size_t i = 0; i < s.size(); ++i) s[i] = problem.initial[q] ? slot[i] : 0.0;
      for (int64_t l = problem.start[q]; l < problem.start[q + 1]; ++l) {
        const uint16_t* x = rows.data() + l * problem.row;
        const uint16_t* b = x + inner + h / (p.heads / p.groups) * p.state_size;
        const uint16_t* c = b + p.groups * p.state_size;
        double dt = (f32 || p.dt_dtype == DType::f32 ? double(dt32.empty() ? 0 : dt32[l * p.heads + h]) : 0.0);
        if (p.dt_dtype != DType::f32) dt = bf16_value(dt16[l * p.heads + h]);
        dt += bias[h];
        dt = std::clamp(dt > 20 ? dt : std::log1p(std::exp(dt)), double(p.dt_min), double(p.dt_max));
        const double decay = std::exp(dt * a[h]);
        for (int64_t i = 0; i < p.head_dim; ++i) {
          const double xi = bf16_value(x[h * p.head_dim + i]);
          double y = 0, *row = s.data() + i * p.state_size;
          for (int64_t n = 0; n < p.state_size; ++n) {
            row[n] = decay * row[n] + dt * xi * bf16_value(b[n]);
            y += row[n] * bf16_value(c[n]);
          }
          r.out[l * inner + h * p.head_dim + i] = y + d[h] * xi;
        }
      }
      std::copy(s.begin(), s.end(), slot);
    }
  };
  std::vector<std::thread> threads;
  const int count = std::max(1u, std::thread::hardware_concurrency());
  for (int t = 0; t < count; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t h = t; h < p.heads; h += count) head(h);
    });
  }
  for (auto& t : threads) t.join();
  return r;
}

// Errors in norm, and the worst element's over rtol 1e-2, atol 5e-2 max(1, rms of its token and head / 4).
struct Errors {
  double out = 0, state = 0, worst = 0;
  bool unused_kept = true;
  bool good() const { return out < 5e-3 && state < 1e-2 && worst <= 1 && unused_kept; }
};
Errors compare(const Problem& problem, const Reference& r) {
  const SsdChunkScanParams& p = problem.p;
  const auto out = host_copy<uint16_t>(p.out, problem.out_count);
  Errors e;
  double d = 0, n = 0;
  for (int64_t i = 0; i < problem.out_count; i += p.head_dim) {  // a token and head
    double squares = 0;
    for (int64_t j = i; j < i + p.head_dim; ++j) squares += r.out[j] * r.out[j];
    const double rms = std::sqrt(squares / double(p.head_dim));
    for (int64_t j = i; j < i + p.head_dim; ++j) {
      const double error = bf16_value(out[j]) - r.out[j];
      d += error * error;
      const double worst = std::abs(error) / (5e-2 * std::max(1.0, rms / 4) + 1e-2 * std::abs(r.out[j]));
      if (!(worst <= e.worst)) e.worst = worst;
      if (e.worst != e.worst) return e;
    }
    n += squares;
  }
  e.out = std::sqrt(d / std::max(n, 1e-300));
  const bool f32 = p.state_dtype == DType::f32;
  const auto state32 = host_copy<float>(p.state, f32 ? r.state.size() : 0);
  const auto state16 = host_copy<uint16_t>(p.state, f32 ? 0 : r.state.size());
  const auto old = host_copy<uint8_t>(problem.saved_state, problem.state_bytes);
  const auto now = host_copy<uint8_t>(p.state, problem.state_bytes);
  std::vector<bool> used(problem.slots_count);
  for (int64_t s = 0; s < p.sequences; ++s) {
    if (problem.slots[s] >= 0 && problem.start[s] != problem.start[s + 1]) used[problem.slots[s]] = true;
  }
  d = n = 0;
  const int64_t size = p.heads * p.head_dim * p.state_size, element = int64_t(size_of(p.state_dtype));
  for (int s = 0; s < problem.slots_count; ++s) {
    const int64_t begin = s * p.state_slot_stride, kept = used[s] ? size : 0;
    for (int64_t i = begin; i < begin + kept; ++i) {
      const double error = (f32 ? state32[i] : bf16_value(state16[i])) - r.state[i];
      d += error * error, n += r.state[i] * r.state[i];
    }
    const int64_t from = (begin + kept) * element, bytes = (p.state_slot_stride - kept) * element;
    if (std::memcmp(old.data() + from, now.data() + from, bytes) != 0) e.unused_kept = false;
  }
  e.state = std::sqrt(d / std::max(n, 1e-300));
  return e;
}

bool check(const std::string& filter) {
  std::vector<Case> cases = {
      {"P64 N128 edge lengths", 16, 64, 128, 2, {0, 1, 63, 0, 64, 65, 257, 2, 130}, DType::f32, DType::f32, true},
      {"P64 N128 bf16 state", 16, 64, 128, 2, {65, 1, 700, 64, 3}, DType::bf16, DType::bf16, true},
      {"130m shape", 24, 64, 128, 1, {900, 0, 31}, DType::f32, DType::bf16, true},
      {"P80 N128", 8, 80, 128, 1, {100, 0, 257, 1, 64}, DType::f32, DType::f32, true},
      {"P64 N64", 8, 64, 64, 4, {65, 300, 1, 0, 128}, DType::bf16, DType::f32, true},
      {"P32 N128", 8, 32, 128, 2, {65, 300, 7}, DType::f32, DType::f32, true},
      {"P64 N256", 4, 64, 256, 2, {65, 130, 1}, DType::f32, DType::f32, true},
      {"P80 N256", 4, 80, 256, 1, {65, 130, 1}, DType::bf16, DType::f32, true},
  };
  std::mt19937_64 random(std::random_device{}());
  for (int i = 0; i < 2; ++i) {
    Case c = {"random " + std::to_string(i), 32, 64, 128, 4, {}, i ? DType::bf16 : DType::f32, DType::f32, true};
    const int lengths[] = {0, 1, 63, 64, 65, 257};
    for (int s = 0; s < 9; ++s) c.lengths.push_back(random() % 2 ? lengths[random() % 6] : int(random() % 400));
    cases.push_back(c);
  }
  bool good = true;
  for (const Case& c : cases) {
    if (!filter.empty() && c.name.find(filter) == std::string::npos) continue;
    const uint64_t seed = random();
    Problem problem(c, seed % 1000003);
    const Reference r = reference(problem);
    for (int version = 0; version < 4; ++version) {  // 3: three segments, whatever the shape
      if (version > 0 && !fits_fused(problem.p)) continue;
      problem.reset();
      run_version(version, problem.p, problem.workspace, nullptr);
      CUDA(cudaDeviceSynchronize());
      const Errors e = compare(problem, r);
      good = good && e.good();
      std::printf("check %-24s v%d  out %.2e  worst/tolerance %.2f  state %.2e  others %s  %s\n", c.name.c_str(),
                  version, e.out, e.worst, e.state, e.unused_kept ? "kept" : "CHANGED", e.good() ? "ok" : "WRONG");
      std::fflush(stdout);
    }
  }
  return good;
}

// --- timing ----------------------------------------------------------------------------------------------------------

__global__ void flush_kernel(uint4* p, int64_t count, unsigned value) {
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x) {
    p[i] = make_uint4(value, value, value, value);
  }
}

__global__ void copy_kernel(uint4* dst, const uint4* src, int64_t count) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {
    uint4 v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = src[i + j * stride];
#pragma unroll
    for (int j = 0; j < 4; ++j) dst[i + j * stride] = v[j];
  }
  for (; i < count; i += stride) dst[i] = src[i];
}

// Median microseconds of a replayed graph, the L2 filled with other data before each.
template <class F>
double time_us(F launch, int reps) {
  static uint4* other = nullptr;
  constexpr int64_t kBytes = 256 << 20;
  if (!other) CUDA(cudaMalloc(&other, kBytes));
  cudaStream_t stream;
  CUDA(cudaStreamCreate(&stream));
  launch(stream);
  CUDA(cudaStreamSynchronize(stream));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  launch(stream);
  CUDA(cudaStreamEndCapture(stream, &graph));
  CUDA(cudaGraphInstantiate(&exec, graph, 0));
  cudaEvent_t begin, end;
  CUDA(cudaEventCreate(&begin));
  CUDA(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i < reps + 3; ++i) {
    flush_kernel<<<1024, 512, 0, stream>>>(other, kBytes / 16, i);
    CUDA(cudaEventRecord(begin, stream));
    CUDA(cudaGraphLaunch(exec, stream));
    CUDA(cudaEventRecord(end, stream));
    CUDA(cudaStreamSynchronize(stream));
    float ms;
    CUDA(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 3) times.push_back(ms * 1000);
  }
  CUDA(cudaGraphExecDestroy(exec));
  CUDA(cudaGraphDestroy(graph));
  CUDA(cudaEventDestroy(begin));
  CUDA(cudaEventDestroy(end));
  CUDA(cudaStreamDestroy(stream));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void time_cases(const std::string& filter, const std::string& version_filter, const char* json, int reps) {
  std::FILE* file = json ? std::fopen(json, "w") : nullptr;
  {
    constexpr int64_t kBytes = int64_t{2} << 30;
    char *a, *b;
    CUDA(cudaMalloc(&a, kBytes));
    CUDA(cudaMalloc(&b, kBytes));
    const double us = time_us(
        [&](cudaStream_t s) {
          copy_kernel<<<132 * 16, 512, 0, s>>>(reinterpret_cast<uint4*>(b), reinterpret_cast<uint4*>(a), kBytes / 16);
        },
        5);
    std::printf("copy %.2f TB/s\n", 2 * kBytes / us * 1e-6);
    if (file) std::fprintf(file, "{\"case\": \"copy\", \"tb_per_s\": %.3f}\n", 2 * kBytes / us * 1e-6);
    cudaFree(a);
    cudaFree(b);
  }
  const auto repeat = [](int count, int length) { return std::vector<int>(count, length); };
  std::vector<Case> cases;
  for (const DType state : {DType::bf16, DType::f32}) {
    const std::string suffix = std::string(" state ") + name_of(state);
    cases.push_back({"7b 1x2048" + suffix, 128, 64, 128, 8, repeat(1, 2048), state});
    cases.push_back({"7b 1x8192" + suffix, 128, 64, 128, 8, repeat(1, 8192), state});
    cases.push_back({"7b 8x1024" + suffix, 128, 64, 128, 8, repeat(8, 1024), state});
    cases.push_back({"7b 64x128" + suffix, 128, 64, 128, 8, repeat(64, 128), state});
  }
  std::vector<int> ragged;
  for (int i = 0; i < 16; ++i) ragged.push_back(20 + (i * 397) % 950);
  cases.push_back({"7b ragged16 state bf16", 128, 64, 128, 8, ragged, DType::bf16});
  cases.push_back({"7b 1x131072 state bf16", 128, 64, 128, 8, repeat(1, 131072), DType::bf16});
  cases.push_back({"130m 1x2048 state f32", 24, 64, 128, 1, repeat(1, 2048), DType::f32});
  cases.push_back({"130m 1x8192 state f32", 24, 64, 128, 1, repeat(1, 8192), DType::f32});
  cases.push_back({"2.7b 1x8192 state f32", 80, 64, 128, 1, repeat(1, 8192), DType::f32});
  cases.push_back({"2.7b 8x1024 state f32", 80, 64, 128, 1, repeat(8, 1024), DType::f32});
  cases.push_back({"P80 1x8192 state f32", 64, 80, 128, 1, repeat(1, 8192), DType::f32});
  std::printf("%-24s %-16s %10s %10s %7s %10s\n", "case", "version", "us", "floor us", "share", "vs v0");
  for (const Case& c : cases) {
    if (!filter.empty() && c.name.find(filter) == std::string::npos) continue;
    Problem problem(c, 12345);
    const SsdChunkScanParams& p = problem.p;
    const double bytes = double(p.tokens) * (2.0 * p.heads * p.head_dim * 2 + 2.0 * p.groups * p.state_size * 2 +
                                             p.heads * double(size_of(c.dt))) +
                         2.0 * p.sequences * p.heads * p.head_dim * p.state_size * double(size_of(c.state));
    const double floor_us = bytes / 4.25e6;
    Bf16* truth = problem.allocate<Bf16>(problem.out_count);
    double* sums = problem.allocate<double>(2);
    problem.reset();
    run_version(0, p, problem.workspace, nullptr);
    CUDA(cudaMemcpy(truth, p.out, problem.out_count * 2, cudaMemcpyDeviceToDevice));
    for (int version = 0; version < 3; ++version) {
      const bool timed =
          version_filter.empty() || std::string(kVersions[version]).find(version_filter) != std::string::npos;
      if (!timed || (version == 0 && p.tokens > 10000)) continue;
      if (version > 0 && !fits_fused(p)) continue;
      const int segments = version == 2 ? choose_segments(p) : 1;
      if (version == 2 && segments == 1) continue;
      problem.reset();
      run_version(version, p, problem.workspace, nullptr);
      CUDA(cudaMemset(sums, 0, 16));
      difference<<<512, 256>>>(static_cast<Bf16*>(p.out), truth, problem.out_count, sums);
      const auto sum = host_copy<double>(sums, 2);
      const double error = std::sqrt(sum[0] / sum[1]);
      const double us = time_us([&](cudaStream_t s) { run_version(version, p, problem.workspace, s); },
                                version == 0 || p.tokens > 10000 ? std::min(reps, 10) : reps);
      std::printf("%-24s %-16s %10.1f %10.1f %6.0f%% %10.1e  segments %d\n", c.name.c_str(), kVersions[version], us,
                  floor_us, 100 * floor_us / us, error, segments);
      std::fflush(stdout);
      if (file) {
        std::fprintf(file,
                     "{\"case\": \"%s\", \"version\": \"%s\", \"us\": %.1f, \"floor_mem_us\": %.1f, \"bytes\": %.0f, "
                     "\"segments\": %d, \"error_vs_recurrence\": %.2e}\n",
                     c.name.c_str(), kVersions[version], us, floor_us, bytes, segments, error);
      }
    }
  }
  if (file) std::fclose(file);
}

}  // namespace

int main(int argc, char** argv) {
  std::string filter, version;
  const char* json = nullptr;
  bool check_only = false, time_only = false;
  int reps = 30;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else if (arg == "--case" && i + 1 < argc) {
      filter = argv[++i];
    } else if (arg == "--version" && i + 1 < argc) {
      version = argv[++i];
    } else if (arg == "--reps" && i + 1 < argc) {
      reps = std::atoi(argv[++i]);
    } else if (arg == "--check-only") {
      check_only = true;
    } else if (arg == "--time-only") {
      time_only = true;
    } else {
      std::fprintf(stderr,
                   "usage: %s [--json FILE] [--case PART] [--version PART] [--reps N] [--check-only|--time-only]\n",
                   argv[0]);
      return 2;
    }
  }
  const bool good = time_only || check(check_only ? filter : "");
  if (!good) std::printf("WRONG RESULTS\n");
  if (!check_only && good) time_cases(filter, version, json, reps);
  return good ? 0 : 1;
}
