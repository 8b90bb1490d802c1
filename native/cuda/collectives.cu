// all_reduce and all_gather over the GPUs of a host.
//
// Idea. A rank copies its rows to a place that the others map, and says so; it waits until they have, and reads theirs.
// With one shot each rank reads all rows of all others. With two it adds up its share of them, shows the sums, and
// reads those of the others. Few rows go as packets: a rank writes them into the others' memory itself, each eight
// bytes with the number of the launch, so that who waits for data needs no flag and no trip for it (NCCL's LL
// protocol). Launches are numbered in memory, so that a graph may repeat one. Who waits looks at the group's flag of
// failure, and gives up then: the step is lost in any case.
//
// Mapping. A block has a run of vectors, or of columns, and meets the same block of the other ranks only. Of packets a
// thread has a vector.
//
// Bound. Bytes over NVLink, (R - 1) n in with one shot and 2 (R - 1) / R n with two; for few rows the latency of a
// store, a flag and a load over it, with packets of a store. By native/lab/all_reduce.cu on two H200s, us a launch of a
// graph, one shot / two / NCCL 2.28: 1 x 4096 floats 5.7 / 10.2 / 9.3, 8: 6.9 / 12.7 / 10.4, 64: 9.6 / 14.3 / 16.1,
// 256: 20 / 26 / 36, 1024: 66 / 82 / 89. Two shots move fewer bytes from three ranks on.
#include <algorithm>

#include "core/error.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "cuda/peer_group.h"
#include "cuda/vec.cuh"

namespace mamba::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kPatience = 4096;                                         // looks between two at the flag of failure
constexpr int64_t kMostRows = 8192;                                     // of a launch
constexpr size_t kRowBytes = kPlaceBytes - kMostRows * sizeof(float2);  // behind them a pair of floats for each row
constexpr size_t kOneShotBytes = size_t{512} << 10;                     // of a rank's rows, at most, of three ranks
constexpr int kPacketThreads = 128;
constexpr int64_t kMostPacketRows = 64;                                             // of a launch
constexpr size_t kPacketRowBytes = kPacketBytes - kMostPacketRows * sizeof(uint4);  // behind them each row's norm

__device__ __forceinline__ void store_release(uint32_t* to, uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}
__device__ __forceinline__ uint32_t load_acquire(const uint32_t* from) {
  uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

// What this block of each rank has written is there for the same block of all others.
__device__ __forceinline__ void meet(const Peers& p, int meeting, uint32_t launch) {
  __threadfence_system();
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < p.ranks) {
    const int other = static_cast<int>(threadIdx.x);
    const auto at = [&](int from) {
      return (meeting * kMostBlocks + static_cast<int>(blockIdx.x)) * kMostRanks + from;
    };
    store_release(p.of[other].arrivals + at(p.rank), launch);
    for (int looks = 1; static_cast<int32_t>(load_acquire(p.of[p.rank].arrivals + at(other)) - launch) < 0; ++looks) {
      if (looks % kPatience == 0 && *p.failed != 0) break;
    }
  }
  __syncthreads();
}

// Its last block counts a launch.
__device__ __forceinline__ void end_launch(const Exchange& own, uint32_t launch) {
  __syncthreads();
  if (threadIdx.x != 0 || atomicAdd(own.ended, 1) + 1 != gridDim.x) return;
  *own.ended = 0;
  *own.launches = launch;
}

struct Reduce {
  void* x;
  int64_t x_stride;
  void* out;
  int64_t out_stride;
  int width, vectors;    // of all rows
  const float* squares;  // see AllReduceParams
  float channels, eps;
  bool accumulate, clear, wide_out;  // out is f32 in vectors
  DType out_dtype;
};

template <class X>
__device__ __forceinline__ X* rows_of(const Peers& p, int rank, uint32_t launch) {
  return reinterpret_cast<X*>(p.of[rank].places[launch & 1]);
}
// (squares, channels) of each row.
__device__ __forceinline__ float2* norms_of(const Peers& p, int rank, uint32_t launch) {
  return reinterpret_cast<float2*>(p.of[rank].places[launch & 1] + kRowBytes);
}

// The factor by which all parts of a row are divided last. norm_of(rank): (squares, channels) of the row there.
template <class Norm>
__device__ __forceinline__ float common_scale(int ranks, float eps, Norm norm_of) {
  float squares = 0, channels = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const float2 norm = norm_of(rank);
    if (norm.y > 0) squares += norm.x, channels += norm.y;
  }
  return rsqrtf(squares / fmaxf(channels, 1.0f) + eps);
}

template <class X, int V, class Norm>
__device__ __forceinline__ void add_part(const Reduce& a, float scale, int rank, Norm norm_of, const Vec<X, V>& x,
                                         float (&sum)[V]) {
  float factor = 1.0f;
  if (a.squares) {
    const float2 norm = norm_of(rank);
    if (norm.y == 0) return;  // what it shows may be no number
    factor = scale * sqrtf(norm.x / norm.y + a.eps);
  }
  float v[V];
  unpack(x, v);
#pragma unroll
  for (int k = 0; k < V; ++k) sum[k] = fmaf(factor, v[k], sum[k]);
}

template <class X, int V>
__device__ __forceinline__ void add_up(const Peers& p, const Reduce& a, uint32_t launch, int i, float (&sum)[V]) {
  const auto norm_of = [&](int rank) { return norms_of(p, rank, launch)[i * V / a.width]; };
  const float scale = a.squares ? common_scale(p.ranks, a.eps, norm_of) : 1.0f;
#pragma unroll
  for (int k = 0; k < V; ++k) sum[k] = 0;
  for (int rank = 0; rank < p.ranks; ++rank) {
    add_part(a, scale, rank, norm_of, load<V>(rows_of<X>(p, rank, launch) + int64_t{i} * V), sum);
  }
}

template <int V>
__device__ __forceinline__ void write_out(const Reduce& a, int i, const float (&sum)[V]) {
  const int row = i * V / a.width, column = i * V % a.width;
  const int64_t at = row * a.out_stride + column;
  if (a.wide_out) {
    float* out = static_cast<float*>(a.out) + at;
    float v[V] = {};
    if (a.accumulate) unpack(load<V>(out), v);
#pragma unroll
    for (int k = 0; k < V; ++k) v[k] += sum[k];
    store(out, pack<float, V>(v));
    return;
  }
#pragma unroll
  for (int k = 0; k < V; ++k) {
    const float before = a.accumulate ? load_any(a.out, a.out_dtype, at + k) : 0.0f;
    store_any(a.out, a.out_dtype, at + k, before + sum[k]);
  }
}

template <class X, int V, bool TwoShots>
__global__ void __launch_bounds__(kThreads)
    all_reduce_kernel(const __grid_constant__ Peers p, const __grid_constant__ Reduce a) {
  let_next_start();
  wait_for_inputs();
  const Exchange& own = p.of[p.rank];
  const uint32_t launch = *own.launches + 1;
  const int blocks = static_cast<int>(gridDim.x), each = (a.vectors + blocks - 1) / blocks;
  const int begin = min(a.vectors, static_cast<int>(blockIdx.x) * each), end = min(a.vectors, begin + each);
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = begin + thread; i < end; i += kThreads) {
    const int row = i * V / a.width, column = i * V % a.width;
    X* x = static_cast<X*>(a.x) + row * a.x_stride + column;
    store(rows_of<X>(p, p.rank, launch) + int64_t{i} * V, load<V>(x));
    if (a.clear) store(x, zeros<X, V>());
  }
  if (a.squares && begin < end) {
    const int last = (end - 1) * V / a.width;
    for (int row = begin * V / a.width + thread; row <= last; row += kThreads) {
      norms_of(p, p.rank, launch)[row] = {a.squares[row], a.channels};
    }
  }
  meet(p, 0, launch);
  if constexpr (!TwoShots) {
    for (int i = begin + thread; i < end; i += kThreads) {
      float sum[V];
      add_up<X, V>(p, a, launch, i, sum);
      write_out<V>(a, i, sum);
    }
  } else {
    const auto share = [&](int rank) { return begin + static_cast<int>(int64_t{end - begin} * rank / p.ranks); };
    // Floats, so that all ranks take the same ones; behind the rows.
    const auto sums_of = [&](int rank) {
      return reinterpret_cast<float*>(rows_of<X>(p, rank, launch) + int64_t{a.vectors} * V);
    };
    for (int i = share(p.rank) + thread; i < share(p.rank + 1); i += kThreads) {
      float sum[V];
      add_up<X, V>(p, a, launch, i, sum);
      store(sums_of(p.rank) + int64_t{i} * V, pack<float, V>(sum));
    }
    meet(p, 1, launch);
    for (int rank = 0; rank < p.ranks; ++rank) {
      for (int i = share(rank) + thread; i < share(rank + 1); i += kThreads) {
        float sum[V];
        unpack(load<V>(sums_of(rank) + int64_t{i} * V), sum);
        write_out<V>(a, i, sum);
      }
    }
  }
  end_launch(own, launch);
}

// Two words of four bytes on their way to `to`, in memory of another rank.
__device__ __forceinline__ void put_packet(uint4* to, uint2 words, uint32_t launch) {
  asm volatile("st.volatile.global.v4.u32 [%0], {%1, %3, %2, %3};" ::"l"(to), "r"(words.x), "r"(words.y), "r"(launch)
               : "memory");
}
// Waits for them. A store of eight bytes arrives whole, so each word lies beside the launch's number.
__device__ __forceinline__ uint2 get_packet(const Peers& p, const uint4* from, uint32_t launch) {
  uint4 v;
  for (int looks = 1;; ++looks) {
    asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from)
                 : "memory");
    if (v.y == launch && v.w == launch) break;
    if (looks % kPatience == 0 && *p.failed != 0) break;
  }
  return {v.x, v.z};
}

__device__ __forceinline__ uint4* packets_to(const Peers& p, int rank, int from, uint32_t launch) {
  return reinterpret_cast<uint4*>(p.of[rank].packets[launch & 1] + from * kPacketBytes);
}

template <class X>
__global__ void __launch_bounds__(kPacketThreads)
    all_reduce_packets_kernel(const __grid_constant__ Peers p, const __grid_constant__ Reduce a) {
  constexpr int kV = 4, kWords = kV * static_cast<int>(sizeof(X)) / 8;  // of eight bytes
  constexpr size_t kNorms = kPacketRowBytes / sizeof(uint4);
  union Pieces {
    Vec<X, kV> vector;
    uint2 words[kWords];
  };
  let_next_start();
  wait_for_inputs();
  const Exchange& own = p.of[p.rank];
  const int i = static_cast<int>(blockIdx.x * kPacketThreads + threadIdx.x), row = i * kV / a.width;
  const bool used = i < a.vectors, has_norm = a.squares && i < a.vectors * kV / a.width;
  X* x = static_cast<X*>(a.x) + row * a.x_stride + i * kV % a.width;
  Pieces pieces;
  if (used) pieces.vector = load<kV>(x);
  const float2 norm = {has_norm ? a.squares[i] : 0.0f, a.channels};
  const uint32_t launch = *own.launches + 1;
  for (int other = 0; other < p.ranks; ++other) {
    if (other == p.rank) continue;
    uint4* to = packets_to(p, other, p.rank, launch);
    if (has_norm) put_packet(to + kNorms + i, {__float_as_uint(norm.x), __float_as_uint(norm.y)}, launch);
#pragma unroll
    for (int k = 0; used && k < kWords; ++k) put_packet(to + i * kWords + k, pieces.words[k], launch);
  }
  // The last block whose threads all know the number counts the launch, while the packets are on their way.
  end_launch(own, launch);
  if (!used) return;
  if (a.clear) store(x, zeros<X, kV>());
  const auto norm_of = [&](int rank) -> float2 {
    if (rank == p.rank) return {a.squares[row], a.channels};
    const uint2 words = get_packet(p, packets_to(p, p.rank, rank, launch) + kNorms + row, launch);
    return {__uint_as_float(words.x), __uint_as_float(words.y)};
  };
  float scale = 1.0f;
  if (a.squares) scale = common_scale(p.ranks, a.eps, norm_of);
  float sum[kV] = {};
  for (int rank = 0; rank < p.ranks; ++rank) {
    Pieces theirs = pieces;
    if (rank != p.rank) {
#pragma unroll
      for (int k = 0; k < kWords; ++k) {
        theirs.words[k] = get_packet(p, packets_to(p, p.rank, rank, launch) + i * kWords + k, launch);
      }
    }
    add_part(a, scale, rank, norm_of, theirs.vector, sum);
  }
  write_out<kV>(a, i, sum);
}

struct Gather {
  void* out;
  int64_t out_stride;
  int rows;
  int first[kMostRanks + 1];  // column of each rank
};

// T: any type of the element's size.
template <class T>
__global__ void __launch_bounds__(kThreads)
    all_gather_kernel(const __grid_constant__ Peers p, const __grid_constant__ Gather a) {
  let_next_start();
  wait_for_inputs();
  const Exchange& own = p.of[p.rank];
  const uint32_t launch = *own.launches + 1;
  T* out = static_cast<T*>(a.out);
  // body(a column of a rank's, and where it lies in the rank's place) for this block's run of them.
  const auto each_of = [&](int rank, auto body) {
    const int64_t width = a.first[rank + 1] - a.first[rank];
    const int begin = static_cast<int>(width * blockIdx.x / gridDim.x);
    const int end = static_cast<int>(width * (blockIdx.x + 1) / gridDim.x);
    for (int row = 0; row < a.rows; ++row) {
      for (int c = begin + static_cast<int>(threadIdx.x); c < end; c += kThreads) {
        body(row * a.out_stride + a.first[rank] + c, row * width + c);
      }
    }
  };
  each_of(p.rank, [&](int64_t at, int64_t shown) { rows_of<T>(p, p.rank, launch)[shown] = out[at]; });
  meet(p, 0, launch);
  for (int rank = 0; rank < p.ranks; ++rank) {
    if (rank == p.rank) continue;
    each_of(rank, [&](int64_t at, int64_t shown) { out[at] = rows_of<T>(p, rank, launch)[shown]; });
  }
  end_launch(own, launch);
}

PeerGroup& group_of(const Membership& membership) {
  auto& group = static_cast<PeerGroup&>(*membership.group);
  if (group.failed()) throw Error(ErrorCode::DeviceLost, "group", "another rank failed, or was closed");
  return group;
}

LaunchShape blocks_for(int64_t work) {
  return {.grid = std::clamp<int64_t>(work / kThreads, 1, kMostBlocks), .block = kThreads};
}

template <class X, int V>
void launch_reduce(const Peers& peers, const Reduce& a, Context& context) {
  const auto bytes = static_cast<size_t>(a.vectors) * V * sizeof(X);
  if constexpr (V == 4) {
    if (2 * bytes <= kPacketRowBytes && a.vectors * V <= a.width * kMostPacketRows) {
      const LaunchShape shape = {.grid = ceil_div(a.vectors, kPacketThreads), .block = kPacketThreads};
      return launch(context, shape, all_reduce_packets_kernel<X>, peers, a);
    }
  }
  const LaunchShape shape = blocks_for(a.vectors);
  const bool two_shots = peers.ranks > 2 && bytes > kOneShotBytes;
  two_shots ? launch(context, shape, all_reduce_kernel<X, V, true>, peers, a)
            : launch(context, shape, all_reduce_kernel<X, V, false>, peers, a);
}

}  // namespace

void run_all_reduce(const AllReduceParams& p, Context& context) {
  const Peers peers = group_of(p.membership).peers(p.membership.rank);
  const bool wide = p.width % 4 == 0 && aligned_rows(p.x, p.x_stride, size_of(p.x_dtype));
  // Rows of a launch: with their sums they fit into a place.
  const int64_t row_bytes = p.width * static_cast<int64_t>(size_of(p.x_dtype) + sizeof(float));
  const int64_t most = std::clamp<int64_t>(static_cast<int64_t>(kRowBytes) / row_bytes, 1, kMostRows);
  for (int64_t first = 0; first < p.rows; first += most) {
    const int64_t rows = std::min(most, p.rows - first);
    Reduce a = {};
    a.x = static_cast<char*>(p.x) + first * p.x_stride * static_cast<int64_t>(size_of(p.x_dtype));
    a.x_stride = p.x_stride;
    a.out = static_cast<char*>(p.out) + first * p.out_stride * static_cast<int64_t>(size_of(p.out_dtype));
    a.out_stride = p.out_stride;
    a.width = static_cast<int>(p.width);
    a.vectors = static_cast<int>(rows * p.width / (wide ? 4 : 1));
    a.squares = p.squares ? p.squares + first : nullptr;
    a.channels = static_cast<float>(p.channels);
    a.eps = p.eps;
    a.accumulate = p.accumulate;
    a.clear = p.clear;
    a.wide_out = wide && p.out_dtype == DType::f32 && aligned_rows(p.out, p.out_stride, size_of(p.out_dtype));
    a.out_dtype = p.out_dtype;
    with_float_type(p.x_dtype, [&](auto t) {
      wide ? launch_reduce<decltype(t), 4>(peers, a, context) : launch_reduce<decltype(t), 1>(peers, a, context);
    });
  }
}

void run_all_gather(const AllGatherParams& p, Context& context) {
  const Peers peers = group_of(p.membership).peers(p.membership.rank);
  Gather a = {};
  int64_t widest = 1;
  for (int rank = 0; rank <= peers.ranks; ++rank) {
    a.first[rank] = static_cast<int>(p.first_column(rank));
    if (rank > 0) widest = std::max<int64_t>(widest, a.first[rank] - a.first[rank - 1]);
  }
  const auto element = static_cast<int64_t>(size_of(p.dtype));
  const int64_t most = std::max<int64_t>(1, static_cast<int64_t>(kPlaceBytes) / (widest * element));
  for (int64_t first = 0; first < p.rows; first += most) {
    a.out = static_cast<char*>(p.out) + first * p.out_stride * element;
    a.out_stride = p.out_stride;
    a.rows = static_cast<int>(std::min(most, p.rows - first));
    element == 4 ? launch(context, blocks_for(widest), all_gather_kernel<uint32_t>, peers, a)
                 : launch(context, blocks_for(widest), all_gather_kernel<uint16_t>, peers, a);
  }
}

}  // namespace mamba::cuda
