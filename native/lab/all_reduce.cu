// Ladder of all_reduce over the GPUs of one host, in one process: out += the sum over ranks of x, in the order of
// ranks.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/all_reduce.cu -ldl
//       -o all_reduce && NCCL_NVLS_ENABLE=0 ./all_reduce [--json FILE --commit SHA] [--check | --time]
//
// Idea. A rank copies its rows into a place that the others can read, and says so; it waits until the others have, and
// reads theirs. There are two such places, taken in turn, so that nobody waits for the readers: a rank that is past the
// next meeting knows that all have ended the last one. Meetings are numbered (`epoch`), in memory, so that a graph may
// run a launch again and again.
//   one shot    each rank reads all rows of all others: (R - 1) n bytes in, one meeting
//   two shots   each rank adds up its share of the rows, and reads the others' sums: 2 (R - 1) / R n bytes in, two
//               meetings
//   nccl        ncclAllReduce into scratch, then out += scratch
//
// Mapping. A block has a run of vectors of 16 bytes; block b meets the others' blocks b only.
//
// Bound. Bytes over NVLink; for few rows the latency of a store, a flag and a load over it. Figures of two H200s:
// native/lab/README.md. The backend's kernels (cuda/collectives.cu) grew from these.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <cstring>
#include <memory>

#include "lab/lab.cuh"

namespace {

using mamba::DType;

constexpr int kMostRanks = 8, kThreads = 512, kMostBlocks = 64;
constexpr size_t kPlaceBytes = size_t{32} << 20;  // of one of a rank's places

// What a rank has in its own memory, and all others map.
struct Exchange {
  char* places[2];     // kPlaceBytes each: rows, and behind them the sums of the second shot
  uint32_t* arrivals;  // [2, kMostBlocks, kMostRanks]: the epoch at which each rank's block came, to each meeting
  uint32_t* epoch;     // of the launches so far
  uint32_t* ended;     // blocks of this launch that are done
};

struct Peers {
  Exchange of[kMostRanks];
  int rank, ranks;
};

__device__ __forceinline__ void store_release(uint32_t* to, uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}
__device__ __forceinline__ uint32_t load_acquire(const uint32_t* from) {
  uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

// All that this block of each rank has written is there for the same block of all others.
__device__ __forceinline__ void meet(const Peers& p, int meeting, uint32_t epoch) {
  __threadfence_system();
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < p.ranks) {
    const int other = static_cast<int>(threadIdx.x);
    const auto at = [&](int from) { return (meeting * kMostBlocks + blockIdx.x) * kMostRanks + from; };
    store_release(p.of[other].arrivals + at(p.rank), epoch);
    while (static_cast<int32_t>(load_acquire(p.of[p.rank].arrivals + at(other)) - epoch) < 0) {
    }
  }
  __syncthreads();
}

// The last block of a launch counts it.
__device__ __forceinline__ void end_launch(const Exchange& own, uint32_t epoch) {
  __syncthreads();
  if (threadIdx.x != 0) return;
  if (atomicAdd(own.ended, 1) + 1 == gridDim.x) {
    *own.ended = 0;
    *own.epoch = epoch;
  }
}

template <class X>
constexpr int kVec = 16 / sizeof(X);

template <class X>
__device__ __forceinline__ void add(const uint4& v, float (&sum)[kVec<X>]) {
  if constexpr (sizeof(X) == 4) {
    const float* f = reinterpret_cast<const float*>(&v);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] += f[i];
  } else {
    const __nv_bfloat162* pairs = reinterpret_cast<const __nv_bfloat162*>(&v);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 f = __bfloat1622float2(pairs[i]);
      sum[2 * i] += f.x, sum[2 * i + 1] += f.y;
    }
  }
}

template <int N>
__device__ __forceinline__ void add_to(float* out, const float (&sum)[N]) {
#pragma unroll
  for (int i = 0; i < N; i += 4) {
    float4 v = *reinterpret_cast<float4*>(out + i);
    v.x += sum[i], v.y += sum[i + 1], v.z += sum[i + 2], v.w += sum[i + 3];
    *reinterpret_cast<float4*>(out + i) = v;
  }
}

__device__ __forceinline__ uint4* vectors(const Peers& p, int rank, uint32_t epoch) {
  return reinterpret_cast<uint4*>(p.of[rank].places[epoch & 1]);
}

// n: vectors of x.
template <class X>
__global__ void __launch_bounds__(kThreads)
    one_shot_kernel(const __grid_constant__ Peers p, const uint4* __restrict__ x, float* __restrict__ out, int n) {
  const uint32_t epoch = *p.of[p.rank].epoch + 1;
  const int per_block = (n + static_cast<int>(gridDim.x) - 1) / static_cast<int>(gridDim.x);
  const int begin = static_cast<int>(blockIdx.x) * per_block, end = min(n, begin + per_block);
  uint4* own = vectors(p, p.rank, epoch);
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kThreads) own[i] = x[i];
  meet(p, 0, epoch);
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kThreads) {
    uint4 all[kMostRanks];
#pragma unroll
    for (int rank = 0; rank < kMostRanks; ++rank) {
      if (rank < p.ranks) all[rank] = rank == p.rank ? x[i] : vectors(p, rank, epoch)[i];
    }
    float sum[kVec<X>] = {};
#pragma unroll
    for (int rank = 0; rank < kMostRanks; ++rank) {
      if (rank < p.ranks) add<X>(all[rank], sum);
    }
    add_to(out + int64_t{i} * kVec<X>, sum);
  }
  end_launch(p.of[p.rank], epoch);
}

// The sums are floats, so that all ranks add the same ones: they lie behind the rows.
template <class X>
__global__ void __launch_bounds__(kThreads)
    two_shots_kernel(const __grid_constant__ Peers p, const uint4* __restrict__ x, float* __restrict__ out, int n) {
  const uint32_t epoch = *p.of[p.rank].epoch + 1;
  const int per_block = (n + static_cast<int>(gridDim.x) - 1) / static_cast<int>(gridDim.x);
  const int begin = static_cast<int>(blockIdx.x) * per_block, end = min(n, begin + per_block);
  const auto share = [&](int rank) { return begin + (end > begin ? (end - begin) * rank / p.ranks : 0); };
  const auto sums_of = [&](int rank) { return reinterpret_cast<float*>(vectors(p, rank, epoch) + n); };
  uint4* own = vectors(p, p.rank, epoch);
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kThreads) own[i] = x[i];
  meet(p, 0, epoch);
  for (int i = share(p.rank) + static_cast<int>(threadIdx.x); i < share(p.rank + 1); i += kThreads) {
    float sum[kVec<X>] = {};
    for (int rank = 0; rank < p.ranks; ++rank) add<X>(vectors(p, rank, epoch)[i], sum);
    float4* to = reinterpret_cast<float4*>(sums_of(p.rank) + int64_t{i} * kVec<X>);
#pragma unroll
    for (int k = 0; k < kVec<X> / 4; ++k) to[k] = {sum[4 * k], sum[4 * k + 1], sum[4 * k + 2], sum[4 * k + 3]};
  }
  meet(p, 1, epoch);
  for (int rank = 0; rank < p.ranks; ++rank) {
    for (int i = share(rank) + static_cast<int>(threadIdx.x); i < share(rank + 1); i += kThreads) {
      float sum[kVec<X>];
      const float4* from = reinterpret_cast<const float4*>(sums_of(rank) + int64_t{i} * kVec<X>);
#pragma unroll
      for (int k = 0; k < kVec<X> / 4; ++k) {
        const float4 v = from[k];
        sum[4 * k] = v.x, sum[4 * k + 1] = v.y, sum[4 * k + 2] = v.z, sum[4 * k + 3] = v.w;
      }
      add_to(out + int64_t{i} * kVec<X>, sum);
    }
  }
  end_launch(p.of[p.rank], epoch);
}

__global__ void accumulate_kernel(const float* __restrict__ x, float* __restrict__ out, int64_t n) {
  const int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * 4;
  if (i + 3 >= n) return;
  float sum[4] = {x[i], x[i + 1], x[i + 2], x[i + 3]};
  add_to(out + i, sum);
}

// The part of NCCL's interface that is called, looked up when it runs.
struct Nccl {
  int (*init_all)(void** comms, int count, const int* devices) = nullptr;
  int (*all_reduce)(const void*, void*, size_t, int type, int op, void* comm, cudaStream_t) = nullptr;
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;
  static constexpr int kFloat = 7, kSum = 0;

  bool load() {
    void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return false;
    const auto find = [&](auto& to, const char* name) {
      to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(dlsym(library, name));
      return to != nullptr;
    };
    return find(init_all, "ncclCommInitAll") && find(all_reduce, "ncclAllReduce") &&
           find(group_start, "ncclGroupStart") && find(group_end, "ncclGroupEnd");
  }
};

// A GPU with its stream, its rows and what it shares.
struct Rank {
  int device = 0;
  cudaStream_t stream{};
  Exchange exchange{};
  char *x = nullptr, *out = nullptr, *scratch = nullptr;
  void* comm = nullptr;
  cudaGraphExec_t graph{};
};

struct Case {
  int64_t rows, width;
  DType dtype;  // of x
  int64_t elements() const { return rows * width; }
  int64_t bytes() const { return elements() * static_cast<int64_t>(mamba::size_of(dtype)); }
  std::string name() const { return std::to_string(rows) + "x" + std::to_string(width) + " " + mamba::name_of(dtype); }
};

constexpr int64_t kMostElements = int64_t{8192} * 4096;

class Group {
 public:
  explicit Group(int count) : ranks_(static_cast<size_t>(count)) {
    for (int r = 0; r < count; ++r) {
      Rank& rank = ranks_[static_cast<size_t>(r)];
      rank.device = r;
      LAB_CHECK(cudaSetDevice(r));
      LAB_CHECK(cudaStreamCreateWithFlags(&rank.stream, cudaStreamNonBlocking));
      for (int other = 0; other < count; ++other) {
        if (other != r) LAB_CHECK(cudaDeviceEnablePeerAccess(other, 0));
      }
      for (char*& place : rank.exchange.places) LAB_CHECK(cudaMalloc(&place, kPlaceBytes));
      const size_t words = 2 * kMostBlocks * kMostRanks + 2;
      LAB_CHECK(cudaMalloc(&rank.exchange.arrivals, words * sizeof(uint32_t)));
      LAB_CHECK(cudaMemset(rank.exchange.arrivals, 0, words * sizeof(uint32_t)));
      rank.exchange.epoch = rank.exchange.arrivals + words - 2;
      rank.exchange.ended = rank.exchange.arrivals + words - 1;
      for (char** memory : {&rank.x, &rank.out, &rank.scratch}) LAB_CHECK(cudaMalloc(memory, kMostElements * 4));
    }
    has_nccl_ = nccl_.load();
    if (!has_nccl_) return;
    std::vector<void*> comms(ranks_.size());
    std::vector<int> devices(ranks_.size());
    for (size_t r = 0; r < ranks_.size(); ++r) devices[r] = static_cast<int>(r);
    has_nccl_ = nccl_.init_all(comms.data(), count, devices.data()) == 0;
    for (size_t r = 0; r < ranks_.size(); ++r) ranks_[r].comm = comms[r];
  }

  std::vector<Rank>& ranks() { return ranks_; }
  bool has(const std::string& version) const { return version != "nccl" || has_nccl_; }

  bool takes(const std::string& version, const Case& c) const {
    const size_t bytes = static_cast<size_t>(c.bytes());
    if (version == "one shot") return bytes <= kPlaceBytes;
    if (version == "two shots") return bytes + static_cast<size_t>(c.elements()) * 4 <= kPlaceBytes;
    return c.dtype == DType::f32;
  }

  // On every rank's stream.
  void launch(const std::string& version, const Case& c, int blocks) {
    if (version == "nccl") nccl_.group_start();
    for (Rank& rank : ranks_) launch_on(rank, version, c, blocks);
    if (version == "nccl") nccl_.group_end();
    if (version != "nccl") return;
    for (Rank& rank : ranks_) {
      LAB_CHECK(cudaSetDevice(rank.device));
      const auto grid = static_cast<unsigned>((c.elements() / 4 + 255) / 256);
      accumulate_kernel<<<grid, 256, 0, rank.stream>>>(reinterpret_cast<float*>(rank.scratch),
                                                       reinterpret_cast<float*>(rank.out), c.elements());
    }
  }

  void synchronize() {
    for (Rank& rank : ranks_) {
      LAB_CHECK(cudaSetDevice(rank.device));
      LAB_CHECK(cudaStreamSynchronize(rank.stream));
    }
  }

 private:
  void launch_on(Rank& rank, const std::string& version, const Case& c, int blocks) {
    LAB_CHECK(cudaSetDevice(rank.device));
    if (version == "nccl") {
      nccl_.all_reduce(rank.x, rank.scratch, static_cast<size_t>(c.elements()), Nccl::kFloat, Nccl::kSum, rank.comm,
                       rank.stream);
      return;
    }
    Peers peers{};
    for (size_t r = 0; r < ranks_.size(); ++r) peers.of[r] = ranks_[r].exchange;
    peers.rank = rank.device;
    peers.ranks = static_cast<int>(ranks_.size());
    const auto* x = reinterpret_cast<const uint4*>(rank.x);
    auto* out = reinterpret_cast<float*>(rank.out);
    const int n = static_cast<int>(c.bytes() / 16);
    const auto grid = static_cast<unsigned>(blocks);
    const bool once = version == "one shot";
    if (c.dtype == DType::f32) {
      once ? one_shot_kernel<float><<<grid, kThreads, 0, rank.stream>>>(peers, x, out, n)
           : two_shots_kernel<float><<<grid, kThreads, 0, rank.stream>>>(peers, x, out, n);
    } else {
      once ? one_shot_kernel<__nv_bfloat16><<<grid, kThreads, 0, rank.stream>>>(peers, x, out, n)
           : two_shots_kernel<__nv_bfloat16><<<grid, kThreads, 0, rank.stream>>>(peers, x, out, n);
    }
    LAB_CHECK(cudaGetLastError());
  }

  std::vector<Rank> ranks_;
  Nccl nccl_;
  bool has_nccl_ = false;
};

const char* const kVersions[] = {"one shot", "two shots", "nccl"};

// Enough to keep a rank's loads in flight, no more than there are flags for.
int blocks_of(const Case& c) {
  const int64_t vectors = c.bytes() / 16;
  return static_cast<int>(std::clamp<int64_t>(vectors / kThreads, 1, kMostBlocks));
}

// Random rows, other ones each time, sizes in turn: a place that is taken too early shows as another launch's values.
int64_t check(Group& group) {
  const Case cases[] = {{1, 4096, DType::f32},    {3, 2688, DType::bf16}, {64, 4096, DType::f32},
                        {256, 4096, DType::bf16}, {1, 64, DType::f32},    {700, 4096, DType::f32}};
  lab::Random random{static_cast<uint64_t>(time(nullptr))};
  int64_t bad = 0;
  for (const char* version : kVersions) {
    if (!group.has(version)) continue;
    lab::Errors errors;
    int64_t different = 0;
    for (int round = 0; round < 40; ++round) {
      const Case& c = cases[round % 6];
      if (!group.takes(version, c)) continue;
      lab::Host before(DType::f32, c.elements());
      before.fill_normal(random);
      std::vector<lab::Host> xs;
      for (Rank& rank : group.ranks()) {
        xs.emplace_back(c.dtype, c.elements()).fill_normal(random);
        LAB_CHECK(cudaMemcpy(rank.x, xs.back().bytes.data(), xs.back().bytes.size(), cudaMemcpyDefault));
        LAB_CHECK(cudaMemcpy(rank.out, before.bytes.data(), before.bytes.size(), cudaMemcpyDefault));
      }
      const int blocks = 1 + static_cast<int>(random.below(kMostBlocks));
      group.launch(version, c, blocks);
      group.synchronize();
      lab::Host first(DType::f32, c.elements());
      for (size_t r = 0; r < group.ranks().size(); ++r) {
        lab::Host out(DType::f32, c.elements());
        LAB_CHECK(cudaMemcpy(out.bytes.data(), group.ranks()[r].out, out.bytes.size(), cudaMemcpyDefault));
        if (r == 0) first = out;
        different += std::memcmp(first.bytes.data(), out.bytes.data(), out.bytes.size()) != 0;
      }
      for (int64_t i = 0; i < c.elements(); ++i) {
        double want = before.get(i);
        for (const lab::Host& x : xs) want += x.get(i);
        errors.add(first.get(i), want, 1e-5, 1e-6);
      }
    }
    std::printf("%-10s worst %.3f of what rounding allows, %lld bad, %lld ranks with other bits\n", version,
                errors.worst, static_cast<long long>(errors.bad), static_cast<long long>(different));
    bad += errors.bad + different;
  }
  return bad;
}

// Microseconds of each of 20 in a graph, the median of 20 replays of rank 0.
double time_of(Group& group, const char* version, const Case& c, int blocks) {
  constexpr int kLaunches = 20, kReplays = 20;
  for (int i = 0; i < 3; ++i) group.launch(version, c, blocks);
  group.synchronize();
  for (Rank& rank : group.ranks()) {
    LAB_CHECK(cudaSetDevice(rank.device));
    LAB_CHECK(cudaStreamBeginCapture(rank.stream, cudaStreamCaptureModeRelaxed));
  }
  for (int i = 0; i < kLaunches; ++i) group.launch(version, c, blocks);
  for (Rank& rank : group.ranks()) {
    LAB_CHECK(cudaSetDevice(rank.device));
    cudaGraph_t graph;
    LAB_CHECK(cudaStreamEndCapture(rank.stream, &graph));
    LAB_CHECK(cudaGraphInstantiate(&rank.graph, graph, 0));
    LAB_CHECK(cudaGraphDestroy(graph));
  }
  LAB_CHECK(cudaSetDevice(0));
  cudaEvent_t begin, end;
  LAB_CHECK(cudaEventCreate(&begin));
  LAB_CHECK(cudaEventCreate(&end));
  std::vector<double> times;
  for (int replay = 0; replay < kReplays; ++replay) {
    for (Rank& rank : group.ranks()) {
      LAB_CHECK(cudaSetDevice(rank.device));
      if (rank.device == 0) LAB_CHECK(cudaEventRecord(begin, rank.stream));
      LAB_CHECK(cudaGraphLaunch(rank.graph, rank.stream));
      if (rank.device == 0) LAB_CHECK(cudaEventRecord(end, rank.stream));
    }
    group.synchronize();
    float milliseconds = 0;
    LAB_CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
    times.push_back(1000.0 * milliseconds / kLaunches);
  }
  for (Rank& rank : group.ranks()) LAB_CHECK(cudaGraphExecDestroy(rank.graph));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void measure(Group& group, FILE* json, const char* commit) {
  const auto ranks = static_cast<int>(group.ranks().size());
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t rows : {1, 8, 64, 256, 1024, 2048, 8192}) {
      const Case c{rows, 4096, dtype};
      for (const char* version : kVersions) {
        if (!group.has(version) || !group.takes(version, c)) continue;
        double best = 1e9;
        int best_blocks = 0;
        for (const int blocks : {blocks_of(c), std::max(1, blocks_of(c) / 4), kMostBlocks}) {
          const double us = time_of(group, version, c, blocks);
          if (us < best) best = us, best_blocks = blocks;
          if (std::strcmp(version, "nccl") == 0) break;
        }
        const double gigabytes = 1e-3 * static_cast<double>(c.bytes()) / best;  // of the rows a second
        std::printf("%d ranks, %-14s %-10s %8.1f us, %2d blocks, %6.1f GB/s\n", ranks, c.name().c_str(), version, best,
                    best_blocks, gigabytes);
        if (json != nullptr) {
          std::fprintf(json,
                       "{\"lab\":\"all_reduce\",\"ranks\":%d,\"rows\":%lld,\"width\":%lld,\"dtype\":\"%s\","
                       "\"version\":\"%s\",\"blocks\":%d,\"us\":%.2f,\"commit\":\"%s\"}\n",
                       ranks, static_cast<long long>(c.rows), static_cast<long long>(c.width), mamba::name_of(dtype),
                       version, best_blocks, best, commit);
        }
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const char *json_path = nullptr, *commit = "";
  bool checks = true, times = true;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--json" && i + 1 < argc) json_path = argv[++i];
    if (flag == "--commit" && i + 1 < argc) commit = argv[++i];
    if (flag == "--check") times = false;
    if (flag == "--time") checks = false;
  }
  int count = 0;
  LAB_CHECK(cudaGetDeviceCount(&count));
  count = std::min(count, kMostRanks);
  if (count < 2) {
    std::fprintf(stderr, "all_reduce needs two GPUs, there are %d\n", count);
    return 2;
  }
  setenv("NCCL_NVLS_ENABLE", "0", 1);
  setenv("NCCL_RUNTIME_CONNECT", "0", 1);  // all connections now: later ones would wait for ranks of the same thread
  Group group(count);
  if (checks && check(group) > 0) return 1;
  if (!times) return 0;
  FILE* json = json_path == nullptr ? nullptr : std::fopen(json_path, "a");
  measure(group, json, commit);
  if (json != nullptr) std::fclose(json);
  return 0;
}
