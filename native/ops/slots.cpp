#include "ops/slots.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {

void copy_slots(Stream& stream, Tensor pool, Tensor from, Tensor to) {
  Checker check("copy_slots", stream.device());
  if (pool.rank < 2) check.refuse("pool is " + pool.shape_text() + ", expected [slots, ...]");
  int64_t elements = 1;
  for (int i = pool.rank - 1; i > 0; --i) {
    if (pool.size(i) != 1 && pool.stride(i) != elements)
      check.refuse("pool has a gap inside a slot; only the slot dimension may be strided");
    elements *= pool.size(i);
  }
  for (auto [t, name] : {std::pair{&from, "from"}, {&to, "to"}}) {
    check.shape(*t, name, {"copies"}).dtype(*t, name, {DType::i32}).contiguous(*t, name);
  }
  if (from.elements() == 0 || pool.elements() == 0) return;
  const auto bytes = static_cast<int64_t>(size_of(pool.dtype));
  backend_of(stream).copy_slots(stream, {
                                            .copies = check.size("copies"),
                                            .slots = pool.size(0),
                                            .slot_bytes = elements * bytes,
                                            .slot_stride = pool.stride(0) * bytes,
                                            .pool = pool.data,
                                            .from = from.as<int32_t>(),
                                            .to = to.as<int32_t>(),
                                        });
}

}  // namespace mamba
