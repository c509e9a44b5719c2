// Measures the quality of the weight formats: held-out stories through the bundled model.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "kernels/cpu/matmul_support.h"
#include "tests/models/loaded_model.h"

namespace deltaserve {
namespace {

using Documents = std::vector<std::vector<int32_t>>;

Documents heldout_documents() {
  Documents documents;
  const std::string path = DELTASERVE_TEST_DATA "/heldout_reference.json";
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  const boost::json::value root = boost::json::parse(text.str());
  for (const boost::json::value& document : root.at("documents").as_array()) {
    std::vector<int32_t> ids;
    for (const boost::json::value& id : document.at("token_ids").as_array()) {
      ids.push_back(static_cast<int32_t>(id.as_int64()));
    }
    documents.push_back(std::move(ids));
  }
  return documents;
}

// Returns the log-probabilities of every next token after every token, document after document.
std::vector<std::vector<float>> predictions(WeightFormat format, const Documents& documents) {
  LoadedModel model(DELTASERVE_BUNDLED_MODEL, 2, 8, std::nullopt, format);
  const auto vocab = static_cast<size_t>(model.vocab());
  std::vector<std::vector<float>> all;
  for (const std::vector<int32_t>& ids : documents) {
    std::vector<float> logits = model.prefill(0, ids, 0, static_cast<int>(ids.size()) - 1);
    for (size_t at = 0; at < logits.size(); at += vocab) {
      double sum = 0;
      for (size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(logits[at + i]));
      const double log_sum = std::log(sum);
      for (size_t i = 0; i < vocab; ++i) {
        logits[at + i] = static_cast<float>(logits[at + i] - log_sum);
      }
    }
    all.push_back(std::move(logits));
  }
  return all;
}

struct Quality {
  double perplexity = 0;
  double divergence = 0;  // mean Kullback-Leibler divergence from f32, nats
  double same_first = 0;  // share of tokens with the same most likely successor
};

Quality compare(const Documents& documents, const std::vector<std::vector<float>>& reference,
                const std::vector<std::vector<float>>& other) {
  Quality quality;
  size_t count = 0;
  for (size_t d = 0; d < documents.size(); ++d) {
    const size_t tokens = documents[d].size() - 1;
    const size_t vocab = reference[d].size() / tokens;
    for (size_t t = 0; t < tokens; ++t, ++count) {
      const float* p = &reference[d][t * vocab];
      const float* q = &other[d][t * vocab];
      quality.perplexity -= q[documents[d][t + 1]];
      for (size_t i = 0; i < vocab; ++i) {
        quality.divergence += std::exp(static_cast<double>(p[i])) * (p[i] - q[i]);
      }
      quality.same_first +=
          std::max_element(p, p + vocab) - p == std::max_element(q, q + vocab) - q;
    }
  }
  const auto n = static_cast<double>(count);
  return {std::exp(quality.perplexity / n), quality.divergence / n, quality.same_first / n};
}

// Returns true if this processor multiplies bf16 weights by activations rounded to bf16.
bool rounds_activations() {
  return cpu::matmul_support().bf16 == cpu::Bf16Panels::kPairs;
}

TEST(WeightFormats, KeepTheBundledModelsQuality) {
  const Documents documents = heldout_documents();
  const std::vector<std::vector<float>> exact = predictions(WeightFormat::kF32, documents);
  const Quality reference = compare(documents, exact, exact);
  std::printf("%6s %12s %10s %14s %10s\n", "", "perplexity", "to f32", "KL, nats", "same top");
  for (const WeightFormat format :
       {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
    const Quality quality = compare(documents, exact, predictions(format, documents));
    const double change = quality.perplexity / reference.perplexity - 1;
    std::printf("%6s %12.4f %+9.2f%% %14.6f %9.2f%%\n", weight_format_name(format),
                quality.perplexity, 100 * change, quality.divergence, 100 * quality.same_first);
    switch (format) {
      case WeightFormat::kInt4:
        EXPECT_LT(std::abs(change), 0.03);
        EXPECT_LT(quality.divergence, 0.03);
        break;
      case WeightFormat::kInt8:
        EXPECT_LT(std::abs(change), 0.005);
        EXPECT_LT(quality.divergence, 0.002);
        break;
      default:  // the checkpoint is bf16
        if (format == WeightFormat::kBf16 && rounds_activations()) {
          EXPECT_LT(std::abs(change), 0.001);
          EXPECT_LT(quality.divergence, 1e-4);
        } else {
          EXPECT_EQ(change, 0);
        }
    }
  }
}

}  // namespace
}  // namespace deltaserve
