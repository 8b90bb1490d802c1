// copy_slots. A task copies 256 KiB of a slot: few enough for every thread to have some. Bound: bytes.
#include "cpu/slots.h"

#include <algorithm>
#include <cstring>

#include "cpu/cut.h"

namespace mamba::cpu {
namespace {

constexpr int64_t kTaskBytes = 256 << 10;

}  // namespace

void run_copy_slots(const CopySlotsParams& p, ThreadPool& pool) {
  const int64_t parts = ceil_div(p.slot_bytes, kTaskBytes);
  pool.parallel_for(p.copies * parts, [&](int64_t task, Scratch&) {
    const int64_t from = p.from[task / parts], to = p.to[task / parts], begin = task % parts * kTaskBytes;
    if (from < 0 || from >= p.slots || to < 0 || to >= p.slots || from == to) return;
    auto* slots = static_cast<char*>(p.pool);
    std::memcpy(slots + to * p.slot_stride + begin, slots + from * p.slot_stride + begin,
                static_cast<size_t>(std::min(kTaskBytes, p.slot_bytes - begin)));
  });
}

}  // namespace mamba::cpu
