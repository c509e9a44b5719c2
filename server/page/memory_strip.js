// The strip that shows the advantage of a constant state: the conversation grows, its state does not.

import {$, bytesText, count, svg} from './dom.js';

const WIDTH = 96, HEIGHT = 24, EDGE = 2;

export function showMemory(conversation, model) {
  const {tokens} = conversation;
  $('tokens').textContent = count(tokens, 'token');
  if (!model?.state_bytes) return;
  $('state').textContent = bytesText(model.state_bytes);
  const perToken = model.transformer_bytes_per_token || 0;
  $('transformer').textContent = bytesText(tokens * perToken);
  $('memory').classList.toggle('has-figures', true);
  drawSparkline(conversation.lengths.map((length) => length * perToken), model.state_bytes);
}

// Draws the transformer's memory over the conversation, and the state's on the same scale.
function drawSparkline(transformer, state) {
  const samples = [0, ...transformer];
  const most = Math.max(state * 1.5, ...samples);
  const x = (i) => EDGE + (WIDTH - 2 * EDGE) * i / Math.max(1, samples.length - 1);
  const y = (bytes) => HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * bytes / most;
  const points = samples.map((bytes, i) => x(i).toFixed(1) + ',' + y(bytes).toFixed(1));
  const parts = [];
  if (transformer.length > 0) {
    const floor = (HEIGHT - EDGE).toFixed(1);
    parts.push(svg('polygon', {class: 'transformer-area', points: [...points, x(samples.length - 1).toFixed(1) + ',' +
                                                                   floor, x(0).toFixed(1) + ',' + floor].join(' ')}),
               svg('polyline', {class: 'transformer-line', points: points.join(' ')}));
  }
  parts.push(svg('line', {class: 'state-line', x1: EDGE, x2: WIDTH - EDGE, y1: y(state), y2: y(state)}));
  $('sparkline').replaceChildren(...parts);
}
