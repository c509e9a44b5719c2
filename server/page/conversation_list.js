// The list of conversations: beside the chat if there is room, and a drawer on a phone.

import {$, element, icon} from './dom.js';

const NARROW = matchMedia('(max-width: 56rem)');

export class ConversationList {
  // `actions` has open(id), remove(id) and start(), which begins a new conversation.
  constructor(actions) {
    this.actions = actions;
    $('new-chat').addEventListener('click', () => {
      this.close();
      actions.start();
    });
    NARROW.addEventListener('change', () => this.fit());
    this.fit();
  }

  fit() {
    const list = $('conversations');
    if (NARROW.matches) list.setAttribute('popover', 'auto');
    else list.removeAttribute('popover');
  }

  close() {
    if (NARROW.matches) $('conversations').hidePopover();
  }

  show(conversations, currentId) {
    const items = conversations.map((conversation) => this.item(conversation, conversation.id === currentId));
    $('conversation-list').replaceChildren(...items);
    $('no-conversations').hidden = items.length > 0;
  }

  item(conversation, isCurrent) {
    const open = () => {
      this.close();
      this.actions.open(conversation.id);
    };
    return element('li', {class: isCurrent ? 'current' : null},
                   element('button', {type: 'button', class: 'open', onclick: open,
                                      'aria-current': isCurrent ? 'true' : null, title: conversation.title},
                           conversation.title),
                   element('button', {type: 'button', class: 'remove', title: 'Delete',
                                      'aria-label': 'Delete ' + conversation.title,
                                      onclick: () => this.actions.remove(conversation.id)}, icon('delete')));
  }
}
