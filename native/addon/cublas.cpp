#include "addon/cublas.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "core/error.h"

namespace mamba::addon {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLibrary = "libcublasLt.so.13";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Subfolders of `parent` whose names begin with `prefix`, the last in alphabetical order first: of versions the newest.
std::vector<fs::path> subfolders(const fs::path& parent, const std::string& prefix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(parent, error), end; !error && it != end; it.increment(error))
    if (it->path().filename().string().rfind(prefix, 0) == 0) found.push_back(it->path());
  std::sort(found.rbegin(), found.rend());
  return found;
}

void add_wheels(std::vector<std::string>& folders, const fs::path& prefix) {
  for (const fs::path& python : subfolders(prefix / "lib", "python3"))
    for (const char* packages : {"site-packages", "dist-packages"})
      for (const char* wheel : {"cu13", "cublas"})
        folders.push_back((python / packages / "nvidia" / wheel / "lib").string());
}

}  // namespace

std::vector<std::string> cublas_folders() {
  std::vector<std::string> folders;
  for (const char* name : {"CUBLASLT_ROOT", "CUDA_HOME", "CUDA_PATH"}) {
    const std::string root = variable(name);
    if (!root.empty()) folders.insert(folders.end(), {root + "/lib64", root + "/lib"});
  }
  folders.push_back("/usr/local/cuda/lib64");
  for (const fs::path& toolkit : subfolders("/usr/local", "cuda-13")) folders.push_back((toolkit / "lib64").string());
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string prefix = variable(name); !prefix.empty()) add_wheels(folders, prefix);
  if (const std::string home = variable("HOME"); !home.empty()) add_wheels(folders, fs::path(home) / ".local");
  add_wheels(folders, "/usr/local");
  add_wheels(folders, "/usr");
  return folders;
}

void load_cublas() {
  if (dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL) != nullptr) return;
  const std::string reason = dlerror();
  for (const std::string& folder : cublas_folders()) {
    const std::string path = folder + "/" + kLibrary;
    if (std::error_code error; fs::exists(path, error) && dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr)
      return;
  }
  throw Error(
      ErrorCode::NoDevice, "device",
      "\"cuda\" needs " + std::string(kLibrary) + ", which is neither among the system's libraries (" + reason +
          ") nor in a CUDA 13 toolkit nor in a Python environment; install cuBLAS 13 (`apt-get install libcublas-13-0`,"
          " or `pip install nvidia-cublas`), or name its folder in CUBLASLT_ROOT");
}

}  // namespace mamba::addon
