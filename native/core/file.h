#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "core/source.h"

namespace mamba {

// A file that is read in pieces. Not mapped: the faults of a mapping take several times as long as reading into memory
// that is used again, and a file that is cut off meanwhile would end the process.
class File : public std::enable_shared_from_this<File> {
 public:
  // Throws ErrorCode::Io.
  static std::shared_ptr<File> open(const std::string& path);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // A part of the file, which stays open as long as that is used. Throws ErrorCode::Io if the file has no such bytes.
  std::shared_ptr<const Source> part(size_t offset, size_t bytes) const;

  // The same of `rows` of `row_bytes`, each `stride` bytes behind the one before.
  std::shared_ptr<const Source> rows(size_t offset, size_t row_bytes, size_t stride, size_t rows) const;

  // Throws ErrorCode::Io.
  void read(size_t offset, void* to, size_t bytes) const;

 private:
  File(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  [[noreturn]] void fail_range(size_t begin, size_t end) const;
  size_t size() const;

  std::string path_;
  int descriptor_;
};

}  // namespace mamba
