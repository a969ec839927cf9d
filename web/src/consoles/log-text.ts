/** The text of a serial line without what only a terminal understands: escape sequences, and returns to the line's start. */
export function withoutEscapes(raw: string): string {
  return raw
    // Operating system commands (titles, links, the clipboard), control sequences, then single escapes.
    .replace(/\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?/g, '')
    .replace(/\u001b\[[0-?]*[ -/]*[@-~]/g, '')
    .replace(/\u001b[()#][0-9A-Za-z]|\u001b[0-9A-Za-z=><]/g, '')
    // One look at each run of them: a pattern that demands the `\n` would look again from each `\r` of a run without one.
    .replace(/\r+\n?/g, (run) => (run.endsWith('\n') ? '\n' : '\n'.repeat(run.length)))
    // eslint-disable-next-line no-control-regex
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, '');
}

/** The end of a text that comes in pieces. */
export class End {
  readonly #most: number;
  #pieces: string[] = [];
  #length = 0;

  /** Keeps the last `most` UTF-16 units. */
  constructor(most: number) {
    this.#most = most;
  }

  /** UTF-16 units that are held now: less than twice what is kept, and one piece. */
  get held(): number {
    return this.#length;
  }

  add(piece: string): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
    // Joined now and then only: each time copies everything.
    if (this.#length >= 2 * this.#most) this.text();
  }

  text(): string {
    const text = this.#pieces.join('').slice(-this.#most);
    this.#pieces = [text];
    this.#length = text.length;
    return text;
  }
}

/** A piece of a text; `isFound` if it is what was searched for. */
export interface Part {
  text: string;
  isFound: boolean;
}

/** Places that are marked at most: more would slow the page down and help nobody. */
const MOST = 2000;

/** The text in pieces, those that equal `words` marked, whatever their case. */
export function marked(text: string, words: string): Part[] {
  if (words === '') return [{ text, isFound: false }];
  const parts: Part[] = [];
  const small = text.toLowerCase();
  const wanted = words.toLowerCase();
  let from = 0;
  for (let found = 0; found < MOST; found += 1) {
    const at = small.indexOf(wanted, from);
    if (at < 0) break;
    if (at > from) parts.push({ text: text.slice(from, at), isFound: false });
    parts.push({ text: text.slice(at, at + words.length), isFound: true });
    from = at + words.length;
  }
  if (from < text.length) parts.push({ text: text.slice(from), isFound: false });
  return parts;
}

/** A step of a start that a guest has written of. */
export interface Mark {
  step: 'firmware' | 'kernel' | 'user-space' | 'login';
  /** Where its line begins. */
  at: number;
}

/** What guests write at each step, as the node looks for it (crates/launcher/src/markers.rs). */
const SIGNS: readonly [Mark['step'], RegExp][] = [
  ['firmware', /SeaBIOS|BdsDxe: |UEFI firmware/],
  ['kernel', /Linux version |Booting Linux|FreeBSD\/SMP|NetBSD \d/],
  ['user-space', /systemd\[1\]|Welcome to |cloud-init\[|OpenRC|Run \/(?:sbin\/)?init as init process/],
  ['login', /^[^\n]*login: /m],
];

/** The steps that a log tells of, each where it is told first after the step before, in order. */
export function marksIn(text: string): Mark[] {
  const marks: Mark[] = [];
  let from = 0;
  for (const [step, sign] of SIGNS) {
    const found = text.slice(from).search(sign);
    if (found < 0) continue;
    const at = text.lastIndexOf('\n', from + found - 1) + 1;
    marks.push({ step, at });
    from = from + found + 1;
  }
  return marks;
}
