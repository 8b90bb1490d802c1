#pragma once

#include <string>
#include <vector>

namespace mamba::addon {

// Folders in which libcublasLt is looked for after the loader's own, in order: those named by CUBLASLT_ROOT, CUDA_HOME
// and CUDA_PATH, the toolkit's usual ones, and those of NVIDIA's Python wheels (nvidia-cublas).
std::vector<std::string> cublas_folders();

// Loads libcublasLt, so that the CUDA backend's reference to it is met. Throws NoDevice with the folders and what
// installs it.
void load_cublas();

}  // namespace mamba::addon
