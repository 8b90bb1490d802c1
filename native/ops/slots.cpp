#include "ops/slots.h"

#include "core/check.h"
#include "ops/backend.h"

namespace mamba {

void copy_slots(Stream& stream, Tensor pool, Tensor from, Tensor to) {
  Checker check("copy_slots", stream.device());
  if (pool.rank < 2) check.refuse("pool is " + pool.shape_text() + ", expected [slots, ...]");
  check.strided(pool, "pool").inner_contiguous(pool, "pool");
  for (auto [t, name] : {std::pair{&from, "from"}, {&to, "to"}}) {
    check.dense(*t, name, {"copies"}, DType::i32);
  }
  if (from.elements() == 0 || pool.elements() == 0) return;
  const auto bytes = static_cast<int64_t>(size_of(pool.dtype)), elements = pool.elements() / pool.size(0);
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
