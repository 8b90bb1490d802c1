#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace mamba {
namespace {

class FilePart : public Source {
 public:
  FilePart(std::shared_ptr<const File> file, size_t offset) : file_(std::move(file)), offset_(offset) {}
  void read(size_t begin, void* to, size_t bytes) const override { file_->read(offset_ + begin, to, bytes); }

 private:
  std::shared_ptr<const File> file_;
  size_t offset_;
};

// Rows apart from each other. Long ones are read one by one, short ones with what lies between: a disk takes as long
// for a few KiB as for more, and half of 1 KiB of each row in a cached file took 33 ms in place of 17 by a call for
// each.
class FileRows : public Source {
 public:
  FileRows(std::shared_ptr<const File> file, size_t offset, size_t row_bytes, size_t stride)
      : file_(std::move(file)),
        offset_(offset),
        row_bytes_(row_bytes),
        stride_(stride),
        together_(row_bytes < kLongRow ? std::max(kSpan / stride, size_t{1}) : 1) {}

  void read(size_t begin, void* to, size_t bytes) const override {
    auto* out = static_cast<char*>(to);
    std::vector<char> span;
    for (size_t at = begin, end = begin + bytes; at < end;) {
      const size_t stop = std::min(end, (at / row_bytes_ + together_) * row_bytes_), from = place(at);
      if (place(stop - 1) - from == stop - 1 - at) {  // in one row
        file_->read(from, out, stop - at);
        out += stop - at, at = stop;
        continue;
      }
      span.resize(place(stop - 1) + 1 - from);
      file_->read(from, span.data(), span.size());
      while (at < stop) {
        const size_t count = std::min(row_bytes_ - at % row_bytes_, stop - at);
        std::memcpy(out, span.data() + (place(at) - from), count);
        out += count, at += count;
      }
    }
  }

 private:
  static constexpr size_t kLongRow = size_t{8} << 10, kSpan = size_t{256} << 10;

  size_t place(size_t at) const { return offset_ + at / row_bytes_ * stride_ + at % row_bytes_; }

  std::shared_ptr<const File> file_;
  size_t offset_, row_bytes_, stride_, together_;
};

}  // namespace

std::shared_ptr<File> File::open(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw Error(ErrorCode::Io, path, std::string("cannot open: ") + std::strerror(errno));
  return std::shared_ptr<File>(new File(path, descriptor));
}

File::~File() { close(descriptor_); }

std::shared_ptr<const Source> File::part(size_t offset, size_t bytes) const {
  const size_t end = size();
  if (offset > end || bytes > end - offset) fail_range(offset, offset + bytes);
  return std::make_shared<FilePart>(shared_from_this(), offset);
}

std::shared_ptr<const Source> File::rows(size_t offset, size_t row_bytes, size_t stride, size_t rows) const {
  const size_t end = size();
  const size_t before = rows - 1, last = before == 0 || stride <= end / before ? offset + before * stride : end;
  if (offset > end || last > end || row_bytes > end - last) fail_range(offset, last + row_bytes);
  return std::make_shared<FileRows>(shared_from_this(), offset, row_bytes, stride);
}

void File::read(size_t offset, void* to, size_t bytes) const {
  auto* at = static_cast<char*>(to);
  for (size_t done = 0; done < bytes;) {
    const ssize_t count = pread(descriptor_, at + done, bytes - done, static_cast<off_t>(offset + done));
    if (count > 0) {
      done += static_cast<size_t>(count);
    } else if (count == 0) {
      fail_range(offset, offset + bytes);
    } else if (errno != EINTR) {
      throw Error(ErrorCode::Io, path_, std::string("cannot read: ") + std::strerror(errno));
    }
  }
}

size_t File::size() const {
  struct stat status;
  return fstat(descriptor_, &status) == 0 ? static_cast<size_t>(status.st_size) : 0;
}

void File::fail_range(size_t begin, size_t end) const {
  throw Error(ErrorCode::Io, path_,
              "bytes " + std::to_string(begin) + " to " + std::to_string(end) + " lie outside the file of " +
                  std::to_string(size()) + " bytes; it is cut off: copy or download it again");
}

}  // namespace mamba
