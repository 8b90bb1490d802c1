// Weights in the order that linear and grouped_linear read.
#include <algorithm>
#include <array>
#include <cstring>

#include "addon/arguments.h"
#include "addon/exports.h"
#include "core/codes.h"

namespace mamba::addon {
namespace {

// The matrices of a packed weight: [n, k], or [experts, n, k] if `stacked`.
struct Packing {
  const char* op;
  DeviceEntry& device;
  DType dtype, source_dtype;
  int64_t group;  // of codes
  bool quantize_x;
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
    const auto weight = [](DType type) { return is_float(type) || is_code(type); };
    const bool requantized = is_code(source_dtype) && is_code(dtype) && source_dtype != dtype;
    if (!weight(dtype) || !weight(source_dtype) || requantized || (is_float(source_dtype) && dtype == DType::e2m1)) {
      throw Error(ErrorCode::Dtype, op, std::string(name_of(source_dtype)) + " to " + name_of(dtype));
    }
    // Halves of a chunk have sums of their own in the CPU's kernels of i8 and e2m1.
    const int64_t least = dtype == DType::e2m1 || dtype == DType::i8 ? 16 : 32;
    if (is_code(dtype) && (group < 1 || (group < k && group % least != 0))) {
      throw Error(ErrorCode::Argument, op,
                  "group is " + std::to_string(group) + ", expected all of k = " + std::to_string(k) +
                      " or a multiple of " + std::to_string(least) + " for " + name_of(dtype));
    }
    if (quantize_x && dtype != DType::e4m3) {
      throw Error(ErrorCode::Argument, op,
                  std::string("quantizeX of a weight of ") + name_of(dtype) + ", expected one of e4m3");
    }
    if (is_code(source_dtype) && group < 1) throw Error(ErrorCode::Argument, op, "group is " + std::to_string(group));
  }
  size_t matrix_bytes() const { return static_cast<size_t>(n * code_bytes(source_dtype, k)); }
  size_t source_bytes() const { return matrix_bytes() * static_cast<size_t>(experts); }

  // The values of all matrices: a typed array at args i or, with pairs at i + 1, as many equal parts, each in the file
  // at args i with its number. A pair is an offset, and how many bytes lie between the beginnings of rows; 0: a row's
  // own.
  std::shared_ptr<PartedSource::Parts> parts(const Arguments& args, size_t i, size_t files) const {
    const auto [source, bytes] = args.bytes(i);
    const auto [places, place_bytes] = args.bytes(i + 1);
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
      std::array<double, 2> place;
      std::memcpy(&file, source + part * sizeof file, sizeof file);
      std::memcpy(&place, places + part * sizeof place, sizeof place);
      parts->push_back(this->part(*args.state.files.get(file), place[0], place[1], source_bytes() / files));
    }
    return parts;
  }

  std::shared_ptr<const Source> part(const File& file, double offset, double stride, size_t bytes) const {
    const auto row_bytes = static_cast<size_t>(code_bytes(source_dtype, k));
    if (!(offset >= 0 && offset < 0x1p53)) throw Error(ErrorCode::Argument, op, "an offset is out of range");
    if (!(stride >= 0 && stride < 0x1p53)) throw Error(ErrorCode::Argument, op, "a stride is out of range");
    const auto first = static_cast<size_t>(offset), apart = static_cast<size_t>(stride);
    if (apart == 0) return file.part(first, bytes);
    if (apart < row_bytes || bytes % row_bytes != 0) {
      throw Error(ErrorCode::Argument, op,
                  "a part of " + std::to_string(bytes) + " bytes has a row every " + std::to_string(apart) +
                      " bytes, expected whole rows of " + std::to_string(row_bytes) + " bytes that do not overlap");
    }
    return file.rows(first, row_bytes, apart, bytes / row_bytes);
  }

  // The scales (or offsets) of codes as source, in a typed array at args i; null for an empty one.
  std::shared_ptr<const PartedSource::Parts> scales(const Arguments& args, size_t i, bool expected) const {
    const auto [values, bytes] = args.bytes(i);
    const size_t size = expected ? static_cast<size_t>(experts * n * groups_of(k, group)) * sizeof(float) : 0;
    if (bytes != size) {
      throw Error(ErrorCode::Shape, op,
                  "scales or offsets have " + std::to_string(bytes) + " bytes, expected " + std::to_string(size));
    }
    if (!expected) return nullptr;
    return std::make_shared<PartedSource::Parts>(1, std::make_shared<MemorySource>(values));
  }

  // Rows, in blocks from the first on, whose scales are the same: 128, or 1 where there are others.
  int64_t group_rows(const Arguments& args, size_t i) const {
    constexpr int64_t kBlock = 128;
    const auto row_bytes = static_cast<size_t>(groups_of(k, group)) * sizeof(float);
    const char* scales = args.bytes(i).first;
    for (int64_t row = 0; row < experts * n; ++row) {
      const int64_t first = row - row % n % kBlock;
      if (std::memcmp(scales + static_cast<size_t>(row) * row_bytes, scales + static_cast<size_t>(first) * row_bytes,
                      row_bytes) != 0)
        return 1;
    }
    return kBlock;
  }

  // With the source at args i, see parts(), and behind it scales and offsets.
  Napi::Value run(const Arguments& args, size_t i) const {
    check();
    // A recording would keep the caller's array, and the weight's memory is nobody's but its own.
    if (device.stream->capturing()) throw Error(ErrorCode::Capture, op, "is not allowed while capturing");
    const size_t files = args.bytes(i + 1).second / (2 * sizeof(double));
    const auto source = parts(args, i, files);
    const auto scale = scales(args, i + 2, is_code(source_dtype));
    const auto offset = scales(args, i + 3, source_dtype == DType::u4);
    const size_t packed_bytes = device.backend->linear_weight_bytes(n, k, dtype, group);
    TensorEntry entry;
    entry.tensor.device = device.backend.get();
    entry.tensor.dtype = dtype;
    entry.tensor.layout = Layout::packed;
    entry.tensor.group = is_code(dtype) ? std::min(group, k) : 0;
    if (quantize_x && scale) entry.tensor.group_rows = group_rows(args, i + 2);
    entry.tensor.quantize_x = quantize_x;
    entry.tensor.rank = stacked ? 3 : 2;
    entry.tensor.sizes = stacked ? std::array{experts, n, k, int64_t{0}} : std::array{n, k, int64_t{0}, int64_t{0}};
    entry.tensor.strides =
        stacked ? std::array{n * k, k, int64_t{1}, int64_t{0}} : std::array{k, int64_t{1}, int64_t{0}, int64_t{0}};
    entry.memory =
        std::make_shared<Memory>(*device.backend, *device.stream, packed_bytes * static_cast<size_t>(experts));
    entry.tensor.data = entry.memory->data();
    for (size_t e = 0; e < static_cast<size_t>(experts); ++e) {
      const auto matrix = std::make_shared<PartedSource>(source, source_bytes() / source->size(), e * matrix_bytes());
      PackLinearWeightParams params = {
          n,     k,     matrix,    static_cast<char*>(entry.tensor.data) + e * packed_bytes, source_dtype,
          dtype, group, quantize_x};
      const size_t bytes = static_cast<size_t>(n * groups_of(k, std::max(group, int64_t{1}))) * sizeof(float);
      const size_t all = bytes * static_cast<size_t>(experts);
      if (scale) params.scales = std::make_shared<PartedSource>(scale, all, e * bytes);
      if (offset) params.offsets = std::make_shared<PartedSource>(offset, all, e * bytes);
      device.backend->pack_linear_weight(*device.stream, params);
    }
    if (files == 0 || scale) device.stream->synchronize();  // the array belongs to the caller again when this returns
    return args.number(args.state.tensors.insert(std::move(entry)));
  }
};

// (device, dtype, group, whether x may be quantized, n, k, source dtype, source, places of parts, scales, offsets of
// codes): a weight in linear's order.
Napi::Value pack_linear_weight(const Arguments& args) {
  return Packing{"pack_linear_weight", args.device(0),
                 args.dtype(1),        args.dtype(6),
                 args.integer(2),      args.flag(3),
                 /*stacked=*/false,    1,
                 args.integer(4),      args.integer(5)}
      .run(args, 7);
}

// (device, dtype, group, whether x may be quantized, experts, n, k, source dtype, source, places of parts, scales,
// offsets of codes): a weight for grouped_linear.
Napi::Value pack_expert_weights(const Arguments& args) {
  return Packing{"pack_expert_weights", args.device(0),  args.dtype(1),   args.dtype(7),  args.integer(2), args.flag(3),
                 /*stacked=*/true,      args.integer(4), args.integer(5), args.integer(6)}
      .run(args, 8);
}

}  // namespace

void export_packing(Napi::Object exports) {
  add<pack_linear_weight>(exports, "packLinearWeight");
  add<pack_expert_weights>(exports, "packExpertWeights");
}

}  // namespace mamba::addon
