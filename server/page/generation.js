// One answer under way.

import {addEvent, Clock, isEmpty} from './answer.js';
import {streamEvents} from './api.js';
import {messagesUntil, noteLength} from './conversations.js';

const NOTE_EVERY = 8;  // tokens, for the sparkline

export class Generation {
  // `turn` is a turn of `conversation` whose answer is new.
  constructor(conversation, turn) {
    this.conversation = conversation;
    this.turn = turn;
    this.clock = new Clock();
    this.controller = new AbortController();
    this.frame = 0;
  }

  // Drops everything that has not been shown yet.
  stop() {
    this.controller.abort();
  }

  get stopped() {
    return this.controller.signal.aborted;
  }

  // Returns when the answer is complete or stopped, and throws an ApiError when it fails. Calls `onChange` at most
  // once a frame, because laying out costs more than a token does.
  async run(model, settings, onChange) {
    const {conversation, turn, clock} = this;
    const answer = turn.answer;
    const isChat = conversation.kind === 'chat';
    const prompt = isChat ? {messages: messagesUntil(conversation, turn, settings.system)} : {prompt: turn.prompt};
    const body = {model: model.id, stream: true, stream_options: {include_usage: true, continuous_usage_stats: true},
                  ...settings.parameters(conversation.kind), ...prompt};
    try {
      const path = isChat ? 'v1/chat/completions' : 'v1/completions';
      for await (const event of streamEvents(path, body, settings.key, this.controller.signal)) {
        if (event.choices?.length > 0) clock.tick();
        addEvent(answer, event);
        this.follow(answer);
        this.frame ||= requestAnimationFrame(() => {
          this.frame = 0;
          if (!this.stopped) onChange();
        });
      }
    } catch (error) {
      answer.finish = this.stopped ? 'stopped' : 'interrupted';
      if (!this.stopped) throw error;
    } finally {
      cancelAnimationFrame(this.frame);
      clock.fillIn(answer);
      if (answer.usage && !isEmpty(answer)) noteLength(conversation, lengthOf(answer));
    }
  }

  follow(answer) {
    if (!answer.usage) return;
    const tokens = lengthOf(answer);
    this.conversation.tokens = tokens;
    if (answer.usage.completion % NOTE_EVERY === 1) noteLength(this.conversation, tokens);
  }
}

function lengthOf(answer) {
  return answer.usage.prompt + answer.usage.completion;
}
