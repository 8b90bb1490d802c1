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

  // The values of all matrices: a typed array at args i or, with offsets at i + 1, as many equal parts, each in the
  // file at args i with its number at its offset.
  std::shared_ptr<PartedSource::Parts> parts(const Arguments& args, size_t i, size_t files) const {
    const auto [source, bytes] = args.bytes(i);
    const auto [offsets, offset_bytes] = args.bytes(i + 1);
    if (files == 0 ? bytes != source_bytes() : bytes != files * sizeof(Handle) || source_bytes() % files != 0) {
      throw Error(ErrorCode::Shape, op,
                  "the source has " + std::to_string(bytes) + " bytes and " + std::to_string(files) +
                      " offsets, expected " + std::to_string(source_bytes()) +
                      " bytes, or a file for each offset and equal parts");
    }
    auto parts = std::make_shared<PartedSource::Parts>();
    if (files == 0) parts->push_back(std::make_shared<MemorySource>(source));
    for (size_t part = 0; part < files; ++part) {
      Handle file;
      double offset;
      std::memcpy(&file, source + part * sizeof file, sizeof file);
      std::memcpy(&offset, offsets + part * sizeof offset, sizeof offset);
      if (!(offset >= 0 && offset < 0x1p53)) throw Error(ErrorCode::Argument, op, "an offset is out of range");
      parts->push_back(args.state.files.get(file)->part(static_cast<size_t>(offset), source_bytes() / files));
    }
    return parts;
  }

  // With the source at args i, see parts().
  Napi::Value run(const Arguments& args, size_t i) const {
    check();
    const size_t files = args.bytes(i + 1).second / sizeof(double);
    const auto source = parts(args, i, files);
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
      const auto matrix = std::make_shared<PartedSource>(source, source_bytes() / source->size(), e * matrix_bytes());
      device.backend->pack_linear_weight(
          *device.stream,
          {n, k, matrix, static_cast<char*>(entry.tensor.data) + e * packed_bytes, source_dtype, dtype});
    }
    if (files == 0) device.stream->synchronize();  // the array belongs to the caller again when this returns
    return args.number(args.state.tensors.insert(std::move(entry)));
  }
};

// (device, dtype, n, k, source dtype, source, offsets): a weight in linear's order.
Napi::Value pack_linear_weight(const Arguments& args) {
  return Packing{"pack_linear_weight", args.device(0), args.dtype(1), args.dtype(4), /*stacked=*/false, 1,
                 args.integer(2),      args.integer(3)}
      .run(args, 5);
}

// (device, dtype, experts, n, k, source dtype, source, offsets): a weight for grouped_linear.
Napi::Value pack_expert_weights(const Arguments& args) {
  return Packing{"pack_expert_weights", args.device(0),  args.dtype(1),   args.dtype(5),
                 /*stacked=*/true,      args.integer(2), args.integer(3), args.integer(4)}
      .run(args, 6);
}

}  // namespace

void register_packing(Napi::Env env, Napi::Object exports) {
  exports.Set("packLinearWeight", Napi::Function::New(env, bound<pack_linear_weight>, "packLinearWeight"));
  exports.Set("packExpertWeights", Napi::Function::New(env, bound<pack_expert_weights>, "packExpertWeights"));
}

}  // namespace mamba::addon
