// Reads the keys of a curvature-conditioned query (arXiv 2606.01294). The paper leaves open how
// Sigma is normalised and decays and which shape the gate has, so each is an option.
#include "models/base/text.h"
#include "models/mapping/family.h"
#include "models/mapping/mixer_keys.h"

namespace deltaserve {
namespace {

using Normaliser = QueryConditioning::Normaliser;
using GateInput = QueryConditioning::GateInput;

Normaliser normaliser_named(const std::string& name) {
  if (name == "mean") return Normaliser::kMean;
  return name == "ema" ? Normaliser::kEma : Normaliser::kNone;
}

GateInput gate_named(const std::string& name) {
  if (name == "full") return GateInput::kFull;
  return name == "per_head" ? GateInput::kPerHead : GateInput::kShared;
}

}  // namespace

void read_conditioning(ConfigReader& reader, bool family_takes_it, LayerConfig* config) {
  const boost::json::object* keys = reader.object("ccq");
  if (keys == nullptr) return;
  if (!family_takes_it) {
    reader.fail("ccq", str_cat("is not supported for ", quoted(config->model_type), ", only for ",
                               conditioned_model_types()));
    return;
  }
  if (config->mixer.kind == MixerKind::kQDeltaReleased) {
    reader.fail("ccq", "needs \"qdelta_semantics\": \"canonical\"");
    return;
  }
  ConfigReader inner(*keys, reader.origin() + ": ccq");
  QueryConditioning& ccq = config->mixer.conditioning;
  ccq.on = true;
  ccq.normaliser = normaliser_named(inner.choice("norm", {"mean", "none", "ema"}, "mean"));
  ccq.centered = inner.boolean("center", false);
  if (ccq.centered && ccq.normaliser != Normaliser::kMean) {
    inner.fail("center", "is true, which needs \"norm\": \"mean\"");
  }
  ccq.backbone_decay = inner.choice("decay", {"backbone", "none"}, "backbone") == "backbone";
  // By default keys are normalised here if they have no norm of their own, as in GLA, because they
  // could have any length.
  ccq.l2_keys = inner.boolean("key_l2", config->mixer.k_norm == FeatureNorm::kNone);
  ccq.renormalise = inner.boolean("renorm_q", false);
  config->tensors.conditioning_gate_said = inner.has("gate");
  ccq.gate_input = gate_named(inner.choice("gate", {"shared", "per_head", "full"}, "shared"));
  inner.refuse_unknown_keys();
  reader.fail(inner.status());
}

}  // namespace deltaserve
