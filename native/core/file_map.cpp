#include "core/file_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace mamba {

FileMap::FileMap(const std::string& path) : path_(path) {
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (descriptor_ < 0 || fstat(descriptor_, &status) != 0) {
    const std::string reason = std::strerror(errno);
    if (descriptor_ >= 0) close(descriptor_);
    throw Error(ErrorCode::Io, path, "cannot open: " + reason);
  }
  bytes_ = static_cast<size_t>(status.st_size);
  data_ = bytes_ ? mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, descriptor_, 0) : nullptr;
  if (data_ == MAP_FAILED) {
    const std::string reason = std::strerror(errno);
    close(descriptor_);
    throw Error(ErrorCode::Io, path, "cannot map: " + reason);
  }
}

FileMap::~FileMap() {
  if (data_) munmap(data_, bytes_);
  close(descriptor_);
}

const char* FileMap::range(size_t offset, size_t bytes) const {
  struct stat status;
  const size_t now = fstat(descriptor_, &status) == 0 ? static_cast<size_t>(status.st_size) : 0;
  const size_t end = now < bytes_ ? now : bytes_;
  if (offset > end || bytes > end - offset) {
    throw Error(ErrorCode::Io, path_,
                "bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) +
                    " lie outside the file of " + std::to_string(end) +
                    " bytes; it is cut off: copy or download it again");
  }
  return static_cast<const char*>(data_) + offset;
}

}  // namespace mamba
