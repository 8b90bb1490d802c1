#include "addon/state.h"

namespace mamba::addon {

State& state_of(Napi::Env env) { return *env.GetInstanceData<State>(); }

Stream& DeviceEntry::transfer_stream() {
  if (!transfers) transfers = backend->create_transfer_stream();
  return *transfers;
}

const Tensor& State::use(Handle handle, DeviceEntry& device) {
  const TensorEntry& entry = tensors.get(handle);
  if (entry.tensor.device != device.backend.get()) {
    throw Error(ErrorCode::Device, "tensor", "lives on another device than the stream");
  }
  if (entry.memory->pinned()) {
    throw Error(ErrorCode::Device, "tensor", "lies in pinned host memory, which transfers alone take");
  }
  if (device.stream->capturing()) {
    if (device.captured.empty() || device.captured.back() != entry.memory) device.captured.push_back(entry.memory);
  } else if (entry.memory->measuring()) {
    throw Error(ErrorCode::Argument, "tensor",
                "belongs to a measuring arena, which has no memory; it is for captures only");
  }
  return entry.tensor;
}

}  // namespace mamba::addon
