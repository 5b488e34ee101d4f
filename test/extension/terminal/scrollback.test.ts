import assert from 'node:assert/strict';
import { quietScrollback, restoredScreen } from '../../../helper/protocol/scrollback.ts';

const A = '\x1b]633;A\x07';
const B = '\x1b]633;B\x07';
const C = '\x1b]633;E;ls;n\x07\x1b]633;C\x07';
const D = '\x1b]633;D;0\x07';

describe('a terminal that is shown again', () => {
  it('has no commands that ran long ago', () => {
    assert.equal(quietScrollback(`${A}$ ${B}ls\r\n${C}a b\r\n${D}${A}$ ${B}`), `$ ls\r\na b\r\n${A}$ ${B}`);
  });

  it('keeps the command that still runs', () => {
    const screen = `${A}$ ${B}x\r\n${C}${D}${A}$ ${B}sleep 9\r\n${C}`;
    assert.equal(quietScrollback(screen), `$ x\r\n${A}$ ${B}sleep 9\r\n${C}`);
  });

  it('says when it is from, above the prompt', () => {
    const { text, fullScreen } = restoredScreen('a\r\n$ ', '2026-11-23T14:03:22.000Z', 1.34);
    assert.match(text, /a\r\n\x1b\[2m— back at \d\d:\d\d:22, 1\.3 ms —\x1b\[22m\r\n\$ $/);
    assert.equal(fullScreen, false);
  });

  it('leaves a full-screen program its screen', () => {
    const { text, fullScreen } = restoredScreen('\x1b[?1049h vim \r\n~', '2026-11-23T14:03:22.000Z', 1);
    assert.equal(fullScreen, true);
    assert.ok(text.endsWith('\x1b[?1049h vim \r\n~'));
  });
});
