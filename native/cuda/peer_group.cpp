#include "cuda/peer_group.h"

#include <cuda_runtime_api.h>

#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "core/error.h"
#include "cuda/kernels.h"
#include "cuda/status.h"

namespace mamba::cuda {
namespace {

constexpr const char* kInstead = "; serve a replica on each GPU instead (--replicas)";

template <class T>
void allocate(T*& to, size_t bytes) {
  void* data = nullptr;
  check(cudaMalloc(&data, bytes), "cudaMalloc");
  to = static_cast<T*>(data);
}

void map_memory_of(int device, int other) {
  int can = 0;
  check(cudaDeviceCanAccessPeer(&can, device, other), "cudaDeviceCanAccessPeer");
  if (!can) {
    throw Error(ErrorCode::NoDevice, "group",
                "GPU " + std::to_string(device) + " cannot map the memory of GPU " + std::to_string(other) + kInstead);
  }
  const cudaError_t status = cudaDeviceEnablePeerAccess(other, 0);
  if (status == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();
  } else {
    check(status, "cudaDeviceEnablePeerAccess");
  }
}

// A rank of the check.
struct Checked {
  int device;
  cudaStream_t stream = nullptr;
  float *x = nullptr, *out = nullptr;
};

// What rank r has at i: whole numbers, whose sums are exact.
float known(int64_t i, int rank) { return static_cast<float>(i * (rank + 1) % 251); }

void wait_for(std::vector<Checked>& ranks, PeerGroup& group) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (Checked& rank : ranks) {
    check(cudaSetDevice(rank.device), "cudaSetDevice");
    while (cudaStreamQuery(rank.stream) == cudaErrorNotReady && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (std::chrono::steady_clock::now() >= end) group.fail();
    check(cudaStreamSynchronize(rank.stream), "the check of a group");
  }
}

bool sums_are_right(std::vector<Checked>& ranks, const std::shared_ptr<PeerGroup>& group, int64_t rows, int64_t width) {
  const auto n = static_cast<size_t>(rows * width);
  std::vector<float> values(n), got(n);
  for (size_t r = 0; r < ranks.size(); ++r) {
    Checked& rank = ranks[r];
    check(cudaSetDevice(rank.device), "cudaSetDevice");
    for (size_t i = 0; i < n; ++i) values[i] = known(static_cast<int64_t>(i), static_cast<int>(r));
    // In the order of the stream: what the default one does may still go on when these calls return.
    const size_t bytes = n * sizeof(float);
    check(cudaMemcpyAsync(rank.x, values.data(), bytes, cudaMemcpyHostToDevice, rank.stream), "cudaMemcpyAsync");
    check(cudaMemsetAsync(rank.out, 0xff, bytes, rank.stream), "cudaMemsetAsync");
    Context context{};
    context.stream = rank.stream;
    AllReduceParams params{};
    params.rows = rows, params.width = width;
    params.x = rank.x, params.x_stride = width;
    params.out = rank.out, params.out_stride = width;
    params.x_dtype = params.out_dtype = DType::f32;
    params.membership = {group, static_cast<int>(r)};
    run_all_reduce(params, context);
  }
  wait_for(ranks, *group);
  bool right = !group->failed();
  for (const Checked& rank : ranks) {
    check(cudaMemcpy(got.data(), rank.out, n * sizeof(float), cudaMemcpyDefault), "cudaMemcpy");
    for (size_t i = 0; i < n; ++i) {
      float want = 0;
      for (size_t r = 0; r < ranks.size(); ++r) want += known(static_cast<int64_t>(i), static_cast<int>(r));
      right = right && got[i] == want;
    }
  }
  return right;
}

}  // namespace

PeerGroup::PeerGroup(std::vector<int> devices)
    : Group(static_cast<int>(devices.size())), devices_(std::move(devices)), exchanges_(devices_.size()) {
  if (devices_.size() > kMostRanks) {
    throw Error(ErrorCode::Argument, "group",
                std::to_string(devices_.size()) + " GPUs, expected at most " + std::to_string(kMostRanks));
  }
  try {
    void* flag = nullptr;
    check(cudaHostAlloc(&flag, sizeof(uint32_t), cudaHostAllocMapped | cudaHostAllocPortable), "cudaHostAlloc");
    failed_ = static_cast<volatile uint32_t*>(flag);
    *failed_ = 0;
    for (size_t rank = 0; rank < devices_.size(); ++rank) {
      check(cudaSetDevice(devices_[rank]), "cudaSetDevice");
      for (const int other : devices_) {
        if (other != devices_[rank]) map_memory_of(devices_[rank], other);
      }
      Exchange& exchange = exchanges_[rank];
      for (char*& place : exchange.places) allocate(place, kPlaceBytes);
      for (char*& packets : exchange.packets) {
        allocate(packets, kPacketBytes * devices_.size());
        check(cudaMemset(packets, 0, kPacketBytes * devices_.size()), "cudaMemset");
      }
      constexpr size_t kArrivals = 2 * kMostBlocks * kMostRanks, kWords = kArrivals + 2;
      allocate(exchange.arrivals, kWords * sizeof(uint32_t));
      check(cudaMemset(exchange.arrivals, 0, kWords * sizeof(uint32_t)), "cudaMemset");
      exchange.launches = exchange.arrivals + kArrivals;
      exchange.ended = exchange.launches + 1;
      check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    }
  } catch (...) {
    free();
    throw;
  }
}

PeerGroup::~PeerGroup() { free(); }

void PeerGroup::free() noexcept {
  for (const Exchange& exchange : exchanges_) {
    for (char* place : exchange.places) cudaFree(place);
    for (char* packets : exchange.packets) cudaFree(packets);
    cudaFree(exchange.arrivals);
  }
  cudaFreeHost(const_cast<uint32_t*>(failed_));
}

Peers PeerGroup::peers(int rank) const {
  Peers peers{};
  for (size_t r = 0; r < exchanges_.size(); ++r) peers.of[r] = exchanges_[r];
  peers.rank = rank;
  peers.ranks = ranks();
  peers.failed = failed_;
  return peers;
}

void check_group(const std::shared_ptr<PeerGroup>& group, const std::vector<int>& devices) {
  // Rows of one launch with packets, of one with one meeting, of one with two, and of several launches.
  constexpr int64_t kShapes[][2] = {{3, 1031}, {24, 4096}, {256, 4096}, {2048, 4096}};
  constexpr size_t kBytes = size_t{2048} * 4096 * sizeof(float);
  std::vector<Checked> ranks;
  for (const int device : devices) {
    Checked& rank = ranks.emplace_back(Checked{device});
    check(cudaSetDevice(device), "cudaSetDevice");
    check(cudaStreamCreateWithFlags(&rank.stream, cudaStreamNonBlocking), "cudaStreamCreate");
    allocate(rank.x, kBytes);
    allocate(rank.out, kBytes);
  }
  bool right = true;
  for (int round = 0; round < 2; ++round) {
    for (const auto& [rows, width] : kShapes) right = right && sums_are_right(ranks, group, rows, width);
  }
  for (const Checked& rank : ranks) {
    cudaStreamDestroy(rank.stream);
    cudaFree(rank.x);
    cudaFree(rank.out);
  }
  if (right) return;
  if (group->failed()) {
    throw Error(ErrorCode::NoDevice, "group",
                std::string("the GPUs did not meet within 10 s: other work holds them, or they cannot reach each "
                            "other's memory; try again when they are idle, or") +
                    (kInstead + 1));
  }
  throw Error(ErrorCode::NoDevice, "group",
              std::string("the GPUs map each other's memory and add up rows wrongly there") + kInstead);
}

}  // namespace mamba::cuda
