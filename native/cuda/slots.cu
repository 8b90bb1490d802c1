// copy_slots on CUDA.
//
// Idea. Slots of a pool that become copies of others; the pairs lie on the device, so that one launch does all of them.
//
// Mapping. A block has kWords words of a pair for each thread, a block's apart. Bound: bytes, each once in and once
// out.
#include "cuda/kernels.h"
#include "cuda/launch.cuh"
#include "ops/slots.h"

namespace mamba::cuda {
namespace {

constexpr int kThreads = 256, kWords = 4;

// Sizes in words.
template <class Word>
__global__ void __launch_bounds__(kThreads) copy_slots_kernel(Word* pool, const int32_t* from, const int32_t* to,
                                                              int64_t slots, int64_t words, int64_t stride) {
  let_next_start();
  wait_for_inputs();
  const int64_t source = from[blockIdx.y], target = to[blockIdx.y];
  if (source < 0 || source >= slots || target < 0 || target >= slots) return;
  const int64_t first = int64_t{blockIdx.x} * (kThreads * kWords) + threadIdx.x;
  Word v[kWords];
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    if (first + i * kThreads < words) v[i] = pool[source * stride + first + i * kThreads];
  }
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    if (first + i * kThreads < words) pool[target * stride + first + i * kThreads] = v[i];
  }
}

}  // namespace

void run_copy_slots(const CopySlotsParams& p, Context& context) {
  if (p.copies == 0 || p.slot_bytes == 0) return;
  const uint64_t places =
      reinterpret_cast<uintptr_t>(p.pool) | static_cast<uint64_t>(p.slot_bytes) | static_cast<uint64_t>(p.slot_stride);
  const auto go = [&]<class Word>(Word) {
    constexpr int64_t kBytes = sizeof(Word);
    const int64_t words = p.slot_bytes / kBytes;
    launch(context, {.grid = {ceil_div(words, kThreads * kWords), p.copies}, .block = kThreads},
           copy_slots_kernel<Word>, static_cast<Word*>(p.pool), p.from, p.to, p.slots, words, p.slot_stride / kBytes);
  };
  if (places % 16 == 0) return go(uint4{});
  if (places % 4 == 0) return go(uint32_t{});
  places % 2 == 0 ? go(uint16_t{}) : go(uint8_t{});
}

}  // namespace mamba::cuda
