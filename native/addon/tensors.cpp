// Tensors, views of them, and the arenas that temporaries come from.
#include <algorithm>

#include "addon/arguments.h"
#include "addon/exports.h"

namespace mamba::addon {
namespace {

Napi::Value owned(const Arguments& args, Tensor tensor, std::shared_ptr<Memory> memory) {
  tensor.data = memory->data();
  return args.number(args.state.tensors.insert({tensor, std::move(memory)}));
}

// (device, layout)
Napi::Value create_tensor(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  const Tensor tensor = args.layout(1, device);
  return owned(args, tensor, std::make_shared<Memory>(*device.backend, *device.stream, tensor.bytes()));
}

// The same in pinned host memory: transfers take it, and no op.
Napi::Value create_pinned_tensor(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  const Tensor tensor = args.layout(1, device);
  return owned(args, tensor, Memory::pinned(*device.backend, device.transfer_stream(), tensor.bytes()));
}

Napi::Value free_tensor(const Arguments& args) {
  const Handle handle = args.handle(0);
  if (args.state.tensors.get(handle).arena != 0) {
    throw Error(ErrorCode::Argument, "tensor", "belongs to an arena; it is freed when the arena's scope ends");
  }
  args.state.tensors.erase(handle);
  return args.undefined();
}

// (tensor, offset in elements, rank, 4 sizes, 4 strides in elements)
Napi::Value view_tensor(const Arguments& args) {
  TensorEntry entry = args.state.tensors.get(args.handle(0));
  if (entry.tensor.layout == Layout::packed) throw Error(ErrorCode::Argument, "tensor", "a packed weight has no views");
  Tensor view = entry.tensor;
  args.read_sizes(2, view);
  const int64_t first = args.integer(1);
  int64_t last = first;
  for (int d = 0; d < view.rank; ++d) {
    const int64_t stride = args.integer(7 + static_cast<size_t>(d)), size = std::max<int64_t>(view.size(d), 1);
    if (stride < 0 || stride > kMaxElements / size)
      throw Error(ErrorCode::Shape, "tensor", "stride " + std::to_string(stride) + " of a view is out of range");
    view.strides[static_cast<size_t>(d)] = stride;
    last += (size - 1) * stride;
  }
  const size_t element = size_of(view.dtype);
  const size_t begin = static_cast<size_t>(static_cast<char*>(entry.tensor.data) - entry.memory->data());
  const bool empty = view.elements() == 0;
  if (first < 0 || begin + static_cast<size_t>(empty ? first : last + 1) * element > entry.memory->bytes()) {
    throw Error(ErrorCode::Shape, "tensor",
                "a view of shape " + view.shape_text() + " at offset " + std::to_string(first) +
                    " reaches past the memory of a tensor of shape " + entry.tensor.shape_text());
  }
  view.data = static_cast<char*>(entry.tensor.data) + static_cast<size_t>(first) * element;
  entry.tensor = view;
  const Handle arena = entry.arena;
  const Handle handle = args.state.tensors.insert(std::move(entry));
  if (arena != 0) args.state.arenas.get(arena).arena->adopt(handle);
  return args.number(handle);
}

// (device, bytes); 0 bytes makes a measuring arena, usable only while capturing.
Napi::Value create_arena(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  const auto bytes = static_cast<size_t>(args.size(1));
  auto memory = bytes == 0 ? Memory::measuring(*device.backend, *device.stream)
                           : std::make_shared<Memory>(*device.backend, *device.stream, bytes);
  return args.number(args.state.arenas.insert({args.handle(0), std::make_unique<Arena>(std::move(memory))}));
}

Napi::Value free_arena(const Arguments& args) {
  const Handle handle = args.handle(0);
  args.state.arenas.get(handle);
  args.state.tensors.erase_if([&](const TensorEntry& tensor) { return tensor.arena == handle; });
  args.state.arenas.erase(handle);
  return args.undefined();
}

// (arena, layout)
Napi::Value arena_tensor(const Arguments& args) {
  const Handle handle = args.handle(0);
  ArenaEntry& arena = args.state.arenas.get(handle);
  TensorEntry entry;
  entry.tensor = args.layout(1, args.state.device(arena.device));
  entry.tensor.data = arena.arena->allocate(entry.tensor.bytes());
  entry.memory = arena.arena->memory();
  entry.arena = handle;
  const Handle tensor = args.state.tensors.insert(std::move(entry));
  arena.arena->adopt(tensor);
  return args.number(tensor);
}

Napi::Value open_arena_scope(const Arguments& args) {
  args.state.arenas.get(args.handle(0)).arena->open_scope();
  return args.undefined();
}

Napi::Value close_arena_scope(const Arguments& args) {
  for (Handle tensor : args.state.arenas.get(args.handle(0)).arena->close_scope()) args.state.tensors.erase(tensor);
  return args.undefined();
}

Napi::Value arena_high_water(const Arguments& args) {
  return args.number(static_cast<double>(args.state.arenas.get(args.handle(0)).arena->high_water()));
}

}  // namespace

void export_tensors(Napi::Object exports) {
  add<create_tensor>(exports, "createTensor");
  add<create_pinned_tensor>(exports, "createPinnedTensor");
  add<free_tensor>(exports, "freeTensor");
  add<view_tensor>(exports, "viewTensor");
  add<create_arena>(exports, "createArena");
  add<free_arena>(exports, "freeArena");
  add<arena_tensor>(exports, "arenaTensor");
  add<open_arena_scope>(exports, "openArenaScope");
  add<close_arena_scope>(exports, "closeArenaScope");
  add<arena_high_water>(exports, "arenaHighWater");
}

}  // namespace mamba::addon
