import assert from 'node:assert/strict';
import { Door } from '../../../src/doors/door.ts';

interface Shop {
  price(of: string): Promise<string>;
  onDidChange(listener: (what: string) => void): { dispose(): void };
}

function shop() {
  const listeners = new Set<(what: string) => void>();
  const real: Shop = {
    price: async (of) => `${of}: 3`,
    onDidChange: (listener) => {
      listeners.add(listener);
      return { dispose: () => listeners.delete(listener) };
    },
  };
  const tell = (what: string) => {
    for (const listener of listeners) listener(what);
  };
  return { real, listeners, tell };
}

describe('a door', () => {
  it('has what is behind it loaded by who asks, once, and answers with that', async () => {
    const { real } = shop();
    let loads = 0;
    const door: Door<Shop> = new Door<Shop>(async () => {
      loads++;
      door.leadsTo(real);
    });
    const stand = door.standIn(['price'], ['onDidChange']);
    assert.equal(loads, 0);
    assert.equal(await stand.price('tea'), 'tea: 3');
    assert.equal(await stand.price('milk'), 'milk: 3');
    assert.equal(loads, 1);
  });

  it('loads nothing for who only listens, and lets them hear once there is something to hear', () => {
    const { real, listeners, tell } = shop();
    const door = new Door<Shop>(() => Promise.reject(new Error('nobody asked')));
    const stand = door.standIn(['price'], ['onDidChange']);
    const heard: string[] = [];
    stand.onDidChange((what) => heard.push(`a ${what}`)).dispose();
    const listening = stand.onDidChange((what) => heard.push(`b ${what}`));
    door.leadsTo(real);
    const late = stand.onDidChange((what) => heard.push(`c ${what}`));
    tell('tea');
    assert.deepEqual(heard, ['b tea', 'c tea']);
    listening.dispose();
    late.dispose();
    assert.equal(listeners.size, 0);
  });

  it('says why nothing could be loaded, and that nothing is behind it', async () => {
    const broken = new Door<Shop>(() => Promise.reject(new Error('no such file')));
    await assert.rejects(broken.standIn(['price']).price('tea'), /no such file/);
    const empty = new Door<Shop>(async () => {});
    await assert.rejects(empty.standIn(['price']).price('tea'), /nothing is behind this door/);
    const { real } = shop();
    empty.leadsTo(real).dispose();
    await assert.rejects(empty.standIn(['price']).price('tea'), /nothing is behind this door/);
  });
});
