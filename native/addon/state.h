#pragma once
// What one Node environment (main thread or worker) owns: its handle tables. Nothing here is per process.
#include <memory>
#include <vector>

#include "addon/completion.h"
#include "core/arena.h"
#include "core/file.h"
#include "core/handles.h"
#include "core/memory.h"
#include "ops/backend.h"

namespace mamba::addon {

// A device with its stream of work, and one of transfers beside it.
struct DeviceEntry {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Stream> transfers;  // null until transfer_stream() makes it
  // Memory that the running capture has touched: the graph keeps it alive.
  std::vector<std::shared_ptr<Memory>> captured;
  // Not read yet.
  std::vector<std::shared_ptr<Event>> marks;

  // Between the device and its pinned memory.
  Stream& transfer_stream();
};

struct TensorEntry {
  Tensor tensor;
  std::shared_ptr<Memory> memory;
  Handle arena = 0;  // the arena it dies with, or 0
};

struct ArenaEntry {
  Handle device;
  std::unique_ptr<Arena> arena;
};

struct GraphEntry {
  Handle device;
  std::shared_ptr<Graph> graph;
  std::vector<std::shared_ptr<Memory>> memory;
};

struct State {
  // Order matters: members die in reverse, so graphs and tensors go before the devices they live on.
  std::unique_ptr<Completion> completion;
  HandleTable<std::unique_ptr<DeviceEntry>> devices{HandleKind::device};
  HandleTable<std::shared_ptr<File>> files{HandleKind::file};
  HandleTable<TensorEntry> tensors{HandleKind::tensor};
  HandleTable<ArenaEntry> arenas{HandleKind::arena};
  HandleTable<GraphEntry> graphs{HandleKind::graph};
  // Makes what is thrown and rejected with (see guard.h).
  Napi::FunctionReference error_factory;

  DeviceEntry& device(Handle handle) { return *devices.get(handle); }

  // The tensor behind a handle, for an op on `device`: a capture notes its memory; measuring memory is refused outside
  // one.
  const Tensor& use(Handle handle, DeviceEntry& device);
};

State& state_of(Napi::Env env);

}  // namespace mamba::addon
