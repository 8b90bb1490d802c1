#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "addon/arguments.h"
#include "addon/backends.h"
#include "addon/exports.h"

namespace mamba::addon {
namespace {

// (kind, threads, whether deterministic, index)
Napi::Value open_device(const Arguments& args) {
  constexpr int64_t kMaxThreads = 1024, kMaxIndex = 1024;
  const int64_t threads = args.size(1), index = args.size(3);
  if (threads > kMaxThreads) {
    throw Error(ErrorCode::Argument, "device", std::to_string(threads) + " threads, expected 0 (one per core) to 1024");
  }
  if (index > kMaxIndex) throw Error(ErrorCode::Argument, "device", "index " + std::to_string(index));
  auto entry = std::make_unique<DeviceEntry>();
  entry->backend = open_backend(args.text(0), static_cast<int>(threads), static_cast<int>(index));
  entry->stream = entry->backend->create_stream(args.flag(2));
  return args.number(args.state.devices.insert(std::move(entry)));
}

// (devices): they compute together from now on, the first of them as rank 0.
Napi::Value join_group(const Arguments& args) {
  const auto [handles, bytes] = args.bytes(0);
  std::vector<DeviceEntry*> devices(bytes / sizeof(Handle));
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    Handle handle;
    std::memcpy(&handle, handles + rank * sizeof handle, sizeof handle);
    devices[rank] = &args.state.device(handle);
  }
  if (devices.empty()) throw Error(ErrorCode::Argument, "group", "no devices, expected one or more");
  for (const DeviceEntry* device : devices) {
    if (device->stream->membership().group) throw Error(ErrorCode::Argument, "group", "a device is in a group already");
    if (std::count(devices.begin(), devices.end(), device) > 1)
      throw Error(ErrorCode::Argument, "group", "a device is named twice");
    if (device->backend->name() != devices[0]->backend->name())
      throw Error(ErrorCode::Argument, "group", "devices of several kinds, expected one");
  }
  std::vector<Device*> backends;
  for (const DeviceEntry* device : devices) backends.push_back(device->backend.get());
  const auto group = devices[0]->backend->create_group(backends);
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    devices[rank]->stream->drain();  // what it runs looks at its membership
    devices[rank]->stream->join({group, static_cast<int>(rank)});
  }
  return args.undefined();
}

// (device): nobody waits for its group any more.
Napi::Value fail_group(const Arguments& args) {
  if (const auto& group = args.device(0).stream->membership().group) group->fail();
  return args.undefined();
}

Napi::Value close_device(const Arguments& args) {
  const Handle handle = args.handle(0);
  DeviceEntry& device = args.device(0);
  fail_group(args);
  device.stream->drain();
  if (device.transfers) device.transfers->drain();
  const Device* backend = device.backend.get();
  args.state.graphs.erase_if([&](const GraphEntry& graph) { return graph.device == handle; });
  args.state.tensors.erase_if([&](const TensorEntry& tensor) { return tensor.tensor.device == backend; });
  args.state.arenas.erase_if([&](const ArenaEntry& arena) { return arena.device == handle; });
  args.state.devices.erase(handle);
  return args.undefined();
}

Napi::Value describe_device(const Arguments& args) {
  return Napi::String::New(args.env(), args.device(0).backend->describe());
}

// (device, Float64Array of 2): bytes free and in all.
Napi::Value device_memory(const Arguments& args) {
  const auto [out, bytes] = bytes_of(args.doubles(1));
  const Backend& backend = *args.device(0).backend;
  const std::array<double, 2> values = {static_cast<double>(backend.memory_free()),
                                        static_cast<double>(backend.memory_total())};
  if (bytes != sizeof values) args.refuse(1, "expected a Float64Array of 2");
  std::memcpy(out, values.data(), sizeof values);
  return args.undefined();
}

Napi::Value done(const Arguments& args) {
  return args.state.completion->promise(args.env(), args.device(0).stream->record());
}

}  // namespace

void export_devices(Napi::Object exports) {
  add<open_device>(exports, "openDevice");
  add<close_device>(exports, "closeDevice");
  add<join_group>(exports, "joinGroup");
  add<fail_group>(exports, "failGroup");
  add<describe_device>(exports, "describeDevice");
  add<device_memory>(exports, "deviceMemory");
  add<done>(exports, "done");
}

}  // namespace mamba::addon
