#include "server/openai/unserved_parameters.h"

#include <boost/json/parse.hpp>
#include <vector>

namespace deltaserve {
namespace {

constexpr ParameterSize kNested = ParameterSize::kNested;

constexpr UnservedParameter kEverywhere[] = {
    // OpenAI's. The first four are accepted without effect.
    {"prompt_cache_key", kAnyValue},
    {"prompt_cache_retention", kAnyValue},
    {"prompt_cache_options", kAnyValue},
    {"safety_identifier", kAnyValue},
    {"service_tier", R"(["auto","default"])"},
    {"store", "[false]"},
    // vLLM's. A request may bring an id, and name the library that would compile its grammar.
    {"request_id", kAnyValue},
    {"session_id", kAnyValue},
    {"guided_decoding_backend", kAnyValue},
    {"spaces_between_special_tokens", "[true,false]"},
    {"allowed_token_ids"},
    {"bad_words", "[[]]"},
    {"ec_transfer_params", "[]", kNested},
    {"guided_whitespace_pattern"},
    {"kv_transfer_params", "[]", kNested},
    {"length_penalty", "[1]"},
    {"logits_processors", "[[]]", kNested},
    {"logprob_token_ids"},
    {"repetition_detection"},
    {"return_mm_kwargs", "[true]"},
    {"return_token_offsets", "[false]"},
    {"routed_experts_prompt_start", "[0]"},
    {"stream_interval", "[1]"},
    {"structural_tag"},
    {"thinking_token_budget", "[-1]"},
    {"use_beam_search", "[false]"},
    {"vllm_xargs", "[{}]", kNested},
    {"watermarking", "[false]"},
    // SGLang's.
    {"rid", kAnyValue},
    {"bootstrap_host"},
    {"bootstrap_port"},
    {"bootstrap_room"},
    {"custom_labels", "[{}]"},
    {"custom_logit_processor"},
    {"custom_params", "[{}]", kNested},
    {"data_parallel_rank"},
    {"disagg_prefill_dp_rank"},
    {"extra_key"},
    {"images_config", "[]", kNested},
    {"lora_path"},
    {"ngram_corpus_id"},
    {"return_cached_tokens_details", "[false]"},
    {"return_hidden_states", "[false]"},
    {"return_routed_experts", "[false]"},
    {"routed_dp_rank"},
    {"routed_experts_start_len", "[0]"},
    {"session_params", "[]", kNested},
    {"stop_regex", "[[]]"},
};

constexpr UnservedParameter kOfCompletions[] = {
    {"best_of", "[1]"},
    {"suffix", R"([""])"},
    {"prompt_embeds"},
};

constexpr UnservedParameter kOfChats[] = {
    // OpenAI's.
    {"audio"},
    {"function_call", "[]", kNested},
    {"functions", "[]", kNested},
    {"modalities", R"([["text"]])"},
    {"prediction", "[]", kNested},
    {"web_search_options"},
    // vLLM's.
    {"add_special_tokens", "[false]"},
    {"documents", "[[]]", kNested},
    {"echo", "[false]"},
    {"media_io_kwargs", "[{}]"},
    {"mm_processor_kwargs", "[{}]"},
    {"return_prompt_text", "[false]"},
    // SGLang's.
    {"input_ids"},
    {"max_dynamic_patch"},
    {"min_dynamic_patch"},
    {"return_meta_info", "[false]"},
    {"return_prompt_token_ids", "[false]"},
    {"task"},
    {"use_audio_in_video", "[false]"},
};

constexpr UnservedParameter kOfEmbeddings[] = {
    // vLLM's. Embeddings have length 1 and come as 32-bit numbers, the least significant byte
    // first.
    {"embed_dtype", R"(["float32"])"},
    {"endianness", R"(["native","little"])"},
    {"normalize", "[true]"},
    {"use_activation", "[true]"},
    // SGLang's.
    {"is_cross_encoder_request", "[false]"},
};

std::vector<UnservedParameter> joined(std::span<const UnservedParameter> own) {
  std::vector<UnservedParameter> all(std::begin(kEverywhere), std::end(kEverywhere));
  all.insert(all.end(), own.begin(), own.end());
  return all;
}

}  // namespace

boost::json::array neutral_values(const UnservedParameter& parameter) {
  if (parameter.neutral == kAnyValue) return {};
  return boost::json::parse(parameter.neutral).get_array();
}

std::span<const UnservedParameter> unserved_parameters(Interface interface) {
  static const std::vector<UnservedParameter> kCompletions = joined(kOfCompletions);
  static const std::vector<UnservedParameter> kChats = joined(kOfChats);
  static const std::vector<UnservedParameter> kEmbeddings = joined(kOfEmbeddings);
  if (interface == Interface::kEmbeddings) return kEmbeddings;
  return interface == Interface::kChat ? kChats : kCompletions;
}

}  // namespace deltaserve
