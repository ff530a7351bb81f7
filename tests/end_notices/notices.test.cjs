// The functions of the extension, and its watch with a clock and a server of the test's own.  tests/test_end_notices.py
// runs this file.
'use strict';
const assert = require('node:assert/strict');
const test = require('node:test');
const { endIn, dueNotice, untilNext, notification, hubAddress, watch } = require(process.env.NOTICES);

const MINUTE = 60000;
const HOUR = 60 * MINUTE;
const ENDS = Date.UTC(2026, 10, 29, 18, 0);
const PAGE = '/jupyter/hub/research-spawner/wall-time?server=a%26b';
const END = { ends: ENDS, latest: ENDS + 8 * HOUR, notices: [HOUR, 10 * MINUTE], extendPath: PAGE };

test('the end comes from the data of the page', () => {
  const data = {
    ends_at_seconds: ENDS / 1000,
    hard_ends_at_seconds: ENDS / 1000 + 8 * 3600,
    notices_seconds: [3600, 600],
    extend_path: PAGE
  };
  assert.deepEqual(endIn(data), END);
  assert.equal(endIn({}), null);
  assert.equal(endIn({ ...data, ends_at_seconds: String(ENDS) }), null);
  assert.equal(endIn({ ...data, notices_seconds: '3600' }), null);
  assert.deepEqual(endIn({ ...data, notices_seconds: [600, 'x'] }), { ...END, notices: [10 * MINUTE] });
  for (const path of [undefined, '', 7, 'javascript:alert()']) {
    assert.equal(endIn({ ...data, extend_path: path }).extendPath, null);
  }
});

test('the latest notice is due', () => {
  for (const [before, due, next] of [
    [HOUR + 1, null, 1],
    [HOUR, HOUR, 50 * MINUTE],
    [10 * MINUTE + 1, HOUR, 1],
    [10 * MINUTE, 10 * MINUTE, 10 * MINUTE],
    [1, 10 * MINUTE, 1],
    [0, 0, null],
    [-HOUR, 0, null]
  ]) {
    assert.equal(dueNotice(END, ENDS - before), due, `${before} ms before`);
    assert.equal(untilNext(END, ENDS - before), next, `${before} ms before`);
  }
});

test('JupyterLab shows the whole message', () => {
  for (const due of [HOUR, 10 * MINUTE, 0]) {
    const { message } = notification(END, due, ENDS - 48 * HOUR);
    assert.ok(message.length <= 140, `${message.length}: ${message}`);
    assert.match(message, / on /, 'the day, because it is another one');
    assert.doesNotMatch(notification(END, due, ENDS - due).message, / on \w+,/);
  }
});

test('a notice has the button only if the server can be extended', () => {
  const buttons = end => notification(end, HOUR, ENDS).options.actions.length;
  assert.deepEqual([buttons(END), buttons({ ...END, extendPath: null })], [1, 0]);
});

test('the buttons lead to pages of the hub', () => {
  const here = 'https://example.org/jupyter/user/alice/gpu/lab';
  const data = { hubPrefix: '/jupyter/hub/', hubHost: '' };
  assert.equal(hubAddress('home', data, here), 'https://example.org/jupyter/hub/home');
  assert.equal(hubAddress('home', {}, here), 'https://example.org/hub/home');
  assert.equal(hubAddress('home', { ...data, hubHost: 'https://hub.example.org' }, here), 'https://hub.example.org/jupyter/hub/home');
  assert.equal(hubAddress(PAGE, data, here), `https://example.org${PAGE}`);
  assert.equal(hubAddress(PAGE, { ...data, hubHost: 'https://hub.example.org' }, here), `https://hub.example.org${PAGE}`);
});

// Runs the watch with a clock that moves only in `pass`.  `said` has what the user sees.
function tried(end, now = ENDS - 3 * HOUR) {
  const seen = { now, end, hidden: false, reads: 0, said: [], timer: null };
  const { look, wake } = watch({
    read: async () => {
      seen.reads += 1;
      if (seen.end === 'down') {
        throw new Error('no answer');
      }
      return seen.end;
    },
    now: () => seen.now,
    hidden: () => seen.hidden,
    later: (action, milliseconds) => {
      assert.ok(milliseconds > 0 && milliseconds < 2 ** 31);
      seen.timer = { action, at: seen.now + milliseconds };
    },
    show: args => seen.said.push(args),
    dismiss: () => seen.said.pop()
  });
  seen.wake = wake;
  seen.look = look;
  seen.pass = async milliseconds => {
    const until = seen.now + milliseconds;
    while (seen.timer !== null && seen.timer.at <= until) {
      const { action, at } = seen.timer;
      seen.timer = null;
      seen.now = at;
      await action();
    }
    seen.now = until;
  };
  return seen;
}

test('each notice replaces the one before it, up to the end', async () => {
  const seen = tried(END);
  await seen.look();
  assert.deepEqual([seen.said.length, seen.reads], [0, 1]);
  await seen.pass(2 * HOUR - 1);
  assert.deepEqual([seen.said.length, seen.reads], [0, 1], 'nothing is asked before the first notice');
  await seen.pass(1);
  assert.deepEqual(seen.said.map(one => one.type), ['warning']);
  await seen.pass(50 * MINUTE);
  assert.equal(seen.said.length, 1);
  await seen.pass(10 * MINUTE);
  assert.deepEqual(seen.said.map(one => one.type), ['error']);
  assert.equal(seen.timer, null, 'and then it asks no more');
});

test('a notice that the user closed does not come again', async () => {
  const seen = tried(END, ENDS - HOUR);
  await seen.look();
  seen.said.pop();
  await seen.pass(49 * MINUTE);
  assert.deepEqual(seen.said, []);
  await seen.pass(MINUTE);
  assert.equal(seen.said.length, 1);
});

test('a notice disappears a minute after the server was extended', async () => {
  const seen = tried(END, ENDS - 30 * MINUTE);
  await seen.look();
  assert.equal(seen.said.length, 1);
  seen.end = { ...END, ends: ENDS + 2 * HOUR };
  await seen.pass(MINUTE);
  assert.deepEqual(seen.said, []);
  await seen.pass(89 * MINUTE);
  assert.equal(seen.said.length, 1, 'the first notice of the new end');
});

test('a server that was extended before the first notice shows none', async () => {
  const seen = tried(END);
  await seen.look();
  seen.end = { ...END, ends: ENDS + 8 * HOUR };
  await seen.pass(3 * HOUR);
  assert.deepEqual(seen.said, []);
});

test('a hidden page asks only when a notice is due', async () => {
  const seen = tried(END);
  seen.hidden = true;
  await seen.look();
  await seen.pass(4 * HOUR);
  assert.equal(seen.reads, 4, 'at the start, at both notices and at the end');
});

test('a page that is seen again shows the truth', async () => {
  const seen = tried(END, ENDS - 2 * HOUR);
  await seen.look();
  await seen.wake();
  assert.equal(seen.reads, 1, 'no notice is due');
  seen.now = ENDS - 5 * MINUTE; // the computer slept, and the timer is late
  await seen.wake();
  assert.equal(seen.said.length, 1);
  seen.end = { ...END, ends: ENDS + 2 * HOUR };
  await seen.wake();
  assert.deepEqual(seen.said, []);
});

test('while the server does not answer, the known end holds', async () => {
  const seen = tried(END);
  await seen.look();
  seen.end = 'down';
  await seen.pass(3 * HOUR);
  assert.deepEqual(seen.said.map(one => one.type), ['error']);
});

test('a page without an end asks three times', async () => {
  const seen = tried(null);
  await seen.look();
  await seen.pass(HOUR);
  assert.equal(seen.reads, 3);
  const later = tried(null, ENDS - HOUR);
  await later.look();
  later.end = END;
  await later.pass(MINUTE);
  assert.equal(later.said.length, 1);
});

test('an end in a year needs no timer that is too long', async () => {
  const seen = tried({ ...END, ends: ENDS + 365 * 24 * HOUR });
  await seen.look();
  await seen.pass(300 * 24 * HOUR);
  assert.deepEqual(seen.said, []);
});
