#pragma once
#include "ops/activation.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"
#include "ops/moe.h"

namespace mamba {

// The ops that each of these stands for, in the order in which a backend may run them.

struct LinearRouteParams {
  LinearParams linear;
  RouteParams route;  // of linear.out
};

struct ExpertsParams {
  SortByExpertParams sort;
  GroupedLinearParams up, down;
  MoeCombineParams combine;
  bool shared, gated;  // whether there is an expert that every token uses, and whether it has a gate
  LinearParams shared_up;
  ActivationParams shared_activation;
  LinearParams shared_gate;
  ActivationParams shared_gating;
  LinearParams shared_down;
};

}  // namespace mamba
