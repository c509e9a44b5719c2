// Computes a mixer layer's operands from the rows of the projections, literally, in double:
// convolution, feature maps, norms, gates.
#pragma once
#include "kernels/program/program.h"
#include "tests/reference/recurrences.h"

namespace deltaserve::reference {

// The vectors of a layer; absent ones are empty. Matrices are row-major.
using LayerWeights = MixerVectors<Vec>;

// The features of a segment, each [rows, its width].
struct LayerFeatures {
  Vec q, k, v;
  Vec g;     // log decay
  Vec beta;  // the time step, if that is the decay's gate
  Vec lambda;
  Vec erase_gate, write_gate;
  Vec precond_g, precond_beta;  // log decay and strength of the preconditioner
};

double activate(Activation activation, double x);

// Computes the features of projected [rows, layout.columns]; updates conv_rows [conv_width,
// channels].
LayerFeatures layer_features(const MixerShape& shape, const ProjectionLayout& layout,
                             const LayerWeights& weights, const Vec& projected, Vec& conv_rows);

}  // namespace deltaserve::reference
