// Copies of tensors: from and to typed arrays, from files, within the device, and to its pinned memory.
#include <utility>

#include "addon/arguments.h"
#include "addon/exports.h"

namespace mamba::addon {
namespace {

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

// The place in tensor 1 of as many bytes: all of it or, where argument 3 is not -1, a part from that element on.
char* place_of(const Arguments& args, size_t bytes) {
  constexpr int64_t kAll = -1;
  const int64_t at = args.integer(3);
  if (at == kAll) return static_cast<char*>(transferable(args, 1, bytes).data);
  const Tensor& t = contiguous(args, 1);
  const size_t begin = static_cast<size_t>(args.size(3)) * size_of(t.dtype);
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

// The same arguments.
Napi::Value download(const Arguments& args) {
  auto landing = std::make_unique<Landing>(args.array(2));
  Stream& stream = *args.device(0).stream;
  stream.download(landing->data(), place_of(args, landing->size()), landing->size());
  return args.state.completion->promise(args.env(), stream.record(), std::move(landing));
}

// (device, target, source)
Napi::Value copy(const Arguments& args) {
  const Tensor& source = contiguous(args, 2);
  const Tensor& target = transferable(args, 1, source.bytes());
  args.device(0).stream->copy(target.data, source.data, source.bytes());
  return args.undefined();
}

// (device, tensor, byte)
Napi::Value fill(const Arguments& args) {
  constexpr int64_t kMaxByte = 255;
  const Tensor& t = contiguous(args, 1);
  const int64_t byte = args.size(2);
  if (byte > kMaxByte) args.refuse(2, "expected a byte, got " + std::to_string(byte));
  args.device(0).stream->fill(t.data, static_cast<int>(byte), t.bytes());
  return args.undefined();
}

Napi::Value open_file(const Arguments& args) { return args.number(args.state.files.insert(File::open(args.text(0)))); }

// What is launched keeps the file open until it has read it.
Napi::Value close_file(const Arguments& args) {
  args.state.files.erase(args.handle(0));
  return args.undefined();
}

// (device, tensor, file, offset): the tensor's bytes from the file.
Napi::Value upload_file(const Arguments& args) {
  const Tensor& t = contiguous(args, 1);
  const auto source = args.state.files.get(args.handle(2))->part(static_cast<size_t>(args.size(3)), t.bytes());
  args.device(0).stream->upload_from(t.data, source, t.bytes());
  return args.undefined();
}

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
  device.transfer_stream().follow(*device.stream);
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
  args.device(0).transfer_stream().transfer(target, source, bytes);
  return args.undefined();
}

Napi::Value transferred(const Arguments& args) {
  return args.state.completion->promise(args.env(), args.device(0).transfer_stream().record(), nullptr,
                                        Completion::transfers);
}

}  // namespace

void export_transfers(Napi::Object exports) {
  add<upload>(exports, "upload");
  add<download>(exports, "download");
  add<copy>(exports, "copy");
  add<fill>(exports, "fill");
  add<open_file>(exports, "openFile");
  add<close_file>(exports, "closeFile");
  add<upload_file>(exports, "uploadFile");
  add<order_transfers>(exports, "orderTransfers");
  add<transfer_row>(exports, "transferRow");
  add<transferred>(exports, "transferred");
}

}  // namespace mamba::addon
