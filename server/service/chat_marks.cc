#include "server/service/chat_marks.h"

#include <utility>

namespace deltaserve {
namespace {

// Collects the places.
class MarkFinder {
 public:
  MarkFinder(ChatRenderer* chat, SharedPrefix* shared) : chat_(*chat), shared_(*shared) {}

  void add_boundaries() {
    const size_t system = chat_.num_system_messages();
    if (system > 0 && system < chat_.num_messages()) {
      add(SnapshotKind::kBoundary, chat_.render_first(system));
    } else if (system == 0 && chat_.num_tools() > 0) {
      add(SnapshotKind::kBoundary, chat_.render_first_tools(chat_.num_tools()));
    }
    if (chat_.has_generation_prompt()) {
      add(SnapshotKind::kBoundary, chat_.render_without_generation_prompt());
    }
  }

  void add_mark(const ChatMark& mark) {
    add(SnapshotKind::kMark, mark.tools > 0
                                 ? chat_.render_first_tools(mark.tools)
                                 : chat_.render_first(mark.messages, mark.content_bytes));
  }

  std::vector<PrefixMark> take() { return std::move(found_); }

 private:
  void add(SnapshotKind kind, const absl::StatusOr<ChatRenderer::Parts>& variation) {
    if (!variation.ok()) return;
    const int64_t position = shared_.tokens_shared_with(*variation);
    const bool is_inside = position > 0 && position < shared_.num_tokens();
    if (is_inside) found_.push_back({position, kind});
  }

  ChatRenderer& chat_;
  SharedPrefix& shared_;
  std::vector<PrefixMark> found_;
};

}  // namespace

std::vector<PrefixMark> find_marks(const std::vector<ChatMark>& marks, ChatRenderer* chat,
                                   SharedPrefix* shared) {
  MarkFinder finder(chat, shared);
  for (const ChatMark& mark : marks) finder.add_mark(mark);
  finder.add_boundaries();
  return finder.take();
}

}  // namespace deltaserve
