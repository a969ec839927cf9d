// Writes to many machines each second over a connection of its own, beside the browser, and remembers when each was answered.
import { once } from 'node:events';
import http2 from 'node:http2';

const PATH = '/apis/kubevirt.io/v1';
/** Writes that may be under way: more would only queue in the server. */
const UNDER_WAY = 64;

/** The memory written last, in MiB: no write repeats another, which would change nothing. */
let size = 1000;

export class Writer {
  #session;
  #origin;
  #headers;

  /** A writer with the rights, cookie and token of a browser's session. */
  static async of({ state, origin }) {
    const writer = new Writer();
    writer.#origin = origin;
    writer.#session = connection(origin);
    const cookie = state.cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
    writer.#headers = { cookie, origin, 'sec-fetch-site': 'same-origin' };
    const { csrf } = JSON.parse(await writer.#ask({ ':path': '/console/api/session' }));
    writer.#headers['x-csrf-token'] = csrf;
    return writer;
  }

  /** `rate` writes each second for so many seconds; one of `seen` to a machine that is `visible`. Tells when those were answered. */
  async write({ visible, machines, rate, seconds, seen }) {
    const events = await this.#countEvents();
    const watched = [];
    const took = [];
    const under = new Set();
    const began = Date.now();
    let count = 0;
    // A server that cannot keep up is written to for twice as long, not for ever.
    for (; count < rate * seconds && Date.now() - began < 2000 * seconds; count += 1) {
      const due = began + (count * 1000) / rate;
      if (due > Date.now()) await new Promise((done) => setTimeout(done, due - Date.now()));
      if (under.size >= UNDER_WAY) await Promise.race(under);
      const isSeen = count % seen === 0;
      const machine = isSeen ? visible[(count / seen) % visible.length] : nameOf(visible.length + 20 + (count % (machines - visible.length - 20)));
      size += 1;
      const written = String(size);
      const asked = Date.now();
      const one = this.#patch(machine, written).then((at) => {
        took.push(at - asked);
        if (isSeen) watched.push({ machine, size: written, at });
        under.delete(one);
      });
      under.add(one);
    }
    await Promise.all(under);
    const lasted = (Date.now() - began) / 1000;
    took.sort((a, b) => a - b);
    return { watched, rate: count / lasted, events: events.stop() / lasted, answer: took[Math.floor(took.length / 2)] };
  }

  close() {
    this.#session.close();
  }

  /** Changes a machine's memory; resolves to when the answer's headers came. */
  async #patch(machine, written) {
    const body = { spec: { template: { spec: { domain: { memory: { guest: `${written}Mi` } } } } } };
    let at = 0;
    await this.#ask(
      { ':method': 'PATCH', ':path': `${PATH}/namespaces/default/virtualmachines/${machine}`, 'content-type': 'application/merge-patch+json' },
      JSON.stringify(body),
      () => { at = Date.now(); },
    );
    return at;
  }

  async #ask(headers, body, onAnswer = () => undefined) {
    const stream = this.#session.request({ ...this.#headers, ...headers });
    stream.end(body);
    const [answer] = await once(stream, 'response');
    onAnswer();
    let text = '';
    stream.setEncoding('utf8');
    for await (const piece of stream) text += piece;
    if (answer[':status'] !== 200) throw new Error(`${headers[':path']} answered ${answer[':status']}: ${text}`);
    return text;
  }

  /** Counts what a watch of all machines says from now on, over a connection without the writes' answers. */
  async #countEvents() {
    const { metadata } = JSON.parse(await this.#ask({ ':path': `${PATH}/virtualmachines?limit=1` }));
    const session = connection(this.#origin);
    const stream = session.request({ ...this.#headers, ':path': `${PATH}/virtualmachines?watch=true&resourceVersion=${metadata.resourceVersion}` });
    let lines = 0;
    stream.on('data', (piece) => { lines += piece.filter((byte) => byte === 0x0a).length; });
    await once(stream, 'response');
    return { stop: () => { session.destroy(); return lines; } };
  }
}

/** To a server whose certificate is its own, as in the browser. */
function connection(origin) {
  return http2.connect(origin, { rejectUnauthorized: false });
}

/** The names that `cargo xtask bench console` gives. */
function nameOf(index) {
  return `vm-${String(index).padStart(4, '0')}`;
}
