// Captured sequences of launches, and the times of a stream that benchmarks read.
#include <utility>

#include "addon/arguments.h"
#include "addon/exports.h"
#include "addon/marks.h"
#include "addon/timed_replays.h"

namespace mamba::addon {
namespace {

Napi::Value begin_capture(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  device.stream->begin_capture();
  device.captured.clear();
  return args.undefined();
}

Napi::Value end_capture(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  std::shared_ptr<Graph> graph = device.stream->end_capture();
  return args.number(args.state.graphs.insert({args.handle(0), std::move(graph), std::exchange(device.captured, {})}));
}

// The graph behind argument 1, if it may run on the device of argument 0.
const std::shared_ptr<Graph>& runnable(const Arguments& args) {
  const GraphEntry& graph = args.state.graphs.get(args.handle(1));
  if (graph.device != args.handle(0))
    throw Error(ErrorCode::Device, "replay", "the graph was captured on another device");
  for (const auto& memory : graph.memory) {
    if (memory->measuring()) throw Error(ErrorCode::Capture, "replay", "the graph was captured over a measuring arena");
  }
  return graph.graph;
}

// (device, graph)
Napi::Value replay(const Arguments& args) {
  args.device(0).stream->replay(runnable(args));
  return args.undefined();
}

Napi::Value free_graph(const Arguments& args) {
  args.state.graphs.erase(args.handle(0));
  return args.undefined();
}

Napi::Value graph_nodes(const Arguments& args) {
  return args.number(static_cast<double>(args.state.graphs.get(args.handle(0)).graph->nodes()));
}

// (device, graph, scratch or 0, Float64Array): microseconds of as many replays as the array is long. Each comes after
// all of `scratch` has been written, which leaves nothing else in the device's caches.
Napi::Value time_replays(const Arguments& args) {
  DeviceEntry& device = args.device(0);
  const Handle scratch = args.handle(2);
  const Tensor* flushed = scratch == 0 ? nullptr : &args.state.use(scratch, device);
  auto landing = std::make_unique<Landing>(args.doubles(3));
  auto event = TimedReplays::launch(*device.stream, runnable(args), flushed, landing->doubles(), landing->count());
  return args.state.completion->promise(args.env(), std::move(event), std::move(landing));
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
  auto landing = std::make_unique<Landing>(args.doubles(1));
  if (landing->count() != device.marks.size() || device.marks.empty()) {
    args.refuse(1, "expected room for " + std::to_string(device.marks.size()) + " marks, at least one, got " +
                       std::to_string(landing->count()));
  }
  auto marks = std::make_shared<Marks>(std::exchange(device.marks, {}), landing->doubles());
  return args.state.completion->promise(args.env(), std::move(marks), std::move(landing));
}

}  // namespace

void export_graphs(Napi::Object exports) {
  add<begin_capture>(exports, "beginCapture");
  add<end_capture>(exports, "endCapture");
  add<replay>(exports, "replay");
  add<free_graph>(exports, "freeGraph");
  add<graph_nodes>(exports, "graphNodes");
  add<time_replays>(exports, "timeReplays");
  add<mark>(exports, "mark");
  add<read_marks>(exports, "readMarks");
}

}  // namespace mamba::addon
