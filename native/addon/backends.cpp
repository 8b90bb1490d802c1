#include "addon/backends.h"

#include <dlfcn.h>
#include <unistd.h>

#include "addon/cublas.h"
#include "core/error.h"
#include "cpu/backend.h"

namespace mamba::addon {
namespace {

constexpr const char* kCudaLibrary = "mamba_serve_cuda.so";

// The folder that this addon was loaded from, with a slash at its end.
std::string own_folder() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&own_folder), &info) == 0 || info.dli_fname == nullptr) return "./";
  const std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/') + 1);
}

using OpenCuda = Backend* (*)(int index);

// Never closed: its kernels are registered with the driver for as long as the process lives.
OpenCuda load_cuda() {
  const std::string path = own_folder() + kCudaLibrary;
  if (access(path.c_str(), R_OK) != 0) {
    throw Error(ErrorCode::NotBuilt, "device",
                "\"cuda\" is not part of this build: there is no " + path +
                    "; `npx mamba-serve build` makes it where nvcc and cuBLAS are installed");
  }
  load_cublas();
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    throw Error(ErrorCode::NoDevice, "device", std::string("\"cuda\" cannot be loaded: ") + dlerror());
  auto* open = reinterpret_cast<OpenCuda>(dlsym(library, "mamba_serve_open_cuda"));
  if (open == nullptr)
    throw Error(ErrorCode::NotBuilt, "device", path + " is of another build; run `npx mamba-serve build`");
  return open;
}

}  // namespace

std::unique_ptr<Backend> open_backend(const std::string& kind, int threads, int index) {
  if (kind == "cpu") return std::make_unique<cpu::CpuBackend>(threads);
  if (kind == "cuda") {
    static const OpenCuda open = load_cuda();
    return std::unique_ptr<Backend>(open(index));
  }
  throw Error(ErrorCode::Argument, "device", "\"" + kind + "\", expected \"cpu\" or \"cuda\"");
}

}  // namespace mamba::addon
