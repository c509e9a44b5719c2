#include "server/openai/embeddings_api.h"

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "models/base/text.h"
#include "server/base/random.h"
#include "server/base/shown_value.h"
#include "server/openai/json_parameters.h"
#include "server/openai/response.h"
#include "server/service/embeddings.h"

namespace deltaserve {
namespace {

constexpr ParameterRule kOwnParameters[] = {{"encoding_format"}};

struct EmbeddingsRequest {
  GenerationRequest generation;
  bool base64 = false;
};

void read_own_parameters(FieldReader& fields, bool* base64) {
  std::optional<std::string> encoding;
  fields.string("encoding_format", &encoding);
  if (encoding && *encoding != "float" && *encoding != "base64") {
    fields.fail("encoding_format", str_cat("must be float or base64, not ", quoted(*encoding)));
  }
  *base64 = encoding == "base64";
}

std::optional<ApiError> read_request(std::string_view text, const ServedModel& model,
                                     const ServerLimits& limits, EmbeddingsRequest* out) {
  static const std::vector<ParameterRule> kRules =
      parameter_rules(Interface::kEmbeddings, unserved_parameters(Interface::kEmbeddings));
  ServerLimits of_inputs = limits;
  of_inputs.prompts = limits.embedding_inputs;
  RequestBody body;
  const BodyRules rules{kRules, kOwnParameters, "input"};
  if (auto error = read_request_body(text, rules, of_inputs, &body)) return error;
  if (!body.has_prompt()) {
    return invalid_parameter("input", "input is required and must not be empty");
  }
  GenerationRequest& request = out->generation;
  request.interface = Interface::kEmbeddings;
  request.text_name = request.ids_name = "input";
  request.prompts_are_listed = body.prompt_nested;
  request.text_prompts = std::move(body.texts);
  request.token_prompts = std::move(body.token_lists);

  FieldReader fields(body.fields, limits);
  Parameters given;
  read_own_parameters(fields, &out->base64);
  read_parameters(fields, Interface::kEmbeddings, unserved_parameters(Interface::kEmbeddings),
                  &given);
  if (fields.error()) return fields.error();
  return complete_embedding_request(std::move(given), model, limits, &request);
}

class EmbeddingsJob final : public AnswerJob {
 public:
  EmbeddingsJob(Services& services, EmbeddingsRequest request, Arrival arrival)
      : AnswerJob(services, std::move(request.generation), std::move(arrival)),
        model_(services.model),
        base64_(request.base64) {}

  std::optional<ApiError> encode() { return generation_.encode(); }

  State poll(std::string* out) override {
    if (!take_embeddings(&generation_, &embeddings_)) return State::kRunning;
    if (generation_.error()) return State::kFailed;
    append_reply(out);
    return State::kDone;
  }

 private:
  void append_reply(std::string* out) const {
    const auto created = std::chrono::duration_cast<std::chrono::seconds>(
        std::chrono::system_clock::now().time_since_epoch());
    append_reply_head(out, id_, "list", created.count(), model_);
    out->append(",\"data\":[");
    for (size_t i = 0; i < embeddings_.size(); ++i) {
      if (i > 0) out->push_back(',');
      absl::StrAppend(out, "{\"object\":\"embedding\",\"index\":", i, ",\"embedding\":");
      append_embedding(out, embeddings_[i]);
      out->push_back('}');
    }
    out->append("],\"usage\":");
    append_usage(out, generation_.usage());
    out->push_back('}');
  }

  // In base64 the numbers have the bytes of a little-endian machine's memory.
  void append_embedding(std::string* out, const std::vector<float>& embedding) const {
    if (base64_) {
      const absl::string_view bytes(reinterpret_cast<const char*>(embedding.data()),
                                    embedding.size() * sizeof(float));
      absl::StrAppend(out, "\"", absl::Base64Escape(bytes), "\"");
      return;
    }
    for (size_t i = 0; i < embedding.size(); ++i) {
      out->push_back(i == 0 ? '[' : ',');
      append_json_number(out, embedding[i]);
    }
    out->push_back(']');
  }

  const ServedModel& model_;
  const bool base64_;
  std::vector<std::vector<float>> embeddings_;
};

}  // namespace

std::variant<std::unique_ptr<AnswerJob>, ApiError> read_embeddings(Services& services,
                                                                   std::string body,
                                                                   Arrival arrival) {
  EmbeddingsRequest request;
  if (auto error = read_request(body, services.model, services.limits, &request)) {
    return *std::move(error);
  }
  std::string().swap(body);  // it may be large, and the ids are made next
  arrival.id = absl::StrFormat("embd-%016x%016x", random_bits(), random_bits());
  auto job = std::make_unique<EmbeddingsJob>(services, std::move(request), std::move(arrival));
  if (auto error = job->encode()) return *std::move(error);
  return job;
}

}  // namespace deltaserve
