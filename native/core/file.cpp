#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

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
