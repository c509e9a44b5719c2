// The chat: it joins the conversation on the screen, the answer under way, and the controls.

import {isEmpty, newAnswer} from './answer.js';
import {fetchModel} from './api.js';
import {ConversationList} from './conversation_list.js';
import {Conversations, newConversation, takeLengthOfLast, titleOf} from './conversations.js';
import {$, announce, bytesText, element, icon} from './dom.js';
import {Generation} from './generation.js';
import {showMemory} from './memory_strip.js';
import {isSendKey, TurnView} from './message_view.js';
import {Settings, storedInTab, storeInTab} from './settings.js';

const CURRENT = 'deltaserve.current';
const DRAFT = 'deltaserve.draft';
const SAVE_EVERY_MS = 1000;  // while an answer comes in
const NEAR_END = 80;         // pixels from the end within which the page follows the answer
const LONGEST_ANNOUNCED = 2000;

const STARTERS = {
  chat: ['Tell me a bedtime story about a fox in the snow.', 'Write a story about a little boat that gets lost.',
         'Tell me a story about a brown dog.', 'Explain to a child why the sky is blue.'],
  text: ['Once upon a time, there was a', 'The little bee was afraid of the rain.',
         'One day, an old bear found a red kite.', 'Deep in the forest, something'],
};

class Chat {
  constructor() {
    this.model = null;
    this.generation = null;
    this.views = new Map();  // of the turns on the screen
    this.retry = null;
    this.settings = new Settings(() => this.loadModel());
    this.conversations = new Conversations((problem) => this.notice(problem));
    this.list = new ConversationList({open: (id) => this.openById(id), remove: (id) => this.remove(id),
                                      start: () => this.start()});
    this.conversation = this.conversations.get(storedInTab(CURRENT)) || newConversation('chat');
    this.conversations.watch((id) => this.changedElsewhere(id));
    $('input').value = storedInTab(DRAFT);
    this.listen();
    this.show();
    this.loadModel();
  }

  listen() {
    $('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.send();
    });
    $('input').addEventListener('keydown', (event) => {
      if (!isSendKey(event)) return;
      event.preventDefault();
      this.send();
    });
    $('input').addEventListener('input', () => this.following(() => this.fitInput()));
    $('stop').addEventListener('click', () => this.stop());
    $('start-chat').addEventListener('click', () => this.start());
    $('retry').addEventListener('click', () => this.retry?.());
    $('dismiss').addEventListener('click', () => {
      this.clearProblem();
      $('input').focus();
    });
    $('to-end').addEventListener('click', () => this.scrollToEnd());
    $('messages-area').addEventListener('scroll', () => this.showToEnd());
    for (const radio of document.querySelectorAll('input[name=mode]')) {
      radio.addEventListener('change', () => this.setKind(radio.value));
    }
    document.addEventListener('keydown', (event) => {
      const isForDrawer = $('settings').open || document.querySelector(':popover-open');
      if (event.key === 'Escape' && !isForDrawer) this.stop();
    });
    window.addEventListener('pagehide', () => this.saveRunning());
  }

  // Returns true if the server named its model. Otherwise the button Retry calls `retry`.
  async loadModel(retry = () => this.loadModel()) {
    try {
      this.model = await fetchModel(this.settings.key);
    } catch (error) {
      this.fail(error, retry);
      return false;
    }
    if ($('problem').className === 'error') this.clearProblem();
    $('key-problem').textContent = '';
    $('model').textContent = this.model.id;
    document.title = this.model.id + ' · deltaserve';
    if (!this.model.chat) {
      document.querySelector('input[name=mode][value=chat]').disabled = true;
      if (this.conversation.turns.length === 0) this.conversation = newConversation('text');
    }
    this.show();
    return true;
  }

  // ---- The conversation on the screen

  // Shows the whole conversation again.
  show() {
    const {conversation} = this;
    document.querySelector(`input[name=mode][value=${conversation.kind}]`).checked = true;
    $('input').placeholder = conversation.kind === 'chat' ? 'Write a message' : 'Begin a text; it will be continued';
    this.views.clear();
    for (const turn of conversation.turns) this.views.set(turn, this.makeView(turn));
    $('messages').replaceChildren(...[...this.views.values()].flatMap((view) => view.nodes));
    for (const turn of conversation.turns) this.showTurn(turn);
    this.showWelcome();
    this.showList();
    showMemory(conversation, this.model);
    this.fitInput();
    if (conversation.turns.length > 0) this.scrollToEnd();
    else $('messages-area').scrollTop = 0;
  }

  makeView(turn) {
    return new TurnView(turn, this.conversation.kind, {
      regenerate: () => this.replace(turn, turn.prompt, turn.results),
      edit: (text) => this.replace(turn, text),
      giveResults: (results) => this.ask({results}),
    });
  }

  showTurn(turn) {
    const running = this.generation?.turn === turn;
    const isLast = turn === this.conversation.turns.at(-1);
    const speed = running ? this.generation.clock.speed(turn.answer) : null;
    this.views.get(turn)?.show({running, speed, isLast});
  }

  showWelcome() {
    const {conversation, model} = this;
    $('welcome').hidden = conversation.turns.length > 0;
    $('welcome-title').textContent = conversation.kind === 'chat' ? 'Start a conversation' : 'Begin a text';
    $('welcome-text').textContent = !model?.state_bytes ? '' :
      'The model remembers all of it in a state of ' + bytesText(model.state_bytes) + ', however long it gets.';
    $('starters').replaceChildren(...STARTERS[conversation.kind].map((text) => element(
      'li', {}, element('button', {type: 'button', onclick: () => this.ask({prompt: text})}, text))));
  }

  showList() {
    this.list.show(this.conversations.list(), this.conversation.id);
  }

  openById(id) {
    const conversation = this.conversations.get(id);
    if (conversation && conversation !== this.conversation) this.open(conversation);
    $('input').focus();
  }

  // Leaves the conversation on the screen; an answer under way is stopped and kept with it.
  open(conversation) {
    const left = this.generation;
    this.generation = null;
    left?.stop();
    this.showRunning();
    this.clearProblem();
    this.conversation = conversation;
    storeInTab(CURRENT, conversation.id);
    this.show();
  }

  start(kind = this.conversation.kind) {
    this.open(newConversation(kind));
    $('input').focus();
  }

  setKind(kind) {
    if (kind !== this.conversation.kind) this.start(kind);
  }

  remove(id) {
    const removed = this.conversations.get(id);
    if (!removed) return;
    if (removed === this.conversation) this.start();
    this.conversations.remove(id);
    this.showList();
    this.notice('The conversation was deleted.', 'Undo', () => {
      this.conversations.save(removed);
      this.clearProblem();
      this.open(removed);
    });
  }

  changedElsewhere(id) {
    const isCurrent = id === this.conversation.id;
    const newest = this.conversations.get(id);
    if (isCurrent && newest && !this.generation) {
      this.conversation = newest;
      this.show();
    } else {
      this.showList();
    }
  }

  // ---- Asking

  async send() {
    const text = $('input').value;
    if (this.generation || !text.trim()) return;
    if (await this.ask({prompt: text}, () => this.send())) this.setInput('');
  }

  // Adds a turn of {prompt} or {results} and requests its answer. Returns false if that cannot begin.
  async ask(question, retry = () => this.ask(question)) {
    if (!await this.canAsk(retry)) return false;
    const {conversation} = this;
    const turn = {...question, answer: newAnswer()};
    conversation.turns.push(turn);
    conversation.title ||= titleOf(question.prompt);
    this.answer(conversation, turn, () => {
      conversation.turns = conversation.turns.filter((each) => each !== turn);
      if (conversation.turns.length === 0) conversation.title = '';
      return this.giveBack(conversation, question);
    });
    return true;
  }

  // Requests a new answer of a turn, which replaces its answer and all later turns. After a failure these are shown
  // again.
  async replace(turn, prompt, results = null) {
    const retry = () => this.replace(turn, prompt, results);
    if (!await this.canAsk(retry)) return;
    const {conversation} = this;
    const before = [...conversation.turns];
    const place = before.indexOf(turn);
    const again = {...(results ? {results} : {prompt}), answer: newAnswer(), replaced: timesOf(turn.answer)};
    conversation.turns = [...before.slice(0, place), again];
    if (place === 0) conversation.title = titleOf(prompt);
    this.answer(conversation, again, () => {
      conversation.turns = before;
      if (place === 0) conversation.title = titleOf(before[0].prompt);
      if (this.conversation !== conversation) return null;
      this.show();
      if (prompt !== turn.prompt) this.views.get(turn).openEditor(prompt);
      return retry;
    });
  }

  async canAsk(retry) {
    if (!this.model && !await this.loadModel(retry)) return false;
    return this.generation === null && this.settings.check();
  }

  // Runs the answer of `turn`. If the answer ends with nothing to keep, `undo` is called; it returns the function for
  // the button Retry, or null.
  async answer(conversation, turn, undo) {
    const generation = new Generation(conversation, turn);
    this.generation = generation;
    this.clearProblem();
    conversation.updated = Date.now();
    this.conversations.save(conversation);
    storeInTab(CURRENT, conversation.id);
    this.show();
    this.showRunning();
    announce('The answer is being written.');
    let problem = null;
    try {
      await generation.run(this.model, this.settings, () => this.grow(generation));
    } catch (error) {
      problem = error;
    }
    this.finish(generation, problem, undo);
  }

  grow(generation) {
    if (generation !== this.generation) return;
    this.following(() => this.showTurn(generation.turn));
    showMemory(generation.conversation, this.model);
    if (!(performance.now() - this.saved < SAVE_EVERY_MS)) this.saveRunning();
  }

  finish(generation, problem, undo) {
    const {conversation, turn} = generation;
    if (generation === this.generation) this.generation = null;
    const failed = isEmpty(turn.answer) && (problem !== null || generation.stopped);
    let retry = failed ? undo() : null;
    if (failed) takeLengthOfLast(conversation);
    this.keep(conversation);
    if (this.conversation !== conversation) {
      this.showList();
      return;
    }
    if (problem !== null && !failed) retry = () => this.replace(turn, turn.prompt, turn.results);
    if (!failed) this.following(() => conversation.turns.forEach((each) => this.showTurn(each)));
    this.showList();
    showMemory(conversation, this.model);
    this.showRunning();
    if (problem !== null) this.fail(problem, retry);
    else if (!failed) announce(turn.answer.content.slice(0, LONGEST_ANNOUNCED) || 'The answer is complete.');
  }

  // Puts the typed text back into the composer, unless it has other text already.
  giveBack(conversation, question) {
    if (this.conversation !== conversation) return null;
    this.show();
    if (question.results) this.views.get(conversation.turns.at(-1)).fillResults(question.results);
    if (question.results || $('input').value.trim()) return () => this.ask(question);
    this.setInput(question.prompt);
    return () => this.send();
  }

  // A conversation that was deleted meanwhile is not saved again.
  keep(conversation) {
    if (!this.conversations.get(conversation.id)) return;
    if (conversation.turns.length > 0) this.conversations.save(conversation);
    else this.conversations.remove(conversation.id);
  }

  saveRunning() {
    if (!this.generation) return;
    this.saved = performance.now();
    const {conversation, turn} = this.generation;
    if (!isEmpty(turn.answer)) this.keep(conversation);
  }

  stop() {
    this.generation?.stop();
  }

  // ---- Controls

  showRunning() {
    const running = this.generation !== null;
    document.body.classList.toggle('busy', running);
    $('send').hidden = running;
    $('stop').hidden = !running;
  }

  setInput(text) {
    $('input').value = text;
    this.fitInput();
  }

  // The field grows with its text, up to a limit that the style sets.
  fitInput() {
    const field = $('input');
    storeInTab(DRAFT, field.value);
    field.style.height = 'auto';
    field.style.height = field.scrollHeight + 2 + 'px';
  }

  // Keeps the end of the answer in sight while `change` adds to it, if it was in sight before.
  following(change) {
    const area = $('messages-area');
    const atEnd = area.scrollHeight - area.scrollTop - area.clientHeight < NEAR_END;
    change();
    if (atEnd) this.scrollToEnd();
    this.showToEnd();
  }

  scrollToEnd() {
    const area = $('messages-area');
    area.scrollTop = area.scrollHeight;
  }

  showToEnd() {
    const area = $('messages-area');
    $('to-end').hidden = area.scrollHeight - area.scrollTop - area.clientHeight < 2 * NEAR_END;
  }

  // ---- The notice of a problem above the composer

  fail(error, retry) {
    this.showProblem(error.message, 'error', 'Retry', retry);
    if (error.status !== 401) return;
    $('key-problem').textContent = error.message;
    this.settings.open($('key'));
  }

  notice(text, label = null, onclick = null) {
    this.showProblem(text, 'notice', label, onclick);
  }

  showProblem(text, kind, label, retry) {
    this.retry = retry;
    this.following(() => {
      $('problem-text').textContent = text;
      $('problem').className = kind;
      $('retry').hidden = !retry;
      $('retry').replaceChildren(icon('again'), label || '');
      $('problem').hidden = false;
    });
  }

  clearProblem() {
    this.retry = null;
    $('problem').hidden = true;
    $('problem-text').textContent = '';
  }
}

function timesOf(answer) {
  return {timeToFirstTokenMs: answer.timeToFirstTokenMs};
}

new Chat();
