#include "addon/packing.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "addon/arguments.h"

namespace mamba::addon {
namespace {

// The matrices of a packed weight: [n, k], or [experts, n, k] if `stacked`.
struct Packing {
  const char* op;
  DeviceEntry& device;
  DType dtype, source_dtype;
  bool stacked;
  int64_t experts, n, k;

  void check() const {
    constexpr int64_t kMost = int64_t{1} << 31;
    const auto fits = [](int64_t size) { return size >= 1 && size <= kMost; };
    if (!fits(experts) || !fits(n) || !fits(k) || n * k > (int64_t{1} << 46) / experts) {
      throw Error(
          ErrorCode::Shape, op,
          "[" + (stacked ? std::to_string(experts) + ", " : "") + std::to_string(n) + ", " + std::to_string(k) + "]");
    }
    if (!is_float(dtype) || !is_float(source_dtype)) {
      throw Error(ErrorCode::Dtype, op, std::string(name_of(source_dtype)) + " to " + name_of(dtype));
    }
  }
  size_t matrix_bytes() const { return static_cast<size_t>(n * k) * size_of(source_dtype); }
  size_t source_bytes() const { return matrix_bytes() * static_cast<size_t>(experts); }

  // source_of(expert) is its matrix. `borrowed`: it belongs to the caller again when this returns.
  template <class SourceOf>
  Napi::Value run(const Arguments& args, bool borrowed, SourceOf&& source_of) const {
    const size_t packed_bytes = device.backend->linear_weight_bytes(n, k, dtype);
    TensorEntry entry;
    entry.tensor.device = device.backend.get();
    entry.tensor.dtype = dtype;
    entry.tensor.layout = Layout::packed;
    entry.tensor.rank = stacked ? 3 : 2;
    entry.tensor.sizes = stacked ? std::array{experts, n, k, int64_t{0}} : std::array{n, k, int64_t{0}, int64_t{0}};
    entry.tensor.strides =
        stacked ? std::array{n * k, k, int64_t{1}, int64_t{0}} : std::array{k, int64_t{1}, int64_t{0}, int64_t{0}};
    entry.memory =
        std::make_shared<Memory>(*device.backend, *device.stream, packed_bytes * static_cast<size_t>(experts));
    entry.tensor.data = entry.memory->data();
    for (size_t e = 0; e < static_cast<size_t>(experts); ++e) {
      device.backend->pack_linear_weight(
          *device.stream,
          {n, k, source_of(e), static_cast<char*>(entry.tensor.data) + e * packed_bytes, source_dtype, dtype});
    }
    if (borrowed) device.stream->synchronize();
    return args.number(args.state.tensors.insert(std::move(entry)));
  }
};

// (device, dtype, n, k, source dtype, source, offset): a weight in linear's order from a file or, with offset -1, from
// a typed array, which is copied.
Napi::Value pack_linear_weight(const Arguments& args) {
  const Packing packing = {"pack_linear_weight", args.device(0), args.dtype(1), args.dtype(4), /*stacked=*/false, 1,
                           args.integer(2),      args.integer(3)};
  packing.check();
  const int64_t offset = args.integer(6);
  if (offset >= 0) {
    const auto file = args.state.files.get(args.handle(5));
    return packing.run(args, /*borrowed=*/false,
                       [&](size_t) { return file->part(static_cast<size_t>(offset), packing.source_bytes()); });
  }
  const auto [data, bytes] = args.bytes(5);
  if (bytes != packing.source_bytes()) {
    throw Error(
        ErrorCode::Shape, packing.op,
        "the source has " + std::to_string(bytes) + " bytes, expected " + std::to_string(packing.source_bytes()));
  }
  const auto source = std::make_shared<MemorySource>(data);
  return packing.run(args, /*borrowed=*/true, [&](size_t) { return source; });
}

// (device, dtype, experts, n, k, source dtype, source, offsets): a weight for grouped_linear. The source is the
// matrices [experts, n, k] in a typed array or, with offsets, that many equal parts of them, each in a file at its
// offset.
Napi::Value pack_expert_weights(const Arguments& args) {
  const Packing packing = {"pack_expert_weights", args.device(0),  args.dtype(1),   args.dtype(5),
                           /*stacked=*/true,      args.integer(2), args.integer(3), args.integer(4)};
  packing.check();
  const size_t source_bytes = packing.source_bytes();
  const auto [source, bytes] = args.bytes(6);
  const auto [offsets, offset_bytes] = args.bytes(7);
  const size_t files = offset_bytes / sizeof(double), count = std::max(files, size_t{1});
  if (files == 0 ? bytes != source_bytes : bytes != files * sizeof(Handle) || source_bytes % files != 0) {
    throw Error(ErrorCode::Shape, packing.op,
                "the source has " + std::to_string(bytes) + " bytes and " + std::to_string(files) +
                    " offsets, expected " + std::to_string(source_bytes) +
                    " bytes, or a file for each offset and equal parts");
  }
  auto parts = std::make_shared<PartedSource::Parts>();
  for (size_t i = 0; i < files; ++i) {
    Handle file;
    double offset;
    std::memcpy(&file, source + i * sizeof file, sizeof file);
    std::memcpy(&offset, offsets + i * sizeof offset, sizeof offset);
    if (!(offset >= 0 && offset < 0x1p53)) throw Error(ErrorCode::Argument, packing.op, "an offset is out of range");
    parts->push_back(args.state.files.get(file)->part(static_cast<size_t>(offset), source_bytes / files));
  }
  if (files == 0) parts->push_back(std::make_shared<MemorySource>(source));
  return packing.run(args, /*borrowed=*/files == 0, [&](size_t e) {
    return std::make_shared<PartedSource>(parts, source_bytes / count, e * packing.matrix_bytes());
  });
}

}  // namespace

void register_packing(Napi::Env env, Napi::Object exports) {
  exports.Set("packLinearWeight", Napi::Function::New(env, bound<pack_linear_weight>, "packLinearWeight"));
  exports.Set("packExpertWeights", Napi::Function::New(env, bound<pack_expert_weights>, "packExpertWeights"));
}

}  // namespace mamba::addon
