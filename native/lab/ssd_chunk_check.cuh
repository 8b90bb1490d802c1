#pragma once
// The versions of ssd_chunk_scan.cu and their checks: named and drawn rows, cuts of a prompt at chunks, a capture.
#include <ctime>

#include "cuda/kernels.h"
#include "cuda/ssd_chunk_scan.h"
#include "lab/context.cuh"
#include "lab/ssd_chunk_reference.cuh"

namespace {

struct Version {
  const char* name;
  std::function<bool(const SsdChunkScanParams&, const cuda::Context&)> fits;
  std::function<void(const SsdChunkScanParams&, cuda::Context&)> run;
  bool dispatches() const { return std::string(name) == "dispatch"; }
  bool rounds(const SsdChunkScanParams& p) const {
    return dispatches() ? cuda::tiles_fit(p) : std::string(name) != "recurrence";  // what the walk takes, tiles take
  }
  int segments(const SsdChunkScanParams& p, const cuda::Context& context) const {
    if (!dispatches()) return std::string(name).find("3 segments") != std::string::npos ? 3 : 1;
    if (cuda::walk_fits(p, context)) return cuda::walk_segments(p, context);
    return cuda::tiles_fit(p) ? cuda::tiles_segments(p, context) : 1;
  }
};

// As on a GPU of another capability.
template <class Run>
void with_capability(int capability, cuda::Context& context, Run run) {
  const int before = std::exchange(context.capability, capability);
  run();
  context.capability = before;
}

std::vector<Version> versions() {
  const auto always = [](const SsdChunkScanParams&, const cuda::Context&) { return true; };
  const auto tiles = [](const SsdChunkScanParams& p, const cuda::Context&) { return cuda::tiles_fit(p); };
  const auto wide = [](const SsdChunkScanParams& p, const cuda::Context&) {
    return cuda::tiles_fit(p) && p.state_size > 128;
  };
  return {
      {"dispatch", always, cuda::run_ssd_chunk_scan},
      {"walk", cuda::walk_fits, [](const auto& p, auto& context) { cuda::run_scan_walk(p, 1, context); }},
      {"walk, 3 segments", cuda::walk_fits, [](const auto& p, auto& context) { cuda::run_scan_walk(p, 3, context); }},
      {"tiles", tiles, [](const auto& p, auto& context) { cuda::run_scan_tiles(p, 1, context); }},
      {"tiles, 3 segments", tiles, [](const auto& p, auto& context) { cuda::run_scan_tiles(p, 3, context); }},
      {"narrow tiles", wide,
       [](const auto& p, auto& context) {
         with_capability(86, context, [&] { cuda::run_scan_tiles(p, 1, context); });
       }},
      {"recurrence", always, cuda::run_scan_recurrence},
  };
}

class Gpu {
 public:
  Gpu() { LAB_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  cuda::Context context(cudaStream_t stream) const { return workspace_.on(stream); }
  cuda::Context context() const { return context(stream_); }
  void poison_workspace() { workspace_.scratch.poison(); }

 private:
  lab::Workspace workspace_;
  cudaStream_t stream_ = nullptr;
};

// --- check -----------------------------------------------------------------------------------------------------------

std::string describe(const Row& r) {
  std::string lengths;
  for (int l : r.lengths) lengths += (lengths.empty() ? "" : ",") + std::to_string(l);
  char text[400];
  std::snprintf(text, sizeof(text),
                "%s H%d P%d G%d N%d chunk %d [%s] %s dt %s %d state %s d%d bias%d sp%d [%g, %g] a %g wide%d inside%d "
                "pads %d %d %d shift %d padding %d dirty %d",
                r.name.c_str(), r.heads, r.head_dim, r.groups, r.state_size, r.chunk, lengths.c_str(), name_of(r.dtype),
                name_of(r.dt_dtype), static_cast<int>(r.dt), name_of(r.state_dtype), r.d, r.bias, r.softplus, r.dt_min,
                r.dt_max, r.a_scale, r.wide, r.inside, r.x_pad, r.out_pad, r.state_pad, r.shift, r.padding, r.dirty);
  return text;
}

Row random_row(lab::Random& random) {
  const auto one_of = [&](auto... values) {
    const std::common_type_t<decltype(values)...> all[] = {values...};
    return all[random.below(sizeof...(values))];
  };
  Row r;
  r.name = "random";
  r.heads = one_of(1, 2, 4, 5, 6, 8);
  r.groups = r.heads % 2 == 0 ? one_of(1, 2, r.heads) : one_of(1, r.heads);
  r.head_dim = one_of(32, 64, 64, 80, 96, 128, 1, 5, 17, 8, 24, 40);
  r.state_size = one_of(16, 32, 64, 96, 128, 128, 256, 1, 5, 48, 80, 112, 176, 240);
  r.chunk = one_of(1, 8, 24, 32, 64, 128, 256);
  r.lengths.clear();
  const int sequences = static_cast<int>(random.below(6)) + 1;
  for (int i = 0; i < sequences; ++i) {
    r.lengths.push_back(one_of(0, 1, 2, 31, 63, 64, 65, 128, 129, 200, static_cast<int>(random.below(300))));
  }
  r.dtype = one_of(DType::bf16, DType::bf16, DType::f16, DType::f32);
  r.dt_dtype = one_of(DType::f32, r.dtype);
  r.state_dtype = one_of(DType::f32, DType::bf16, DType::f16);
  r.d = random.below(4) != 0, r.bias = random.below(4) != 0, r.softplus = random.below(4) != 0;
  if (random.below(6) == 0) r.dt_min = 0.03f;
  if (random.below(6) == 0) r.dt_max = 0.05f;
  if (random.below(5) == 0) {
    r.dt = one_of(Dt::zero, Dt::threshold, Dt::huge, Dt::mixed);
    if (r.dt == Dt::threshold || r.dt == Dt::mixed) r.bias = false;
    if (r.dt != Dt::zero) r.softplus = true;
    if (r.dtype == DType::f16 && r.dt != Dt::zero) r.dt = Dt::normal;  // out would overflow
  }
  if (random.below(8) == 0) r.a_scale = one_of(1e4, 1e-6);
  r.wide = random.below(2), r.inside = random.below(2);
  if (random.below(3) == 0) {
    r.x_pad = one_of(0, 8, 24, 7), r.out_pad = one_of(0, 8, 9, 5), r.state_pad = one_of(0, 40, 3, 8);
    r.shift = one_of(0, 1, 8);
  }
  if (random.below(4) == 0) r.padding = static_cast<int>(random.below(sequences));
  if (random.below(4) == 0) r.dirty = static_cast<int>(random.below(sequences));
  return r;
}

std::vector<Row> named_rows() {
  std::vector<Row> rows;
  for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
    const auto add = [&](Row r) {
      r.dtype = dtype;
      rows.push_back(r);
    };
    add({.name = "base"});
    add({.name = "edges",
         .heads = 16,
         .head_dim = 64,
         .groups = 2,
         .state_size = 128,
         .chunk = 256,
         .lengths = {0, 1, 63, 0, 64, 65, 257, 2, 130},
         .inside = true});
    add({.name = "130m", .heads = 24, .head_dim = 64, .state_size = 128, .chunk = 256, .lengths = {900, 0, 31}});
    add({.name = "Nemotron Nano",
         .heads = 16,
         .head_dim = 80,
         .groups = 8,
         .state_size = 128,
         .chunk = 128,
         .lengths = {100, 0, 257, 1, 64},
         .wide = true});
    add({.name = "Granite 350m", .heads = 8, .head_dim = 32, .state_size = 128, .chunk = 256, .lengths = {65, 300}});
    add({.name = "Zamba2",
         .heads = 8,
         .head_dim = 64,
         .groups = 2,
         .state_size = 64,
         .chunk = 256,
         .lengths = {65, 300, 1, 0, 128},
         .wide = true});
    add({.name = "Falcon-H1",
         .heads = 4,
         .head_dim = 128,
         .state_size = 256,
         .chunk = 256,
         .lengths = {65, 330, 1},
         .wide = true});
    add({.name = "unaligned",
         .head_dim = 64,
         .state_size = 128,
         .wide = true,
         .x_pad = 7,
         .out_pad = 5,
         .state_pad = 3,
         .shift = 1});
    add({.name = "empty", .lengths = {0, 0}, .all_initial = 1});
    add({.name = "only padding", .head_dim = 64, .lengths = {70}, .padding = 0});
    add({.name = "large slots", .head_dim = 64, .state_size = 128, .lengths = {65, 3}, .dirty = 0});
  }
  rows.push_back({.name = "many", .heads = 2, .head_dim = 16, .state_size = 16, .lengths = std::vector<int>(700, 3)});
  rows.push_back({.name = "state_size 300", .head_dim = 16, .state_size = 300, .lengths = {40, 3}});
  rows.push_back(
      {.name = "state_size 1024", .head_dim = 5, .state_size = 1024, .lengths = {40, 3}, .dtype = DType::f32});
  return rows;
}

// Small enough for racecheck: ragged steps, several items a block, all three types of states.
std::vector<Row> quick_rows() {
  return {{.name = "quick bf16",
           .heads = 2,
           .head_dim = 64,
           .state_size = 128,
           .chunk = 64,
           .lengths = {130, 65, 64, 0, 70},
           .state_dtype = DType::bf16,
           .all_initial = 1},
          {.name = "quick f16",
           .heads = 2,
           .head_dim = 80,
           .groups = 2,
           .state_size = 128,
           .chunk = 96,
           .lengths = {5, 130, 65},
           .dtype = DType::f16,
           .state_dtype = DType::f16,
           .padding = 0},
          {.name = "quick n 64",
           .heads = 2,
           .head_dim = 64,
           .groups = 2,
           .state_size = 64,
           .chunk = 64,
           .lengths = {200, 65}}};
}

// One sequence whole and cut at a chunk: the same bits, as long as no run is cut into segments (a shorter one is cut
// elsewhere, and its sums with it); then within the tolerance. Counts what was compared bit for bit.
bool check_cut(Gpu& device, const Row& row, uint64_t seed, const Version& version, int& by_bits) {
  Problem problem(row, seed);
  cuda::Context context = device.context();
  if (!version.fits(problem.p, context)) return true;
  bool whole = version.segments(problem.p, context) == 1;
  problem.reset();
  version.run(problem.p, context);
  LAB_CHECK(cudaDeviceSynchronize());
  const Host out = problem.out_->download(row.dtype), state = problem.state_->download(row.state_dtype);
  problem.reset();
  const int cut = row.chunk * static_cast<int>(1 + seed % static_cast<uint64_t>(row.lengths[0] / row.chunk));
  for (const auto [begin, end] : {std::pair{0, cut}, {cut, row.lengths[0]}}) {
    if (begin == end) continue;
    std::vector<int32_t> chunks = {0};
    while (chunks.back() < end - begin) chunks.push_back(std::min(chunks.back() + row.chunk, end - begin));
    const Buffer starts(std::vector<int32_t>{0, end - begin}), initial(std::vector<int32_t>{1}), cu(chunks),
        sequence(std::vector<int32_t>(chunks.size() - 1, 0)),
        last(std::vector<int32_t>{static_cast<int32_t>(chunks.size()) - 2});
    SsdChunkScanParams p = problem.p;
    const auto skip = [&](const void* from, int64_t stride, DType t) {
      return static_cast<const uint8_t*>(from) + begin * stride * static_cast<int64_t>(size_of(t));
    };
    p.tokens = end - begin, p.chunks = static_cast<int64_t>(chunks.size()) - 1;
    p.x = skip(p.x, p.x_stride, p.dtype), p.b = skip(p.b, p.b_stride, p.dtype), p.c = skip(p.c, p.c_stride, p.dtype);
    p.dt = skip(p.dt, p.dt_stride, p.dt_dtype);
    p.out = const_cast<uint8_t*>(skip(p.out, p.out_stride, p.dtype));
    p.query_start_loc = starts.as<int32_t>(), p.has_initial_state = initial.as<int32_t>();
    p.cu_chunk_seqlens = cu.as<int32_t>(), p.chunk_seq = sequence.as<int32_t>(), p.last_chunk = last.as<int32_t>();
    whole = whole && version.segments(p, context) == 1;
    version.run(p, context);
    LAB_CHECK(cudaDeviceSynchronize());
  }
  by_bits += whole;
  const bool same = !whole ? compare(problem, reference(problem), version.rounds(problem.p)).good()
                           : out.bytes == problem.out_->download(row.dtype).bytes &&
                                 state.bytes == problem.state_->download(row.state_dtype).bytes;
  if (!same) std::printf("cut at %d DIFFERS with %s: %s\n", cut, version.name, describe(row).c_str());
  return same;
}

// Addresses without memory: recorded, never run.
bool check_capture(Gpu& device) {
  cuda::Context context = device.context();
  Row row{.head_dim = 64, .state_size = 128, .chunk = 256, .lengths = {8192}};
  Problem problem(row, 1);
  SsdChunkScanParams p = problem.p;
  const auto fake = [](uintptr_t i) { return reinterpret_cast<void*>(4096 + (i << 28)); };
  p.x = fake(0), p.b = fake(1), p.c = fake(2), p.dt = fake(3), p.out = fake(4), p.state = fake(5);
  cudaGraph_t graph;
  LAB_CHECK(cudaStreamBeginCapture(context.stream, cudaStreamCaptureModeThreadLocal));
  for (const Version& version : versions()) {
    if (version.fits(p, context)) version.run(p, context);
  }
  LAB_CHECK(cudaStreamEndCapture(context.stream, &graph));
  LAB_CHECK(cudaGraphDestroy(graph));
  std::printf("capture over addresses without memory: ok\n");
  return true;
}

bool check(Gpu& device, const lab::Options& options) {
  lab::Random random{lab::mix(static_cast<uint64_t>(std::time(nullptr)))};
  std::vector<Row> rows = options.quick ? quick_rows() : named_rows();
  for (int i = 0; i < (options.quick ? 0 : 100); ++i) rows.push_back(random_row(random));
  bool good = check_capture(device);
  struct Worst {
    double out = 0, plain = 0, state = 0, relative = 0;
    int count = 0, beyond = 0;
  };
  const std::vector<Version> all = versions();
  std::vector<std::array<Worst, 3>> worst(all.size());
  for (Row& row : rows) {
    // The rounding of S is relative to |S| |C|: states of n > 32 are scaled, so that y is as large as with n = 32.
    if (row.dtype != DType::f32) {
      row.state_scale = std::sqrt(32.0 / std::max(32, row.state_size)) * (row.dtype == DType::f16 ? 0.5 : 1);
    }
    Problem problem(row, static_cast<uint64_t>(random.below(1 << 30)));
    const Reference r = reference(problem);
    const bool few = options.quick || random.below(2) != 0;  // blocks, so that each walks many items
    for (size_t v = 0; v < all.size(); ++v) {
      cuda::Context context = device.context();
      if (few) context.multiprocessors = 3;
      if (!all[v].fits(problem.p, context) || (v > 0 && problem.tokens == 0)) continue;
      problem.reset();
      device.poison_workspace();
      LAB_CHECK(cudaDeviceSynchronize());
      all[v].run(problem.p, context);
      LAB_CHECK(cudaDeviceSynchronize());
      const Result result = compare(problem, r, all[v].rounds(problem.p));
      Worst& w = worst[v][static_cast<int>(row.dtype)];
      w.plain = std::max(w.plain, result.plain.worst), w.beyond += result.plain.bad != 0;
      w.out = std::max(w.out, result.out.worst), w.state = std::max(w.state, result.state.worst), ++w.count;
      w.relative = std::max(w.relative, result.out.relative());
      if (result.good()) continue;
      good = false;
      std::printf("WRONG %-18s out %.2f (%lld) state %.2f (%lld) %s: %s\n", all[v].name, result.out.worst,
                  static_cast<long long>(result.out.bad), result.state.worst, static_cast<long long>(result.state.bad),
                  result.kept ? "others kept" : "OTHERS CHANGED", (describe(row) + "; " + result.first).c_str());
      std::fflush(stdout);
    }
  }
  for (size_t v = 0; v < all.size(); ++v) {
    for (int t = 0; t < 3; ++t) {
      const Worst& w = worst[v][t];
      if (w.count == 0) continue;
      std::printf(
          "%-18s %-4s %4d rows: worst of the tolerance, out %.2f, state %.2f; relative error of out %.1e; without the "
          "allowance for 16-bit operands %.2f, %d rows beyond\n",
          all[v].name, name_of(static_cast<DType>(t)), w.count, w.out, w.state, w.relative, w.plain, w.beyond);
    }
  }
  int cuts = 0, by_bits = 0;
  if (options.quick) return good;
  for (const Version& version : all) {
    if (std::string(version.name).find("segments") != std::string::npos) continue;
    for (const DType dtype : {DType::bf16, DType::f16, DType::f32}) {
      for (const int states : {32, 128, 256}) {
        Row row{.name = "cut", .head_dim = 64, .state_size = states, .lengths = {101}, .dtype = dtype};
        for (const int chunk : {1, 24, 32, 64}) {
          row.chunk = chunk;
          good = check_cut(device, row, static_cast<uint64_t>(random.below(1000)), version, by_bits) && good;
          ++cuts;
        }
      }
    }
  }
  std::printf("%d cuts at chunks, %d of them compared bit for bit\n", cuts, by_bits);
  return good;
}

}  // namespace
