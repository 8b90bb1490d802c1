#include "addon/runtime.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "addon/arguments.h"
#include "addon/backends.h"
#include "addon/bind.h"
#include "addon/marks.h"
#include "addon/timed_replays.h"

namespace mamba::addon {
namespace {

// --- devices ---------------------------------------------------------------------------------------------------------

Napi::Value open_device(const Arguments& args) {
  constexpr int64_t kMaxThreads = 1024;
  const int64_t threads = args.integer(1);
  if (threads < 0 || threads > kMaxThreads) {
    throw Error(ErrorCode::Argument, "device", std::to_string(threads) + " threads, expected 0 (one per core) to 1024");
  }
  constexpr int64_t kMaxIndex = 1024;
  const int64_t index = args.integer(3);
  if (index < 0 || index > kMaxIndex) throw Error(ErrorCode::Argument, "device", "index " + std::to_string(index));
  auto entry = std::make_unique<DeviceEntry>();
  entry->backend = open_backend(args.text(0), static_cast<int>(threads), static_cast<int>(index));
  entry->stream = entry->backend->create_stream(args.integer(2) != 0);
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
  for (size_t rank = 0; rank < devices.size(); ++rank) devices[rank]->stream->join({group, static_cast<int>(rank)});
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

Napi::Value device_memory(const Arguments& args) {
  const auto [out, bytes] = args.bytes(1);
  if (bytes != 2 * sizeof(double)) throw Error(ErrorCode::Argument, "native", "expected a Float64Array of 2");
  const std::array<double, 2> values = {static_cast<double>(args.device(0).backend->memory_free()),
                                        static_cast<double>(args.device(0).backend->memory_total())};
  std::memcpy(out, values.data(), bytes);
  return args.undefined();
}

Napi::Value done(const Arguments& args) {
  return args.state.completion->promise(args.env(), args.device(0).stream->record());
}

// --- tensors ---------------------------------------------------------------------------------------------------------

Napi::Value create_tensor(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  TensorEntry entry;
  entry.tensor = args.layout(1, device);
  entry.memory = std::make_shared<Memory>(*device.backend, *device.stream, entry.tensor.bytes());
  entry.tensor.data = entry.memory->data();
  return args.number(args.state.tensors.insert(std::move(entry)));
}

Stream& transfers_of(DeviceEntry& device) {
  if (!device.transfers) device.transfers = device.backend->create_transfer_stream();
  return *device.transfers;
}

// In pinned host memory: transfers take it, and no op.
Napi::Value create_pinned_tensor(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  TensorEntry entry;
  entry.tensor = args.layout(1, device);
  entry.memory = Memory::pinned(*device.backend, transfers_of(device), entry.tensor.bytes());
  entry.tensor.data = entry.memory->data();
  return args.number(args.state.tensors.insert(std::move(entry)));
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
  int64_t first = args.integer(1), last = first;
  for (int d = 0; d < view.rank; ++d) {
    const int64_t stride = args.integer(7 + static_cast<size_t>(d));
    view.strides[static_cast<size_t>(d)] = stride;
    if (stride < 0 || (view.size(d) > 1 && stride > (int64_t{1} << 46) / view.size(d))) {
      throw Error(ErrorCode::Shape, "tensor", "stride " + std::to_string(stride) + " of a view is out of range");
    }
    if (view.size(d) > 1) last += (view.size(d) - 1) * stride;
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

// --- arenas ----------------------------------------------------------------------------------------------------------

// (device, bytes); 0 bytes makes a measuring arena, usable only while capturing.
Napi::Value create_arena(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  const int64_t bytes = args.integer(1);
  if (bytes < 0) throw Error(ErrorCode::Argument, "arena", std::to_string(bytes) + " bytes");
  std::shared_ptr<Memory> memory(bytes == 0 ? Memory::measuring(*device.backend, *device.stream)
                                            : new Memory(*device.backend, *device.stream, static_cast<size_t>(bytes)));
  return args.number(args.state.arenas.insert({args.handle(0), std::make_unique<Arena>(std::move(memory))}));
}

Napi::Value free_arena(const Arguments& args) {
  const Handle handle = args.handle(0);
  args.state.arenas.get(handle);
  args.state.tensors.erase_if([&](const TensorEntry& tensor) { return tensor.arena == handle; });
  args.state.arenas.erase(handle);
  return args.undefined();
}

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

// --- transfers -------------------------------------------------------------------------------------------------------

const Tensor& contiguous(const Arguments& args, size_t i) {
  const Tensor& t = args.state.use(args.handle(i), args.device(0));
  if (!t.contiguous() || t.layout != Layout::strided)
    throw Error(ErrorCode::Shape, "transfer", "the tensor is not contiguous");
  return t;
}

const Tensor& transferable(const Arguments& args, size_t i, size_t bytes) {
  const Tensor& t = contiguous(args, i);
  if (t.bytes() != bytes) {
    throw Error(ErrorCode::Shape, "transfer",
                "the tensor has " + std::to_string(t.bytes()) + " bytes, the other side " + std::to_string(bytes));
  }
  return t;
}

// The place in tensor 1 of as many bytes: all of it or, where argument 3 is not negative, a part from that element on.
char* place_of(const Arguments& args, size_t bytes) {
  const int64_t at = args.integer(3);
  if (at < 0) return static_cast<char*>(transferable(args, 1, bytes).data);
  const Tensor& t = contiguous(args, 1);
  const size_t begin = static_cast<size_t>(at) * size_of(t.dtype);
  if (begin > t.bytes() || bytes > t.bytes() - begin) {
    throw Error(ErrorCode::Shape, "transfer",
                std::to_string(bytes) + " bytes from element " + std::to_string(at) + " on lie outside a tensor of " +
                    std::to_string(t.bytes()) + " bytes");
  }
  return static_cast<char*>(t.data) + begin;
}

// (device, tensor, typed array, first element or -1)
Napi::Value upload(const Arguments& args) {
  const auto [data, bytes] = args.bytes(2);
  args.device(0).stream->upload(place_of(args, bytes), data, bytes);
  return args.undefined();
}

Napi::Value download(const Arguments& args) {
  const auto [data, bytes] = args.bytes(2);
  Stream& stream = *args.device(0).stream;
  stream.download(data, place_of(args, bytes), bytes);
  return args.state.completion->promise(args.env(), stream.record(), args.object(2));
}

Napi::Value copy(const Arguments& args) {
  const Tensor& source = args.state.use(args.handle(2), args.device(0));
  const Tensor& target = transferable(args, 1, source.bytes());
  transferable(args, 2, source.bytes());
  args.device(0).stream->copy(target.data, source.data, source.bytes());
  return args.undefined();
}

Napi::Value fill(const Arguments& args) {
  const Tensor& t = args.state.use(args.handle(1), args.device(0));
  args.device(0).stream->fill(transferable(args, 1, t.bytes()).data, static_cast<int>(args.integer(2)), t.bytes());
  return args.undefined();
}

// --- transfers -------------------------------------------------------------------------------------------------------

// The row of a contiguous tensor that arguments `at` and `at` + 1 name, and its bytes.
std::pair<char*, size_t> row_of(const Arguments& args, size_t at) {
  const TensorEntry& entry = args.state.tensors.get(args.handle(at));
  const Tensor& t = entry.tensor;
  const int64_t row = args.integer(at + 1);
  if (t.device != args.device(0).backend.get()) {
    throw Error(ErrorCode::Device, "tensor", "lives on another device than the stream");
  }
  if (entry.memory->measuring() || t.layout == Layout::packed || !t.contiguous() || t.rank == 0) {
    throw Error(ErrorCode::Argument, "transfer", "takes contiguous tensors with memory and rows");
  }
  if (row < 0 || row >= t.sizes[0]) {
    throw Error(ErrorCode::Argument, "row", std::to_string(row) + " of " + std::to_string(t.sizes[0]));
  }
  const size_t bytes = t.bytes() / static_cast<size_t>(t.sizes[0]);
  return {static_cast<char*>(t.data) + static_cast<size_t>(row) * bytes, bytes};
}

// (device): transfers from now on run after all that the stream of work was given.
Napi::Value order_transfers(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  transfers_of(device).follow(*device.stream);
  return args.undefined();
}

// (device, target, row, source, row)
Napi::Value transfer_row(const Arguments& args) {
  const auto [target, bytes] = row_of(args, 1);
  const auto [source, source_bytes] = row_of(args, 3);
  if (bytes != source_bytes) {
    throw Error(ErrorCode::Shape, "transfer",
                "a row of " + std::to_string(source_bytes) + " bytes into one of " + std::to_string(bytes));
  }
  transfers_of(args.device(0)).transfer(target, source, bytes);
  return args.undefined();
}

Napi::Value transferred(const Arguments& args) {
  return args.state.completion->promise(args.env(), transfers_of(args.device(0)).record(), {}, Completion::transfers);
}

// --- graphs ----------------------------------------------------------------------------------------------------------

Napi::Value begin_capture(const Arguments& args) {
  args.device(0).stream->begin_capture();
  args.device(0).captured.clear();
  return args.undefined();
}

Napi::Value end_capture(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  std::shared_ptr<Graph> graph = device.stream->end_capture();
  return args.number(args.state.graphs.insert({args.handle(0), std::move(graph), std::exchange(device.captured, {})}));
}

// The graph behind argument 1, if it may run on the device of argument 0.
const std::shared_ptr<Graph>& runnable(const Arguments& args) {
  GraphEntry& graph = args.state.graphs.get(args.handle(1));
  if (graph.device != args.handle(0))
    throw Error(ErrorCode::Device, "replay", "the graph was captured on another device");
  for (const auto& memory : graph.memory) {
    if (memory->measuring()) throw Error(ErrorCode::Capture, "replay", "the graph was captured over a measuring arena");
  }
  return graph.graph;
}

Napi::Value replay(const Arguments& args) {
  args.device(0).stream->replay(runnable(args));
  return args.undefined();
}

// (device, graph, scratch or 0, Float64Array): microseconds of as many replays as the array is long. Each comes after
// all of `scratch` has been written, which leaves nothing else in the device's caches.
Napi::Value time_replays(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  const auto [data, bytes] = args.bytes(3);
  const Handle scratch = args.handle(2);
  const Tensor* flushed = scratch == 0 ? nullptr : &args.state.use(scratch, device);
  auto* out = reinterpret_cast<double*>(data);
  return args.state.completion->promise(
      args.env(), TimedReplays::launch(*device.stream, runnable(args), flushed, out, bytes / sizeof(double)),
      args.object(3));
}

Napi::Value mark(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  device.marks.push_back(device.stream->record());
  return args.undefined();
}

// (device, Float64Array): microseconds from the first mark to each of as many marks as the array is long, which must be
// all of them.
Napi::Value read_marks(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  const auto [data, bytes] = args.bytes(1);
  if (bytes / sizeof(double) != device.marks.size() || device.marks.empty()) {
    throw Error(ErrorCode::Argument, "readMarks",
                "expected room for " + std::to_string(device.marks.size()) + " marks, at least one, got " +
                    std::to_string(bytes / sizeof(double)));
  }
  auto marks = std::make_shared<Marks>(std::exchange(device.marks, {}), reinterpret_cast<double*>(data));
  return args.state.completion->promise(args.env(), std::move(marks), args.object(1));
}

Napi::Value free_graph(const Arguments& args) {
  args.state.graphs.erase(args.handle(0));
  return args.undefined();
}

Napi::Value graph_nodes(const Arguments& args) {
  return args.number(static_cast<double>(args.state.graphs.get(args.handle(0)).graph->nodes()));
}

// --- files and weights -----------------------------------------------------------------------------------------------

Napi::Value open_file(const Arguments& args) { return args.number(args.state.files.insert(File::open(args.text(0)))); }

// What is launched keeps the file open until it has read it.
Napi::Value close_file(const Arguments& args) {
  args.state.files.erase(args.handle(0));
  return args.undefined();
}

// (device, tensor, file, offset): the tensor's bytes from the file.
Napi::Value upload_file(const Arguments& args) {
  const Tensor& t = args.state.use(args.handle(1), args.device(0));
  const auto source = args.state.files.get(args.handle(2))->part(static_cast<size_t>(args.integer(3)), t.bytes());
  args.device(0).stream->upload_from(transferable(args, 1, t.bytes()).data, source, t.bytes());
  return args.undefined();
}

}  // namespace

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

void register_runtime(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("openDevice", bound<open_device>);
  add("closeDevice", bound<close_device>);
  add("joinGroup", bound<join_group>);
  add("failGroup", bound<fail_group>);
  add("describeDevice", bound<describe_device>);
  add("deviceMemory", bound<device_memory>);
  add("done", bound<done>);
  add("createTensor", bound<create_tensor>);
  add("createPinnedTensor", bound<create_pinned_tensor>);
  add("orderTransfers", bound<order_transfers>);
  add("transferRow", bound<transfer_row>);
  add("transferred", bound<transferred>);
  add("freeTensor", bound<free_tensor>);
  add("viewTensor", bound<view_tensor>);
  add("createArena", bound<create_arena>);
  add("freeArena", bound<free_arena>);
  add("arenaTensor", bound<arena_tensor>);
  add("openArenaScope", bound<open_arena_scope>);
  add("closeArenaScope", bound<close_arena_scope>);
  add("arenaHighWater", bound<arena_high_water>);
  add("upload", bound<upload>);
  add("download", bound<download>);
  add("copy", bound<copy>);
  add("fill", bound<fill>);
  add("beginCapture", bound<begin_capture>);
  add("endCapture", bound<end_capture>);
  add("replay", bound<replay>);
  add("timeReplays", bound<time_replays>);
  add("mark", bound<mark>);
  add("readMarks", bound<read_marks>);
  add("freeGraph", bound<free_graph>);
  add("graphNodes", bound<graph_nodes>);
  add("openFile", bound<open_file>);
  add("closeFile", bound<close_file>);
  add("uploadFile", bound<upload_file>);
}

}  // namespace mamba::addon
