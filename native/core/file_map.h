#pragma once
#include <cstddef>
#include <string>

namespace mamba {

// A read-only mapping of a whole file.
class FileMap {
 public:
  explicit FileMap(const std::string& path);  // throws ErrorCode::Io
  ~FileMap();
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;

  size_t bytes() const { return bytes_; }
  // Address of [offset, offset + bytes); throws ErrorCode::Io when that lies outside the file as it is now: a file that
  // was cut off after it was mapped must not be read.
  const char* range(size_t offset, size_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace mamba
