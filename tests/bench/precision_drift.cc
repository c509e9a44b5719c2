// Measures the effect of a cheaper number format: it decodes the same tokens one by one without and
// with it.
//
//     precision_drift MODEL_DIR TEXT_FILE|- bf16-state|bf16|int8|int4 [TOKENS]
//
// The tokens are the text's, or random ones for "-". bf16-state compares bf16 with f32 states; the
// others compare weights in that format with f32 weights. The program prints, over windows that end
// at powers of two, the relative error of the logits, the KL divergence of the distributions, and
// the negative log-probability of the next token under each (nats).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "models/model.h"

namespace deltaserve {
namespace {

constexpr int kThreads = 2;

struct Precision {
  WeightFormat weights = WeightFormat::kAuto;
  StateFormat state = StateFormat::kF32;
};

class Reader {
 public:
  Reader(const ModelFolder& folder, const Precision& precision)
      : threads_(kThreads), backend_(make_cpu_backend(&threads_)) {
    ModelLimits limits;
    limits.max_rows = 64;
    limits.max_sequences = 1;
    limits.state_format = precision.state;
    absl::StatusOr<std::unique_ptr<Model>> model =
        Model::load(folder, backend_.get(), limits, precision.weights);
    if (!model.ok()) {
      std::fprintf(stderr, "%s\n", model.status().ToString().c_str());
      std::exit(1);
    }
    model_ = *std::move(model);
    logits_.resize(static_cast<size_t>(model_->config().vocab_size));
  }

  // Returns the logits after `token`.
  const std::vector<float>& read(int32_t token) {
    const Segment segment = {RowKind::kDecode, 0, 0, 0, 1, position_};
    Draw draw;
    draw.logits = logits_.data();
    const Ticket ticket = model_->forward({{&token, 1}, {&segment, 1}});
    model_->draw(ticket, {&draw, 1});
    DrawResult result;
    model_->wait(ticket, &result);
    ++position_;
    return logits_;
  }

 private:
  ThreadPool threads_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::vector<float> logits_;
  int64_t position_ = 0;
};

std::vector<double> log_softmax(const std::vector<float>& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - top);
  std::vector<double> out;
  for (const float x : logits) out.push_back(x - top - std::log(sum));
  return out;
}

struct Window {
  double squares = 0, error_squares = 0, divergence = 0, loss = 0, rounded_loss = 0;
  int tokens = 0;

  void add(const std::vector<float>& exact, const std::vector<float>& rounded, int32_t next) {
    const std::vector<double> p = log_softmax(exact);
    const std::vector<double> q = log_softmax(rounded);
    for (size_t i = 0; i < p.size(); ++i) {
      divergence += std::exp(p[i]) * (p[i] - q[i]);
      squares += std::pow(exact[i], 2);
      error_squares += std::pow(double{rounded[i]} - exact[i], 2);
    }
    loss -= p[static_cast<size_t>(next)];
    rounded_loss -= q[static_cast<size_t>(next)];
    ++tokens;
  }
  void print(int from, int to) const {
    std::printf("%5d .. %5d  error %.2e  KL %.2e  loss %.4f, cheaper %.4f\n", from, to,
                std::sqrt(error_squares / squares), divergence / tokens, loss / tokens,
                rounded_loss / tokens);
    std::fflush(stdout);
  }
};

std::vector<int32_t> tokens_of(const ModelFolder& folder, const std::string& file, size_t count) {
  std::vector<int32_t> tokens;
  if (file == "-") {
    std::minstd_rand random(1);
    const auto vocab = static_cast<uint32_t>(folder.config.vocab_size);
    while (tokens.size() < count) tokens.push_back(static_cast<int32_t>(random() % vocab));
    return tokens;
  }
  std::ifstream in(file);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  if (folder.tokenizer != nullptr) tokens = folder.tokenizer->encode(text).value();
  tokens.resize(std::min(tokens.size(), count));
  return tokens;
}

// Sets the exact and the cheaper precision of `change`; returns false for an unknown word.
bool precisions_of(const std::string& change, Precision* exact, Precision* cheaper) {
  if (change == "bf16-state") {
    cheaper->state = StateFormat::kBf16;
    return true;
  }
  exact->weights = WeightFormat::kF32;
  for (const WeightFormat format :
       {WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
    if (change == weight_format_name(format)) cheaper->weights = format;
  }
  return cheaper->weights != WeightFormat::kAuto;
}

int run(const std::string& path, const std::string& file, const std::string& change, size_t count) {
  Precision exact_precision, cheaper_precision;
  if (!precisions_of(change, &exact_precision, &cheaper_precision)) {
    std::fprintf(stderr, "unknown format %s\n", change.c_str());
    return 2;
  }
  const absl::StatusOr<ModelFolder> folder = open_model_folder(path);
  if (!folder.ok()) {
    std::fprintf(stderr, "%s\n", folder.status().ToString().c_str());
    return 1;
  }
  const std::vector<int32_t> tokens = tokens_of(*folder, file, count + 1);
  if (tokens.size() < 2) {
    std::fprintf(stderr, "no tokens in %s\n", file.c_str());
    return 1;
  }
  Reader exact(*folder, exact_precision);
  Reader cheaper(*folder, cheaper_precision);
  Window window;
  size_t from = 0;
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    window.add(exact.read(tokens[t]), cheaper.read(tokens[t]), tokens[t + 1]);
    const size_t done = t + 1;
    if (done + 1 < tokens.size() && (done < 64 || (done & (done - 1)) != 0)) continue;
    window.print(static_cast<int>(from), static_cast<int>(done));
    window = {};
    from = done;
  }
  return 0;
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  if (argc < 4 || argc > 5) {
    std::fprintf(stderr, "usage: precision_drift MODEL_DIR TEXT_FILE|- FORMAT [TOKENS]\n");
    return 2;
  }
  return deltaserve::run(argv[1], argv[2], argv[3], argc == 5 ? std::stoul(argv[4]) : 4096);
}
